//! Roles: made, changed, switched off and on again, and dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    Entry, Found, Job, Kind, Seen, Writer, apply_script,
    grant::key_changed,
    leaving,
    powers::{self, Acting, Powers},
    script::Statements,
    switching,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{self, Mark, Operation, Write, Written},
    providers::postgres::{
        Login as Credential, Role, RoleSpec,
        catalog::{
            Within,
            detail::{self, RoleDetail},
            people,
        },
        name::{check_managed_role, ident, literal},
        resources::settings,
        server::{Type, registry, sqlstate},
    },
    resource::{Property as _, Reading, Resource as _},
    value::Value,
};

/// What is known beside the roles themselves.
pub(super) struct Now {
    pub(super) powers: Powers,
    /// The logins of each role that were made for it.
    pub(super) logins: BTreeMap<u32, BTreeMap<u32, Login>>,
}

/// A login of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "`can_login` is what the catalog calls it")]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) can_login: bool,
    /// Whose it is; nobody's when it was made by hand.
    pub(super) mark: Option<Mark>,
}

impl Login {
    /// Whether it was made for the same fleet as something with this mark.
    pub(super) fn is_of(&self, mark: &Mark) -> bool {
        let is_same =
            |own: &Mark| (&own.fleet, &own.environment) == (&mark.fleet, &mark.environment);
        self.mark.as_ref().is_some_and(is_same)
    }
}

/// What becomes of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    statements: Vec<String>,
    pub(super) detail: RoleDetail,
    /// It goes, with its logins.
    pub(super) leaves: Option<leaving::Leaver>,
}

impl Kind for Role {
    const NOUN: &'static str = "role";
    const DETAILED: bool = true;
    const SUSPENDS: bool = true;

    type Now = Now;
    type Change = Change;

    fn declared(spec: &RoleSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("name", (*spec.name).into()),
            ("noinherit", spec.noinherit.into()),
            ("createdb", spec.createdb.into()),
            ("createrole", spec.createrole.into()),
            ("bypassrls", spec.bypassrls.into()),
            ("replication", spec.replication.into()),
            ("superuser", spec.superuser.into()),
            ("login", spec.login.into()),
            ("connection_limit", spec.connection_limit.to_value()),
            ("valid_until", spec.valid_until.to_value()),
            ("settings", spec.settings.to_value()),
            ("heir", spec.heir.to_value()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let roles = seen.iter().filter_map(|(job, _)| job.id()?.parse().ok()).collect();
        let logins = logins_of(within, &roles).await?;
        // Of a create, nothing has to be known.
        let leave =
            seen.iter().filter(|(job, _)| matches!(job.operation, Operation::Delete { .. }));
        let heirs = leave.clone().filter_map(|(_, found)| heir_of(found.as_ref())).collect();
        let of = |role: u32| logins.get(&role).into_iter().flat_map(BTreeMap::keys).copied();
        let oids = leave
            .filter_map(|(job, _)| job.id()?.parse::<u32>().ok())
            .flat_map(|role| of(role).chain([role]))
            .collect();
        let powers = powers::read(within, &oids, &heirs).await?;
        Ok(Now { powers, logins })
    }

    fn judge(_: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let oid: Option<u32> = job.id().and_then(|id| id.parse().ok());
        let nobody = BTreeMap::new();
        let logins = oid.and_then(|oid| now.logins.get(&oid)).unwrap_or(&nobody);
        let mut detail: RoleDetail = detail::read(found.and_then(|found| found.detail.as_deref()));
        let mut change =
            Change { statements: Vec::new(), detail: RoleDetail::default(), leaves: None };
        match (&job.operation, found) {
            (Operation::Create(spec), _) => {
                checked(&what, spec)?;
                change.statements = create(spec);
                detail.heir.clone_from(&spec.heir);
            }
            (Operation::Update { desired, .. }, Some(found)) => {
                checked(&what, desired)?;
                if found.object.value("name").and_then(Value::as_text) != Some(&desired.name) {
                    return Err(key_changed(&what, Self::NOUN));
                }
                let ours = logins.values().filter(|login| login.is_of(&job.mark));
                let ours: Vec<&str> = ours.map(|login| login.name.as_str()).collect();
                change.statements = alter(desired, &found.object, &ours)?;
                detail.retiring = false;
                detail.heir.clone_from(&desired.heir);
                if let (Some(oid), Some(ending)) = (oid, &mut detail.ending) {
                    ending.remove(&oid);
                }
            }
            (Operation::Suspend { .. }, Some(_)) => {
                // They were switched off, and their sessions ended, before.
                if let Some(login) = logins.values().find(|login| login.can_login) {
                    return Err(super::rules::stale(
                        &what,
                        &format!("has got a login meanwhile, {}", quoted(&login.name)),
                    ));
                }
                let off = detail.ending.take().unwrap_or_default();
                detail.suspended.get_or_insert_default().extend(off);
            }
            (Operation::Resume { .. }, Some(found)) => {
                let off = detail.suspended.take().unwrap_or_default();
                let off: BTreeSet<u32> =
                    off.into_iter().chain(detail.ending.take().unwrap_or_default()).collect();
                let name = found.object.value("name").and_then(Value::as_text);
                let itself = oid.filter(|oid| off.contains(oid)).and(name);
                let names = logins
                    .iter()
                    .filter(|(oid, _)| off.contains(oid))
                    .map(|(_, login)| login.name.as_str());
                change.statements = names.chain(itself).map(|name| switch(name, "LOGIN")).collect();
            }
            (Operation::Delete { .. }, Some(found)) => {
                change.leaves = Some(leaving::Leaver::of(&what, now, oid, found, &job.mark)?);
            }
            (_, None) => {}
        }
        change.detail = detail;
        Ok(change)
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let statements: Statements = changes
            .iter()
            .flat_map(|(_, change)| &change.statements)
            .map(|statement| (Acting::Me, statement.clone()))
            .collect();
        apply_script(within, &now.powers, &statements).await?;
        let leavers: Vec<&leaving::Leaver> =
            changes.iter().filter_map(|(_, change)| change.leaves.as_ref()).collect();
        leaving::drop_roles(within, &now.powers, &leavers).await
    }

    fn entry(
        _: &Now,
        job: &Job<Self>,
        change: &Change,
        read: Option<&provider::Object>,
    ) -> Result<Entry> {
        let id = job.id().map(str::to_owned).or_else(|| read.map(|read| read.id.clone()));
        let id = id.ok_or_else(|| {
            super::rules::not_as_written(&Self::what(job, None), "it is not there")
        })?;
        let mut detail = change.detail.clone();
        if let (Some(_), Some(read)) = (job.spec(), read) {
            let settings = read.value("settings").and_then(Value::as_map);
            let text = |(name, value): (&String, &Value)| {
                Some((name.clone(), value.as_text()?.to_owned()))
            };
            detail.settings = settings.map(|all| all.iter().filter_map(text).collect());
        }
        Entry::with(id, &detail)
    }

    async fn write(writer: &Writer, batch: &[Write<Self>]) -> Vec<Result<Written>> {
        switching::write(writer, batch).await
    }

    /// Of a new role, the server tells everything but the heir.
    fn reads_registry(job: &Job<Self>) -> bool {
        !matches!(&job.operation, Operation::Create(spec) if spec.heir.is_none())
    }

    fn recall(job: &Job<Self>, found: &mut Found) {
        switching::recall(job, found);
    }

    async fn explain(
        within: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        let what = Self::what(job, None);
        if let Some(leaver) = &change.leaves {
            return leaving::explain(within, &now.powers, &what, leaver, error).await;
        }
        match sqlstate(&error) {
            Some("42501") => {
                let me = now.powers.my_name();
                let name = job.spec().map_or("the role", |spec| &spec.name);
                Error::new(ErrorKind::Denied, format!("{what} cannot be written by {}", quoted(me)))
                    .help(format!(
                        "it needs CREATEROLE, each attribute that it gives, and from PostgreSQL 16 \
                     the ADMIN option: GRANT {} TO {} WITH ADMIN OPTION",
                        ident(name),
                        ident(me)
                    ))
                    .caused_by(error)
            }
            Some("42704" | "22023") => Error::new(
                ErrorKind::InvalidInput,
                format!("the server does not take a setting of {what}"),
            )
            .help("correct the parameter's name, or its value")
            .caused_by(error),
            _ => error,
        }
    }
}

fn heir_of(found: Option<&Found>) -> Option<String> {
    detail::read::<RoleDetail>(found?.detail.as_deref()).heir
}

/// The logins of some roles, whoever made them.
pub(super) async fn logins_of(
    within: &Within,
    roles: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, BTreeMap<u32, Login>>> {
    let masters = people::logins(within, roles).await?;
    let oids: Vec<u32> = masters.keys().copied().collect();
    let mut logins: BTreeMap<u32, BTreeMap<u32, Login>> = BTreeMap::new();
    if oids.is_empty() {
        return Ok(logins);
    }
    let ids: Vec<String> = oids.iter().map(ToString::to_string).collect();
    let mut owned = registry::owned(&within.tx, Credential::TYPE, Some(&ids)).await?;
    let sql = "SELECT oid, rolname::text, rolcanlogin FROM pg_roles WHERE oid = ANY ($1)";
    for row in within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await? {
        let oid: u32 = row.get(0);
        let mark = owned.remove(&oid.to_string()).map(|owned| owned.mark);
        let login = Login { name: row.get(1), can_login: row.get(2), mark };
        logins.entry(masters[&oid]).or_default().insert(oid, login);
    }
    Ok(logins)
}

/// Refuses what the server would read otherwise, whoever declared it.
fn checked(what: &str, spec: &RoleSpec) -> Result<()> {
    if let Some(wrong) = check_managed_role(&spec.name) {
        return Err(Error::new(ErrorKind::InvalidInput, wrong.message).help(wrong.help));
    }
    match spec.settings.keys().find(|name| name.contains('\0')) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} has a setting that cannot be one: {}", quoted(name)),
        )
        .help("name a parameter of the server")),
    }
}

/// The attributes that a role has or has not, by their fields.
fn attributes(spec: &RoleSpec) -> [(&'static str, &'static str, bool); 7] {
    [
        ("noinherit", "INHERIT", !spec.noinherit),
        ("createdb", "CREATEDB", spec.createdb),
        ("createrole", "CREATEROLE", spec.createrole),
        ("bypassrls", "BYPASSRLS", spec.bypassrls),
        ("replication", "REPLICATION", spec.replication),
        ("superuser", "SUPERUSER", spec.superuser),
        ("login", "LOGIN", spec.login),
    ]
}

fn create(spec: &RoleSpec) -> Vec<String> {
    let mut text = format!("CREATE ROLE {}", ident(&spec.name));
    for (field, word, has) in attributes(spec) {
        // What it has anyway is not asked for: some of it takes a right even
        // to refuse.
        if has != (field == "noinherit") {
            let no = if has { "" } else { "NO" };
            let _infallible = write!(text, " {no}{word}");
        }
    }
    if let Some(limit) = spec.connection_limit {
        let _infallible = write!(text, " CONNECTION LIMIT {limit}");
    }
    if let Some(until) = &spec.valid_until {
        let _infallible = write!(text, " VALID UNTIL {}", literal(until));
    }
    let mut statements = vec![text];
    for (name, value) in &spec.settings {
        statements.push(set(&spec.name, name, Some(value)));
    }
    statements
}

fn alter(spec: &RoleSpec, before: &provider::Object, logins: &[&str]) -> Result<Vec<String>> {
    let declared = Role::declared(spec);
    let differs = |field: &str| before.value(field) != declared.get(field);
    let mut text = String::new();
    for (field, word, has) in attributes(spec) {
        if differs(field) {
            let no = if has { "" } else { "NO" };
            let _infallible = write!(text, " {no}{word}");
            // What nobody logs in with any more is not kept.
            if field == "login" && !has {
                text.push_str(" PASSWORD NULL");
            }
        }
    }
    if differs("connection_limit") {
        let _infallible = write!(text, " CONNECTION LIMIT {}", spec.connection_limit.unwrap_or(-1));
    }
    if differs("valid_until") {
        let until = spec.valid_until.as_deref().unwrap_or("infinity");
        let _infallible = write!(text, " VALID UNTIL {}", literal(until));
    }
    let mut statements = Vec::new();
    if !text.is_empty() {
        statements.push(format!("ALTER ROLE {}{text}", ident(&spec.name)));
    }
    if differs("replication") {
        // The server asks whoever logs in for it, and not who he becomes.
        let word = if spec.replication { "REPLICATION" } else { "NOREPLICATION" };
        statements.extend(logins.iter().map(|login| switch(login, word)));
    }
    if !differs("settings") {
        return Ok(statements);
    }
    let Some(Reading::Known(Value::Map(settings))) = before.fields.get("settings") else {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("the settings of the role {} cannot be read", quoted(&spec.name)),
        )
        .help("look at them by hand, in `pg_db_role_setting`"));
    };
    let gone = settings.keys().filter(|name| !spec.settings.contains_key(*name));
    let new = spec.settings.iter().filter(|(name, value)| {
        settings.get(*name).and_then(Value::as_text) != Some(value.as_str())
    });
    let changes: Vec<(&str, Option<&str>)> = gone
        .map(|name| (name.as_str(), None))
        .chain(new.map(|(name, value)| (name.as_str(), Some(value.as_str()))))
        .collect();
    // A session has the settings of whoever logs in, so the logins have them
    // too; but what a login becomes is its own.
    for (name, value) in changes {
        statements.push(set(&spec.name, name, value));
        if name.split('@').next() != Some("role") {
            statements.extend(logins.iter().map(|login| set(login, name, value)));
        }
    }
    Ok(statements)
}

/// Sets a parameter for the sessions of a role, or sets it no more.
pub(in super::super) fn set(role: &str, parameter: &str, value: Option<&str>) -> String {
    let (parameter, database) = match parameter.split_once('@') {
        Some((parameter, database)) => (parameter, Some(database)),
        None => (parameter, None),
    };
    let mut text = format!("ALTER ROLE {}", ident(role));
    if let Some(database) = database {
        let _infallible = write!(text, " IN DATABASE {}", ident(database));
    }
    let name = parameter.split('.').map(ident).collect::<Vec<_>>().join(".");
    match value {
        None => {
            let _infallible = write!(text, " RESET {name}");
        }
        Some(value) => {
            let values = if settings::LISTS.contains(&parameter) {
                let names = settings::names(value).unwrap_or_else(|| vec![value.to_owned()]);
                names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
            } else {
                literal(value)
            };
            let _infallible = write!(text, " SET {name} = {values}");
        }
    }
    text
}

/// Switches a role's right to log in, or another one of its own.
pub(in super::super) fn switch(name: &str, how: &str) -> String {
    format!("ALTER ROLE {} {how}", ident(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RoleSpec {
        RoleSpec {
            name: "x".into(),
            noinherit: false,
            createdb: false,
            createrole: false,
            bypassrls: false,
            replication: false,
            superuser: false,
            login: false,
            connection_limit: None,
            valid_until: None,
            settings: BTreeMap::new(),
            heir: None,
        }
    }

    fn object(spec: &RoleSpec) -> provider::Object {
        let fields = Role::declared(spec);
        provider::Object {
            id: "7".into(),
            fields: fields.into_iter().map(|(k, v)| (k.to_owned(), Reading::Known(v))).collect(),
            suspended: false,
            mark: None,
            obstacle: None,
            label: None,
        }
    }

    #[test]
    fn a_role_is_made_with_what_it_has_and_nothing_is_said_of_the_rest() {
        assert_eq!(create(&spec()), [r#"CREATE ROLE "x""#]);
        let full = RoleSpec {
            name: "a\"b".into(),
            noinherit: true,
            createdb: true,
            createrole: true,
            login: true,
            connection_limit: Some(3),
            valid_until: Some("2027-06-30 00:00:00+00".into()),
            settings: BTreeMap::from([
                ("work_mem".into(), "64MB".into()),
                ("search_path@Big".into(), "\"$user\", sales".into()),
                ("my.word".into(), "it's".into()),
            ]),
            ..spec()
        };
        assert_eq!(
            create(&full),
            [
                r#"CREATE ROLE "a""b" NOINHERIT CREATEDB CREATEROLE LOGIN CONNECTION LIMIT 3 VALID UNTIL '2027-06-30 00:00:00+00'"#,
                r#"ALTER ROLE "a""b" SET "my"."word" = 'it''s'"#,
                r#"ALTER ROLE "a""b" IN DATABASE "Big" SET "search_path" = '$user', 'sales'"#,
                r#"ALTER ROLE "a""b" SET "work_mem" = '64MB'"#,
            ]
        );
    }

    #[test]
    fn only_what_differs_is_altered_and_logins_have_the_settings_too() {
        assert_eq!(alter(&spec(), &object(&spec()), &[]).unwrap(), [""; 0]);
        let before = RoleSpec {
            createdb: true,
            login: true,
            connection_limit: Some(3),
            valid_until: Some("2027-06-30 00:00:00+00".into()),
            settings: BTreeMap::from([
                ("work_mem".into(), "1MB".into()),
                ("role".into(), "y".into()),
                ("jit".into(), "off".into()),
            ]),
            ..spec()
        };
        let after = RoleSpec {
            settings: BTreeMap::from([
                ("work_mem".into(), "2MB".into()),
                ("jit".into(), "off".into()),
            ]),
            ..spec()
        };
        assert_eq!(
            alter(&after, &object(&before), &["x__g1"]).unwrap(),
            [
                r#"ALTER ROLE "x" NOCREATEDB NOLOGIN PASSWORD NULL CONNECTION LIMIT -1 VALID UNTIL 'infinity'"#,
                r#"ALTER ROLE "x" RESET "role""#,
                r#"ALTER ROLE "x" SET "work_mem" = '2MB'"#,
                r#"ALTER ROLE "x__g1" SET "work_mem" = '2MB'"#,
            ]
        );
    }

    #[test]
    fn logins_replicate_when_their_role_does() {
        let after = RoleSpec { replication: true, ..spec() };
        assert_eq!(
            alter(&after, &object(&spec()), &["x__g1"]).unwrap(),
            [r#"ALTER ROLE "x" REPLICATION"#, r#"ALTER ROLE "x__g1" REPLICATION"#]
        );
    }

    #[test]
    fn a_list_of_names_is_one_text_for_each() {
        let names = |text: &str| settings::names(text);
        let some = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(names("public"), some(&["public"]));
        assert_eq!(names("\"$user\", Public"), some(&["$user", "public"]));
        assert_eq!(names("\"a\"\"b, c\",d"), some(&["a\"b, c", "d"]));
        for bad in ["", "a,", ",a", "a b", "\"a", "\"a\" b", "a\"b"] {
            assert_eq!(names(bad), None, "{bad:?}");
        }
    }
}
