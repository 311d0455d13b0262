use std::collections::BTreeSet;

use super::*;
use crate::providers::postgres::{
    Grant, Login, Membership, Ownership, Policy, Public, Role, Table,
};

fn layout() -> Layout {
    Layout { own: "app".into(), others: BTreeSet::from(["archive".into()]), ..Layout::default() }
}

fn key(fields: &[(&str, Value)]) -> Reference {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Reference::Key(fields.collect())
}

fn id(id: &str) -> Reference {
    Reference::Id(id.into())
}

#[test]
fn references_are_sorted_by_database_and_what_cannot_be_is_answered_at_once() {
    let table = |database: Option<&str>| {
        let table = Table::new("s", "t");
        let table = match database {
            Some(database) => table.in_database(database),
            None => table,
        };
        key(&[("to", "16423".into()), ("on", Value::from(&table))])
    };
    let references = [
        table(None),
        table(Some("archive")),
        table(Some("app")),
        table(Some("other")),
        id("nonsense"),
        key(&[("to", "nobody".into()), ("on", Value::from(&Table::new("s", "t")))]),
        id("16423 on table s.t in archive by 10"),
    ];
    let (answers, by_database) = sorted::<Grant>(&layout(), &references);
    let places: Vec<_> = by_database
        .iter()
        .map(|(database, (places, _))| (database.as_deref(), &places[..]))
        .collect();
    assert_eq!(places, [(None, &[0][..]), (Some("archive"), &[1, 6][..])]);
    let unread = |place: usize, says: &str| {
        let answer = &answers[place];
        assert!(
            matches!(answer, Observation::Unread(why) if why.contains(says)),
            "{answer:?}, not {says}"
        );
    };
    unread(2, "leave `database` out");
    unread(3, "add it to the provider");
    unread(5, "`to` is none");
    assert_eq!(answers[4], Observation::Absent, "no grant can have that id");
}

#[test]
fn each_type_understands_its_own_references_and_no_other() {
    fn understands<R: Read>(references: &[Reference]) -> Vec<bool> {
        references.iter().map(|reference| R::asked(reference).is_ok()).collect()
    }
    let references = [
        id("16423"),
        id("16423 on table s.t by 10"),
        id("1 in 2 by 0"),
        id("policy 7"),
        id("16423 owns table s.t"),
        id("PUBLIC on table s.t"),
    ];
    assert_eq!(understands::<Role>(&references), [true, false, false, false, false, false]);
    assert_eq!(understands::<Grant>(&references), [false, true, false, false, false, false]);
    assert_eq!(understands::<Membership>(&references), [false, false, true, false, false, false]);
    assert_eq!(understands::<Policy>(&references), [false, false, false, true, false, false]);
    assert_eq!(understands::<Ownership>(&references), [false, false, false, false, true, false]);
    assert_eq!(understands::<Public>(&references), [false, false, false, false, false, true]);
    assert_eq!(understands::<Login>(&references), [true, false, false, false, false, false]);
}

#[test]
fn a_text_that_would_deceive_its_reader_is_not_handed_on() {
    assert_eq!(text("a\n  b"), Reading::Known("a\n  b".into()));
    assert!(matches!(text("a\u{202e}b"), Reading::Unreadable(_)));
    assert!(matches!(object(&Table::new("s", "a\u{202e}b")), Reading::Unreadable(_)));
}
