//! What the provider writes to a cluster, against real ones of each version: by
//! a login that has the rights that `requires` names, and no other.

#![allow(
    clippy::cloned_ref_to_slice_refs,
    clippy::format_collect,
    clippy::implicit_clone,
    reason = "a test says it in the words that come first"
)]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

mod contract;
mod grants;
mod leaving;
mod owners;
mod policies;
mod races;
mod roles;
mod speed;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent_iac::{
    Result,
    clock::{SystemClock, SystemEntropy},
    error::Error,
    fleet::Fleet,
    ledger::{Claim, RunId},
    prelude::*,
    provider::{
        DynWrite, Mark, Object, Observation, Observers, Operation, Provider as _, Reach, Reference,
        Settled, WriteRequest, Writers, Written,
    },
    providers::postgres::{self as pg, Future, Password, PostgresProvider, Principal},
    resource::{Builder, Link, Node},
    secret::Secret,
    testing::provider::Suite,
    value::Value,
};
use agent_iac_tests::postgres::{Cluster, Session};

/// Every login's: no test here is about passwords.
const PASSWORD: &str = "as-everybody-here";

/// How many tables, functions and roles there are to write about.
const SLOTS: usize = 12;

/// The properties of one object.
type Values = BTreeMap<String, Value>;

/// What the tests write about, for the grants that it takes. `NAME_owner` owns
/// the schema `app` and all that is in it.
#[derive(Agent)]
#[agent(owner = "team:tests", expires = "2030-01-01")]
struct Tester {
    /// What the names of roles begin with.
    #[input(key)]
    name: String,
    /// One of the things of each kind.
    #[input(key)]
    slot: String,

    #[identity(
        name = format!("{name}_{slot}"),
        heir = format!("{name}_owner"),
        createdb = slot == "0",
        settings = BTreeMap::from([("my.word".to_owned(), slot.clone())]),
    )]
    role: pg::Role,

    #[permission(to = role, on = pg::Table::new("app", format!("t{slot}")), allow = [pg::Select])]
    table: pg::Grant,

    #[permission(to = role, on = pg::Function::new("app", format!("f{slot}"), ["integer"]), allow = [pg::Execute])]
    function: pg::Grant,

    #[permission(to = role, of = format!("{name}_readers{slot}"))]
    readers: pg::Membership,

    #[permission(to = role, for_role = format!("{name}_owner"), on = Future::Tables, allow = [pg::Select])]
    future: pg::DefaultPrivileges,

    #[permission(to = role, on = pg::Table::new("app", "rows"), name = format!("p{slot}"), using = "true")]
    rows: pg::Policy,

    #[permission(to = role, on = pg::Table::new("app", format!("o{slot}")), heir = format!("{name}_owner"))]
    owned: pg::Ownership,
}

/// The kinds of objects that there is one of.
#[derive(Agent)]
#[agent(owner = "team:tests", expires = "2030-01-01")]
struct Kinds {
    /// What the names of roles begin with.
    #[input(key)]
    name: String,

    #[identity(name = format!("{name}_kinds"))]
    role: pg::Role,

    #[permission(to = role, on = pg::Sequence::new("app", "numbers"), allow = [pg::Usage])]
    sequence: pg::Grant,

    #[permission(to = role, on = pg::Database::new(name.as_str()), allow = [pg::Connect])]
    database: pg::Grant,

    #[permission(to = role, on = pg::Schema::new("app"), allow = [pg::Usage, pg::Create])]
    schema: pg::Grant,

    #[permission(to = role, on = pg::Procedure::new("app", "pr", ["integer", "text"]), allow = [pg::Execute])]
    procedure: pg::Grant,

    #[permission(to = role, on = pg::DataType::new("app", "colour"), allow = [pg::Usage])]
    ty: pg::Grant,

    #[permission(to = role, on = pg::Language::new("plpgsql"), allow = [pg::Usage])]
    language: pg::Grant,

    #[permission(to = role, on = pg::ForeignWrapper::new(format!("{name}_wrapper")), allow = [pg::Usage])]
    wrapper: pg::Grant,

    #[permission(to = role, on = pg::ForeignServer::new(format!("{name}_far")), allow = [pg::Usage])]
    server: pg::Grant,

    #[permission(to = role, on = pg::Tablespace::new("pg_default"), allow = [pg::Create])]
    tablespace: pg::Grant,

    #[permission(to = role, on = pg::LargeObject::new("4711"), allow = [pg::Select])]
    large: pg::Grant,

    #[permission(to = role, on = pg::Parameter::new("log_statement"), allow = [pg::Set])]
    parameter: pg::Grant,
}

/// What is in another database.
#[derive(Agent)]
#[agent(owner = "team:tests", expires = "2030-01-01")]
struct Elsewhere {
    /// What the names of roles begin with.
    #[input(key)]
    name: String,
    /// The database.
    #[input(key)]
    database: String,

    #[identity(name = format!("{name}_in_{database}"), heir = format!("{name}_owner"))]
    role: pg::Role,

    #[permission(to = role, on = pg::Table::new("far", "t").in_database(database.as_str()), allow = [pg::Select])]
    table: pg::Grant,
}

/// A database of a test's own, and a provider that works in it with the least
/// that it needs.
struct World {
    cluster: &'static Cluster,
    name: String,
    version: u32,
    /// A superuser's session in the database.
    admin: Session,
    provider: PostgresProvider,
    observers: Observers,
    writers: Writers,
    run: RunId,
    count: AtomicUsize,
}

impl World {
    /// Makes the database `name`, and the databases `others` beside it.
    async fn new(cluster: &'static Cluster, name: &str, others: &[&str]) -> Self {
        let root = cluster.admin().await;
        let readers: Vec<String> =
            (0..SLOTS).map(|slot| format!("CREATE ROLE {name}_readers{slot};")).collect();
        let readers = readers.concat();
        root.run(&format!(
            "CREATE ROLE {name}_owner; {readers}
            CREATE ROLE {name}_observe LOGIN PASSWORD '{PASSWORD}';
            CREATE ROLE {name}_apply LOGIN NOINHERIT PASSWORD '{PASSWORD}';
            CREATE ROLE {name}_apply2 LOGIN NOINHERIT PASSWORD '{PASSWORD}'"
        ))
        .await;
        root.run(&format!("CREATE DATABASE {name} OWNER {name}_owner")).await;
        root.run(&format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")).await;
        let admin = cluster.admin_of(name).await;
        admin.run(&objects(name)).await;
        for other in others {
            root.run(&format!("CREATE DATABASE {other}")).await;
            let other = cluster.admin_of(other).await;
            let far = "SET ROLE @_owner; CREATE TABLE far.t (a int, b int)";
            other.run(&format!("CREATE SCHEMA far AUTHORIZATION {name}_owner")).await;
            other.run(&far.replace('@', name)).await;
        }
        let provider = provider(cluster, name, "apply", others);
        let blueprint = fleet(name, others).blueprint("test").unwrap();
        let required = provider.requires("postgres", &blueprint);
        let statements = required.iter().map(|requirement| &*requirement.statement);
        run_required(cluster, &admin, statements).await;
        // The second operator is one more login of the administrators.
        root.run(&format!(
            "GRANT {name}_admins TO {name}_apply2; GRANT CONNECT ON DATABASE {name} TO {name}_apply2"
        ))
        .await;
        let (observers, writers) = (provider.observers().unwrap(), provider.writers().unwrap());
        Self {
            cluster,
            name: name.to_owned(),
            version: cluster.version(),
            admin,
            provider,
            observers,
            writers,
            run: RunId::random(&SystemEntropy),
            count: AtomicUsize::new(0),
        }
    }

    fn named(&self, text: &str) -> String {
        text.replace('@', &self.name)
    }

    /// Runs statements as superuser; `@` stands for the database's name.
    async fn run(&self, sql: &str) {
        self.admin.run(&self.named(sql)).await;
    }

    async fn value(&self, sql: &str) -> String {
        self.admin.value(&self.named(sql)).await
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        self.admin.rows(&self.named(sql)).await
    }

    async fn oid(&self, role: &str) -> String {
        self.value(&format!("SELECT oid FROM pg_roles WHERE rolname = '{role}'")).await
    }

    fn suite(&self) -> Suite {
        let provider = Arc::new(self.provider.clone());
        Suite::new(provider, Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    fn claim(&self) -> Claim {
        self.run.claim(self.count.fetch_add(1, Ordering::Relaxed))
    }

    fn request(&self, operation: Operation<Values>, seen: Observation) -> WriteRequest {
        request(self.claim(), operation, seen)
    }

    fn create<R: Resource>(&self, builder: &R::Builder) -> WriteRequest {
        self.request(Operation::Create(values::<R>(builder)), Observation::Absent)
    }

    fn update<R: Resource>(&self, seen: &Object, builder: &R::Builder) -> WriteRequest {
        let operation = Operation::Update { id: seen.id.clone(), desired: values::<R>(builder) };
        self.request(operation, Observation::Present(seen.clone()))
    }

    fn delete(&self, seen: &Object) -> WriteRequest {
        let operation = Operation::Delete { id: seen.id.clone() };
        self.request(operation, Observation::Present(seen.clone()))
    }

    fn suspend(&self, seen: &Object) -> WriteRequest {
        let operation = Operation::Suspend { id: seen.id.clone() };
        self.request(operation, Observation::Present(seen.clone()))
    }

    fn resume(&self, seen: &Object) -> WriteRequest {
        let operation = Operation::Resume { id: seen.id.clone() };
        self.request(operation, Observation::Present(seen.clone()))
    }

    fn writer<R: Resource>(&self) -> Arc<dyn DynWrite> {
        Arc::clone(self.writers.of(R::TYPE).unwrap())
    }

    async fn batch<R: Resource>(&self, requests: Vec<WriteRequest>) -> Vec<Result<Written>> {
        let issued = self.writer::<R>().write(requests).await;
        issued.into_iter().map(|issued| issued.map(|issued| issued.written)).collect()
    }

    async fn one<R: Resource>(&self, request: WriteRequest) -> Result<Written> {
        self.batch::<R>(vec![request]).await.remove(0)
    }

    /// Carries out a write that leaves an object, which reads as it was
    /// answered.
    async fn done<R: Resource>(&self, request: WriteRequest) -> Object {
        let written = self.one::<R>(request).await.unwrap();
        let object = written.object.unwrap();
        assert_eq!(self.read::<R>(&object.id).await, Observation::Present(object.clone()));
        object
    }

    /// Carries out a write that leaves nothing.
    async fn gone<R: Resource>(&self, request: WriteRequest) {
        let Operation::Delete { id } = &request.operation else { panic!("{request:?}") };
        let id = id.clone();
        assert_eq!(self.one::<R>(request).await.unwrap().object, None);
        assert_eq!(self.read::<R>(&id).await, Observation::Absent);
    }

    async fn refused<R: Resource>(&self, request: WriteRequest) -> Error {
        self.one::<R>(request).await.unwrap_err()
    }

    async fn read<R: Resource>(&self, id: &str) -> Observation {
        let observe = self.observers.of(R::TYPE).unwrap();
        observe.read(&[Reference::Id(id.to_owned())]).await.unwrap().remove(0)
    }

    /// Makes a role.
    async fn role(&self, name: &str) -> Object {
        let mut role = pg::Role::builder();
        role.name(self.named(name));
        self.done::<pg::Role>(self.create::<pg::Role>(&role)).await
    }

    async fn settle<R: Resource>(&self, claims: &[Claim]) -> Vec<Settled> {
        self.writer::<R>().settle(claims).await.unwrap()
    }
}

fn request(claim: Claim, operation: Operation<Values>, seen: Observation) -> WriteRequest {
    let mark = seen.object().and_then(|seen| seen.mark.clone()).unwrap_or_else(|| own_mark(&claim));
    WriteRequest { claim, mark, operation, seen, credential: None }
}

fn mark(fleet: &str) -> Mark {
    mark_at(fleet, "tester.object")
}

/// The mark of what this claim makes: each object has an address of its own.
fn own_mark(claim: &Claim) -> Mark {
    let (_, step) = claim.as_str().rsplit_once('.').unwrap();
    mark_at("tests", &format!("tester.object{step}"))
}

fn mark_at(fleet: &str, address: &str) -> Mark {
    Mark { fleet: fleet.into(), environment: "test".into(), address: address.parse().unwrap() }
}

/// The declared properties in normal form.
fn values<R: Resource>(builder: &R::Builder) -> Values {
    let nodes = builder.fields().nodes();
    let value = |name| nodes.get(name).and_then(Node::known).unwrap_or_default();
    let fields = R::RESOURCE.fields.iter();
    fields.map(|field| (field.name.to_owned(), field.ty.normalise(value(field.name)))).collect()
}

fn grant(to: &Object, on: pg::Object, allow: &[pg::Privilege]) -> pg::GrantBuilder {
    let mut grant = pg::Grant::builder();
    grant.to(Link::id(&to.id)).on(on).allow(allow.iter().copied().collect::<BTreeSet<_>>());
    grant
}

fn fleet(name: &str, others: &[&str]) -> Fleet {
    let mut fleet = Fleet::new("tests");
    fleet.provider("postgres", Reach::Declared);
    for slot in 0..SLOTS {
        fleet.add(TesterInputs { name: name.to_owned(), slot: slot.to_string() });
    }
    fleet.add(KindsInputs { name: name.to_owned() });
    for other in others {
        fleet.add(ElsewhereInputs { name: name.to_owned(), database: (*other).to_owned() });
    }
    fleet
}

/// A provider whose applying login is `NAME_LOGIN`.
fn provider(cluster: &Cluster, name: &str, login: &str, others: &[&str]) -> PostgresProvider {
    let endpoint = format!("postgresql://127.0.0.1:{}/{name}", cluster.port()).parse().unwrap();
    let principal = |login: &str| {
        let password = Password::given(Secret::from_text(PASSWORD.into()));
        Principal::new(format!("{name}_{login}"), password).unwrap()
    };
    let mut provider = PostgresProvider::new(endpoint)
        .observe(principal("observe"))
        .apply(principal(login))
        .administrators(format!("{name}_admins"));
    for other in others {
        provider = provider.database(*other);
    }
    provider
}

/// What a superuser of the database types.
async fn run_required(cluster: &Cluster, own: &Session, all: impl Iterator<Item = &str>) {
    let mut elsewhere: BTreeMap<&str, String> = BTreeMap::new();
    let mut here = String::new();
    for statement in all {
        let other = statement
            .strip_prefix("-- in the database \"")
            .and_then(|rest| rest.split_once("\":\n"))
            .map(|(database, _)| database);
        match other {
            Some(database) => elsewhere.entry(database).or_default().push_str(statement),
            None => here.push_str(statement),
        }
    }
    own.run(&here).await;
    for (database, statements) in elsewhere {
        cluster.admin_of(database).await.run(&statements).await;
    }
}

/// What there is to write about.
fn objects(name: &str) -> String {
    let slots: Vec<String> = (0..SLOTS)
        .map(|slot| {
            format!(
                "CREATE TABLE app.t{slot} (a int, b int, c int);
                CREATE TABLE app.o{slot} (id serial);
                CREATE FUNCTION app.f{slot}(integer) RETURNS integer LANGUAGE sql RETURN $1;
                CREATE SCHEMA s{slot};"
            )
        })
        .collect();
    let slots = slots.concat();
    format!(
        "CREATE SCHEMA app AUTHORIZATION {name}_owner;
        CREATE FOREIGN DATA WRAPPER {name}_wrapper;
        CREATE SERVER {name}_far FOREIGN DATA WRAPPER {name}_wrapper;
        ALTER SERVER {name}_far OWNER TO {name}_owner;
        SELECT lo_create(4711);
        ALTER LARGE OBJECT 4711 OWNER TO {name}_owner;
        SET ROLE {name}_owner;
        {slots}
        CREATE TABLE app.rows (n int);
        ALTER TABLE app.rows ENABLE ROW LEVEL SECURITY;
        CREATE SEQUENCE app.numbers;
        CREATE PROCEDURE app.pr(integer, text) LANGUAGE sql AS 'SELECT 1';
        CREATE TYPE app.colour AS ENUM ('red');
        RESET ROLE;"
    )
}
