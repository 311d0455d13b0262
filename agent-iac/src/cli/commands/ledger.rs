//! `ledger`: backups, archives, and going on after a loss.

use std::path::Path;
#[cfg(feature = "sqlite")]
use std::{fs::File, io::BufReader};

use serde_json::json;

use super::Cx;
#[cfg(feature = "sqlite")]
use crate::{
    cli::{Env, ui::Ui},
    error::{Error, ErrorKind},
    ledger::SqliteLedger,
};
use crate::{
    cli::{
        Outcome, actor,
        args::{self, LedgerCommand},
    },
    clock::block_on,
    error::Result,
    ledger::{Backup, Head, backup_into},
    plan::render::{Document, Line, Style, count, printable},
};

pub(super) fn ledger(cx: &Cx<'_>, command: &LedgerCommand) -> Result<Outcome> {
    match command {
        LedgerCommand::Backup { file } => backup(cx, file),
        // It is carried out before there is a deployment.
        #[cfg(feature = "sqlite")]
        LedgerCommand::Restore(_) => Ok(Outcome::Done),
        LedgerCommand::Archive { file } => archive(cx, file),
        LedgerCommand::Rewind(rewind) => self::rewind(cx, rewind),
    }
}

fn backup(cx: &Cx<'_>, file: &Path) -> Result<Outcome> {
    let path = cx.env.path(file);
    let backup = block_on(backup_into(&**cx.deployment.ledger(), &path))?;
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!("The ledger is kept in {}: {}.", shown(file), size(&backup)),
    ));
    document.extend(told(&backup));
    cx.ui.print(&document);
    cx.ui.summarise(json!({ "file": path, "backup": backup }));
    Ok(Outcome::Done)
}

fn archive(cx: &Cx<'_>, file: &Path) -> Result<Outcome> {
    let path = cx.env.path(file);
    let archived = block_on(cx.deployment.archive(&path, &actor::actor(cx.env)))?;
    let backup = &archived.archive;
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!(
            "The history up to batch {} is in {}: {}.",
            backup.head.sequence,
            shown(file),
            size(backup)
        ),
    ));
    document.extend(told(backup));
    document.push(Line::plain(format!(
        "The ledger begins behind it; its head is {}. Keep the archive: `verify --archive` goes \
         on with it.",
        head(archived.head)
    )));
    cx.ui.print(&document);
    cx.ui.summarise(json!({ "file": path, "archive": backup, "head": archived.head }));
    Ok(Outcome::Done)
}

fn rewind(cx: &Cx<'_>, args: &args::Rewind) -> Result<Outcome> {
    let lost = block_on(cx.deployment.lost())?;
    let given = |head: &Head| {
        let hash = head.hash.to_string();
        args.pinned.iter().any(|part| hash.starts_with(part))
    };
    if lost.values().any(|head| !given(head)) {
        let pins: Vec<String> = lost
            .iter()
            .map(|(store, head)| format!("{store} has pinned {}", self::head(*head)))
            .collect();
        let words: Vec<String> =
            lost.values().map(|head| format!(" --pinned {}", head.hash.short())).collect();
        return Ok(Outcome::Unacknowledged {
            message: format!(
                "the ledger does not hold what was seen before, and what it lost is not \
                 acknowledged: {}",
                pins.join("; ")
            ),
            next: vec![format!("{} ledger rewind --reason '…'{}", cx.ui.command, words.concat())],
        });
    }
    let actor = actor::actor(cx.env);
    let rewound = block_on(cx.deployment.rewind(&args.pinned, &args.reason, &actor))?;
    let mut document = Document::default();
    document.push(Line::of(
        Style::Danger,
        format!(
            "The ledger goes on from batch {}; what was recorded after it is given up.",
            rewound.to.sequence
        ),
    ));
    document.push(Line::plain(format!(
        "Head: {}. Plan next: what the lost history had made is in the systems still.",
        head(rewound.head)
    )));
    cx.ui.print(&document);
    cx.ui.summarise(json!({ "lost": rewound.lost, "to": rewound.to, "head": rewound.head }));
    Ok(Outcome::Done)
}

#[cfg(feature = "sqlite")]
pub(super) fn restore(ui: &Ui, env: &Env, args: &args::Restore) -> Result<Outcome> {
    let (from, into) = (env.path(&args.file), env.path(&args.into));
    let name = args.file.display().to_string();
    let file = File::open(&from).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("`{}` cannot be read", printable(&name)))
            .help("give a file that `ledger backup` or `ledger archive` wrote")
            .caused_by(error)
    })?;
    let options = crate::ledger::sqlite::Options::new(&args.of_fleet, &args.of_environment);
    let input = BufReader::with_capacity(1 << 18, file);
    let backup = SqliteLedger::restore(&into, &options, input, &name)?;
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!("{} is restored: {}.", shown(&args.into), size(&backup)),
    ));
    document.extend(told(&backup));
    document.push(Line::plain(
        "Plan next. Where the secret stores have seen a newer one, `plan` refuses it, and says what \
         to do.",
    ));
    ui.print(&document);
    ui.summarise(json!({ "file": into, "backup": backup }));
    Ok(Outcome::Done)
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

fn size(backup: &Backup) -> String {
    let batches = usize::try_from(backup.batches).unwrap_or(usize::MAX);
    format!("{}, {} bytes", count(batches, "batch", "batches"), backup.bytes)
}

fn told(backup: &Backup) -> [Line; 2] {
    [
        Line::plain(format!(
            "It is of {} in {}, and ends with {}.",
            printable(&backup.fleet),
            printable(&backup.environment),
            head(backup.head)
        )),
        Line::of(Style::Faint, format!("SHA-256: {}", backup.digest)),
    ]
}

fn head(head: Head) -> String {
    format!("{}:{}", head.sequence, head.hash)
}
