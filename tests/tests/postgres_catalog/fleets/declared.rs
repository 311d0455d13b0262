//! What a fleet can declare, as text, and what is so on the server once it is
//! applied.
//!
//! Owns both, so that one can be held against the other. It asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::facts::{Facts, Spot};

/// An object, as `table s.t` or `function s.f(integer)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct On {
    /// As the facts call it.
    pub(super) what: String,
    pub(super) columns: BTreeSet<String>,
}

impl On {
    pub(super) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), columns: BTreeSet::new() }
    }

    pub(super) fn kind(&self) -> &str {
        self.what.split_once(' ').unwrap().0
    }

    /// The name of it without its kind.
    fn name(&self) -> &str {
        self.what.split_once(' ').unwrap().1
    }

    /// The schema that it is in.
    pub(super) fn schema(&self) -> Option<&str> {
        let in_one =
            ["table", "sequence", "function", "procedure", "data-type"].contains(&self.kind());
        in_one.then(|| self.name().split_once('.').unwrap().0)
    }

    /// As an id has it.
    pub(super) fn id(&self) -> String {
        if self.columns.is_empty() {
            return self.what.clone();
        }
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        format!("{} ({})", self.what, columns.join(", "))
    }

    /// Reads what [`On::id`] writes.
    pub(super) fn of_id(id: &str) -> Self {
        match id.strip_suffix(')').and_then(|rest| rest.split_once(" (")) {
            None => Self::new(id),
            Some((what, columns)) => Self {
                what: what.to_owned(),
                columns: columns.split(", ").map(str::to_owned).collect(),
            },
        }
    }

    fn toml(&self) -> String {
        let mut text = format!("{{ kind = \"{}\"", self.kind());
        let mut name = self.name();
        if let Some(schema) = self.schema() {
            let _ = write!(text, ", schema = \"{schema}\"");
            name = name.split_once('.').unwrap().1;
        }
        let routine = name.strip_suffix(')').and_then(|rest| rest.split_once('('));
        if let Some((routine, arguments)) = routine {
            let arguments: Vec<String> = arguments
                .split(", ")
                .filter(|one| !one.is_empty())
                .map(|one| format!("{one:?}"))
                .collect();
            let _ = write!(text, ", arguments = [{}]", arguments.join(", "));
            name = routine;
        }
        let _ = write!(text, ", name = \"{name}\"");
        if !self.columns.is_empty() {
            let _ = write!(text, ", columns = {:?}", self.columns.iter().collect::<Vec<_>>());
        }
        text + " }"
    }

    /// The columns that an entry of it is on; an empty name for the whole.
    pub(super) fn places(&self) -> Vec<String> {
        if self.columns.is_empty() {
            vec![String::new()]
        } else {
            self.columns.iter().cloned().collect()
        }
    }
}

/// Privileges, by their words in a fleet.
pub(super) type Allow = BTreeSet<&'static str>;

/// One declaration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Role {
        name: String,
        noinherit: bool,
        createdb: bool,
        bypassrls: bool,
        settings: BTreeMap<String, String>,
        heir: Option<String>,
    },
    Ownership {
        to: String,
        on: On,
        heir: String,
    },
    Grant {
        to: String,
        on: On,
        allow: Allow,
        grantable: bool,
    },
    Membership {
        to: String,
        of: String,
        admin: bool,
        noinherit: bool,
        noset: bool,
    },
    Defaults {
        to: String,
        for_role: String,
        on: &'static str,
        in_schema: Option<String>,
        allow: Allow,
        grantable: bool,
    },
    Policy {
        to: String,
        on: On,
        name: String,
        command: &'static str,
        restrictive: bool,
        using: String,
    },
    Public {
        on: On,
        revoke: Allow,
    },
    PublicDefaults {
        for_role: String,
        on: &'static str,
        revoke: Allow,
    },
    Login {
        of: String,
    },
}

/// A declaration with what is said to the engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    /// The name of the resource.
    pub(super) field: String,
    pub(super) what: What,
    /// What is there, when it is to be adopted.
    pub(super) found: Option<Found>,
    /// What has to be there before.
    pub(super) needs: BTreeSet<String>,
}

/// What is adopted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) id: String,
    /// As it was found.
    pub(super) what: What,
}

/// One role's agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// The agent's name.
    pub(super) name: String,
    /// The role's name.
    pub(super) role: String,
    pub(super) declared: Vec<Declared>,
}

/// Who writes, on which version.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) version: u32,
    pub(super) admins: String,
    /// The names of the graphs' roles, by their numbers.
    pub(super) names: BTreeMap<String, String>,
}

/// The letter of what default privileges are about.
pub(super) fn letter(on: &str) -> char {
    match on {
        "tables" => 'r',
        "sequences" => 'S',
        "functions" => 'f',
        "types" => 'T',
        _ => 'n',
    }
}

/// The superuser, whom the administrators cannot become.
pub(super) const SUPERUSER: &str = "postgres";

impl What {
    /// The words of it in a count.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Role { .. } => "role",
            Self::Ownership { .. } => "ownership",
            Self::Grant { on, .. } if !on.columns.is_empty() => "grant on columns",
            Self::Grant { .. } => "grant",
            Self::Membership { .. } => "membership",
            Self::Defaults { .. } => "default privileges",
            Self::Policy { .. } => "policy",
            Self::Public { .. } => "hardening",
            Self::PublicDefaults { .. } => "hardening of the future",
            Self::Login { .. } => "login",
        }
    }

    /// What no two of one role may share.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Role { .. } | Self::Login { .. } => self.kind().to_owned(),
            Self::Ownership { on, .. } | Self::Public { on, .. } => {
                format!("{} {}", self.kind(), on.id())
            }
            Self::Grant { on, .. } => on.id(),
            Self::Membership { of, .. } => format!("in {of}"),
            Self::Defaults { for_role, on, in_schema, .. } => {
                format!("{on} of {for_role} in {in_schema:?}")
            }
            Self::PublicDefaults { for_role, on, .. } => format!("future {on} of {for_role}"),
            Self::Policy { name, .. } => name.clone(),
        }
    }

    /// Whether its key names no role: there is one for all agents.
    pub(super) const fn is_of_no_role(&self) -> bool {
        matches!(
            self,
            Self::Ownership { .. }
                | Self::Public { .. }
                | Self::PublicDefaults { .. }
                | Self::Policy { .. }
        )
    }

    fn toml(&self) -> String {
        let words = |allow: &Allow| format!("{:?}", allow.iter().collect::<Vec<_>>());
        match self {
            Self::Role { name, noinherit, createdb, bypassrls, settings, heir } => {
                let mut text = format!(
                    "identity = \"postgres.role\"\nname = \"{name}\"\nnoinherit = {noinherit}
createdb = {createdb}\nbypassrls = {bypassrls}"
                );
                if let Some(heir) = heir {
                    let _ = write!(text, "\nheir = \"{heir}\"");
                }
                let settings: Vec<String> =
                    settings.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
                format!("{text}\nsettings = {{ {} }}", settings.join(", "))
            }
            Self::Ownership { on, heir, .. } => format!(
                "permission = \"postgres.ownership\"\nto = \"account\"\non = {}\nheir = \"{heir}\"",
                on.toml()
            ),
            Self::Grant { on, allow, grantable, .. } => format!(
                "permission = \"postgres.grant\"\nto = \"account\"\non = {}\nallow = {}
grantable = {grantable}",
                on.toml(),
                words(allow)
            ),
            Self::Membership { of, admin, noinherit, noset, .. } => format!(
                "permission = \"postgres.membership\"\nto = \"account\"\nof = \"{of}\"
admin = {admin}\nnoinherit = {noinherit}\nnoset = {noset}"
            ),
            Self::Defaults { for_role, on, in_schema, allow, grantable, .. } => {
                let schema = in_schema.as_ref().map(|name| format!("in_schema = \"{name}\"\n"));
                format!(
                    "permission = \"postgres.default_privileges\"\nto = \"account\"
for_role = \"{for_role}\"\non = \"{on}\"\n{}allow = {}\ngrantable = {grantable}",
                    schema.unwrap_or_default(),
                    words(allow)
                )
            }
            Self::Policy { on, name, command, restrictive, using, .. } => format!(
                "permission = \"postgres.policy\"\nto = \"account\"\non = {}\nname = \"{name}\"
command = \"{command}\"\nrestrictive = {restrictive}\nusing = \"{using}\"",
                on.toml()
            ),
            Self::Public { on, revoke } => format!(
                "permission = \"postgres.public\"\non = {}\nrevoke = {}",
                on.toml(),
                words(revoke)
            ),
            Self::PublicDefaults { for_role, on, revoke } => format!(
                "permission = \"postgres.public_defaults\"\nfor_role = \"{for_role}\"
on = \"{on}\"\nrevoke = {}",
                words(revoke)
            ),
            Self::Login { of } => format!(
                "credential = \"postgres.login\"\nof = \"account\"\ndeliver = \"vault:fleets/{of}\""
            ),
        }
    }

    /// What stands where once it is so.
    pub(super) fn spots(&self, facts: &Facts, setting: &Setting) -> BTreeSet<Spot> {
        let Self::Grant { to, on, allow, .. } = self else { return BTreeSet::new() };
        let owner = facts.owners.get(&on.what).map_or(SUPERUSER, String::as_str);
        // In the name of the owner, or by the grant option.
        let by = if owner == SUPERUSER { &setting.admins } else { owner };
        let spot = |column: &String, privilege: &str| Spot {
            on: on.what.clone(),
            column: column.clone(),
            to: to.clone(),
            by: by.to_owned(),
            privilege: privilege.to_uppercase().replace('-', " "),
        };
        let places = on.places();
        places
            .iter()
            .flat_map(|column| allow.iter().map(|privilege| spot(column, privilege)))
            .collect()
    }

    /// What it is beside the lists, one fact a line.
    fn lines(&self, setting: &Setting) -> BTreeSet<String> {
        let flag = |flag: bool| if flag { "t" } else { "f" };
        let mut lines = BTreeSet::new();
        match self {
            Self::Role { name, noinherit, createdb, bypassrls, settings, .. } => {
                let words = [
                    (!noinherit, "|inherit"),
                    (*createdb, "|createdb"),
                    (*bypassrls, "|bypassrls"),
                ];
                let words: String =
                    words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect();
                lines.insert(format!("role|{name}{words}|-1"));
                for (parameter, value) in settings {
                    let line = match parameter.split_once('@') {
                        Some((parameter, database)) => format!("{database}|{parameter}={value}"),
                        None => format!("{parameter}={value}"),
                    };
                    lines.insert(format!("set|{name}|{line}"));
                }
            }
            Self::Membership { to, of, admin, noinherit, noset } => {
                let (admin, inherit, set) = (flag(*admin), flag(!noinherit), flag(!noset));
                lines.insert(if setting.version >= 16 {
                    format!("member|{to}|{of}|{admin}|{inherit}|{set}|{}", setting.admins)
                } else {
                    format!("member|{to}|{of}|{admin}|")
                });
            }
            Self::Defaults { to, for_role, on, in_schema, allow, grantable } => {
                let letter = letter(on);
                for privilege in allow {
                    lines.insert(format!(
                        "default|{for_role}|{}|{letter}|{to}|{}|{}",
                        in_schema.as_deref().unwrap_or_default(),
                        privilege.to_uppercase(),
                        flag(*grantable)
                    ));
                }
            }
            Self::Policy { to, on, name, command, restrictive, using } => {
                let letter = match *command {
                    "all" => '*',
                    "select" => 'r',
                    "update" => 'w',
                    _ => 'd',
                };
                let how = if *restrictive { "restrictive" } else { "permissive" };
                lines.insert(format!("policy|{}|{name}|{letter}|{how}|{to}|({using})", on.name()));
            }
            _ => {}
        }
        lines
    }

    /// Makes the facts those without it.
    fn undo(&self, facts: &mut Facts, setting: &Setting) {
        for spot in self.spots(facts, setting) {
            facts.acl.remove(&spot);
        }
        for line in self.lines(setting) {
            facts.rest.remove(&line);
        }
    }

    fn hold(&self, facts: &mut Facts, setting: &Setting, is_new: bool) {
        let grantable = matches!(self, Self::Grant { grantable: true, .. });
        for spot in self.spots(facts, setting) {
            facts.acl.insert(spot, grantable);
        }
        facts.rest.extend(self.lines(setting));
        match self {
            Self::Role { name, .. } if is_new && setting.version >= 16 => {
                let admins = &setting.admins;
                facts.rest.insert(format!("member|{admins}|{name}|t|f|f|{SUPERUSER}"));
            }
            Self::Ownership { to, on, .. } => facts.give(&on.what, to),
            Self::Public { on, revoke } => {
                let taken: Allow = revoke.clone();
                facts.acl.retain(|spot, _| {
                    let word = spot.privilege.to_lowercase();
                    spot.to != "PUBLIC"
                        || spot.on != on.what
                        || !spot.column.is_empty()
                        || !taken.contains(word.as_str())
                });
            }
            Self::PublicDefaults { for_role, on, revoke } => {
                let (letter, of) = (letter(on), format!("default|{for_role}|"));
                for word in revoke {
                    let end = format!("|{letter}|PUBLIC|{}|f", word.to_uppercase());
                    facts.rest.retain(|line| !line.starts_with(&of) || !line.ends_with(&end));
                    if matches!((*on, *word), ("functions", "execute") | ("types", "usage")) {
                        facts.rest.insert(format!("no {of}{end}"));
                    }
                }
            }
            _ => {}
        }
    }

    /// In which order things become so: whoever owns something then is the one
    /// who gives it.
    const fn rank(&self) -> u8 {
        match self {
            Self::Ownership { .. } => 0,
            _ => 1,
        }
    }
}

/// What is so once some declarations are, over what was so before.
pub(super) fn with<'d>(
    before: &Facts,
    declared: impl Iterator<Item = &'d Declared> + Clone,
    setting: &Setting,
) -> Facts {
    let mut facts = before.clone();
    for found in declared.clone().filter_map(|one| one.found.as_ref()) {
        found.what.undo(&mut facts, setting);
    }
    let mut declared: Vec<&Declared> = declared.collect();
    declared.sort_by_key(|one| one.what.rank());
    for one in declared {
        // What is adopted and stays as it was found is what it was.
        let found = one.found.as_ref();
        one.what.hold(&mut facts, setting, found.is_none());
    }
    facts
}

/// A fleet as text.
pub(super) fn toml(name: &str, reach: &str, agents: &[&Agent], forgotten: &[String]) -> String {
    let mut text = format!(
        "fleet = \"{name}\"\nstores = [\"vault\"]\nremoved = {forgotten:?}\n
[providers.postgres]\nreach = \"{reach}\"\n\n[rules]\nmax_leaving = 1000000\n"
    );
    let mut imports = String::new();
    for Agent { name, declared, .. } in agents {
        let _ = write!(
            text,
            "\n[agents.{name}]\npurpose = \"Tries what can be declared.\"\nowner = \"team:tests\"
expires = 2090-06-30\ngrace = \"0d\"\n"
        );
        for Declared { field, what, found, needs } in declared {
            let _ = write!(text, "\n[agents.{name}.{field}]\n{}\n", what.toml());
            if !needs.is_empty() {
                let needs: Vec<&String> = needs.iter().collect();
                let _ = writeln!(text, "depends_on = {needs:?}");
            }
            if let Some(found) = found {
                let _ = write!(
                    imports,
                    "\n[[import]]\naddress = \"{name}.{field}\"\nid = {:?}\n",
                    found.id
                );
            }
        }
    }
    text + &imports
}
