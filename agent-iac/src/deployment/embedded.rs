//! Everything for a single machine in one folder.

use std::{fs, path::Path, sync::Arc};

use super::Deployment;
use crate::{
    clock::{SystemClock, SystemEntropy},
    error::{Error, ErrorKind, Result},
    fleet::Fleet,
    ledger::{SqliteLedger, sqlite::Options},
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
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, or one of the three cannot be opened:
    /// the error names the file and the repair.
    pub fn embedded(
        fleet: Fleet,
        environment: impl Into<String>,
        folder: impl AsRef<Path>,
    ) -> Result<Self> {
        let (folder, environment) = (folder.as_ref(), environment.into());
        fs::create_dir_all(folder).map_err(|error| {
            Error::new(ErrorKind::Io, format!("the folder `{}` cannot be made", folder.display()))
                .help("choose a folder that you may write to")
                .caused_by(error)
        })?;
        let authority = folder.join("authority.db");
        if !authority.exists() {
            AuthorityProvider::create(&authority, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
        }
        let vault = AgeVault::init(folder.join("vault"), folder.join("keys"))?;
        let options = Options::new(fleet.name(), &environment);
        let ledger = SqliteLedger::create_or_open(folder.join("ledger.db"), &options)?;
        Ok(Self::new(fleet, environment, Arc::new(ledger), Arc::new(SystemEntropy))
            .with_provider("authority", Arc::new(AuthorityProvider::new(authority)))
            .with_store("vault", Arc::new(vault)))
    }
}
