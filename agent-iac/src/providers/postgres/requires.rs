//! What the principals need at the server, as statements for an administrator.
//!
//! Pure: it knows what is declared, and nothing of the server. Who owns an
//! object only the server knows, so that what depends on it asks there.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    DefaultPrivileges, Grant, Membership, Object, ObjectKind, Ownership, Parameter, Policy,
    Privilege, Public, PublicDefaults, Role,
    catalog::verifiers,
    name::{ident, literal},
    view::Layout,
};
use crate::{
    address::Address,
    blueprint::Blueprint,
    provider::{Principal, Requirement},
    resource::{Node, Property as _, Resource as _},
    schema::Type,
    value::Value,
};

/// What is needed to plan, apply and probe a fleet on one cluster, in the order
/// in which it is typed. The logins themselves are there already.
pub(super) fn requires(
    observe: Option<&str>,
    apply: Option<&str>,
    layout: &Layout,
    name: &str,
    blueprint: &Blueprint,
) -> Vec<Requirement> {
    let mut needs = Needs::new(layout, apply);
    let resources = || blueprint.resources().iter().filter(|(_, one)| one.provider == name);
    let all: Vec<(&str, BTreeMap<String, Node>)> = resources()
        .map(|(_, desired)| (desired.resource_type.name, desired.properties.to_map()))
        .collect();
    let ours: Vec<(&str, &BTreeMap<String, Node>)> =
        all.iter().map(|(name, properties)| (*name, properties)).collect();
    needs.heirs = heirs(blueprint);
    needs.of_the_way_in(observe, apply);
    if apply.is_some() {
        for (_, adopted) in resources().filter(|(at, one)| {
            one.resource_type.name == Role::TYPE && blueprint.imports().contains_key(at)
        }) {
            needs.of_adopted(text(&adopted.properties.to_map(), "name"));
        }
        for (type_name, properties) in &ours {
            needs.of(type_name, properties, &managed(&ours));
        }
    }
    needs.into_requirements()
}

/// The names of the roles that the fleet makes: who makes one administers it.
fn managed(resources: &[(&str, &BTreeMap<String, Node>)]) -> BTreeSet<String> {
    resources
        .iter()
        .filter(|(type_name, _)| *type_name == Role::TYPE)
        .filter_map(|(_, properties)| text(properties, "name"))
        .collect()
}

/// The heirs of the roles that the fleet makes.
fn heirs(blueprint: &Blueprint) -> BTreeMap<Address, String> {
    let roles = blueprint.resources().iter();
    roles
        .filter(|(_, desired)| desired.resource_type.name == Role::TYPE)
        .filter_map(|(address, desired)| {
            Some((address.clone(), text(&desired.properties.to_map(), "heir")?))
        })
        .collect()
}

/// Statements, without repetitions, each at its first place.
struct Needs<'l> {
    layout: &'l Layout,
    /// Who does what is applied: the administrators, or the login itself.
    who: String,
    said: BTreeSet<String>,
    requirements: Vec<Requirement>,
    /// What has to be granted on, by database and object.
    granted: BTreeMap<(Option<String>, Object), BTreeSet<Privilege>>,
    /// What has to be passed on of some columns.
    passed_on: BTreeMap<(Option<String>, Object), BTreeSet<OnColumns>>,
    /// What has to be owned.
    owned: BTreeSet<(Option<String>, Object)>,
    /// Who takes over what a role leaves behind.
    heirs: BTreeMap<Address, String>,
}

impl<'l> Needs<'l> {
    fn new(layout: &'l Layout, apply: Option<&str>) -> Self {
        let who = layout.administrators.as_deref().or(apply).unwrap_or_default().to_owned();
        Self {
            layout,
            who,
            said: BTreeSet::new(),
            requirements: Vec::new(),
            granted: BTreeMap::new(),
            passed_on: BTreeMap::new(),
            owned: BTreeSet::new(),
            heirs: BTreeMap::new(),
        }
    }

    fn say(&mut self, principal: Principal, database: Option<&str>, statement: &str, why: &str) {
        // What belongs to the cluster is typed anywhere.
        let statement = match database {
            Some(database) => format!("-- in the database {}:\n{statement};", ident(database)),
            None => format!("{statement};"),
        };
        if self.said.insert(statement.clone()) {
            let why = why.to_owned();
            self.requirements.push(Requirement { principal, statement, why });
        }
    }

    fn of_the_way_in(&mut self, observe: Option<&str>, apply: Option<&str>) {
        let databases: Vec<&str> =
            self.layout.databases().map(|database| self.layout.name(database)).collect();
        let connect = |database: &str, login: &str| {
            format!("GRANT CONNECT ON DATABASE {} TO {}", ident(database), ident(login))
        };
        if let Some(login) = observe {
            for database in &databases {
                let why = "to come in, whatever PUBLIC may";
                self.say(Principal::Observe, None, &connect(database, login), why);
                // The first write makes the registry, and lets in whoever
                // observes then; a login that comes later finds it made.
                let login = ident(login);
                let statement = block(&format!(
                    "    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'agent_iac') THEN
        GRANT USAGE ON SCHEMA agent_iac TO {login};
        GRANT SELECT ON ALL TABLES IN SCHEMA agent_iac TO {login};
    END IF;
"
                ));
                let why = "to read the registry where it was made before";
                self.say(Principal::Observe, Some(database), &statement, why);
            }
        }
        let Some(login) = apply else { return };
        let who = ident(&self.who);
        if let Some(administrators) = self.layout.administrators.clone() {
            let name = literal(&administrators);
            let administrators = ident(&administrators);
            // What is printed may be pasted again, as after the next change.
            self.say(
                Principal::Apply,
                None,
                &block(&format!(
                    "    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
        CREATE ROLE {administrators} NOLOGIN CREATEROLE;
    END IF;
"
                )),
                "to make the agents' roles; what is made belongs to it, whoever applies",
            );
            self.say(
                Principal::Apply,
                None,
                &format!("GRANT {administrators} TO {}", ident(login)),
                "to become it for as long as a transaction lasts",
            );
        } else {
            let statement = format!("ALTER ROLE {who} CREATEROLE");
            self.say(Principal::Apply, None, &statement, "to make the agents' roles");
        }
        self.say(
            Principal::Apply,
            None,
            &format!("GRANT pg_signal_backend TO {who}"),
            "to end the sessions of a login that is revoked, and of a role that is suspended",
        );
        // What a login has by a role has to be inherited, which one that only
        // becomes the administrators may be made without.
        let reserved =
            format!("GRANT pg_use_reserved_connections TO {} WITH INHERIT TRUE", ident(login));
        self.say(
            Principal::Apply,
            None,
            &from_16(&format!("EXECUTE {}", literal(&reserved)), "NULL"),
            "to come in when agents use up all connections; it takes a `reserved_connections` \
             above 0 in the configuration, and has no counterpart before PostgreSQL 16",
        );
        if let Some(observer) = observe {
            let own = self.layout.own.clone();
            let statement = block(&verifiers::ddl(&self.who, observer));
            let why = "to see that a login's password was changed behind the fleet's back, which \
                       only a superuser's function can tell; without it, that is not seen";
            self.say(Principal::Observe, Some(&own), &statement, why);
        }
        for database in databases {
            let why = "to come in, whatever PUBLIC may";
            self.say(Principal::Apply, None, &connect(database, login), why);
            let create = format!("GRANT CREATE ON DATABASE {} TO {who}", ident(database));
            let why = "to keep the registry of claims, in a schema of its own";
            self.say(Principal::Apply, None, &create, why);
        }
    }

    /// Who makes a role administers it; of one that was there before, somebody
    /// has to say so. It is what the server gives whoever makes one.
    fn of_adopted(&mut self, role: Option<String>) {
        let Some(role) = role else { return };
        let grant = format!(
            "GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            ident(&role),
            ident(&self.who)
        );
        let statement = from_16(&format!("EXECUTE {}", literal(&grant)), "NULL");
        let why = "to administer a role that was there before";
        self.say(Principal::Apply, None, &statement, why);
    }

    fn of(
        &mut self,
        type_name: &str,
        properties: &BTreeMap<String, Node>,
        managed: &BTreeSet<String>,
    ) {
        let on = Object::of(properties.get("on"));
        match (type_name, on) {
            (Role::TYPE, _) => {
                self.of_attributes(properties);
                self.of_settings(properties);
                let heir = text(properties, "heir").filter(|heir| !managed.contains(heir));
                self.member_of(heir, "to give it what a role leaves behind");
            }
            (Membership::TYPE, _) => {
                let of = text(properties, "of").filter(|of| !managed.contains(of));
                if let Some(of) = of {
                    let statement =
                        format!("GRANT {} TO {} WITH ADMIN OPTION", ident(&of), ident(&self.who));
                    self.say(Principal::Apply, None, &statement, "to make agents its members");
                }
            }
            (DefaultPrivileges::TYPE | PublicDefaults::TYPE, _) => {
                let creator =
                    text(properties, "for_role").filter(|creator| !managed.contains(creator));
                self.member_of(creator, "to say what becomes of what it will create");
            }
            (Grant::TYPE, Some(on)) => {
                let allow = privileges(properties, "allow");
                let (columns, place) = (on.columns.clone(), self.place(on));
                if place.1.kind == ObjectKind::Schema && allow.contains(&Privilege::Create) {
                    self.heir_creates(properties, &place, managed);
                }
                let is_passed_on =
                    properties.get("grantable").and_then(Node::known) == Some(Value::Bool(true));
                if let (Some(columns), true) = (columns, is_passed_on) {
                    let passed_on = self.passed_on.entry(place.clone()).or_default();
                    passed_on.insert((columns, allow.clone()));
                }
                self.granted.entry(place).or_default().extend(allow);
            }
            (Ownership::TYPE, Some(on)) => {
                let place = self.place(on);
                let heir = text(properties, "heir");
                if let (Some(schema), Some(heir)) =
                    (&place.1.schema, heir.as_ref().filter(|heir| !managed.contains(*heir)))
                {
                    let statement =
                        format!("GRANT CREATE ON SCHEMA {} TO {}", ident(schema), ident(heir));
                    let why = "to own what is in it: whoever becomes an owner could have made it";
                    self.say(Principal::Apply, place.0.as_deref(), &statement, why);
                }
                self.owned.insert(place);
                self.member_of(heir, "to give it the object at the end");
            }
            (Policy::TYPE | Public::TYPE, Some(on)) => {
                self.owned.insert(self.place(on));
            }
            _ => {}
        }
    }

    /// Whoever may create something in a schema may leave it to an heir.
    fn heir_creates(
        &mut self,
        properties: &BTreeMap<String, Node>,
        (database, schema): &(Option<String>, Object),
        managed: &BTreeSet<String>,
    ) {
        let Some(Node::Link(role)) = properties.get("to") else { return };
        let heir = self.heirs.get(role).filter(|heir| !managed.contains(*heir));
        if let Some(heir) = heir {
            let statement =
                format!("GRANT CREATE ON SCHEMA {} TO {}", schema.sql_name(), ident(heir));
            let why = "to take over what a role makes there: whoever gets it could have made it";
            self.say(Principal::Apply, database.as_deref(), &statement, why);
        }
    }

    /// An object without its columns, and the database in which it is granted
    /// on.
    fn place(&self, on: Object) -> (Option<String>, Object) {
        let database = if on.kind.is_shared() {
            None
        } else {
            Some(on.database.as_deref().unwrap_or(&self.layout.own).to_owned())
        };
        (database, Object { columns: None, database: None, ..on })
    }

    fn of_attributes(&mut self, properties: &BTreeMap<String, Node>) {
        let given =
            |field: &str| properties.get(field).and_then(Node::known) == Some(Value::Bool(true));
        for (field, word) in [
            ("createdb", "CREATEDB"),
            ("bypassrls", "BYPASSRLS"),
            ("replication", "REPLICATION"),
            ("superuser", "SUPERUSER"),
        ] {
            if given(field) {
                let with = |word: &str| format!("ALTER ROLE {} {word}", ident(&self.who));
                let statement = match field {
                    "bypassrls" | "replication" => from_16(&with(word), &with("SUPERUSER")),
                    _ => with(word),
                };
                let why = "to give an attribute one has to have it; before PostgreSQL 16 that \
                           takes a superuser";
                self.say(Principal::Apply, None, &statement, why);
            }
        }
    }

    /// Parameters that no part of the server knows take the right to set them.
    fn of_settings(&mut self, properties: &BTreeMap<String, Node>) {
        let settings = properties.get("settings").and_then(Node::known);
        let settings = settings.as_ref().and_then(Value::as_map);
        for name in settings.into_iter().flat_map(BTreeMap::keys) {
            let name = name.split('@').next().unwrap_or_default();
            if name.contains('.') {
                let parameter = Parameter::new(name);
                let (parameter, who) = (parameter.sql_name(), ident(&self.who));
                let statement = format!("GRANT SET ON PARAMETER {parameter} TO {who}");
                self.say(
                    Principal::Apply,
                    None,
                    &statement,
                    "to set it for the sessions of a role",
                );
            }
        }
    }

    fn member_of(&mut self, role: Option<String>, why: &str) {
        if let Some(role) = role.filter(|role| *role != self.who) {
            let statement = format!("GRANT {} TO {}", ident(&role), ident(&self.who));
            self.say(Principal::Apply, None, &statement, why);
        }
    }

    fn into_requirements(mut self) -> Vec<Requirement> {
        let owned = std::mem::take(&mut self.owned);
        let granted = std::mem::take(&mut self.granted);
        let places: BTreeSet<_> = owned.iter().chain(granted.keys()).cloned().collect();
        for (database, object) in places {
            let (who, database) = (self.who.clone(), database.as_deref());
            if let Some(schema) = &object.schema {
                let statement =
                    format!("GRANT USAGE ON SCHEMA {} TO {}", ident(schema), ident(&who));
                let why = "to name what is in it";
                self.say(Principal::Apply, database, &statement, why);
            }
            let place = (database.map(str::to_owned), object.clone());
            let privileges = granted.get(&place).filter(|_| !owned.contains(&place));
            let on_columns = self.passed_on.remove(&place).unwrap_or_default();
            let statement = membership_of_owner(&object, privileges, &on_columns, &who);
            let why = format!("to act as the owner of {object}");
            self.say(Principal::Apply, database, &statement, &why);
        }
        self.requirements
    }
}

/// Some columns, and privileges on them.
type OnColumns = (BTreeSet<String>, BTreeSet<Privilege>);

/// Who acts becomes a member of an object's owner, or gets the grant option
/// where the owner is a superuser.
fn membership_of_owner(
    object: &Object,
    privileges: Option<&BTreeSet<Privilege>>,
    on_columns: &BTreeSet<OnColumns>,
    who: &str,
) -> String {
    let with_option = privileges.map(|privileges| {
        let whole = (BTreeSet::new(), privileges.clone());
        // Who has the option on a whole table gives it on no column.
        let parts = std::iter::once(&whole).chain(on_columns).map(|(columns, privileges)| {
            let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
            let columns = match columns.as_slice() {
                [] => String::new(),
                columns => format!(" ({})", columns.join(", ")),
            };
            let privileges: Vec<String> =
                privileges.iter().map(|one| format!("{}{columns}", one.sql())).collect();
            format!(
                "GRANT {} ON {} {} TO {} WITH GRANT OPTION",
                privileges.join(", "),
                object.kind.sql(),
                object.sql_name(),
                ident(who)
            )
        });
        parts.collect::<Vec<_>>().join("; ")
    });
    let Some(owner) = owner_of(object) else {
        return with_option.unwrap_or_else(|| format!("ALTER ROLE {} SUPERUSER", ident(who)));
    };
    let of_superuser = with_option.unwrap_or_else(|| {
        let text = format!("{object} belongs to a superuser; give it to another role first");
        format!("RAISE EXCEPTION '%', {}", literal(&text))
    });
    let who = literal(who);
    declaring(
        "    owner pg_catalog.oid;\n",
        &format!(
            "    owner := ({owner});
    IF (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        {of_superuser};
    ELSIF NOT pg_has_role({who}, owner, 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I', pg_get_userbyid(owner), {who});
    END IF;
"
        ),
    )
}

/// Statements that depend on what is found at the server.
fn block(statements: &str) -> String {
    declaring("", statements)
}

/// The same, with variables. Whoever pastes it may be superuser, in a database
/// where others make functions and operators: before anything else, the server's
/// own are all that can be called by a bare name.
fn declaring(variables: &str, statements: &str) -> String {
    let variables = match variables {
        "" => String::new(),
        some => format!("DECLARE\n{some}"),
    };
    let body = format!(
        "
{variables}BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
{statements}END
"
    );
    let mut tag = "$iac$".to_owned();
    while body.contains(&tag) {
        tag.insert(1, 'x');
    }
    format!("DO {tag}{body}{tag}")
}

/// One statement from PostgreSQL 16 on, and another one before.
fn from_16(statement: &str, before: &str) -> String {
    block(&format!(
        "    IF current_setting('server_version_num')::int >= 160000 THEN
        {statement};
    ELSE
        {before};
    END IF;
"
    ))
}

/// What finds an object's owner in SQL; a parameter has none.
fn owner_of(object: &Object) -> Option<String> {
    let (name, sql_name) = (literal(&object.name), literal(&object.sql_name()));
    Some(match object.kind {
        ObjectKind::Table | ObjectKind::Sequence => {
            format!("SELECT relowner FROM pg_class WHERE oid = {sql_name}::regclass")
        }
        ObjectKind::Function | ObjectKind::Procedure => {
            format!("SELECT proowner FROM pg_proc WHERE oid = {sql_name}::regprocedure")
        }
        ObjectKind::DataType => {
            format!("SELECT typowner FROM pg_type WHERE oid = {sql_name}::regtype")
        }
        ObjectKind::Schema => format!("SELECT nspowner FROM pg_namespace WHERE nspname = {name}"),
        ObjectKind::Database => format!("SELECT datdba FROM pg_database WHERE datname = {name}"),
        ObjectKind::Language => format!("SELECT lanowner FROM pg_language WHERE lanname = {name}"),
        ObjectKind::ForeignWrapper => {
            format!("SELECT fdwowner FROM pg_foreign_data_wrapper WHERE fdwname = {name}")
        }
        ObjectKind::ForeignServer => {
            format!("SELECT srvowner FROM pg_foreign_server WHERE srvname = {name}")
        }
        ObjectKind::Tablespace => {
            format!("SELECT spcowner FROM pg_tablespace WHERE spcname = {name}")
        }
        ObjectKind::LargeObject => {
            format!("SELECT lomowner FROM pg_largeobject_metadata WHERE oid::text = {name}")
        }
        ObjectKind::Parameter => return None,
    })
}

fn text(properties: &BTreeMap<String, Node>, field: &str) -> Option<String> {
    properties.get(field)?.known()?.as_text().map(str::to_owned)
}

fn privileges(properties: &BTreeMap<String, Node>, field: &str) -> BTreeSet<Privilege> {
    const SET: Type = Type::Set(&Privilege::SCHEMA);
    let value = properties.get(field).and_then(Node::known);
    value.and_then(|value| BTreeSet::from_value(&SET.normalise(value))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Schema, Select, Set, Table},
        *,
    };

    fn layout() -> Layout {
        Layout {
            own: "app".into(),
            others: BTreeSet::from(["archive".into()]),
            administrators: Some("admins".into()),
            principals: BTreeSet::new(),
            ..Layout::default()
        }
    }

    fn statements(needs: Needs<'_>) -> Vec<String> {
        needs.into_requirements().into_iter().map(|one| one.statement).collect()
    }

    fn properties(all: Vec<(&str, Value)>) -> BTreeMap<String, Node> {
        all.into_iter().map(|(name, value)| (name.to_owned(), Node::Known(value))).collect()
    }

    #[test]
    fn each_way_in_is_granted_by_itself() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        needs.of_the_way_in(Some("observe"), Some("apply"));
        let (blocks, plain): (Vec<_>, Vec<_>) =
            statements(needs).into_iter().partition(|one| one.contains("DO $iac$"));
        assert_eq!(
            plain,
            [
                r#"GRANT CONNECT ON DATABASE "app" TO "observe";"#,
                r#"GRANT CONNECT ON DATABASE "archive" TO "observe";"#,
                r#"GRANT "admins" TO "apply";"#,
                r#"GRANT pg_signal_backend TO "admins";"#,
                r#"GRANT CONNECT ON DATABASE "app" TO "apply";"#,
                r#"GRANT CREATE ON DATABASE "app" TO "admins";"#,
                r#"GRANT CONNECT ON DATABASE "archive" TO "apply";"#,
                r#"GRANT CREATE ON DATABASE "archive" TO "admins";"#,
            ]
        );
        let [own, archive, made, reserved, digest] = &blocks[..] else { panic!("{blocks:?}") };
        assert!(made.contains(r#"CREATE ROLE "admins" NOLOGIN CREATEROLE;"#), "{made}");
        for (database, text) in [("app", own), ("archive", archive)] {
            assert!(text.starts_with(&format!("-- in the database \"{database}\":\n")), "{text}");
            assert!(text.contains(r#"IN SCHEMA agent_iac TO "observe";"#), "{text}");
        }
        let grant = r#"EXECUTE 'GRANT pg_use_reserved_connections TO "apply" WITH INHERIT TRUE';"#;
        assert!(reserved.contains(grant), "{reserved}");
        let grant = r#"agent_iac.verifier_digest(oid) TO "observe", "admins";"#;
        assert!(digest.contains(grant), "{digest}");
    }

    #[test]
    fn what_a_version_takes_a_superuser_for_is_said_by_version() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let role = properties(vec![("bypassrls", true.into())]);
        needs.of(Role::TYPE, &role, &BTreeSet::new());
        let all = statements(needs);
        assert_eq!(all.len(), 1);
        for part in [
            r#"THEN
        ALTER ROLE "admins" BYPASSRLS;"#,
            r#"ELSE
        ALTER ROLE "admins" SUPERUSER;"#,
        ] {
            assert!(all[0].contains(part), "{}", all[0]);
        }
    }

    #[test]
    fn an_heir_has_to_be_able_to_create_what_it_gets() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let owned =
            properties(vec![("on", Table::new("s", "t").to_value()), ("heir", "dba".into())]);
        needs.of(Ownership::TYPE, &owned, &BTreeSet::new());
        assert_eq!(
            statements(needs)[0],
            "-- in the database \"app\":\nGRANT CREATE ON SCHEMA \"s\" TO \"dba\";"
        );
    }

    #[test]
    fn an_heir_can_create_wherever_a_role_can() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let role: Address = "agent.role".parse().unwrap();
        let heirs = BTreeMap::from([(role.clone(), "dba".to_owned())]);
        needs.heirs.clone_from(&heirs);
        let mut grant = properties(vec![
            ("on", Schema::new("s").to_value()),
            ("allow", BTreeSet::from([Privilege::Create]).to_value()),
        ]);
        grant.insert("to".into(), Node::Link(role));
        let statement = "-- in the database \"app\":\nGRANT CREATE ON SCHEMA \"s\" TO \"dba\";";
        needs.of(Grant::TYPE, &grant, &BTreeSet::new());
        assert_eq!(statements(needs)[0], statement);
        // One that the fleet makes is given what it needs by the fleet.
        let mut needs = Needs::new(&layout, Some("apply"));
        needs.heirs = heirs;
        needs.of(Grant::TYPE, &grant, &BTreeSet::from(["dba".to_owned()]));
        assert!(!statements(needs).contains(&statement.to_owned()));
    }

    #[test]
    fn what_is_declared_decides_whose_member_one_has_to_be() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let managed = BTreeSet::from(["team".to_owned()]);
        let membership = |of: &str| properties(vec![("of", of.into())]);
        needs.of(Membership::TYPE, &membership("readers"), &managed);
        needs.of(Membership::TYPE, &membership("team"), &managed);
        needs.of(
            DefaultPrivileges::TYPE,
            &properties(vec![("for_role", "owner".into())]),
            &managed,
        );
        let settings = BTreeMap::from([("my.word@app".to_owned(), Value::from("x"))]);
        let role = properties(vec![
            ("heir", "dba".into()),
            ("createdb", true.into()),
            ("settings", Value::Map(settings)),
        ]);
        needs.of(Role::TYPE, &role, &managed);
        needs.of(Role::TYPE, &role, &managed);
        assert_eq!(
            statements(needs),
            [
                r#"GRANT "readers" TO "admins" WITH ADMIN OPTION;"#,
                r#"GRANT "owner" TO "admins";"#,
                r#"ALTER ROLE "admins" CREATEDB;"#,
                r#"GRANT SET ON PARAMETER "my"."word" TO "admins";"#,
                r#"GRANT "dba" TO "admins";"#,
            ]
        );
    }

    #[test]
    fn the_owner_of_an_object_is_asked_for_at_the_server() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let grant = |on: Object, allow: Privilege| {
            properties(vec![("on", on.to_value()), ("allow", BTreeSet::from([allow]).to_value())])
        };
        let nobody = BTreeSet::new();
        let table = Table::new("s", "t").in_database("archive");
        needs.of(Grant::TYPE, &grant(table, Select), &nobody);
        needs.of(Grant::TYPE, &grant(Parameter::new("log_statement"), Set), &nobody);
        let all = statements(needs);
        assert_eq!(
            all[0],
            r#"GRANT SET ON PARAMETER "log_statement" TO "admins" WITH GRANT OPTION;"#
        );
        assert_eq!(
            all[1],
            "-- in the database \"archive\":\nGRANT USAGE ON SCHEMA \"s\" TO \"admins\";"
        );
        let text = &all[2];
        for part in [
            "-- in the database \"archive\":\nDO $iac$",
            "    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);\n    owner :=",
            r#"WHERE oid = '"s"."t"'::regclass"#,
            r#"GRANT SELECT ON TABLE "s"."t" TO "admins" WITH GRANT OPTION;"#,
            "EXECUTE format('GRANT %I TO %I', pg_get_userbyid(owner), 'admins')",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn to_pass_on_what_is_on_columns_takes_the_option_on_them() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        let on = super::super::Column::new("s", "t", ["b", "a"]);
        let mut grant = properties(vec![
            ("on", on.to_value()),
            ("allow", BTreeSet::from([Select]).to_value()),
            ("grantable", true.into()),
        ]);
        let nobody = BTreeSet::new();
        needs.of(Grant::TYPE, &grant, &nobody);
        let text = statements(needs).pop().unwrap();
        let whole = r#"GRANT SELECT ON TABLE "s"."t" TO "admins" WITH GRANT OPTION; "#;
        let columns = r#"GRANT SELECT ("a", "b") ON TABLE "s"."t" TO "admins" WITH GRANT OPTION;"#;
        assert!(text.contains(&format!("{whole}{columns}")), "{text}");
        grant.insert("grantable".into(), Node::Known(false.into()));
        let mut needs = Needs::new(&layout, Some("apply"));
        needs.of(Grant::TYPE, &grant, &nobody);
        assert!(!statements(needs).pop().unwrap().contains("(\"a\""));
    }

    #[test]
    fn what_was_there_before_is_administered_as_what_one_makes() {
        let layout = layout();
        let mut needs = Needs::new(&layout, Some("apply"));
        needs.of_adopted(Some("o'ld".into()));
        let all = statements(needs);
        let grant =
            r#"EXECUTE 'GRANT "o''ld" TO "admins" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';"#;
        assert!(all[0].contains(grant), "{all:?}");
    }

    #[test]
    fn a_name_cannot_end_the_block_that_it_stands_in() {
        let object = Table::new("s", "t$iac$");
        let text = membership_of_owner(&object, None, &BTreeSet::new(), "admins");
        assert!(text.starts_with("DO $xiac$") && text.ends_with("$xiac$"), "{text}");
    }
}
