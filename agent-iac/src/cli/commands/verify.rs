//! `verify`: replays the ledger.

use std::{fs::File, io::BufReader, path::Path};

use serde_json::json;

use super::Cx;
use crate::{
    cli::{Outcome, args},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    ledger,
    plan::render::{Document, Line, Style, count, printable},
    vault::Pin,
};

pub(super) fn verify(cx: &Cx<'_>, args: &args::Verify) -> Result<Outcome> {
    let archives = args.archive.iter().map(|path| open(cx, path)).collect::<Result<Vec<_>>>()?;
    // This compares with the heads that the secret stores have pinned.
    let state = block_on(cx.deployment.state())?;
    let pin = args.pin.map(|head| Pin { ledger: state.ledger, head });
    let ledger = cx.deployment.ledger();
    let verified = block_on(ledger::verify_archived(&**ledger, pin.as_ref(), archives))?;
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!(
            "The ledger is whole: {}, {}, and the state is their fold.",
            count(number(verified.batches), "batch", "batches"),
            count(number(verified.entries), "entry", "entries"),
        ),
    ));
    if let Some(begins) = verified.begins {
        let archive = if args.archive.is_empty() {
            "what was before stands in an archive, which was not looked at (--archive)"
        } else {
            "the archive ends there, and amounts to what is carried"
        };
        document.push(Line::plain(format!(
            "It begins behind batch {}:{}; {archive}.",
            begins.from.sequence, begins.from.hash
        )));
    }
    for batch in &verified.rewinds {
        document.push(Line::of(
            Style::Danger,
            format!("It was rewound in batch {batch}: history was lost there, as `history` says."),
        ));
    }
    document.push(Line::plain(format!("Head: {}:{}", verified.head.sequence, verified.head.hash)));
    cx.ui.print(&document);
    cx.ui.summarise(json!({
        "ledger": verified.ledger,
        "description": ledger.description(),
        "head": verified.head,
        "begins": verified.begins,
        "batches": verified.batches,
        "entries": verified.entries,
        "rewinds": verified.rewinds,
        "archives": args.archive.len(),
        "pinned": pin.is_some(),
    }));
    Ok(Outcome::Done)
}

fn open(cx: &Cx<'_>, path: &Path) -> Result<(String, BufReader<File>)> {
    let shown = printable(&path.display().to_string());
    let file = File::open(cx.env.path(path)).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("the archive `{shown}` cannot be read"))
            .help("give the file that `ledger archive` wrote")
            .caused_by(error)
    })?;
    Ok((shown, BufReader::with_capacity(1 << 18, file)))
}
