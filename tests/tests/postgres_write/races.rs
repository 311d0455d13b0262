//! What happens at the same time: somebody else's hand, another operator, a
//! connection that breaks, and a commit that outlives its client.

use std::{future::Future, slice::from_ref, sync::Mutex, time::Duration};

use agent_iac::ErrorKind;
use agent_iac_tests::on_each_version;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::*;

on_each_version![
    a_grant_that_slips_in_between_is_found_and_left,
    two_operators_on_one_table_lose_nothing_and_see_no_error,
    a_foreign_hand_on_the_same_table_is_waited_for,
    a_connection_that_breaks_at_any_point_leaves_no_doubt_that_is_not_settled,
    a_commit_that_outlives_its_client_is_waited_for,
    a_claim_that_was_given_up_is_never_carried_out,
    whoever_observes_is_let_into_the_registry_by_the_first_write_or_settling,
    settling_waits_for_the_transaction_that_makes_the_registry,
];

async fn a_grant_that_slips_in_between_is_found_and_left(cluster: &'static Cluster) {
    let world = World::new(cluster, "slips", &[]).await;
    let x = world.role("@_x").await;
    // Whoever grants as the provider waits at the beginning of the statement,
    // after everything was looked at.
    world
        .run(
            "CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                BEGIN IF session_user = '@_apply' THEN PERFORM pg_advisory_xact_lock(42); END IF; END $$;
            CREATE EVENT TRIGGER hold ON ddl_command_start WHEN TAG IN ('GRANT', 'REVOKE')
                EXECUTE FUNCTION hold()",
        )
        .await;
    let table = || pg::Table::new("app", "t0");
    let by_hand = "SET ROLE @_owner; GRANT ALL ON app.t0 TO @_x; RESET ROLE";
    let list = "SELECT relacl FROM pg_class WHERE oid = 'app.t0'::regclass";
    let request = world.create::<pg::Grant>(&grant(&x, table(), &[pg::Select]));
    let error = world.meanwhile(request, by_hand).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error:?}");
    assert!(error.message().contains("`allow` was to be"), "{error}");
    let all = world.value(list).await;
    let everything = if world.version >= 17 { "arwdDxtm" } else { "arwdDxt" };
    assert!(all.contains(&format!("slips_x={everything}/slips_owner")), "{all}");
    assert_eq!(world.value("SELECT count(*) FROM agent_iac.claims").await, "1", "the role's");

    // The same while it is changed, and while it is taken back.
    world.run("SET ROLE @_owner; REVOKE ALL ON app.t0 FROM @_x; RESET ROLE").await;
    let request = world.create::<pg::Grant>(&grant(&x, table(), &[pg::Select, pg::Insert]));
    let object = world.meanwhile(request, "SELECT 1").await.unwrap().object.unwrap();
    let narrower = grant(&x, table(), &[pg::Select]);
    let request = world.update::<pg::Grant>(&object, &narrower);
    let error = world.meanwhile(request, by_hand).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error:?}");
    assert_eq!(world.value(list).await, all);
    world.run("SET ROLE @_owner; REVOKE ALL ON app.t0 FROM @_x; GRANT SELECT, INSERT ON app.t0 TO @_x; RESET ROLE").await;
    let error = world.meanwhile(world.delete(&object), by_hand).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error:?}");
    assert_eq!(world.value(list).await, all);
    world.run("DROP EVENT TRIGGER hold").await;
}

impl World {
    /// Carries out a write that is held at its statement while somebody else
    /// does something.
    async fn meanwhile(&self, request: WriteRequest, sql: &str) -> Result<Written> {
        self.run("SELECT pg_advisory_lock(42)").await;
        let writer = self.writer::<pg::Grant>();
        let written = tokio::spawn(async move { writer.write(vec![request]).await.remove(0) });
        self.until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted").await;
        self.run(sql).await;
        self.run("SELECT pg_advisory_unlock(42)").await;
        written.await.unwrap().map(|issued| issued.written)
    }

    /// Waits until a count is not 0.
    async fn until(&self, count: &str) {
        for _ in 0..500 {
            if self.value(count).await != "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("`{count}` is still 0 after 5 s");
    }
}

/// How often two operators meet on each version: more than a thousand times in
/// all.
const MEETINGS: usize = 256;

#[allow(
    clippy::disallowed_methods,
    reason = "how long two processes keep each other takes real time"
)]
async fn two_operators_on_one_table_lose_nothing_and_see_no_error(cluster: &'static Cluster) {
    let world = World::new(cluster, "meeting", &[]).await;
    let second = provider(cluster, "meeting", "apply2", &[]).writers().unwrap();
    let operators = [world.writer::<pg::Grant>(), Arc::clone(second.of(pg::Grant::TYPE).unwrap())];
    let roles = [world.role("@_a").await, world.role("@_b").await];
    let mut held: [Option<Object>; 2] = [None, None];
    for round in 0..MEETINGS {
        let request = |n: usize| {
            let on = pg::Table::new("app", "t0");
            match &held[n] {
                None => world.create::<pg::Grant>(&grant(&roles[n], on, &[pg::Select])),
                Some(seen) if round % 3 == 1 => {
                    let more = grant(&roles[n], on, &[pg::Select, pg::Insert]);
                    world.update::<pg::Grant>(seen, &more)
                }
                Some(seen) => world.delete(seen),
            }
        };
        let (second, theirs) = (Arc::clone(&operators[1]), request(1));
        let other = tokio::spawn(async move { second.write(vec![theirs]).await });
        let one = operators[0].write(vec![request(0)]).await;
        let other = other.await.unwrap();
        for (held, mut answer) in held.iter_mut().zip([one, other]) {
            let written = answer.remove(0).unwrap_or_else(|error| panic!("{round}: {error:?}"));
            *held = written.written.object;
        }
    }
    let list = world.value("SELECT relacl FROM pg_class WHERE oid = 'app.t0'::regclass").await;
    // The last round made what the round before had deleted.
    assert_eq!(MEETINGS % 3, 1);
    for name in ["meeting_a=r/meeting_owner", "meeting_b=r/meeting_owner"] {
        assert!(list.contains(name), "{list}");
    }
    let claims = world.value("SELECT count(*) FROM agent_iac.claims").await;
    // Of each address, the last: those of the two roles, and of each grant that
    // was made, changed and deleted.
    assert_eq!(claims, (2 + 2 * MEETINGS.div_ceil(3)).to_string(), "each was carried out once");
}

async fn a_foreign_hand_on_the_same_table_is_waited_for(cluster: &'static Cluster) {
    let world = World::new(cluster, "hand", &[]).await;
    let x = world.role("@_x").await;
    world.run("CREATE ROLE @_y; CREATE ROLE @_z").await;
    for round in 0..20 {
        let hand = cluster.admin_of("hand").await;
        hand.run("BEGIN; GRANT SELECT ON app.t0 TO hand_y").await;
        let on = pg::Table::new("app", "t0");
        let request = world.create::<pg::Grant>(&grant(&x, on, &[pg::Select]));
        let writer = world.writer::<pg::Grant>();
        let written = tokio::spawn(async move { writer.write(vec![request]).await.remove(0) });
        world
            .until("SELECT count(*) FROM pg_stat_activity WHERE usename = 'hand_apply' AND wait_event_type = 'Lock'")
            .await;
        // The one that waited fails with an internal error of the server's.
        hand.run(if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" }).await;
        let object = written.await.unwrap().unwrap().written.object.unwrap();
        let list = world.value("SELECT relacl FROM pg_class WHERE oid = 'app.t0'::regclass").await;
        assert!(list.contains("hand_x=r/hand_owner"), "{list}");
        assert_eq!(list.contains("hand_y=r/"), round % 2 == 0, "{list}");
        world.gone::<pg::Grant>(world.delete(&object)).await;
        world.run("REVOKE ALL ON app.t0 FROM @_y").await;
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The request does not arrive.
    Before,
    /// The request arrives, and its answer does not.
    After,
    /// The server ends the session, and the request comes after it.
    Terminated,
}

/// Hands connections on to a server. The first one is cut at its request of
/// that number; it answers how many there were.
struct Proxy {
    port: u16,
    requests: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Proxy {
    async fn new(world: &World, cut: Cut, at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let (server, cluster) = (world.cluster.port(), world.cluster);
        let connections = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let opened = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut is_first = true;
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let counted = std::mem::take(&mut is_first).then(|| Arc::clone(&counted));
                let hand_on = hand_on(client, upstream, counted, cut, at, cluster);
                opened.lock().unwrap().push(tokio::spawn(hand_on).abort_handle());
            }
        });
        Self { port, requests, connections }
    }

    /// Cuts all connections at once.
    fn sever(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

async fn hand_on(
    client: TcpStream,
    upstream: TcpStream,
    counted: Option<Arc<AtomicUsize>>,
    cut: Cut,
    at: usize,
    cluster: &'static Cluster,
) {
    let port = upstream.local_addr().unwrap().port();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let back = async move {
        let _: std::io::Result<u64> = tokio::io::copy(&mut from_server, &mut to_client).await;
        // The client may still have something to say to nobody.
        std::future::pending::<()>().await;
    };
    let forth = async move {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read) = from_client.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            let now = counted.as_ref().map(|counted| counted.fetch_add(1, Ordering::Relaxed));
            let is_it = now == Some(at);
            if is_it && cut == Cut::Before {
                break;
            }
            if is_it && cut == Cut::Terminated {
                let sql = format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE client_port = {port}"
                );
                cluster.sql("postgres", &sql).await;
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
            if is_it && cut == Cut::After {
                break;
            }
        }
    };
    either(back, forth).await;
}

/// Until one of them has ended.
async fn either(back: impl Future<Output = ()>, forth: impl Future<Output = ()>) {
    let (mut back, mut forth) = (std::pin::pin!(back), std::pin::pin!(forth));
    std::future::poll_fn(|cx| {
        if back.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        forth.as_mut().poll(cx)
    })
    .await;
}

async fn a_connection_that_breaks_at_any_point_leaves_no_doubt_that_is_not_settled(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "breaks", &[]).await;
    // The registry is there.
    world.role("@_first").await;
    let (mut doubts, mut done) = (0, 0);
    for cut in [Cut::Before, Cut::After, Cut::Terminated] {
        for at in 0.. {
            let proxy = Proxy::new(&world, cut, at).await;
            let writers = through(&world, proxy.port).writers().unwrap();
            let name = format!("breaks_{cut:?}_{at}").to_lowercase();
            let mut role = pg::Role::builder();
            role.name(&name);
            let request = world.create::<pg::Role>(&role);
            let claim = request.claim.clone();
            let again = || request_again(&world, &claim, &role);
            let writer = writers.of(pg::Role::TYPE).unwrap();
            let answer = writer.write(vec![request]).await.remove(0);
            let count = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'");
            let settled = world.settle::<pg::Role>(from_ref(&claim)).await.remove(0);
            let there = world.value(&count).await;
            match (&answer, &settled) {
                (Ok(issued), Settled::Done(written)) => assert_eq!(issued.written, *written),
                (Err(error), Settled::Done(_)) => {
                    assert_eq!(error.kind(), ErrorKind::InDoubt, "{cut:?} {at}: {error:?}");
                    doubts += 1;
                    done += 1;
                }
                (Err(error), Settled::NotDone) => {
                    // A login that is cut off is no doubt.
                    let kinds = [ErrorKind::InDoubt, ErrorKind::Provider];
                    assert!(kinds.contains(&error.kind()), "{cut:?} {at}: {error:?}");
                    doubts += 1;
                }
                other => panic!("{cut:?} {at}: {other:?}"),
            }
            let is_done = matches!(settled, Settled::Done(_));
            assert_eq!(there, if is_done { "1" } else { "0" }, "{cut:?} {at}: {settled:?}");
            // Whoever repeats it gets the same answer, or is told to ask anew.
            match (world.one::<pg::Role>(again()).await, &settled) {
                (Ok(written), Settled::Done(before)) => assert_eq!(written, *before),
                (Err(error), Settled::NotDone) => assert_eq!(error.kind(), ErrorKind::Refused),
                other => panic!("{cut:?} {at}: {other:?}"),
            }
            assert_eq!(world.value(&count).await, there);
            if proxy.requests.load(Ordering::Relaxed) <= at {
                assert!(at > 10, "so few requests: {at}");
                break;
            }
        }
    }
    assert!(doubts > 0 && done > 0, "{doubts} doubts, {done} of them done");
}

fn request_again(world: &World, claim: &Claim, role: &pg::RoleBuilder) -> WriteRequest {
    WriteRequest { claim: claim.clone(), ..world.create::<pg::Role>(role) }
}

/// The provider, at another port.
fn through(world: &World, port: u16) -> PostgresProvider {
    let endpoint = format!("postgresql://127.0.0.1:{port}/{}", world.name).parse().unwrap();
    let password = Password::given(Secret::from_text(PASSWORD.into()));
    let principal = Principal::new(world.named("@_apply"), password).unwrap();
    PostgresProvider::new(endpoint).apply(principal).administrators(world.named("@_admins"))
}

async fn a_commit_that_outlives_its_client_is_waited_for(cluster: &'static Cluster) {
    let world = World::new(cluster, "outlives", &[]).await;
    let x = world.role("@_x").await;
    // A commit waits for the test: until it ends, it is open whether a value is
    // unique that both have written.
    world
        .run(
            "ALTER TABLE agent_iac.claims ADD COLUMN hold int;
            ALTER TABLE agent_iac.claims ALTER COLUMN hold SET DEFAULT 1;
            ALTER TABLE agent_iac.claims ADD CONSTRAINT hold UNIQUE (hold)
                DEFERRABLE INITIALLY DEFERRED",
        )
        .await;
    let holder = cluster.admin_of("outlives").await;
    holder.run("BEGIN; INSERT INTO agent_iac.claims (claim, run) VALUES ('held', 'held')").await;
    let proxy = Proxy::new(&world, Cut::After, usize::MAX).await;
    let writers = through(&world, proxy.port).writers().unwrap();
    let writer = Arc::clone(writers.of(pg::Grant::TYPE).unwrap());
    let on = pg::Table::new("app", "t0");
    let request = world.create::<pg::Grant>(&grant(&x, on, &[pg::Select]));
    let claim = request.claim.clone();
    let written = tokio::spawn(async move { writer.write(vec![request]).await.remove(0) });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = '@_apply'
        AND query = 'COMMIT' AND wait_event_type = 'Lock'";
    world.until(waiting).await;
    // The client is gone, as after `kill -9`.
    proxy.sever();
    let error = written.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
    let settling = {
        let (writer, claim) = (world.writer::<pg::Grant>(), claim.clone());
        tokio::spawn(async move { writer.settle(&[claim]).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!settling.is_finished(), "the server still works on it");
    let given = "SELECT count(*) FROM pg_shdepend WHERE classid = 'pg_class'::regclass
        AND refobjid = '@_x'::regrole";
    assert_eq!(world.value(given).await, "0");
    holder.run("ROLLBACK").await;
    let settled = settling.await.unwrap().unwrap().remove(0);
    let Settled::Done(written) = settled else { panic!("{settled:?}") };
    let object = written.object.unwrap();
    assert_eq!(world.read::<pg::Grant>(&object.id).await, Observation::Present(object.clone()));
    world.run("ALTER TABLE agent_iac.claims DROP COLUMN hold").await;
    world.gone::<pg::Grant>(world.delete(&object)).await;
}

async fn a_claim_that_was_given_up_is_never_carried_out(cluster: &'static Cluster) {
    let world = World::new(cluster, "given_up", &["given_up_far"]).await;
    let x = world.role("@_x").await;
    let far = pg::Table::new("far", "t").in_database("given_up_far");
    let on = [pg::Table::new("app", "t0"), far];
    for on in on {
        let request = world.create::<pg::Grant>(&grant(&x, on, &[pg::Select]));
        let settled = world.settle::<pg::Grant>(from_ref(&request.claim)).await;
        assert_eq!(settled, [Settled::NotDone]);
        let error = world.refused::<pg::Grant>(request).await;
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    }
    for request in [world.suspend(&x), world.delete(&x)] {
        world.settle::<pg::Role>(from_ref(&request.claim)).await;
        assert_eq!(world.refused::<pg::Role>(request).await.kind(), ErrorKind::Refused);
        assert_eq!(world.read::<pg::Role>(&x.id).await, Observation::Present(x.clone()));
    }
}

async fn whoever_observes_is_let_into_the_registry_by_the_first_write_or_settling(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "admits", &[]).await;
    // A run died before it had made the registry: settling it does.
    let claim = world.claim();
    assert_eq!(world.settle::<pg::Role>(from_ref(&claim)).await, [Settled::NotDone]);
    let owner = world.oid("admits_owner").await;
    assert!(matches!(world.read::<pg::Role>(&owner).await, Observation::Present(_)));

    // Two more fleets by the same administrators, each with its observer.
    let reads = async |provider: &PostgresProvider| {
        let observers = provider.observers().unwrap();
        let references = [Reference::Id(owner.clone())];
        let read = observers.of(pg::Role::TYPE).unwrap().read(&references).await;
        read.is_ok_and(|read| matches!(read[..], [Observation::Present(_)]))
    };
    let [second, third] = ["second", "third"].map(|name| {
        let password = Password::given(Secret::from_text(PASSWORD.into()));
        let principal = Principal::new(format!("admits_{name}"), password).unwrap();
        provider(cluster, "admits", "apply2", &[]).observe(principal)
    });
    for (name, provider) in [("second", &second), ("third", &third)] {
        let role = format!("@_{name}");
        world.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await;
        world.run(&format!("GRANT CONNECT ON DATABASE @ TO {role}")).await;
        assert!(!reads(provider).await, "{name} was let in by nobody");
    }
    let mut role = pg::Role::builder();
    role.name("admits_x");
    let writers = second.writers().unwrap();
    let writer = writers.of(pg::Role::TYPE).unwrap();
    writer.write(vec![world.create::<pg::Role>(&role)]).await.remove(0).unwrap();
    assert!(reads(&second).await, "a write let its observer in");
    let writers = third.writers().unwrap();
    let settled = writers.of(pg::Grant::TYPE).unwrap().settle(&[world.claim()]).await.unwrap();
    assert_eq!(settled, [Settled::NotDone]);
    assert!(reads(&third).await, "settling let its observer in");
}

async fn settling_waits_for_the_transaction_that_makes_the_registry(cluster: &'static Cluster) {
    let world = World::new(cluster, "making", &[]).await;
    world
        .run(
            "CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
                SET lock_timeout = 0 AS 'BEGIN PERFORM pg_advisory_xact_lock(43); END';
            CREATE EVENT TRIGGER hold ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA')
                EXECUTE FUNCTION hold();
            SELECT pg_advisory_lock(43)",
        )
        .await;
    let mut role = pg::Role::builder();
    role.name("making_x");
    let request = world.create::<pg::Role>(&role);
    let (writer, claim) = (world.writer::<pg::Role>(), request.claim.clone());
    let written = tokio::spawn(async move { writer.write(vec![request]).await.remove(0) });
    let waiting = "SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND objid = 43 AND NOT granted";
    world.until(waiting).await;
    let second = provider(cluster, "making", "apply2", &[]).writers().unwrap();
    let second = Arc::clone(second.of(pg::Role::TYPE).unwrap());
    let settling = tokio::spawn(async move { second.settle(&[claim]).await });
    // Longer than whoever writes waits for a lock.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!settling.is_finished(), "{:?}", settling.await);
    world.run("SELECT pg_advisory_unlock(43); DROP EVENT TRIGGER hold").await;
    let written = written.await.unwrap().unwrap().written;
    assert_eq!(settling.await.unwrap().unwrap(), [Settled::Done(written)]);
}
