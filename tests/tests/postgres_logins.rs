//! Logins of agents on real servers: that they get in where not everybody does,
//! that what somebody changes of one is seen, and who else can act as the role.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use agent_iac::{
    clock::{Clock, SystemClock, block_on},
    deployment::{Deployment, PlanRequest, RotateRequest},
    fleet::Fleet,
    plan::SavedPlan,
    prelude::*,
    provider::{Attempt, Listing, Object, Provider as _, Reach, Tried},
    providers::postgres as pg,
    secret::Secret,
};
use agent_iac_tests::{
    embedded::Version,
    on_each_version,
    on_postgres::{Delivered, Site, delivered},
    operator,
    postgres::Cluster,
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

on_each_version![
    alone:
    an_agent_gets_in_where_everybody_else_may_not_connect,
    what_somebody_changes_of_a_login_is_seen_and_another_is_made,
    a_password_that_a_login_gives_itself_is_seen_where_somebody_may_look,
    a_login_is_good_until_it_is_declared_to_be,
    what_a_login_made_elsewhere_goes_to_its_role_without_a_registry_there,
    whoever_could_let_himself_become_a_role_is_listed,
];

/// One clerk and its login.
struct Place {
    site: Site,
    deployment: Deployment,
    role: String,
    _folder: TempDir,
}

impl Place {
    async fn new(cluster: &Cluster) -> Self {
        Self::of(cluster, Site::new(cluster, "logins"), "logins_000").await
    }

    async fn of(cluster: &Cluster, site: Site, role: &str) -> Self {
        site.prepare(cluster, 1).await;
        let folder = tempfile::tempdir().unwrap();
        let deployment = site.deployment(folder.path(), Version::Full, 1).unwrap();
        Self { site, deployment, role: role.to_owned(), _folder: folder }
    }

    /// Plans and applies; how many steps there were.
    fn apply(&self) -> usize {
        let plan = block_on(self.deployment.plan(&PlanRequest::default())).unwrap();
        let saved = SavedPlan::new(plan).unwrap();
        let context = operator().acknowledging(saved.digest());
        let report = block_on(self.deployment.apply(&saved, &context)).unwrap();
        assert!(report.is_complete(), "{report:?}");
        report.steps.len()
    }

    fn rests(&self) {
        let plan = block_on(self.deployment.plan(&PlanRequest::default())).unwrap();
        assert!(plan.is_clean(), "{plan:#?}");
    }

    fn login(&self) -> Delivered {
        delivered(&self.deployment, &self.role).unwrap()
    }

    /// Tries the login as the engine does, at the database `app`.
    async fn tried(&self, role: &str) -> Tried {
        let Delivered { user, password } = self.login();
        let text = format!(r#"{{"user":"{user}","password":"{password}"}}"#);
        let probers = self.site.provider().unwrap().probers().unwrap();
        let secret = Secret::from_text(text);
        let attempt = Attempt { identity: role, secret: &secret };
        probers.of("postgres.login").unwrap().probe(&[attempt]).await.remove(0)
    }

    async fn listed(&self, oid: &str) -> Vec<Object> {
        let observers = self.site.provider().unwrap().observers().unwrap();
        let listing = Listing::Of(vec![oid.to_owned()]);
        observers.of("postgres.login").unwrap().list(&listing).await.unwrap()
    }
}

async fn an_agent_gets_in_where_everybody_else_may_not_connect(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    let root = cluster.admin().await;
    root.run("REVOKE CONNECT ON DATABASE app FROM PUBLIC").await;
    place.apply();
    let oid = root.value("SELECT 'logins_000'::regrole::oid").await;
    let Delivered { user, password } = place.login();
    // The password is right, and so the login is in use, as far as it goes.
    assert_eq!(cluster.refusal(&user, &password, "app").await.code, "42501");
    assert_eq!(place.tried(&oid).await, Tried::Accepted);

    root.run("GRANT CONNECT ON DATABASE app TO logins_000").await;
    let session = cluster.connect(&user, &password, "app").await.unwrap();
    assert_eq!(session.value("SELECT current_user").await, "logins_000");
    // Without its role, it has what the role has and nothing more.
    session.run("SET ROLE NONE; SELECT FROM app.t0").await;
    assert_eq!(session.refused("SELECT FROM app.t1").await.code, "42501");
    assert_eq!(place.tried(&oid).await, Tried::Accepted);
    root.run(&format!("ALTER ROLE {user} PASSWORD NULL")).await;
    assert_eq!(place.tried(&oid).await, Tried::Refused("28P01".into()));
}

async fn what_somebody_changes_of_a_login_is_seen_and_another_is_made(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    let root = cluster.admin().await;
    place.apply();
    place.rests();
    for change in [
        "ALTER ROLE @ NOLOGIN",
        "ALTER ROLE @ VALID UNTIL '2020-01-01'",
        "ALTER ROLE @ RESET ALL",
        "GRANT logins_000 TO @ WITH ADMIN OPTION",
    ] {
        let before = place.login();
        root.run(&change.replace('@', &before.user)).await;
        assert!(place.apply() > 0, "{change}");
        place.rests();
        let after = place.login();
        assert_ne!(after.user, before.user, "{change}");
        let session = cluster.connect(&after.user, &after.password, "app").await.unwrap();
        assert_eq!(session.value("SELECT current_user").await, "logins_000", "{change}");
    }
}

async fn a_password_that_a_login_gives_itself_is_seen_where_somebody_may_look(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    place.apply();
    place.rests();
    let before = place.login();
    let session = cluster.connect(&before.user, &before.password, "app").await.unwrap();
    session.run("SET ROLE NONE").await;
    for password in ["mine", "ours"] {
        session.run(&format!("ALTER ROLE {} PASSWORD '{password}'", before.user)).await;
        // The function that a superuser made is what tells; it tells nobody
        // else anything.
        if password == "mine" {
            let asked = "SELECT agent_iac.verifier_digest('logins_000__g1'::regrole)";
            assert_eq!(session.refused(asked).await.code, "42501");
            let app = cluster.admin_of("app").await;
            app.run("ALTER FUNCTION agent_iac.verifier_digest RENAME TO away").await;
            place.rests();
            app.run("ALTER FUNCTION agent_iac.away RENAME TO verifier_digest").await;
        }
    }
    assert!(place.apply() > 0);
    place.rests();
    let after = place.login();
    assert_ne!(after.user, before.user);
    cluster.connect(&after.user, &after.password, "app").await.unwrap();
    assert_eq!(cluster.refusal(&before.user, "ours", "app").await.code, "28P01");
}

/// Has a login that ends by itself.
#[derive(Agent)]
#[agent(owner = "team:tests", expires = "2030-01-01")]
struct Dated {
    #[input(key)]
    until: String,

    #[identity(name = "logins_dated")]
    role: pg::Role,

    #[credential(of = role, valid_until = until.as_str(), deliver = "vault:dated")]
    login: pg::Login,
}

async fn a_login_is_good_until_it_is_declared_to_be(cluster: &Cluster) {
    let site = Site::new(cluster, "logins");
    site.prepare(cluster, 1).await;
    let place = |until: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Fleet::new("dated");
        fleet.provider("postgres", Reach::Declared).store("vault");
        fleet.add(DatedInputs { until: until.to_owned() });
        let deployment = Deployment::embedded(fleet, "test", folder.path()).unwrap();
        let provider = Arc::new(site.provider().unwrap());
        Place {
            site: site.clone(),
            deployment: deployment.with_provider("postgres", provider),
            role: "dated".into(),
            _folder: folder,
        }
    };
    let dated = place("2040-06-30 00:00:00+00");
    dated.apply();
    dated.rests();
    let until = "SELECT rolvaliduntil = '2040-06-30 00:00:00+00' FROM pg_roles
        WHERE rolname = 'logins_dated__g1'";
    let root = cluster.admin().await;
    assert_eq!(root.value(until).await, "t");
}

/// Has a login that lives for a month, whoever is there.
#[derive(Agent)]
#[agent(owner = "team:tests", expires = "2030-01-01")]
struct Leased {
    #[identity(name = "logins_leased")]
    role: pg::Role,

    #[credential(
        of = role,
        rotate = "20d",
        overlap = "1h",
        lease = "30d",
        deliver = "vault:leased",
    )]
    login: pg::Login,
}

/// The system's clock, with its hands turned by some seconds: a server cannot
/// be made to wait for a month.
#[derive(Clone, Default)]
struct Turned(Arc<AtomicI64>);

impl Turned {
    fn by(&self, turned: Duration, ahead: bool) {
        let seconds = i64::try_from(turned.as_secs()).unwrap();
        self.0.store(if ahead { seconds } else { -seconds }, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Turned {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// On one version: they do not differ here, and it takes a while.
#[test]
fn a_login_dies_by_itself_when_its_lease_is_over_and_nobody_is_there() {
    Cluster::with_own(17, leases);
}

async fn leases(cluster: &Cluster) {
    let site = Site::new(cluster, "logins");
    site.prepare(cluster, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new("leased");
    fleet.provider("postgres", Reach::Declared).store("vault");
    fleet.add(LeasedInputs {});
    let clock = Turned::default();
    let deployment = Deployment::embedded(fleet, "test", folder.path())
        .unwrap()
        .with_clock(Arc::new(clock.clone()))
        .with_provider("postgres", Arc::new(site.provider().unwrap()));
    let place = Place { site, deployment, role: "leased".into(), _folder: folder };
    let root = cluster.admin().await;
    // What is left of the lease.
    let rest = |user: &str, least: &str, most: &str| {
        format!(
            "SELECT rest > '{least}' AND rest <= '{most}'
            FROM (SELECT rolvaliduntil - now() FROM pg_roles WHERE rolname = '{user}') AS q (rest)"
        )
    };

    // A month ago but for some seconds.
    let month = Duration::from_hours(30 * 24);
    clock.by(month.saturating_sub(Duration::from_secs(20)), false);
    place.apply();
    let first = place.login();
    assert_eq!(root.value(&rest(&first.user, "0s", "20s")).await, "t");
    // Nobody declared that instant, so it is no drift.
    place.rests();
    let session = cluster.connect(&first.user, &first.password, "app").await.unwrap();
    let asked = RotateRequest::now([]);
    let saved = SavedPlan::new(block_on(place.deployment.plan_rotation(&asked)).unwrap()).unwrap();
    let context = operator().acknowledging(saved.digest());
    assert!(block_on(place.deployment.apply(&saved, &context)).unwrap().is_complete());
    let second = place.login();
    assert_ne!(second.user, first.user);

    // Nobody is there for the rest of the month.
    let over = format!(
        "SELECT rolvaliduntil < now() - interval '1s' FROM pg_roles WHERE rolname = '{}'",
        second.user
    );
    while root.value(&over).await != "t" {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for dead in [&first, &second] {
        assert_eq!(cluster.refusal(&dead.user, &dead.password, "app").await.code, "28P01");
    }
    assert_eq!(session.value("SELECT session_user").await, first.user, "it goes on");

    // Whoever comes back makes another before it ends what cannot be used.
    clock.by(Duration::from_secs(2), true);
    let rotate = || {
        let report = block_on(place.deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
        // Of three that were alive at once, the store has forgotten the first,
        // so that its end cannot be tried.
        let done = report.steps.iter().all(|step| step.outcome.is_done());
        assert!(done && !report.steps.is_empty(), "{report:?}");
    };
    rotate();
    let third = place.login();
    cluster.connect(&third.user, &third.password, "app").await.unwrap();
    assert_eq!(root.value(&rest(&third.user, "29 days", "30 days 2s")).await, "t");
    clock.by(Duration::from_hours(2), true);
    rotate();
    assert!(session.batch_execute("SELECT").await.is_err(), "it ended with its login");
    let logins = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'logins\\_leased\\_\\_%'";
    assert_eq!(root.rows(logins).await, [third.user]);
    place.rests();
}

async fn whoever_could_let_himself_become_a_role_is_listed(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    place.apply();
    let root = cluster.admin().await;
    let oid = root.value("SELECT 'logins_000'::regrole::oid").await;
    let options = if cluster.version() >= 16 {
        "ADMIN TRUE, INHERIT FALSE, SET FALSE"
    } else {
        "ADMIN OPTION"
    };
    root.run(&format!("CREATE ROLE giver LOGIN; GRANT logins_000 TO giver WITH {options}")).await;
    let users: Vec<String> = place
        .listed(&oid)
        .await
        .iter()
        .map(|object| object.value("user").unwrap().as_text().unwrap().to_owned())
        .collect();
    assert_eq!(users, ["logins_000__g1", "giver"]);

    // A declared membership is no credential, unless another fleet declared it.
    let member = root.value("SELECT 'giver'::regrole::oid").await;
    let by = root.value("SELECT grantor FROM pg_auth_members WHERE member = 'giver'::regrole");
    let by = if cluster.version() >= 16 { by.await } else { "0".into() };
    let app = cluster.admin_of("app").await;
    for (fleet, listed) in [("logins", 1), ("another", 2)] {
        app.run(&format!(
            "DELETE FROM agent_iac.objects WHERE type = 'postgres.membership';
            INSERT INTO agent_iac.objects VALUES
                ('postgres.membership', '{member} in {oid} by {by}', '{fleet}', 'test', 'a.b', '{{}}')"
        ))
        .await;
        assert_eq!(place.listed(&oid).await.len(), listed, "{fleet}");
    }
}

async fn what_a_login_made_elsewhere_goes_to_its_role_without_a_registry_there(cluster: &Cluster) {
    let site = Site::new(cluster, "logins").with_archives("archive_a", "archive_b");
    let role = site.archivist();
    let place = Place::of(cluster, site, &role).await;
    place.apply();
    let Delivered { user, password } = place.login();
    let stray = cluster.connect(&user, &password, "archive_a").await.unwrap();
    stray.run("SET ROLE NONE; CREATE TABLE app.stray ()").await;
    let archive = cluster.admin_of("archive_a").await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'stray'";
    assert_eq!(archive.value(owner).await, user);
    archive.run("DROP SCHEMA agent_iac CASCADE").await;
    cluster.admin().await.run(&format!("ALTER ROLE {user} NOLOGIN")).await;
    assert!(place.apply() > 0);
    assert_eq!(archive.value(owner).await, role);
    assert_eq!(cluster.refusal(&user, &password, "archive_a").await.code, "28P01");
}
