use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};

use super::{check_role_name, flag, is_given, settings, text};
use crate::{
    Resource,
    access::{Access, Tuple},
    providers::postgres::name::check_managed_role,
    resource::{Check, Grants, Node, Problem},
    value::Value,
};

/// A role: who an agent is to the server.
///
/// It owns and is granted, and does not log in by itself: each generation of
/// its credential is a [`Login`](super::Login) of its own that becomes it. So
/// two generations overlap, are seen apart, and end by being dropped.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.role", kind = "identity", check, access)]
pub struct Role {
    /// Its name, unique in the cluster: at most 50 bytes, which leaves room
    /// for the names of its logins.
    #[resource(key)]
    pub name: String,
    /// Whether it has to `SET ROLE` for what the roles may do that it is a
    /// member of. From PostgreSQL 16 each membership says it for itself.
    #[resource(default)]
    pub noinherit: bool,
    /// Whether it may create databases.
    #[resource(default)]
    pub createdb: bool,
    /// Whether it may create roles; before PostgreSQL 16 that is as good as
    /// being superuser.
    #[resource(default)]
    pub createrole: bool,
    /// Whether row policies do not hold for it.
    #[resource(default)]
    pub bypassrls: bool,
    /// Whether it may replicate the whole cluster.
    #[resource(default)]
    pub replication: bool,
    /// Whether nothing is forbidden to it.
    #[resource(default)]
    pub superuser: bool,
    /// Whether it logs in by itself, with a password of its own. It is for
    /// roles that were there before: declare it to adopt one, add a
    /// [`Login`](super::Login), and leave it out once consumers have moved.
    #[resource(default)]
    pub login: bool,
    /// How many sessions it may have at once when it logs in by itself.
    pub connection_limit: Option<i32>,
    /// Until when its own password is good, as `2027-06-30 00:00:00+00`.
    pub valid_until: Option<String>,
    /// Parameters that its sessions start with, as `work_mem`; those of one
    /// database as `work_mem@reporting`. An undeclared one is drift.
    #[resource(default)]
    pub settings: BTreeMap<String, String>,
    /// The role that takes over what it owns when it goes. Without one,
    /// dropping a role that owns something is refused.
    pub heir: Option<String>,
    /// Its number in the cluster.
    #[resource(output)]
    pub oid: String,
}

/// The object that what concerns the whole cluster is on.
const CLUSTER: &str = "cluster";

/// The attributes that widen what a role may do, and what to call that.
pub(in super::super) const ATTRIBUTES: [(&str, &str); 6] = [
    ("superuser", "be superuser of"),
    ("createrole", "create roles in"),
    ("createdb", "create databases in"),
    ("bypassrls", "bypass row policies of"),
    ("replication", "replicate"),
    ("login", "log in by itself to"),
];

impl Grants for Role {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let mut access = Access::NONE;
        for (attribute, action) in ATTRIBUTES {
            if flag(properties, attribute, false) {
                access.tuples.insert(Tuple::allow(principal, action, CLUSTER));
            }
        }
        let Some(node) = properties.get("settings") else { return access };
        let Some(Value::Map(settings)) = node.known() else {
            access
                .undecided
                .insert(format!("`settings` of {principal} are known only after apply"));
            return access;
        };
        // A setting can make a role act as another one, look elsewhere for
        // tables, or write elsewhere: it is access.
        for (name, value) in settings {
            let value = value.as_text().unwrap_or_default();
            let object = format!("parameter {name} = {value}");
            access.tuples.insert(Tuple::allow(principal, "start sessions with", object));
        }
        access
    }
}

impl Check for Role {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let wrong_name = text(properties, "name").and_then(|name| check_managed_role(&name));
        problems.extend(wrong_name.map(|wrong| Problem {
            field: "name".into(),
            message: wrong.message,
            help: Some(wrong.help.into()),
        }));
        problems.extend(check_role_name(properties, "heir"));
        if text(properties, "heir").is_some_and(|heir| text(properties, "name") == Some(heir)) {
            problems.push(Problem {
                field: "heir".into(),
                message: "a role cannot be its own heir".into(),
                help: Some("name the role that takes over what it owns".into()),
            });
        }
        for field in ["connection_limit", "valid_until"] {
            if is_given(properties, field) && !flag(properties, "login", false) {
                problems.push(Problem {
                    field: field.into(),
                    message: format!("`{field}` holds for a role that logs in by itself"),
                    help: Some("declare it on the `postgres.login`".into()),
                });
            }
        }
        let until = text(properties, "valid_until");
        problems.extend(until.and_then(|until| instant(&until)).map(|canonical| Problem {
            field: "valid_until".into(),
            message: "it is not written as the server keeps it".into(),
            help: Some(format!("write `{canonical}`")),
        }));
        let declared = properties.get("settings").and_then(Node::known);
        let declared = declared.as_ref().and_then(Value::as_map);
        for (name, value) in declared.into_iter().flatten() {
            let parameter = name.split('@').next().unwrap_or_default();
            let list = value.as_text().filter(|_| settings::LISTS.contains(&parameter));
            problems.extend(list.and_then(|list| not_canonical(name, list)));
            let good = parameter.split('.').all(|part| {
                part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            });
            if !good {
                problems.push(Problem {
                    field: "settings".into(),
                    message: format!("`{name}` is no name of a parameter"),
                    help: Some(
                        "write it in lower case, as `work_mem` or `work_mem@database`".into(),
                    ),
                });
            }
        }
        problems
    }
}

/// How the server keeps a date or an instant that is written in another way;
/// `None` when it is written so, or only the server can tell.
fn instant(text: &str) -> Option<String> {
    let canonical = match (text.parse::<Date>(), text.parse::<Timestamp>()) {
        (_, Ok(at)) => at.to_string().replace('T', " ").replace('Z', "+00"),
        (Ok(date), _) if text.len() == 10 => format!("{date} 00:00:00+00"),
        _ => return None,
    };
    (canonical != text).then_some(canonical)
}

/// What is wrong with a list of names that the server would keep in other
/// words: it would differ for ever.
fn not_canonical(name: &str, list: &str) -> Option<Problem> {
    let (message, help) = match settings::canonical(list) {
        Some(canonical) if canonical == list => return None,
        Some(canonical) => (
            format!("`{name}` is a list of names, and not written as the server keeps it"),
            format!("write `{canonical}`"),
        ),
        None => (
            format!("`{name}` is a list of names, and `{list}` is none"),
            "put a comma between two names, and quotes around one that has blanks".to_owned(),
        ),
    };
    Some(Problem { field: "settings".into(), message, help: Some(help) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_as_the_server_keeps_it() {
        for (text, expected) in [
            ("2027-06-30 00:00:00+00", None),
            ("2027-06-30 00:00:00.5+00", None),
            ("2027-06-30", Some("2027-06-30 00:00:00+00")),
            ("2027-06-30T12:00:00Z", Some("2027-06-30 12:00:00+00")),
            ("2027-06-30 12:00:00+02:00", Some("2027-06-30 10:00:00+00")),
            ("infinity", None),
            ("soon", None),
        ] {
            assert_eq!(instant(text).as_deref(), expected, "{text}");
        }
    }
}
