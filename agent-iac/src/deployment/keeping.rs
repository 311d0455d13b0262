//! The calls that keep the ledger itself: archiving its older history, and
//! going on after an older copy took its place.

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use super::Deployment;
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, Append, Backup, Entry, Head, LedgerEvent, Query, State, backup_into, check_backup,
        look_up,
    },
    plan::render::printable,
    vault::Pin,
};

/// What archiving did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archived {
    /// The archive.
    pub archive: Backup,
    /// The head of the ledger, which begins behind it.
    pub head: Head,
}

/// What a rewind did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewound {
    /// The pinned heads that were given up, by their secret store.
    pub lost: BTreeMap<String, Head>,
    /// The head with which the copy ended.
    pub to: Head,
    /// The head now.
    pub head: Head,
}

impl Deployment {
    /// Puts the history so far into a file that is not there yet, and begins
    /// the ledger anew behind it, with what is recorded. Numbers, versions and
    /// pins go on; `verify` with the archive checks that the two fit.
    ///
    /// The archive is durable, and was read back, before anything leaves the
    /// ledger; a crash leaves the old ledger whole, or the new one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseHeld`] and [`ErrorKind::Refused`] while a run is under
    /// way or a step is open, [`ErrorKind::Conflict`] when somebody appended
    /// meanwhile, [`ErrorKind::Unsupported`] when the ledger keeps its whole
    /// history, and as [`Deployment::state`] and
    /// [`backup_into`](crate::ledger::backup_into()).
    pub async fn archive(&self, path: &Path, actor: &Actor) -> Result<Archived> {
        let state = self.state().await?;
        if let Some(lease) = self.ledger.leases().await?.first() {
            return Err(Error::new(
                ErrorKind::LeaseHeld,
                format!(
                    "`{}` is held by {}, run {}, since {}",
                    lease.instance, lease.holder, lease.run, lease.since
                ),
            )
            .help("wait until that run has ended, or end its process, and archive then"));
        }
        crate::ledger::is_settled(&state)?;
        let archive = backup_into(&*self.ledger, path).await?;
        let begun = async {
            read_back(path, &archive)?;
            // The checkpoint names this head, so a pin of it stays good.
            self.pin(&Pin { ledger: archive.ledger.clone(), head: archive.head }).await?;
            self.ledger.checkpoint(archive.head, actor).await
        };
        let head = match begun.await {
            Ok(head) => head,
            Err(error) => {
                if error.kind() != ErrorKind::InDoubt {
                    // Everything that is in it is still in the ledger, and what
                    // stays is only in the way.
                    let _: std::io::Result<()> = std::fs::remove_file(path);
                }
                return Err(error);
            }
        };
        self.pin(&Pin { ledger: archive.ledger.clone(), head }).await?;
        Ok(Archived { archive, head })
    }

    /// The heads that secret stores have pinned and that the ledger does not
    /// hold, by the store's name: it is an older copy, or was changed.
    ///
    /// # Errors
    ///
    /// When the ledger or a store cannot be read.
    pub async fn lost(&self) -> Result<BTreeMap<String, Head>> {
        let state = self.ledger.state(&Query::Agents(Vec::new())).await?;
        self.lost_of(&state).await
    }

    async fn lost_of(&self, state: &State) -> Result<BTreeMap<String, Head>> {
        let mut lost = BTreeMap::new();
        for (name, store) in &self.stores {
            let Some(pin) = store.labels()?.pin(&state.ledger).await? else { continue };
            let found = look_up(&*self.ledger, state, pin.head).await?;
            if found.problem(state, pin.head).is_some() {
                lost.insert(name.clone(), pin.head);
            }
        }
        Ok(lost)
    }

    /// Goes on with a ledger that is older than its pins, as one that was
    /// restored: records who answers for that, and what is given up. Whatever
    /// the lost history had made stands undeclared or marked in the next plan.
    ///
    /// Each head of [`Deployment::lost`] is acknowledged by its hash, or the
    /// first eight or more characters of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] when the ledger holds what was pinned, or a head
    /// is not acknowledged; [`ErrorKind::InvalidInput`] when no reason is
    /// given; and when the ledger or a store cannot be written.
    pub async fn rewind(
        &self,
        acknowledged: &[String],
        reason: &str,
        actor: &Actor,
    ) -> Result<Rewound> {
        if reason.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "a rewind has no reason")
                .help("say what happened to the newer ledger"));
        }
        let state = self.ledger.state(&Query::Agents(Vec::new())).await?;
        self.check_fleet(&state)?;
        let lost = self.lost_of(&state).await?;
        if lost.is_empty() {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{} holds every head that is pinned", self.ledger.description()),
            )
            .help("there is nothing to rewind; plan as always"));
        }
        let given = |head: &Head| {
            let hash = head.hash.to_string();
            acknowledged.iter().any(|part| part.len() >= 8 && hash.starts_with(part))
        };
        if let Some((name, head)) = lost.iter().find(|(_, head)| !given(head)) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "batch {} ({}) is pinned in `{name}`, and to give it up was not acknowledged",
                    head.sequence, head.hash
                ),
            )
            .help("restore the newest copy that there is; if this is it, give the hash"));
        }
        let rewound = LedgerEvent::Rewound {
            lost: lost.clone(),
            to: state.head,
            actor: actor.clone(),
            reason: reason.to_owned(),
        };
        let append = Append { entries: vec![Entry::new(rewound)], ..Append::default() };
        let head = self.ledger.append(append).await?.head;
        self.pin(&Pin { ledger: state.ledger, head }).await?;
        Ok(Rewound { lost, to: state.head, head })
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        for store in self.stores.values() {
            match store.deliver()?.set_pin(pin).await {
                // A run has pinned a later head meanwhile.
                Err(error) if error.kind() == ErrorKind::Refused => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Reads an archive as it stands on the disk, before what is in it leaves the
/// ledger.
fn read_back(path: &Path, written: &Backup) -> Result<()> {
    let shown = printable(&path.display().to_string());
    let file = File::open(path).map_err(|error| {
        Error::new(ErrorKind::Io, format!("`{shown}` cannot be read back"))
            .help("check the disk; the ledger is as it was")
            .caused_by(error)
    })?;
    let (read, _) = check_backup(BufReader::with_capacity(1 << 18, file), &shown)?;
    if read == *written {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Damaged, format!("`{shown}` does not hold what was written"))
        .help("check the disk; the ledger is as it was"))
}
