//! `verify`: replays the ledger.

use serde_json::json;

use super::Cx;
use crate::{
    cli::{Outcome, args},
    clock::block_on,
    error::Result,
    ledger,
    plan::render::{Document, Line, Style, count},
    vault::Pin,
};

pub(super) fn verify(cx: &Cx<'_>, args: &args::Verify) -> Result<Outcome> {
    // This compares with the heads that the secret stores have pinned.
    let state = block_on(cx.deployment.state())?;
    let pin = args.pin.map(|head| Pin { ledger: state.ledger, head });
    let ledger = cx.deployment.ledger();
    let verified = block_on(ledger::verify(&**ledger, pin.as_ref()))?;
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!(
            "The ledger is whole: {}, {}, and the state is their fold.",
            count(number(verified.head.sequence), "batch", "batches"),
            count(number(verified.entries), "entry", "entries"),
        ),
    ));
    document.push(Line::plain(format!("Head: {}:{}", verified.head.sequence, verified.head.hash)));
    cx.ui.print(&document);
    cx.ui.summarise(json!({
        "ledger": verified.ledger,
        "description": ledger.description(),
        "head": verified.head,
        "entries": verified.entries,
        "pinned": pin.is_some(),
    }));
    Ok(Outcome::Done)
}
