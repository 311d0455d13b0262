//! A cluster of one's own, from its first file to its last.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    panic::Location,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio_postgres::Error;

use super::{
    VERSIONS,
    programs::{Account, programs, servers},
    session::{Message, Session, message},
};

/// What the server is started with beside the usual: names and values of
/// `postgresql.conf`.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// The name of every cluster's superuser.
const SUPERUSER: &str = "postgres";

/// What `initdb` is told. Its default is `trust`: it lets everybody in with any
/// password, and the test of a refusal would pass for nothing.
const SCRAM: [&str; 2] = ["-A", "scram-sha-256"];

/// The settings of every cluster. Nothing has to survive a crash of the machine.
const USUAL: Settings<'static> = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("shared_buffers", "32MB"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_size", "1GB"),
    ("log_statement", "all"),
    ("log_line_prefix", "%m [%p] %u@%d "),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// Becomes the server, after leaving somebody behind who waits for the test's
/// end. The kernel closes the test's side of the pipe however it ends, by
/// `kill -9` too; then the server is stopped, and what it wrote removed.
/// One that was stopped in between left a watcher behind, and its number may be
/// somebody else's by then; a word of its command line tells.
pub(super) const WATCHED: &str = r#"
    folder="$1" word="$2" && shift 2
    exec 3<&0 </dev/null
    {
        read -r _ <&3
        tr '\0' '\n' <"/proc/$$/cmdline" | grep -qxF "$word" && kill -QUIT $$
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            kill -0 $$ || break
            sleep 0.1
        done
        rm -rf "$folder"
    } >/dev/null 2>&1 &
    exec "$@" 3<&-
"#;

/// A PostgreSQL server that belongs to a test, on a port of 127.0.0.1.
///
/// It asks for a password everywhere (`scram-sha-256`), writes every statement
/// to a log that the test can read, and does not wait for the disk. It ends
/// with its value, and with the test's process however that ends.
///
/// The clusters of one version are copies of one another, so that they have the
/// same system identifier; [`Cluster::fresh`] is not.
#[derive(Debug)]
pub struct Cluster {
    version: u32,
    port: u16,
    password: String,
    folder: PathBuf,
    /// What it is started with beside the usual.
    settings: Vec<(String, String)>,
    /// The server, and before it those that were stopped, each with the pipe by
    /// which its watcher hears of the end.
    servers: Mutex<Vec<(Child, Option<ChildStdin>)>>,
}

impl Cluster {
    /// Starts a copy of the version's template.
    ///
    /// # Panics
    ///
    /// When the version is not installed, or its server does not start.
    pub fn start(version: u32) -> Self {
        Self::start_with(version, &[])
    }

    /// The same, with settings.
    ///
    /// # Panics
    ///
    /// When the version is not installed, or its server does not start.
    pub fn start_with(version: u32, settings: Settings<'_>) -> Self {
        Self::begin(version, settings, |account, folder| {
            copy(account, &template(version, account), folder);
        })
    }

    /// Starts a cluster that is nobody's copy: it has a system identifier of its
    /// own. It takes about a second longer.
    ///
    /// # Panics
    ///
    /// When the version is not installed, or its server does not start.
    pub fn fresh(version: u32) -> Self {
        Self::begin(version, &[], |account, folder| initialise(version, account, folder, &SCRAM))
    }

    /// The same as `initdb` makes it when it is not told how to let people in:
    /// everybody who is on this machine, with any password.
    ///
    /// # Panics
    ///
    /// When the version is not installed, or its server does not start.
    pub fn trusting(version: u32) -> Self {
        Self::begin(version, &[], |account, folder| initialise(version, account, folder, &[]))
    }

    /// Starts a copy of this cluster's files, as a backup that was restored
    /// elsewhere: same system identifier, same roles and passwords.
    ///
    /// Nobody may be writing to the cluster meanwhile, and what has to be in the
    /// copy has to be on the disk: `CHECKPOINT` before.
    ///
    /// # Panics
    ///
    /// When the copy does not start.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::begin(self.version, &[], |account, folder| {
            copy(account, &self.folder, folder);
            let of_the_original = folder.join("data/postmaster.pid");
            fs::remove_file(of_the_original).expect("the original is running");
        })
    }

    /// Starts a copy that follows this cluster: a hot standby, which streams what
    /// is written here and takes no writes itself. What is said for
    /// [`Cluster::copy`] holds.
    ///
    /// # Panics
    ///
    /// When the standby does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let primary = format!(
            "host=127.0.0.1 port={} user={SUPERUSER} password={} application_name=standby",
            self.port, self.password
        );
        let settings = [("primary_conninfo", primary.as_str())];
        Self::begin(self.version, &settings, |account, folder| {
            copy(account, &self.folder, folder);
            let data = folder.join("data");
            fs::remove_file(data.join("postmaster.pid")).expect("the original is running");
            fs::write(data.join("standby.signal"), "").expect("the folder can be written");
        })
    }

    /// Stops the server, as its administrator does: sessions are ended, and
    /// nobody is let in until [`Cluster::resume`].
    ///
    /// # Panics
    ///
    /// When it does not stop.
    pub fn stop(&self) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, _) = servers.last_mut().expect("there is one from the start");
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", "kill -INT \"$1\"", "kill", &server.id().to_string()]);
        succeed(kill);
        server.wait().expect("it is this process's child");
    }

    /// Starts a server again that was stopped, at the same place.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn resume(&self) {
        let settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.resume_with(&settings);
    }

    /// The same, with other settings than it had.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn resume_with(&self, settings: Settings<'_>) {
        let (account, _) = ground();
        let server = spawn(self.version, settings, account, &self.folder, self.port);
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        assert!(self.becomes_ready(), "it does not start again:\n{}", self.log());
    }

    /// The cluster of this version that the tests of this program share.
    ///
    /// # Panics
    ///
    /// When there is no such version, when it is not installed, or when its
    /// server does not start.
    pub fn shared(version: u32) -> &'static Self {
        static SHARED: [OnceLock<Cluster>; VERSIONS.len()] =
            [const { OnceLock::new() }; VERSIONS.len()];
        let place = VERSIONS.iter().position(|one| *one == version);
        let place = place.unwrap_or_else(|| panic!("no PostgreSQL {version} is tested"));
        SHARED[place].get_or_init(|| Self::start(version))
    }

    /// Runs a test on the shared cluster of a version; see
    /// [`on_each_version`](crate::on_each_version).
    ///
    /// # Panics
    ///
    /// As the test does.
    pub fn with_shared(version: u32, test: impl AsyncFnOnce(&'static Self)) {
        // Starting blocks, and needs no runtime.
        let cluster = Self::shared(version);
        runtime().block_on(test(cluster));
    }

    /// Runs a test on a cluster of its own, which ends with it.
    ///
    /// # Panics
    ///
    /// As the test does.
    pub fn with_own(version: u32, test: impl AsyncFnOnce(&Self)) {
        let cluster = Self::start(version);
        runtime().block_on(test(&cluster));
    }

    /// The major version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of `postgres`, the superuser.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The cluster's data directory, for a test that copies it.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where to reach a database as superuser, with the password.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, &self.password, database)
    }

    /// Where to reach a database as somebody. The parts come into the text as
    /// they are, so that they hold nothing that a URL would need escaped.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Logs in.
    ///
    /// # Errors
    ///
    /// When the server refuses; [`message`](super::message) says how.
    pub async fn connect(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Session, Error> {
        Session::at(self.port, user, password, database).await
    }

    /// How the server refuses a login.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn refusal(&self, user: &str, password: &str, database: &str) -> Message {
        match self.connect(user, password, database).await {
            Ok(_) => panic!("`{user}` was let in"),
            Err(error) => message(&error),
        }
    }

    /// A session of the superuser in the database `postgres`.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn admin(&self) -> Session {
        self.admin_of(SUPERUSER).await
    }

    /// A session of the superuser.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn admin_of(&self, database: &str) -> Session {
        let session = self.connect(SUPERUSER, &self.password, database).await;
        session.unwrap_or_else(|error| panic!("the superuser of `{database}`: {error:?}"))
    }

    /// Makes a database and gives its name back. No two tests of a program that
    /// share the cluster may take the same name.
    ///
    /// # Panics
    ///
    /// When there is such a database.
    pub async fn database(&self, name: &str) -> String {
        self.admin().await.run(&format!("CREATE DATABASE {name}")).await;
        name.to_owned()
    }

    /// Runs statements as superuser, in a session of their own, and gives the
    /// rows of them all; see [`Session::rows`].
    ///
    /// # Panics
    ///
    /// When one fails.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> impl Future<Output = Vec<String>> {
        let at = Location::caller();
        async move { self.admin_of(database).await.rows_at(sql, at).await }
    }

    /// What the server has written until now: each statement, and each refusal.
    ///
    /// # Panics
    ///
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).expect("the log stays until the end");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Fills folders until a server starts in one.
    fn begin(version: u32, settings: Settings<'_>, fill: impl Fn(Account, &Path)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (account, run) = ground();
        // Between choosing a port and using it another process may take it.
        for _ in 0..10 {
            let (me, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = run.join(format!("{version}-{me}-{count}"));
            account.make(&folder);
            fs::write(folder.join("owner"), me.to_string()).expect("the folder can be written");
            fill(account, &folder);
            let cluster = Self::launch(version, settings, account, folder);
            if cluster.becomes_ready() {
                return cluster;
            }
            let log = cluster.log();
            let taken = log.contains("Address already in use");
            assert!(taken, "PostgreSQL {version} does not start:\n{log}");
        }
        panic!("PostgreSQL {version} found no free port in ten attempts");
    }

    fn launch(version: u32, settings: Settings<'_>, account: Account, folder: PathBuf) -> Self {
        let port = free_port();
        let password =
            fs::read_to_string(folder.join("password")).expect("the folder was filled with it");
        let server = spawn(version, settings, account, &folder, port);
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let (settings, servers) = (settings.collect(), Mutex::new(vec![server]));
        Self { version, port, password, folder, settings, servers }
    }

    /// Waits until the server answers, or has ended.
    fn becomes_ready(&self) -> bool {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, _) = servers.last_mut().expect("there is one from the start");
        for _ in 0..3_000 {
            let state = fs::read_to_string(self.folder.join("data/postmaster.pid"));
            let ready = state.is_ok_and(|text| text.lines().nth(7).map(str::trim) == Some("ready"));
            if ready {
                return true;
            }
            if server.try_wait().expect("it is this process's child").is_some() {
                return false;
            }
            a_moment();
        }
        panic!("PostgreSQL {} is not ready after 30 s:\n{}", self.version, self.log());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its watcher hears that the pipe is closed. A panic here, during that of
        // a test, would hide why the test failed.
        let servers = self.servers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (server, pipe) in servers.iter_mut().rev() {
            drop(pipe.take());
            let _: std::io::Result<_> = server.wait();
        }
        // The watcher removes the same files, so that each may miss some.
        for _ in 0..300 {
            if !self.folder.exists() {
                break;
            }
            if fs::remove_dir_all(&self.folder).is_err() {
                a_moment();
            }
        }
    }
}

/// Starts the server's program on a port, watched.
fn spawn(
    version: u32,
    settings: Settings<'_>,
    account: Account,
    folder: &Path,
    port: u16,
) -> (Child, Option<ChildStdin>) {
    let log = File::options().create(true).append(true).open(folder.join("log"));
    let log = log.expect("the folder can be written");
    let mut command = account.command("/bin/sh", folder);
    let data = folder.join("data");
    command.args(["-c", WATCHED, "server"]).args([folder, &data]);
    command.arg(programs(version).join("postgres")).arg("-D").arg(&data);
    command.args(["-p", &port.to_string()]);
    for (name, value) in USUAL.iter().chain(settings) {
        command.args(["-c", &format!("{name}={value}")]);
    }
    command.stdin(Stdio::piped()).stderr(log.try_clone().expect("a file can be shared"));
    command.stdout(log);
    // What interrupts the test at its terminal would reach the watcher too.
    command.process_group(0);
    let mut server = command.spawn().expect("a shell starts");
    // Waiting for a child closes the pipe to it.
    let pipe = server.stdin.take();
    (server, pipe)
}

/// Who runs the servers here, and the folder for what they write.
pub(super) fn ground() -> (Account, PathBuf) {
    let servers = servers();
    let account = Account::for_servers(&servers);
    let run = servers.join(format!("run-{}", account.uid()));
    account.make(&run);
    (account, run)
}

/// The finished template of a version, which is made where it is missing.
fn template(version: u32, account: Account) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    // A thread that failed to make one has said so; the next may try.
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, run) = ground();
    let template = run.join(format!("template-{version}"));
    if !template.exists() {
        let folder = run.join(format!("unfinished-{version}-{}", std::process::id()));
        account.make(&folder);
        initialise(version, account, &folder, &SCRAM);
        // Another process may have been faster; its template is as good.
        if fs::rename(&folder, &template).is_err() {
            fs::remove_dir_all(&folder).expect("it is this process's own");
        }
    }
    template
}

fn copy(account: Account, from: &Path, to: &Path) {
    let mut copy = account.command("cp", to);
    copy.arg("-a").args([from.join("data"), from.join("password")]).arg(to);
    succeed(copy);
}

/// `initdb`, with a password for the superuser that nobody knows before.
fn initialise(version: u32, account: Account, folder: &Path, access: &[&str]) {
    let password = folder.join("password");
    let mut write = account.command("/bin/sh", folder);
    write.args(["-c", "umask 077; od -An -N24 -tx1 /dev/urandom | tr -d ' \\n' >password"]);
    succeed(write);
    let mut initdb = account.command(programs(version).join("initdb"), folder);
    initdb.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(password);
    initdb.args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C"]).args(access);
    // Each copy has one segment of its log, of 16 MB unless said otherwise.
    initdb.args(["--no-sync", "--wal-segsize=1"]);
    succeed(initdb);
}

pub(super) fn succeed(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime on one thread can be made")
}

#[allow(clippy::disallowed_methods, reason = "another process takes real time to start and end")]
pub(super) fn a_moment() {
    std::thread::sleep(Duration::from_millis(10));
}
