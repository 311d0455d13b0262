//! Everything for a single machine in one folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Deployment;
use crate::{
    clock::{SystemClock, SystemEntropy},
    error::{Error, ErrorKind, Result},
    fleet::Fleet,
    ledger::{Ledger, MemoryLedger, SqliteLedger, sqlite::Options},
    providers::authority::AuthorityProvider,
    vault::age::AgeVault,
};

impl Deployment {
    /// Puts the embedded systems behind a fleet: the local authority as the
    /// provider `authority`, the age vault as the secret store `vault`, and the
    /// SQLite ledger, all in one folder, which is made where there is none.
    ///
    /// ```
    /// use agent_iac::{clock::block_on, deployment::{Deployment, PlanRequest}, fleet::Fleet};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let folder = folder.path().join(".agent-iac");
    /// let deployment = Deployment::embedded(Fleet::new("office"), "production", &folder)?;
    /// let plan = block_on(deployment.plan(&PlanRequest::default()))?;
    /// assert!(plan.is_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// | in the folder | |
    /// | --- | --- |
    /// | `authority.db` | accounts, grants and hashes of API keys |
    /// | `ledger.db` | what was proposed, done and seen |
    /// | `vault/` | secrets, encrypted |
    /// | `keys/` | the keys of the vault; elsewhere in production |
    /// | `.gitignore` | has Git pass over all of it, written with the folder |
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, one of the three cannot be opened, or the
    /// ledger is missing that the vault has seen: the error names the file and
    /// the repair.
    pub fn embedded(
        fleet: Fleet,
        environment: impl Into<String>,
        folder: impl AsRef<Path>,
    ) -> Result<Self> {
        let (folder, environment) = (folder.as_ref(), environment.into());
        make(folder).map_err(|error| {
            Error::new(ErrorKind::Io, format!("the folder `{}` cannot be made", folder.display()))
                .help("choose a folder that you may write to")
                .caused_by(error)
        })?;
        let [authority, vault, keys, ledger] =
            ["authority.db", "vault", "keys", "ledger.db"].map(|name| folder.join(name));
        // The ledger is made last, so where there is one, the others were there
        // before, and are not made anew: empty ones in the place of lost ones
        // would look as if everything had been deleted. An authority that is
        // lost or broken shows itself in what is read of it, and keeps nobody
        // from the history, or from stopping an agent.
        if !ledger.exists() && AgeVault::has_seen_a_ledger(&vault) {
            return Err(lost(&ledger, &vault));
        }
        let provider = if ledger.exists() {
            still_there(&vault, &ledger)?;
            still_there(&keys, &ledger)?;
            AuthorityProvider::new(authority)
        } else {
            AuthorityProvider::create(authority, Arc::new(SystemClock), Arc::new(SystemEntropy))?
        };
        let vault = AgeVault::init(vault, keys)?;
        let options = Options::new(fleet.name(), &environment);
        let ledger = SqliteLedger::create_or_open(ledger, &options)?;
        Ok(Self::new(fleet, environment, Arc::new(ledger), Arc::new(SystemEntropy))
            .with_provider("authority", Arc::new(provider))
            .with_store("vault", Arc::new(vault)))
    }
}

impl Deployment {
    /// As [`Deployment::embedded`], where it was begun before: nothing is made
    /// in a folder that holds no ledger.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is no ledger, else as
    /// [`Deployment::embedded`].
    pub fn embedded_standing(
        fleet: Fleet,
        environment: impl Into<String>,
        folder: impl AsRef<Path>,
    ) -> Result<Self> {
        begun(folder.as_ref())?;
        Self::embedded(fleet, environment, folder)
    }

    /// The fleet and the environment that the ledger in a folder is of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is no ledger; when it cannot be read.
    pub fn embedded_names(folder: impl AsRef<Path>) -> Result<(String, String)> {
        SqliteLedger::meant_for(begun(folder.as_ref())?)
    }

    /// The same systems as they stand in a folder, to look at: nothing is made
    /// and nothing is opened for writing, so no plan can be applied through it.
    /// A ledger that is not there is empty, and there is no secret store, so
    /// the ledger's pin is not looked at.
    ///
    /// # Errors
    ///
    /// When there is a ledger and it cannot be opened. An authority that is not
    /// there is told when it is looked at.
    pub fn embedded_to_look_at(
        fleet: Fleet,
        environment: impl Into<String>,
        folder: impl AsRef<Path>,
    ) -> Result<Self> {
        let (folder, environment) = (folder.as_ref(), environment.into());
        let path = folder.join("ledger.db");
        let ledger: Arc<dyn Ledger> = if path.exists() {
            let options = Options::new(fleet.name(), &environment);
            Arc::new(SqliteLedger::open_read_only(path, &options)?)
        } else {
            Arc::new(MemoryLedger::new(Arc::new(SystemClock)))
        };
        let provider = AuthorityProvider::new(folder.join("authority.db"));
        Ok(Self::new(fleet, environment, ledger, Arc::new(SystemEntropy))
            .with_provider("authority", Arc::new(provider)))
    }
}

/// The ledger of a folder, where there is one.
fn begun(folder: &Path) -> Result<PathBuf> {
    let [ledger, vault] = ["ledger.db", "vault"].map(|name| folder.join(name));
    if ledger.exists() {
        return Ok(ledger);
    }
    if AgeVault::has_seen_a_ledger(&vault) {
        return Err(lost(&ledger, &vault));
    }
    Err(Error::new(ErrorKind::NotFound, format!("there is no ledger in `{}`", folder.display()))
        .help("check the folder; the first plan makes one"))
}

/// Makes the folder. Keys and secrets lie in it, and belong in no repository.
fn make(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join(".gitignore"), "*\n")
}

/// The refusal to make a new ledger in the place of one that was lost: it would
/// know of nothing that stands in the systems.
fn lost(ledger: &Path, vault: &Path) -> Error {
    let (shown, vault) = (ledger.display(), vault.display());
    Error::new(
        ErrorKind::NotFound,
        format!("the ledger `{shown}` is missing, and the secret store `{vault}` has seen one"),
    )
    .help(format!(
        "put it back, or restore a backup with `ledger restore FILE --into {shown}`; to begin \
         anew, move the whole folder away"
    ))
}

/// Refuses to go on without what the ledger speaks of.
fn still_there(path: &Path, ledger: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let (path, ledger) = (path.display(), ledger.display());
    Err(Error::new(
        ErrorKind::NotFound,
        format!("`{path}` is missing, and the ledger `{ledger}` records what was in it"),
    )
    .help("restore it from a backup; to begin anew, move the whole folder away"))
}
