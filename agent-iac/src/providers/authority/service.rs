//! What a service asks: may this key do that?

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::{
    Pattern,
    file::{File, Mode},
    key::{self, Hash},
    pattern::is_object,
};
use crate::{clock::Clock, error::Result, sqlite::Worker};

/// How many checks run at once. One takes some tens of microseconds, so a
/// second thread is only for the time that the first one waits for a disk.
const READERS: usize = 2;

/// Use of a key is written down at most this often, or checking would be
/// writing.
const USE_KEPT_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The authority as a service uses it: asks whether a key may do something.
///
/// Every check reads the file anew, so that a key that was revoked, a grant
/// that was taken back and an account that was suspended are refused by the
/// next check; there are no sessions that would have to end.
///
/// ```no_run
/// # async fn handle(api_key: &str) -> agent_iac::Result<()> {
/// use std::sync::Arc;
///
/// use agent_iac::{
///     clock::SystemClock,
///     providers::authority::{Authority, Decision},
/// };
///
/// let authority = Authority::open("authority.db", Arc::new(SystemClock))?;
/// match authority.check(api_key, "read", "invoices/2026").await? {
///     Decision::Allowed { account } => println!("welcome, {account}"),
///     // The reason is for the service's own log; a caller is only told "no".
///     Decision::Refused(reason) => println!("refused: {reason}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authority {
    checker: Checker,
    uses: Worker<File>,
    noted: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    clock: Arc<dyn Clock>,
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed {
        /// The name of the account that the key speaks for.
        account: String,
    },
    /// It may not.
    Refused(Reason),
}

/// Why a check was refused: for a log, not for whoever was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The text is no key, or a slip of the hand: its checksum is wrong.
    MistypedKey,
    /// Nobody was ever given this key.
    UnknownKey,
    /// The key was revoked.
    RevokedKey,
    /// The key is good, and its account is suspended.
    SuspendedAccount,
    /// The key is good, and no grant allows the action on the object.
    NotGranted,
    /// The text is no object: see [`Pattern`].
    InvalidObject,
}

impl Reason {
    /// The reason as a word that does not change between versions.
    pub fn code(self) -> &'static str {
        match self {
            Self::MistypedKey => "mistyped_key",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::SuspendedAccount => "suspended_account",
            Self::NotGranted => "not_granted",
            Self::InvalidObject => "invalid_object",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MistypedKey => "the text is no key, or was mistyped",
            Self::UnknownKey => "nobody was given this key",
            Self::RevokedKey => "the key was revoked",
            Self::SuspendedAccount => "the account is suspended",
            Self::NotGranted => "no grant allows it",
            Self::InvalidObject => "the object is no path of segments",
        })
    }
}

/// Who a good key speaks for.
pub(super) struct Caller {
    pub(super) id: String,
    name: String,
    key: String,
}

/// Decides about keys, and only reads.
#[derive(Clone)]
pub(super) struct Checker {
    readers: Worker<File>,
}

impl Checker {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Opened here once, so that a wrong path is told at the start.
        let mut first = File::new(path, Mode::Read);
        first.connection()?;
        let others = (1..READERS).map(|_| File::new(path, Mode::Read));
        let readers = Worker::start("authority-check", std::iter::once(first).chain(others))?;
        Ok(Self { readers })
    }

    /// Decides about a key. The key itself stays on this thread; only its hash
    /// goes on.
    pub(super) async fn decide(
        &self,
        key: Option<Hash>,
        question: Option<(String, String)>,
    ) -> Result<std::result::Result<Caller, Reason>> {
        let Some(hash) = key else { return Ok(Err(Reason::MistypedKey)) };
        self.readers
            .run(move |file| file.read(|file| decide(file, &hash, question.as_ref())))
            .await?
    }
}

impl Authority {
    /// Opens an authority to ask it.
    ///
    /// The program needs the right to read the file. Where it may also write,
    /// the last use of each key is kept, to the minute.
    ///
    /// # Errors
    ///
    /// When there is no file, it is not an authority, it was made by a newer
    /// version, or it cannot be opened.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self {
            checker: Checker::open(path)?,
            uses: Worker::start("authority-use", [File::new(path, Mode::Write)])?,
            noted: Arc::default(),
            clock,
        })
    }

    /// Whether `key` may do `action` to `object`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read. A service lets nobody in then.
    pub async fn check(&self, key: &str, action: &str, object: &str) -> Result<Decision> {
        self.decide(key, Some((action.to_owned(), object.to_owned()))).await
    }

    /// Whether `key` is good at all, and whose it is.
    ///
    /// # Errors
    ///
    /// As [`Authority::check`].
    pub async fn whoami(&self, key: &str) -> Result<Decision> {
        self.decide(key, None).await
    }

    /// When a key was last let in, by its id and to the minute; `None` when it
    /// never was, or that could not be written down.
    ///
    /// # Errors
    ///
    /// As [`Authority::check`].
    pub async fn last_use(&self, key_id: &str) -> Result<Option<Timestamp>> {
        let id = key_id.to_owned();
        let text =
            self.checker.readers.run(move |file| file.read(|file| last_use(file, &id))).await??;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    async fn decide(&self, key: &str, question: Option<(String, String)>) -> Result<Decision> {
        match self.checker.decide(key::hash(key.as_bytes()), question).await? {
            Ok(caller) => {
                self.note_use(&caller.key);
                Ok(Decision::Allowed { account: caller.name })
            }
            Err(reason) => Ok(Decision::Refused(reason)),
        }
    }

    /// Waits until every use so far is written down.
    #[cfg(test)]
    pub(super) fn wait_for_uses(&self) {
        crate::clock::block_on(self.uses.run(|_| ())).expect("the thread runs");
    }

    /// Writes down that a key was used, without waiting for it.
    fn note_use(&self, key: &str) {
        let now = self.clock.now();
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            // A clock that was set back counts as a minute gone.
            let recent = |last: &Timestamp| now.duration_since(*last).abs() < USE_KEPT_EVERY;
            if noted.get(key).is_some_and(recent) {
                return;
            }
            noted.insert(key.to_owned(), now);
        }
        let key = key.to_owned();
        self.uses.post(move |file| {
            let path = file.path().to_owned();
            let kept = file.connection().and_then(|connection| {
                connection
                    .execute(
                        "UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1",
                        (&key, now.to_string()),
                    )
                    .map_err(|error| super::file::failed(&path, error))
            });
            // Letting the caller in does not depend on it.
            #[cfg(feature = "tracing")]
            if let Err(error) = &kept {
                tracing::debug!(key, %error, "the use of an API key was not kept");
            }
            drop(kept);
        });
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn last_use(file: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    file.query_row("SELECT last_used_at FROM api_keys WHERE id = ?1", [id], |row| row.get(0))
        .optional()
        .map(Option::flatten)
}

fn decide(
    file: &Connection,
    hash: &Hash,
    question: Option<&(String, String)>,
) -> rusqlite::Result<std::result::Result<Caller, Reason>> {
    let found = file
        .prepare_cached(
            "SELECT accounts.id, accounts.name, api_keys.id, accounts.suspended
             FROM api_keys JOIN accounts ON accounts.id = api_keys.account
             WHERE api_keys.hash = ?1",
        )?
        .query_row([hash], |row| {
            let caller = Caller { id: row.get(0)?, name: row.get(1)?, key: row.get(2)? };
            Ok((caller, row.get::<_, bool>(3)?))
        })
        .optional()?;
    let Some((caller, suspended)) = found else {
        let revoked =
            file.prepare_cached("SELECT 1 FROM revoked_keys WHERE hash = ?1")?.exists([hash])?;
        return Ok(Err(if revoked { Reason::RevokedKey } else { Reason::UnknownKey }));
    };
    if suspended {
        return Ok(Err(Reason::SuspendedAccount));
    }
    let Some((action, object)) = question else { return Ok(Ok(caller)) };
    if !is_object(object) {
        return Ok(Err(Reason::InvalidObject));
    }
    let mut grants =
        file.prepare_cached("SELECT pattern, actions FROM grants WHERE account = ?1")?;
    let mut rows = grants.query([&caller.id])?;
    while let Some(row) = rows.next()? {
        let (pattern, actions): (String, String) = (row.get(0)?, row.get(1)?);
        // The words are those of the file; what is no pattern matches nothing.
        if actions.split_whitespace().any(|word| word == action)
            && Pattern::new(pattern).matches(object)
        {
            return Ok(Ok(caller));
        }
    }
    Ok(Err(Reason::NotGranted))
}
