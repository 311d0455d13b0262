//! The resource type of a process.

use std::collections::BTreeMap;

use crate::{
    Resource,
    address::is_printable,
    resource::{Check, Node, Problem},
    value::Value,
    vault::Place,
};

/// The environment in which an agent's process runs on a machine: `exec` starts
/// it in exactly this.
///
/// A runtime whose `secrets` or `exposed` name the place of a credential is a
/// consumer of it, without being named in `consumers`.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use agent_iac::{prelude::*, providers::{authority as auth, process}};
///
/// /// Sorts new tickets.
/// #[derive(Agent)]
/// #[agent(owner = "team:support", expires = "2099-06-30")]
/// struct Triage {
///     #[identity(name = "triage")]
///     account: auth::Account,
///
///     #[credential(of = account, deliver = "vault:agents/triage/key")]
///     key: auth::ApiKey,
///
///     #[runtime(
///         name = "triage",
///         command = ["/usr/bin/triage", "--serve"],
///         variables = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
///         secrets = BTreeMap::from([("API_KEY".to_owned(), "vault:agents/triage/key".to_owned())]),
///         on_rotation = "HUP",
///     )]
///     process: process::Runtime,
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "process.runtime", kind = "runtime", check)]
pub struct Runtime {
    /// Its name, unique in the folder of the provider.
    #[resource(key)]
    pub name: String,
    /// What runs: a program and its arguments, unless another is given.
    pub command: Vec<String>,
    /// Environment variables.
    #[resource(default)]
    pub variables: BTreeMap<String, String>,
    /// Secrets, by name, each with its place. `NAME` is a file that only its
    /// user reads, and the variable `NAME_FILE` is its path.
    #[resource(default)]
    pub secrets: BTreeMap<String, String>,
    /// Secrets that are environment variables, each with its place. Whoever may
    /// look at the process reads those, so `exposed_because` says why.
    #[resource(default)]
    pub exposed: BTreeMap<String, String>,
    /// Why secrets are variables.
    pub exposed_because: Option<String>,
    /// The directory that it runs in: `/` unless said.
    pub directory: Option<String>,
    /// What happens when a secret is rotated, once the new one is in its file:
    /// `restart`, which is the default, `HUP`, `USR1`, `USR2`, or `nothing` for
    /// a program that reads the file each time.
    pub on_rotation: Option<String>,
    /// Those that say the same here are never restarted at the same time.
    pub stagger: Option<String>,
    /// How many seconds it has to end before it is ended: 10 unless said.
    pub stop_within: Option<u32>,
    /// How many files it may have open.
    pub open_files: Option<u32>,
    /// How many processes its user may have.
    pub processes: Option<u32>,
    /// How much memory it may map, in MiB.
    pub memory: Option<u32>,
    /// Its id, never given again to another.
    #[resource(output)]
    pub id: String,
}

/// What `on_rotation` may say.
pub(super) const ON_ROTATION: [&str; 5] = ["restart", "HUP", "USR1", "USR2", "nothing"];

/// Variables by which whoever sets them runs code in the process.
const LOADERS: [&str; 4] = ["LD_", "DYLD_", "BASH_ENV", "GLIBC_TUNABLES"];

impl Check for Runtime {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let known = |name: &str| properties.get(name).and_then(Node::known);
        let text = |name: &str| known(name).and_then(|value| value.as_text().map(str::to_owned));
        let entries = |name: &str| -> Vec<(String, Option<String>)> {
            let map = known(name);
            let map = map.as_ref().and_then(|value| value.as_map());
            map.into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.as_text().map(str::to_owned)))
                .collect()
        };
        let mut problems = Vec::new();
        let mut problem = |field: &str, message: String, help: &str| {
            problems.push(Problem::new(field, message).help(help));
        };
        if text("name").is_some_and(|name| !is_name(&name)) {
            problem("name", "the name is malformed".into(), "use a-z, 0-9, dashes, dots and `_`");
        }
        if text("stagger").is_some_and(|group| !is_name(&group)) {
            problem(
                "stagger",
                "its word is malformed".into(),
                "use a-z, 0-9, dashes, dots and `_`",
            );
        }
        if known("command").is_some_and(|value| value.as_list().is_some_and(<[Value]>::is_empty)) {
            problem("command", "the command is empty".into(), "name a program, with its arguments");
        }
        if text("directory").is_some_and(|path| !path.starts_with('/')) {
            problem("directory", "the directory is relative".into(), "begin it with `/`");
        }
        if text("on_rotation").is_some_and(|what| !ON_ROTATION.contains(&&*what)) {
            problem(
                "on_rotation",
                "that cannot be done on a rotation".into(),
                "write `restart`, `HUP`, `USR1`, `USR2` or `nothing`",
            );
        }
        let mut taken = BTreeMap::new();
        for field in ["variables", "secrets", "exposed"] {
            for (name, value) in entries(field) {
                let variable =
                    if field == "secrets" { format!("{name}_FILE") } else { name.clone() };
                if !is_variable(&name) {
                    let message = format!("`{}` is no name of a variable", shown(&name));
                    problem(field, message, "use A-Z, a-z, 0-9 and `_`, no digit first");
                } else if LOADERS.iter().any(|prefix| name.starts_with(prefix)) {
                    let message = format!("`{name}` makes other code run in the process");
                    problem(field, message, "leave it out, or start the program by a wrapper");
                } else if let Some(first) = taken.insert(variable.clone(), field) {
                    let message = format!("`{variable}` is in `{first}` too");
                    problem(field, message, "give each variable one value");
                }
                if field != "variables"
                    && value.is_some_and(|place| place.parse::<Place>().is_err())
                {
                    let message = format!("`{}` is given no place", shown(&name));
                    problem(
                        field,
                        message,
                        "name where the credential is delivered, as `vault:agents/triage/key`",
                    );
                }
            }
        }
        let why = text("exposed_because").is_some_and(|why| !why.trim().is_empty());
        if !entries("exposed").is_empty() && !why {
            problem(
                "exposed",
                "a secret in a variable is read by whoever may look at the process".into(),
                "move it to `secrets`, or say why with `exposed_because`",
            );
        }
        problems
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| is_printable(c.encode_utf8(&mut [0; 4]))).take(64).collect()
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
}

pub(super) fn is_variable(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Builder as _, Resource as _};

    fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
        entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn each_mistake_is_at_its_property_and_has_a_repair() {
        type Change = fn(&mut RuntimeBuilder);
        let cases: [(&str, Change); 13] = [
            ("name", |r| {
                r.name("Triage");
            }),
            ("command", |r| {
                r.command([""; 0]);
            }),
            ("directory", |r| {
                r.directory("here");
            }),
            ("on_rotation", |r| {
                r.on_rotation("KILL");
            }),
            ("stagger", |r| {
                r.stagger("../x");
            }),
            ("variables", |r| {
                r.variables(map([("A=B", "x")]));
            }),
            ("variables", |r| {
                r.variables(map([("LD_PRELOAD", "/tmp/x.so")]));
            }),
            ("secrets", |r| {
                r.secrets(map([("1KEY", "vault:a/key")]));
            }),
            ("secrets", |r| {
                r.secrets(map([("KEY", "not a place")]));
            }),
            ("secrets", |r| {
                r.variables(map([("KEY_FILE", "x")])).secrets(map([("KEY", "vault:a/key")]));
            }),
            ("exposed", |r| {
                r.exposed(map([("KEY", "vault:a/key")]));
            }),
            ("exposed", |r| {
                r.exposed(map([("KEY", "vault:a/key")])).exposed_because(" ");
            }),
            ("exposed", |r| {
                r.exposed(map([("KEY", "key")])).exposed_because("it reads nothing else");
            }),
        ];
        for (field, change) in cases {
            let mut runtime = Runtime::builder();
            runtime.name("triage").command(["/usr/bin/triage"]);
            assert_eq!(Runtime::check(runtime.fields().nodes()), []);
            change(&mut runtime);
            let problems = Runtime::check(runtime.fields().nodes());
            let fields: Vec<&str> = problems.iter().map(|p| &*p.field).collect();
            assert_eq!(fields, [field], "{problems:?}");
            assert!(problems[0].help.is_some());
        }
    }
}
