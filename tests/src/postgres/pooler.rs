//! A pooler in front of a cluster: PgBouncer, as Debian has it.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio_postgres::Error;

use super::{
    Session,
    cluster::{Cluster, WATCHED, a_moment, free_port, ground},
    programs::pooler,
};

/// A PgBouncer on a port of 127.0.0.1, which ends with its value.
///
/// It asks its clients for a password by SCRAM, and knows everybody whom the
/// server knows: it asks the server for the verifiers, as its superuser. Each
/// login has two sessions of the server in each database, so that whoever
/// has more connections shares them.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Pooler {
    /// Starts one in front of a cluster, with a `pool_mode`.
    ///
    /// # Panics
    ///
    /// When it is not installed, or does not start.
    pub fn start(cluster: &Cluster, mode: &str) -> Self {
        Self::start_with(cluster, mode, "")
    }

    /// The same, with more lines of its configuration.
    ///
    /// # Panics
    ///
    /// When it is not installed, or does not start.
    pub fn start_with(cluster: &Cluster, mode: &str, more: &str) -> Self {
        for _ in 0..10 {
            let mut pooler = Self::launch(cluster, mode, more);
            if pooler.becomes_ready() {
                return pooler;
            }
            let log = pooler.log();
            assert!(log.contains("Address already in use"), "PgBouncer does not start:\n{log}");
        }
        panic!("PgBouncer found no free port in ten attempts");
    }

    fn launch(cluster: &Cluster, mode: &str, more: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (account, run) = ground();
        let (me, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = run.join(format!("pooler-{me}-{count}"));
        account.make(&folder);
        let port = free_port();
        let (server, users) = (cluster.port(), folder.join("users"));
        fs::write(&users, format!("\"postgres\" \"{}\"\n", cluster.password()))
            .expect("the folder can be written");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server} auth_user=postgres\n\
            [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
            auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
            default_pool_size = 2\nserver_round_robin = 1\nserver_login_retry = 1\nquery_wait_timeout = 5\n{more}\n",
            users.display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).expect("the folder can be written");
        let log = fs::File::create(folder.join("log")).expect("the folder can be written");
        let mut command = account.command("/bin/sh", &folder);
        command.args(["-c", WATCHED, "pooler"]).args([&folder, &file]);
        command.arg(pooler()).arg(&file);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        command.process_group(0);
        let process = command.spawn().expect("it is a program");
        Self { port, folder, process }
    }

    fn becomes_ready(&mut self) -> bool {
        for _ in 0..1_000 {
            if self.process.try_wait().expect("it is this process's child").is_some() {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            a_moment();
        }
        panic!("PgBouncer is not ready after 10 s:\n{}", self.log());
    }

    /// Logs in through it.
    ///
    /// # Errors
    ///
    /// When it or the server refuses.
    pub async fn connect(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Session, Error> {
        Session::at(self.port, user, password, database).await
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has written until now.
    ///
    /// # Panics
    ///
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("the log stays until the end")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Its watcher hears that the pipe is closed, and removes the folder.
        drop(self.process.stdin.take());
        let _: std::io::Result<_> = self.process.wait();
    }
}
