//! Where the servers' programs lie, and as whom they run.

use std::{
    env, fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that `tests/servers` installs into.
///
/// # Panics
///
/// When it was not run: a test that needs a server does not pass without one.
pub(super) fn servers() -> PathBuf {
    if let Some(named) = env::var_os("AGENT_IAC_SERVERS").filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    // A test's program lies in `target/debug/deps`, or one deeper with `--target`.
    let program = env::current_exe().expect("a program knows where it lies");
    let mut above = program.ancestors().map(|folder| folder.join("servers"));
    above.find(|folder| folder.is_dir()).unwrap_or_else(|| missing("the servers are"))
}

/// The programs of a version, below [`servers`].
pub(super) fn programs(version: u32) -> PathBuf {
    let folder = servers().join(format!("postgresql-{version}/bin"));
    if !folder.join("postgres").is_file() {
        missing(&format!("PostgreSQL {version} is"));
    }
    folder
}

/// The program of the pooler, below [`servers`].
pub(super) fn pooler() -> PathBuf {
    let program = servers().join("pgbouncer/bin/pgbouncer");
    if !program.is_file() {
        missing("PgBouncer is");
    }
    program
}

fn missing(what: &str) -> ! {
    panic!("{what} not installed for the live tests: run `tests/servers`")
}

/// Who runs the servers. They refuse to run as root, so that root's tests run
/// them as `nobody`, who owns nothing that a test could harm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    uid: u32,
    /// What root has to change to; an ordinary user stays who he is.
    change: Option<u32>,
}

impl Account {
    /// The account for servers whose folders are made below `folder`.
    pub(super) fn for_servers(folder: &Path) -> Self {
        let uid = fs::metadata("/proc/self")
            .or_else(|_| fs::metadata(folder))
            .expect("a folder has an owner")
            .uid();
        if uid != 0 {
            return Self { uid, change: None };
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("the accounts are readable");
        let nobody = passwd.lines().find_map(|line| {
            let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        let (uid, gid) = nobody.expect(
            "PostgreSQL does not run as root; add an account `nobody`, or test as an ordinary user",
        );
        Self { uid, change: Some(gid) }
    }

    pub(super) fn uid(self) -> u32 {
        self.uid
    }

    /// The program, as this account, in a folder that it may enter, and with
    /// nothing of the developer's own environment.
    pub(super) fn command(self, program: impl AsRef<Path>, folder: &Path) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(folder);
        if let Some(gid) = self.change {
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Makes the folder and gives it to this account.
    pub(super) fn make(self, folder: &Path) {
        fs::create_dir_all(folder).expect("the folder can be made");
        if let Some(gid) = self.change {
            std::os::unix::fs::chown(folder, Some(self.uid), Some(gid)).expect("root may give it");
        }
    }
}
