//! The crates that are built.

use std::{error::Error, fmt::Write as _, fs, path::Path};

/// How many agents.
pub(crate) const AGENTS: usize = 100;

/// A file's path in its crate, and its text.
pub(crate) type File = (String, String);

/// How the structs are declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Agents,
    Bon,
    Builder,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain structs",
            Self::Agents => "derive(Agent)",
            Self::Bon => "derive(bon::Builder)",
            Self::Builder => "derive(derive_builder::Builder)",
        }
    }

    pub(crate) fn krate(self) -> &'static str {
        match self {
            Self::Plain => "lean-plain",
            Self::Agents => "lean-agents",
            Self::Bon => "lean-bon",
            Self::Builder => "lean-builder",
        }
    }

    /// Whether it needs a crate that nothing else here does.
    pub(crate) fn is_of_others(self) -> bool {
        matches!(self, Self::Bon | Self::Builder)
    }

    /// Every file of the crate.
    pub(crate) fn files(self) -> Vec<File> {
        let more = match self {
            Self::Plain | Self::Agents => "",
            Self::Bon => "bon = \"3\"\n",
            Self::Builder => "derive_builder = \"0.20\"\n",
        };
        // The same crates stand behind each, so that only the structs differ.
        let needs = format!(
            "agent-iac = {{ path = \"../../../agent-iac\" }}\nlean-types = {{ path = \
             \"../types\" }}\n{more}"
        );
        let mut all = String::new();
        let mut files = vec![("Cargo.toml".into(), manifest(self.krate(), &needs))];
        for agent in 0..AGENTS {
            writeln!(all, "pub mod a{agent:03};").expect("text takes text");
            files.push(self.agent(agent, 0));
        }
        files.push(("src/lib.rs".into(), all));
        files
    }

    /// One agent that was edited, for the n-th time.
    pub(crate) fn edited(self, time: usize) -> File {
        self.agent(AGENTS / 2, time)
    }

    fn agent(self, agent: usize, edited: usize) -> File {
        // What is edited is what would be: the name of an object, or of a field
        // where there is nothing else.
        let fields = match self {
            Self::Agents => agent_fields(agent, edited),
            _ => plain_fields(edited),
        };
        let derive = match self {
            Self::Plain => "",
            Self::Agents => {
                "#[derive(Agent)]\n#[agent(owner = \"team:lean\", expires = \"2099-12-31\")]\n"
            }
            Self::Bon => "#[derive(bon::Builder)]\n",
            Self::Builder => "#[derive(derive_builder::Builder)]\n",
        };
        let imports = if self == Self::Agents { "use agent_iac::prelude::*;\n" } else { "" };
        let text = format!(
            "{imports}use lean_types::{{Account, Grant, Key}};\n\n{derive}pub struct \
             Agent{agent:03} {{\n{fields}}}\n"
        );
        (format!("src/a{agent:03}.rs"), text)
    }
}

fn agent_fields(agent: usize, edited: usize) -> String {
    let mut text = format!(
        "    #[input(key)]\n    pub tenant: String,\n    #[input]\n    pub region: String,\n    \
         #[identity(name = format!(\"agent-{agent}-{{tenant}}\"))]\n    pub account: Account,\n"
    );
    for grant in 0..6 {
        writeln!(
            text,
            "    #[permission(to = account, on = format!(\"{{region}}/{{tenant}}/{grant}/{edited}\
             \"), allow = [\"read\", \"list\"])]\n    pub grant_{grant}: Grant,"
        )
        .expect("text takes text");
    }
    text + "    #[credential(of = account, deliver = format!(\"vault:agents/{tenant}/key\"))]\n    \
            pub key: Key,\n"
}

fn plain_fields(edited: usize) -> String {
    let mut text =
        "    pub tenant: String,\n    pub region: String,\n    pub account: Account,\n".to_owned();
    for grant in 0..6 {
        writeln!(text, "    pub grant_{grant}_{edited}: Grant,").expect("text takes text");
    }
    text + "    pub key: Key,\n"
}

/// The resource types, in a crate of their own as a provider's are.
pub(crate) fn types() -> Vec<File> {
    let needs = "agent-iac = { path = \"../../../agent-iac\" }\n";
    let text = r#"//! Types with what the authority's have.
use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    access::{Access, Tuple},
    prelude::*,
    resource::{Link, Node},
    value::Value,
};

/// Who an agent is.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "lean.account", kind = "identity")]
pub struct Account {
    /// Its name.
    #[resource(key)]
    pub name: String,
    /// Its id.
    #[resource(output)]
    pub id: String,
}

/// What it may do.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "lean.grant", kind = "permission")]
pub struct Grant {
    /// Who may.
    #[resource(key)]
    pub to: Link<Account>,
    /// Where.
    #[resource(key)]
    pub on: String,
    /// What.
    pub allow: BTreeSet<String>,
}

impl Grants for Grant {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        match properties.get("on").and_then(Node::known) {
            Some(Value::Text(on)) => Access::exactly([Tuple::allow(principal, "read", on)]),
            _ => Access::undecided("it is known only after apply"),
        }
    }
}

/// How it shows who it is.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "lean.key", kind = "credential")]
pub struct Key {
    /// Whose.
    #[resource(replace)]
    pub of: Link<Account>,
    /// Its id.
    #[resource(output)]
    pub id: String,
}
"#;
    vec![
        ("Cargo.toml".into(), manifest("lean-types", needs)),
        ("src/lib.rs".into(), text.to_owned()),
    ]
}

/// What a program begins with.
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    manifest: &'static str,
    build: Option<&'static str>,
}

pub(crate) const PROFILES: [Profile; 2] = [
    Profile {
        name: "lean-default",
        says: "default features",
        manifest: "agent-iac = { path = \"../../../agent-iac\" }\n",
        build: None,
    },
    Profile {
        name: "lean-script",
        says: "a text fleet checked in build.rs",
        manifest: "\n[build-dependencies]\nagent-iac = { path = \"../../../agent-iac\", \
                   default-features = false, features = [\"config\"] }\n",
        build: Some("fn main() {\n    agent_iac::build::check(\"fleet.toml\");\n}\n"),
    },
];

impl Profile {
    pub(crate) fn files(&self) -> Vec<File> {
        let mut files = vec![
            ("Cargo.toml".into(), manifest(self.name, self.manifest)),
            ("src/lib.rs".into(), String::new()),
        ];
        if let Some(build) = self.build {
            files.push(("build.rs".into(), build.to_owned()));
            files.push(("fleet.toml".into(), "fleet = \"lean\"\n".to_owned()));
        }
        files
    }
}

/// A workspace of its own, so that its lock file is its own too.
fn manifest(name: &str, needs: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = \
         false\n\n[workspace]\n\n[dependencies]\n{needs}"
    )
}

/// Writes a crate, with the versions that this workspace has.
pub(crate) fn write(root: &Path, folder: &Path, files: &[File]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder.join("src"))?;
    for (name, text) in files {
        let path = folder.join(name);
        // A file that is as it should be keeps its time.
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(path, text)?;
        }
    }
    if !folder.join("Cargo.lock").exists() {
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    }
    Ok(())
}
