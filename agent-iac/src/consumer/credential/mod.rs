//! A credential as the application that uses it holds it.

use std::{fmt, sync::Arc, time::Duration};

use super::{Confirm, Confirmation, Consumer};
use crate::{
    address::Address,
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    vault::{Labels, Open, Place, SecretStore},
};

/// How often a place is looked at, unless said: soon enough for an overlap of a
/// minute, and no load on a folder.
const EVERY: Duration = Duration::from_secs(5);

/// The longest pause after a store that could not be read.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often a version may move on under a read before that is an error.
const MOVES: u32 = 5;

/// A credential as an application holds it: it reads the secret store, waits
/// for the next generation, and confirms the one that it uses. It needs neither
/// the engine nor the ledger, and belongs to no async runtime.
///
/// ```
/// # #[cfg(all(feature = "embedded", feature = "consumers", unix))] {
/// use std::sync::Arc;
///
/// use agent_iac::{
///     clock::block_on,
///     consumer::{Credential, FolderInbox},
///     vault::age::{AgeVault, Key, Recipients},
/// };
///
/// # fn connect(_: &agent_iac::secret::Secret) {}
/// # fn serve() -> agent_iac::Result<()> {
/// let vault = AgeVault::open("/srv/vault", Recipients::default())?
///     .reader_key(Key::file("/etc/billing-api/agent.key"));
/// let inbox = FolderInbox::new("/srv/inbox");
/// let credential =
///     Credential::new("triage.key".parse()?, "vault:agents/triage/key".parse()?, &vault)?
///         .confirming("billing-api".parse()?, Arc::new(inbox));
///
/// let mut watch = credential.watch();
/// loop {
///     // The first one at once, each other when it is there.
///     match block_on(watch.next()) {
///         Ok(current) => {
///             connect(&current.secret);
///             block_on(credential.confirm(current.generation))?;
///         }
///         // The store is away; the next call waits before it looks again.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # }
/// # }
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone)]
pub struct Credential {
    address: Address,
    place: Place,
    labels: Arc<dyn Labels>,
    open: Arc<dyn Open>,
    confirms: Option<(Consumer, Arc<dyn Confirm>)>,
    clock: Arc<dyn Clock>,
    every: Duration,
}

/// A generation with its value.
#[derive(Debug)]
pub struct Current {
    /// The generation, counted from 1.
    pub generation: u32,
    /// The value.
    pub secret: Secret,
}

impl Credential {
    /// Names a credential and where it is read. Of the store it takes the two
    /// handles that read, so a store without keys for writing will do.
    ///
    /// # Errors
    ///
    /// When the store was given no key that reads.
    pub fn new(address: Address, place: Place, store: &dyn SecretStore) -> Result<Self> {
        Ok(Self {
            address,
            place,
            labels: store.labels()?,
            open: store.open()?,
            confirms: None,
            clock: Arc::new(SystemClock),
            every: EVERY,
        })
    }

    /// Says who confirms, as the fleet names it, and where.
    #[must_use]
    pub fn confirming(mut self, consumer: Consumer, inbox: Arc<dyn Confirm>) -> Self {
        self.confirms = Some((consumer, inbox));
        self
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Looks at the place this often; every five seconds unless said.
    #[must_use]
    pub fn looking_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Who confirms.
    #[cfg(all(feature = "process", unix))]
    pub(crate) fn consumer(&self) -> Option<&Consumer> {
        self.confirms.as_ref().map(|(consumer, _)| consumer)
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it is read.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The generation that is current now, without its value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when nothing was delivered yet, and when the
    /// store cannot be read.
    pub async fn generation(&self) -> Result<u32> {
        Ok(self.label().await?.generation)
    }

    /// The secret that is current now, with its generation.
    ///
    /// # Errors
    ///
    /// As [`Credential::generation`], and when no key of this reader opens it.
    pub async fn current(&self) -> Result<Current> {
        let mut moved = None;
        for _ in 0..MOVES {
            let label = self.label().await?;
            let (path, generation) = (self.place.path(), label.generation);
            match self.open.open(path, Some(generation), Some(label.digest)).await {
                Ok(secret) => return Ok(Current { generation, secret }),
                // It was revoked, or replaced, since its label was read.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) => {
                    moved = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(moved.unwrap_or_else(|| self.missing()).at(&self.address))
    }

    /// Follows the generations: the present one first, then each other one.
    pub fn watch(&self) -> Watch<'_> {
        Watch { credential: self, seen: None, pause: Duration::ZERO }
    }

    /// Confirms that this generation is used, and no older one. It is a hint,
    /// and means nothing where [`Credential::confirming`] named no inbox.
    ///
    /// # Errors
    ///
    /// When the inbox could not be written to. Whatever uses the credential goes
    /// on: the older generation only stays for longer.
    pub async fn confirm(&self, generation: u32) -> Result<()> {
        let Some((consumer, inbox)) = &self.confirms else { return Ok(()) };
        inbox
            .confirm(&Confirmation {
                credential: self.address.clone(),
                consumer: consumer.clone(),
                generation,
                at: self.clock.now(),
            })
            .await
    }

    async fn label(&self) -> Result<crate::vault::StoredVersion> {
        let paths = [self.place.path().to_owned()];
        let versions = self.labels.versions(&paths).await?.into_iter().next();
        versions.and_then(|versions| versions.current).ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("nothing is delivered at `{}`", self.place))
            .at(&self.address)
            .help("apply the fleet that declares it, or correct the place")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("address", &self.address)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Follows the generations of a [`Credential`].
#[derive(Debug)]
pub struct Watch<'a> {
    credential: &'a Credential,
    seen: Option<u32>,
    pause: Duration,
}

impl Watch<'_> {
    /// Begins behind a generation that is known already.
    #[must_use]
    pub fn after(mut self, generation: u32) -> Self {
        self.seen = Some(generation);
        self
    }

    /// Waits for a generation that is newer than the last. Dropping the future
    /// and calling again loses none.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or answers an older generation than it did
    /// before. The next call waits before it looks again, each time for longer,
    /// so that a loop needs no pause of its own.
    pub async fn next(&mut self) -> Result<Current> {
        loop {
            if !self.pause.is_zero() {
                self.credential.clock.sleep(self.pause).await;
            }
            match self.look().await {
                Ok(Some(current)) => {
                    self.pause = Duration::ZERO;
                    self.seen = Some(current.generation);
                    return Ok(current);
                }
                Ok(None) => self.pause = self.credential.every,
                Err(error) => {
                    let longer = self.pause.max(self.credential.every).saturating_mul(2);
                    self.pause = longer.min(LONGEST_PAUSE.max(self.credential.every));
                    return Err(error);
                }
            }
        }
    }

    /// Looks once.
    pub(crate) async fn look(&self) -> Result<Option<Current>> {
        if !self.is_newer(self.credential.generation().await?)? {
            return Ok(None);
        }
        let current = self.credential.current().await?;
        Ok(self.is_newer(current.generation)?.then_some(current))
    }

    /// A store that goes back, as a replica that is behind or a folder that was
    /// restored, must not lead anybody back to a secret that may be revoked.
    fn is_newer(&self, generation: u32) -> Result<bool> {
        match self.seen {
            Some(seen) if generation < seen => {
                let place = &self.credential.place;
                let message = format!(
                    "`{place}` holds generation {generation}, after {seen} was read there before"
                );
                Err(Error::new(ErrorKind::Vault, message)
                    .at(&self.credential.address)
                    .help("look whether the store is a copy that is behind, or was restored"))
            }
            seen => Ok(seen != Some(generation)),
        }
    }
}

#[cfg(test)]
mod tests;
