//! Every name that an attribute may hold, once, and which of them somebody may
//! have meant.

/// The attribute of `derive(Agent)`.
pub(crate) const AGENT: &str = "agent";
/// The attribute of an agent's parameters.
pub(crate) const INPUT: &str = "input";
/// The attribute of `derive(Resource)`.
pub(crate) const RESOURCE: &str = "resource";
/// The attribute of `derive(Property)`.
pub(crate) const PROPERTY: &str = "property";

pub(crate) const OWNER: &str = "owner";
pub(crate) const EXPIRES: &str = "expires";
pub(crate) const NAME: &str = "name";
pub(crate) const GRACE: &str = "grace";
pub(crate) const BECAUSE: &str = "because";
pub(crate) const PROTECT: &str = "protect";
pub(crate) const ROTATE: &str = "rotate";
pub(crate) const OVERLAP: &str = "overlap";
pub(crate) const JITTER: &str = "jitter";
pub(crate) const LEASE: &str = "lease";
pub(crate) const AT_DEADLINE: &str = "at_deadline";
pub(crate) const DELIVER: &str = "deliver";
pub(crate) const TYPE: &str = "type";
pub(crate) const KIND: &str = "kind";
pub(crate) const CRATE: &str = "crate";
pub(crate) const KEY: &str = "key";
pub(crate) const REPLACE: &str = "replace";
pub(crate) const UPDATE: &str = "update";
pub(crate) const DEFAULT: &str = "default";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const RENAME: &str = "rename";
pub(crate) const OF: &str = "of";
pub(crate) const TO: &str = "to";
pub(crate) const CHECK: &str = "check";
pub(crate) const ACCESS: &str = "access";

/// What `#[agent(…)]` takes.
pub(crate) const AGENT_KEYS: &[&str] = &[OWNER, EXPIRES, NAME, GRACE, CRATE];
/// What `#[input(…)]` takes.
pub(crate) const INPUT_KEYS: &[&str] = &[KEY];
/// What `#[resource(…)]` on a struct takes.
pub(crate) const RESOURCE_KEYS: &[&str] = &[TYPE, KIND, CHECK, ACCESS, CRATE];
/// What `#[resource(…)]` on a field takes.
pub(crate) const RESOURCE_FIELD_KEYS: &[&str] = &[KEY, REPLACE, UPDATE, DEFAULT, OUTPUT];
/// What `#[property(…)]` on a type takes.
pub(crate) const PROPERTY_KEYS: &[&str] = &[CRATE];
/// What `#[property(…)]` on a variant or a field takes.
pub(crate) const PROPERTY_ITEM_KEYS: &[&str] = &[RENAME];

/// What a resource is to an agent.
pub(crate) const KINDS: &[&str] = &["identity", "permission", "credential", "runtime"];

/// The keys of a declaration that belong to the engine.
pub(crate) const ENGINE_KEYS: &[&str] = &[
    "provider",
    "depends_on",
    PROTECT,
    "on_drift",
    "ignore",
    BECAUSE,
    ROTATE,
    OVERLAP,
    "window",
    "blackouts",
    "zone",
    JITTER,
    "retry",
    LEASE,
    "group",
    DELIVER,
    "consumers",
    AT_DEADLINE,
];

/// Those of them that only a credential takes.
pub(crate) const CREDENTIAL_KEYS: &[&str] = &[
    ROTATE,
    OVERLAP,
    "window",
    "blackouts",
    "zone",
    JITTER,
    "retry",
    LEASE,
    "group",
    DELIVER,
    "consumers",
    AT_DEADLINE,
];

/// The names among `known` that somebody who wrote `word` most likely meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A third of the letters wrong is still a slip; more is another word.
    let limit = (word.chars().count() / 3).max(1);
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, dropped, exchanged or swapped with their
/// neighbour to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let exchanged = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = exchanged.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (word, meant) in [
            ("rotat", Some("rotate")),
            ("roatte", Some("rotate")),
            ("overlpa", Some("overlap")),
            ("depend_on", Some("depends_on")),
            ("becuase", Some("because")),
            ("name", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, ENGINE_KEYS), meant, "{word}");
        }
    }
}
