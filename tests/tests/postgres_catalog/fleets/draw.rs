//! A random fleet for a random graph, and random changes of it.
//!
//! Owns which declarations chance may give: those that the server can carry
//! out, and those of which it is known why not.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::graph::{Chance, Graph},
    declared::{Agent, Allow, Declared, Found, On, SUPERUSER, Setting, What},
    facts::{Facts, Spot},
};

/// What there is on each kind of object.
fn privileges(kind: &str, version: u32) -> &'static [&'static str] {
    match kind {
        "table" if version >= 17 => &[
            "select",
            "insert",
            "update",
            "delete",
            "truncate",
            "references",
            "trigger",
            "maintain",
        ],
        "table" => &["select", "insert", "update", "delete", "truncate", "references", "trigger"],
        "sequence" => &["usage", "select", "update"],
        "schema" => &["usage", "create"],
        "function" | "procedure" => &["execute"],
        "data-type" | "foreign-server" => &["usage"],
        "large-object" => &["select", "update"],
        "parameter" => &["set", "alter-system"],
        _ => &["create", "temporary", "connect"],
    }
}

/// The kind of what is made of those that default privileges are about.
fn made(on: &str) -> &str {
    match on {
        "types" => "data-type",
        on => on.trim_end_matches('s'),
    }
}

const ON_COLUMNS: &[&str] = &["select", "insert", "update", "references"];

/// What makes the rest of a graph: objects of the kinds that it has none of.
pub(crate) fn extras(graph: &Graph, prefix: &str, n: u64) -> String {
    let mut script = format!(
        "CREATE ROLE {prefix}_o; CREATE FOREIGN DATA WRAPPER {prefix}_w;
         CREATE SERVER {prefix}_srv FOREIGN DATA WRAPPER {prefix}_w;
         GRANT USAGE ON FOREIGN DATA WRAPPER {prefix}_w TO PUBLIC;
         SELECT lo_create({});",
        large_object(n)
    );
    for schema in &graph.schemas {
        script.push_str(&format!(
            "CREATE PROCEDURE {schema}.p(integer) LANGUAGE sql AS 'SELECT 1';
             ALTER TABLE {schema}.t1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             GRANT ALL ON SCHEMA {schema} TO {prefix}_o;"
        ));
    }
    script
}

/// Gives most of what a superuser owns in a graph to a role that is none.
pub(super) fn given_away(
    graph: &Graph,
    prefix: &str,
    n: u64,
    chance: &mut Chance,
    facts: &mut Facts,
) -> String {
    let mut script = String::new();
    for what in objects(graph, prefix, n, facts) {
        let of_superuser = facts.owners.get(&what).is_some_and(|owner| owner == SUPERUSER);
        if !of_superuser || chance.one_in(3) {
            continue;
        }
        let (kind, name) = what.split_once(' ').unwrap();
        let kind = match kind {
            "large-object" => "LARGE OBJECT".to_owned(),
            "foreign-server" => "SERVER".to_owned(),
            "data-type" => "TYPE".to_owned(),
            kind => kind.to_uppercase(),
        };
        let owner = format!("{prefix}_o");
        script.push_str(&format!("ALTER {kind} {name} OWNER TO {owner};"));
        facts.give(&what, &owner);
    }
    script
}

/// The objects of a graph that have an owner.
fn objects(graph: &Graph, prefix: &str, n: u64, facts: &Facts) -> Vec<String> {
    let is_its = |what: &&String| {
        graph.schemas.iter().any(|schema| {
            what.ends_with(&format!(" {schema}")) || what.contains(&format!(" {schema}."))
        })
    };
    let mut all: Vec<String> = facts.owners.keys().filter(is_its).cloned().collect();
    all.push(format!("foreign-server {prefix}_srv"));
    all.push(format!("large-object {}", large_object(n)));
    all
}

fn large_object(n: u64) -> u64 {
    700_000 + n
}

/// What is drawn from.
pub(super) struct Draw<'a> {
    pub(super) chance: &'a mut Chance,
    pub(super) setting: &'a Setting,
    pub(super) graph: &'a Graph,
    /// What the names of the graph begin with.
    pub(super) prefix: &'a str,
    pub(super) n: u64,
    pub(super) database: &'a str,
    pub(super) before: &'a Facts,
    /// The numbers of roles.
    pub(super) oids: &'a BTreeMap<String, String>,
}

impl Draw<'_> {
    /// A fleet of one to three roles, of which one may be there already.
    pub(super) fn fleet(&mut self) -> Vec<Agent> {
        let mut agents = Vec::new();
        if self.chance.one_in(2) {
            agents.push(self.adopted());
        }
        for k in 0..=self.chance.below(2) {
            let name = format!("{}_n{k}", self.prefix);
            let agent = Agent { name: format!("g{}-n{k}", self.n), role: name, declared: vec![] };
            agents.push(agent);
        }
        for at in 0..agents.len() {
            let mut agent = agents[at].clone();
            if agent.declared.is_empty() {
                let what = self.role(&agent.role);
                agent.declared.push(plain("account", what));
                if self.chance.one_in(12) {
                    let of = agent.role.clone();
                    agent.declared.push(plain("login", What::Login { of }));
                }
            }
            for _ in 0..2 + self.chance.below(4) {
                self.more(&agents, &mut agent);
            }
            agents[at] = agent;
        }
        agents
    }

    /// The fleet after somebody has worked on it.
    pub(super) fn changed(&mut self, before: &[Agent]) -> Vec<Agent> {
        let mut agents = before.to_vec();
        if agents.len() > 1 && self.chance.one_in(4) {
            // The last one, on which no other rests.
            let last = agents.last().unwrap();
            if last.declared.iter().all(|one| one.found.is_none()) {
                agents.pop();
            }
        }
        for at in 0..agents.len() {
            let mut agent = agents[at].clone();
            // What goes in one place and comes in another takes two plans, or to
            // be moved; and so it is when an owner becomes a grantee.
            let had: BTreeMap<String, String> = agent
                .declared
                .iter()
                .map(|one| match &one.what {
                    What::Ownership { on, .. } => (on.id(), String::new()),
                    what => (what.key(), one.field.clone()),
                })
                .collect();
            let needed: BTreeSet<String> =
                agent.declared.iter().flat_map(|one| one.needs.clone()).collect();
            let mut declared = Vec::new();
            for one in agent.declared {
                let stays = one.found.is_some() || needed.contains(&one.field);
                let is_account = one.field == "account" || one.field == "login";
                match self.chance.below(4) {
                    0 if !stays && !is_account => {}
                    1 if !needed.contains(&one.field) => {
                        let what = self.other(&one.what);
                        declared.push(Declared { what, ..one });
                    }
                    _ => declared.push(one),
                }
            }
            agent.declared = declared;
            if self.setting.version < 16 {
                let account = agent.declared.first().map(|one| &one.what);
                let is_so = matches!(account, Some(What::Role { noinherit: true, .. }));
                for one in &mut agent.declared {
                    // There its memberships say what the role says.
                    if let What::Membership { noinherit, .. } = &mut one.what {
                        *noinherit = is_so;
                    }
                }
            }
            for _ in 0..self.chance.below(3) {
                self.more(&agents, &mut agent);
            }
            agent.declared.retain(|one| {
                let is_same = |had: &Declared| had.what.key() == one.what.key();
                let mut others = before
                    .iter()
                    .filter(|other| other.name != agent.name)
                    .flat_map(|other| &other.declared);
                let is_elsewhere = one.what.is_of_no_role() && others.any(is_same);
                // What an owner was given before he was one is his own.
                let is_grantees = matches!(&one.what, What::Ownership { on, .. }
                    if had.keys().any(|key| key.starts_with(&format!("{} (", on.what))));
                !is_elsewhere
                    && !is_grantees
                    && had.get(&one.what.key()).is_none_or(|field| *field == one.field)
            });
            agents[at] = agent;
        }
        agents
    }

    fn role(&mut self, name: &str) -> What {
        let mut settings = BTreeMap::new();
        if self.chance.one_in(2) {
            let (name, value) = [
                ("work_mem", "4MB"),
                ("search_path", "pg_catalog, public"),
                ("statement_timeout", "7s"),
                ("default_transaction_read_only", "on"),
            ][self.chance.below(4)];
            let name = if self.chance.one_in(3) {
                format!("{name}@{}", self.database)
            } else {
                name.to_owned()
            };
            settings.insert(name, value.to_owned());
        }
        What::Role {
            name: name.to_owned(),
            noinherit: self.chance.one_in(3),
            createdb: self.chance.one_in(5),
            // Before 16 only a superuser gives it.
            bypassrls: self.setting.version >= 16 && self.chance.one_in(6),
            settings,
            heir: self.chance.one_in(2).then(|| format!("{}_o", self.prefix)),
        }
    }

    /// A role of the graph, as it is, and some of what it has.
    fn adopted(&mut self) -> Agent {
        let role = self.graph.role(self.chance);
        let inherits = self.before.rest.contains(&format!("role|{role}|inherit|-1"));
        let what = What::Role {
            name: role.clone(),
            noinherit: !inherits,
            createdb: false,
            bypassrls: false,
            settings: BTreeMap::new(),
            heir: self.chance.one_in(2).then(|| format!("{}_o", self.prefix)),
        };
        let found = |id: String, what: &What| Some(Found { id, what: what.clone() });
        let oid = &self.oids[&role];
        let mut declared =
            vec![Declared { found: found(oid.clone(), &what), ..plain("account", what) }];
        for (at, (on, held)) in self.held(&role).into_iter().enumerate() {
            let mut options = held.values();
            let grantable = *options.next().unwrap();
            // What is partly with the option cannot be declared as it is.
            if options.any(|option| *option != grantable) || !self.chance.one_in(2) {
                continue;
            }
            let allow: Allow = held.keys().copied().collect();
            let id = format!("{oid} on {} by owner", on.id());
            let what = What::Grant { to: role.clone(), on, allow, grantable };
            let field = format!("found_{at}");
            declared.push(Declared { found: found(id, &what), ..plain(&field, what) });
        }
        Agent { name: format!("g{}-old", self.n), role, declared }
    }

    /// What a role was given by the owners of objects who are no superusers, as
    /// grants: columns with the same privileges together.
    fn held(&self, role: &str) -> BTreeMap<On, BTreeMap<&'static str, bool>> {
        let mut held: BTreeMap<(String, String), BTreeMap<&'static str, bool>> = BTreeMap::new();
        for (spot, option) in &self.before.acl {
            let owner = self.before.owners.get(&spot.on);
            if spot.to != role || owner != Some(&spot.by) || spot.by == SUPERUSER || spot.by == role
            {
                continue;
            }
            let kind = spot.on.split(' ').next().unwrap();
            let word = spot.privilege.to_lowercase();
            let word = privileges(kind, self.setting.version).iter().find(|one| **one == word);
            let at = (spot.on.clone(), spot.column.clone());
            held.entry(at).or_default().insert(word.unwrap(), *option);
        }
        let mut grants: BTreeMap<(String, BTreeMap<&str, bool>), BTreeSet<String>> =
            BTreeMap::new();
        for ((on, column), held) in held {
            let columns = grants.entry((on, held)).or_default();
            // The whole is no column, and what it has is a grant of its own.
            columns.insert(column);
        }
        let mut found = BTreeMap::new();
        for ((what, held), mut columns) in grants {
            if columns.remove("") {
                found.insert(On::new(&what), held.clone());
            }
            if !columns.is_empty() {
                found.insert(On { what, columns }, held);
            }
        }
        found
    }

    /// Adds something to an agent, when chance finds something that it has not.
    fn more(&mut self, agents: &[Agent], agent: &mut Agent) {
        let Some((what, needs)) = self.something(agents, agent) else { return };
        let others = agents.iter().filter(|other| other.name != agent.name);
        let all = || others.clone().chain([&*agent]).flat_map(|one| &one.declared);
        let is_alone = |what: &What| {
            let clashes = |one: &Declared| match (&one.what, what) {
                (What::Ownership { on, .. }, What::Ownership { on: other, .. })
                | (What::Public { on, .. }, What::Public { on: other, .. }) => on == other,
                (What::PublicDefaults { .. }, What::PublicDefaults { .. }) => {
                    one.what.key() == what.key()
                }
                (What::Policy { on, name, .. }, What::Policy { on: other, name: same, .. }) => {
                    (on, name) == (other, same)
                }
                // To be the owner says what one may do.
                (What::Ownership { to, on, .. }, What::Grant { to: whom, on: other, .. })
                | (What::Grant { to: whom, on: other, .. }, What::Ownership { to, on, .. }) => {
                    to == whom && on.what == other.what
                }
                _ => false,
            };
            !all().any(clashes)
                && agent.declared.iter().all(|one| one.what.key() != what.key())
                && !self.is_there(what)
        };
        if !needs.iter().chain([&what]).all(|one| {
            is_alone(one)
                || needs.contains(one) && agent.declared.iter().any(|had| had.what == *one)
        }) {
            return;
        }
        let mut fields = BTreeSet::new();
        for need in needs {
            let had = agent.declared.iter().find(|one| one.what == need);
            let field = had.map(|one| one.field.clone());
            fields.insert(field.unwrap_or_else(|| add(agent, need, BTreeSet::new())));
        }
        if let What::Membership { of, .. } = &what {
            let other = agents.iter().find(|other| other.role == *of);
            fields.extend(other.map(|other| format!("{}.account", other.name)));
        }
        add(agent, what, fields);
    }

    /// Whether something that would be in its way is there already, and is no
    /// part of the fleet.
    fn is_there(&self, what: &What) -> bool {
        match what {
            What::Grant { to, on, .. } => self.before.acl.keys().any(|spot| {
                spot.to == *to
                    && spot.on == on.what
                    && (spot.column.is_empty() == on.columns.is_empty())
            }),
            What::Membership { to, of, .. } => {
                self.before.rest.iter().any(|line| line.starts_with(&format!("member|{to}|{of}|")))
            }
            What::Defaults { to, for_role, .. } => self.before.rest.iter().any(|line| {
                line.starts_with(&format!("default|{for_role}|")) && line.contains(to.as_str())
            }),
            _ => false,
        }
    }

    /// Something for an agent's role, and the grants without which the server
    /// would refuse it.
    fn something(&mut self, agents: &[Agent], agent: &Agent) -> Option<(What, Vec<What>)> {
        let to = agent.role.clone();
        let is_new = agent.declared.first().is_none_or(|one| one.found.is_none());
        let what = match self.chance.below(14) {
            0..4 => {
                let mut on = self.object();
                if on.kind() == "table" && self.chance.one_in(3) {
                    on.columns = self.columns(&on.what);
                }
                let allow = self.allow(&on);
                let grantable = self.option(agent, &on);
                What::Grant { to, on, allow, grantable }
            }
            4..6 => {
                let graph = self.graph.role(self.chance);
                let earlier: Vec<&Agent> =
                    agents.iter().take_while(|other| other.name != agent.name).collect();
                let of = match earlier.last() {
                    Some(other) if self.chance.one_in(3) => other.role.clone(),
                    _ => graph,
                };
                if of == to {
                    return None;
                }
                let is_old = self.setting.version < 16;
                let noinherit = if is_old {
                    let account = agent.declared.first().map(|one| &one.what);
                    matches!(account, Some(What::Role { noinherit: true, .. }))
                } else {
                    self.chance.one_in(3)
                };
                let noset = !is_old && !noinherit && self.chance.one_in(3);
                let admin = self.chance.one_in(3);
                What::Membership { to, of, admin, noinherit, noset }
            }
            6..8 => {
                let on =
                    ["tables", "sequences", "functions", "types", "schemas"][self.chance.below(5)];
                let within = on != "schemas" && self.chance.one_in(2);
                What::Defaults {
                    to,
                    for_role: self.graph.role(self.chance),
                    on,
                    in_schema: within.then(|| self.graph.schema(self.chance)),
                    allow: self.some(privileges(made(on), self.setting.version)),
                    grantable: self.chance.one_in(4),
                }
            }
            8..10 if is_new => {
                let on = self.object();
                let heir = self.before.owners.get(&on.what).filter(|heir| *heir != SUPERUSER)?;
                if on.kind() == "database" || on.kind() == "foreign-server" {
                    return None;
                }
                // A view is read with its owner's rights, so that none is handed on
                // to an heir: whoever owns one has to be replaced by hand.
                if on.what.rsplit('.').next() == Some("v") {
                    return None;
                }
                // Who takes over has to be able to create in the schema. Of a role
                // of the fleet that is for the fleet to declare, which no
                // requirement says instead.
                if agents.iter().any(|other| other.role == *heir) {
                    return None;
                }
                let heir = heir.clone();
                let schema = on.schema().map(|name| On::new(&format!("schema {name}")));
                let needs = schema.map(|on| What::Grant {
                    to: to.clone(),
                    on,
                    allow: Allow::from(["create", "usage"]),
                    grantable: false,
                });
                return Some((What::Ownership { to, on, heir }, needs.into_iter().collect()));
            }
            10 | 12 => {
                let schema = self.graph.schema(self.chance);
                let on = On::new(&format!("table {schema}.t1"));
                if self.before.owners[&on.what] == SUPERUSER {
                    return None;
                }
                What::Policy {
                    name: format!("{to}_{}", self.chance.below(2)),
                    to,
                    on,
                    command: ["all", "select", "update", "delete"][self.chance.below(4)],
                    restrictive: self.chance.one_in(3),
                    using: ["a > 0", "b = a"][self.chance.below(2)].to_owned(),
                }
            }
            11 => {
                let on =
                    ["tables", "sequences", "functions", "types", "schemas"][self.chance.below(5)];
                let revoke = self.some(privileges(made(on), self.setting.version));
                What::PublicDefaults { for_role: self.graph.role(self.chance), on, revoke }
            }
            _ => {
                let on = self.object();
                let owner = self.before.owners.get(&on.what).filter(|owner| *owner != SUPERUSER)?;
                // What somebody else gave to everybody is not given back in his
                // name, so that it would not be as it was.
                let by_others =
                    |spot: &Spot| spot.on == on.what && spot.to == "PUBLIC" && spot.by != *owner;
                if self.before.acl.keys().any(by_others) {
                    return None;
                }
                let revoke = self.some(privileges(on.kind(), self.setting.version));
                What::Public { on, revoke }
            }
        };
        Some((what, Vec::new()))
    }

    /// The same declaration with something else in it.
    fn other(&mut self, what: &What) -> What {
        let mut other = what.clone();
        match &mut other {
            What::Role { name, heir, .. } => {
                let before = heir.clone();
                let mut drawn = self.role(&name.clone());
                if let What::Role { heir, .. } = &mut drawn {
                    *heir = before;
                }
                return drawn;
            }
            What::Grant { on, allow, grantable, .. } => {
                *allow = self.allow(on);
                if on.columns.is_empty() {
                    *grantable = self.chance.one_in(3);
                }
            }
            What::Membership { admin, noinherit, noset, .. } => {
                *admin = !*admin;
                if self.setting.version >= 16 {
                    *noinherit = self.chance.one_in(2);
                    *noset = !*noinherit && self.chance.one_in(2);
                }
            }
            What::Defaults { on, allow, grantable, .. } => {
                *allow = self.some(privileges(made(on), self.setting.version));
                *grantable = self.chance.one_in(3);
            }
            What::Policy { using, command, .. } => {
                ["a > 0", "b = a", "a < b"][self.chance.below(3)].clone_into(using);
                *command = ["all", "select", "update", "delete"][self.chance.below(4)];
            }
            What::Public { on, revoke } => {
                *revoke = self.some(privileges(on.kind(), self.setting.version));
            }
            What::PublicDefaults { on, revoke, .. } => {
                *revoke = self.some(privileges(made(on), self.setting.version));
            }
            What::Ownership { .. } | What::Login { .. } => {}
        }
        other
    }

    /// An object of the graph.
    fn object(&mut self) -> On {
        let mut all = objects(self.graph, self.prefix, self.n, self.before);
        all.push(format!("database {}", self.database));
        all.push(format!("parameter {}.word", self.prefix));
        On::new(&all[self.chance.below(all.len())])
    }

    fn columns(&mut self, what: &str) -> BTreeSet<String> {
        let of_view = what.rsplit('.').next() == Some("v");
        let all: &[&[&str]] = if of_view { &[&["a"]] } else { &[&["a"], &["b"], &["a", "b"]] };
        all[self.chance.below(all.len())].iter().map(|column| (*column).to_owned()).collect()
    }

    fn allow(&mut self, on: &On) -> Allow {
        let all = if on.columns.is_empty() {
            privileges(on.kind(), self.setting.version)
        } else {
            ON_COLUMNS
        };
        self.some(all)
    }

    /// Some of all, and at least one.
    fn some(&mut self, all: &[&'static str]) -> Allow {
        let mut some: Allow = all.iter().filter(|_| self.chance.one_in(2)).copied().collect();
        some.insert(all[self.chance.below(all.len())]);
        some
    }

    /// The grants of a role on columns of one table have one grant option: a
    /// column has one entry for all of them.
    fn option(&mut self, agent: &Agent, on: &On) -> bool {
        let other = agent.declared.iter().find_map(|one| match &one.what {
            What::Grant { on: other, grantable, .. }
                if other.what == on.what && !other.columns.is_empty() =>
            {
                Some(*grantable)
            }
            _ => None,
        });
        match other.filter(|_| !on.columns.is_empty()) {
            Some(option) => option,
            None => self.chance.one_in(4),
        }
    }
}

fn plain(field: &str, what: What) -> Declared {
    Declared { field: field.to_owned(), what, found: None, needs: BTreeSet::new() }
}

fn add(agent: &mut Agent, what: What, needs: BTreeSet<String>) -> String {
    let field = (0..=agent.declared.len())
        .map(|n| format!("p{n}"))
        .find(|field| agent.declared.iter().all(|one| one.field != *field));
    let field = field.unwrap();
    agent.declared.push(Declared { needs, ..plain(&field, what) });
    field
}
