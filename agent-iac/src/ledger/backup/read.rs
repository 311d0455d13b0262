//! Reading a backup, line by line, and refusing it where it is not whole.

use std::io::{BufRead, Read as _};

use sha2::{Digest as _, Sha256};

use super::{Backup, KIND, Preamble};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::{FORMAT, Head, Header, Sealed, State, checkpoint},
    plan::render::printable,
    value::Digest,
};

/// The longest line. A batch has one, and the largest run has a few megabytes;
/// a file that never ends a line must not fill the memory.
const LONGEST: u64 = 256 << 20;

/// Where the header of a batch begins in its line. Its strings are digests and
/// a time, so the last of these is always it.
const HEADER: &str = ",\"header\":{\"body\":\"";

/// Reads a whole backup, and checks its chain, its digests and that it can be
/// folded; `name` is how errors call it. Gives what stands in it, and the state
/// that it amounts to.
///
/// ```
/// use agent_iac::ledger::check_backup;
///
/// let error = check_backup(&b"{}\n"[..], "ledger.backup").unwrap_err();
/// assert!(error.message().starts_with("line 1 of `ledger.backup`"));
/// ```
///
/// # Errors
///
/// [`ErrorKind::Damaged`] with the line of what is wrong, and
/// [`ErrorKind::NewerVersion`] when a newer version wrote it.
pub fn check_backup(input: impl BufRead, name: &str) -> Result<(Backup, State)> {
    let mut reading = Reading::begin(input, name)?;
    while reading.fold()?.is_some() {}
    reading.whole()
}

/// A backup that is being read.
pub(in crate::ledger) struct Reading<R> {
    input: R,
    name: String,
    line: u64,
    preamble: Preamble,
    /// The newest batch that was read, and how many there were.
    newest: Head,
    batches: u64,
    bytes: u64,
    sum: Sha256,
    /// The chain and the fold, for who uses [`Reading::fold`].
    head: Head,
    state: State,
}

impl<R: BufRead> Reading<R> {
    /// Reads the first line.
    pub(in crate::ledger) fn begin(input: R, name: &str) -> Result<Self> {
        let nothing = Preamble {
            kind: String::new(),
            format: 0,
            ledger: String::new(),
            fleet: String::new(),
            environment: String::new(),
            from: Head::EMPTY,
            head: Head::EMPTY,
        };
        let mut reading = Self {
            input,
            name: printable(name),
            line: 0,
            preamble: nothing,
            newest: Head::EMPTY,
            batches: 0,
            bytes: 0,
            sum: Sha256::new(),
            head: Head::EMPTY,
            state: State::default(),
        };
        let first = reading.next_line()?.ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("`{}` is empty", reading.name))
                .help("give a file that `ledger backup` or `ledger archive` wrote")
        })?;
        // A newer form may have another first line in all but these two.
        let of = |name: &str, first: &serde_json::Value| first.get(name).cloned();
        let loose: serde_json::Value = serde_json::from_str(&first).unwrap_or_default();
        if of("kind", &loose).as_ref().and_then(|kind| kind.as_str()) != Some(KIND) {
            return Err(reading.damaged("is not the first line of a ledger's backup"));
        }
        let format = of("format", &loose).and_then(|format| format.as_u64());
        if let Some(newer) = format.filter(|format| *format > u64::from(FORMAT)) {
            return Err(Error::new(
                ErrorKind::NewerVersion,
                format!(
                    "`{}` is in format {newer}, and this version reads up to {FORMAT}",
                    reading.name
                ),
            )
            .help("use the version of agent-iac that wrote it, or a newer one"));
        }
        reading.preamble = serde_json::from_str(&first)
            .map_err(|error| reading.damaged("does not say whose ledger it is").caused_by(error))?;
        reading.newest = reading.preamble.from;
        Ok(reading)
    }

    /// The fleet and environment that it says it is of.
    #[cfg(feature = "sqlite")]
    pub(in crate::ledger) fn meant_for(&self) -> (&str, &str) {
        (&self.preamble.fleet, &self.preamble.environment)
    }

    /// Refuses one of another ledger.
    pub(in crate::ledger) fn is_of(&self, state: &State) -> Result<()> {
        if self.preamble.ledger == state.ledger {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "`{}` is of ledger {} ({} in {}), and this is ledger {}",
                self.name,
                printable(&self.preamble.ledger),
                printable(&self.preamble.fleet),
                printable(&self.preamble.environment),
                state.ledger
            ),
        )
        .help("give the archives of this ledger, oldest first"))
    }

    /// The next batch, whose place in the chain the caller checks.
    pub(in crate::ledger) fn next(&mut self) -> Result<Option<Sealed>> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        if self.newest == self.preamble.head {
            return Err(self.damaged("stands behind the head that the first line names"));
        }
        let sealed = self.sealed(&line)?;
        self.newest = Head { sequence: sealed.header.sequence, hash: sealed.header.hash()? };
        self.batches += 1;
        Ok(Some(sealed))
    }

    /// The next batch, with its chain checked and folded in.
    pub(in crate::ledger) fn fold(&mut self) -> Result<Option<(Sealed, Head)>> {
        let Some(sealed) = self.next()? else { return Ok(None) };
        self.follow(&sealed).map_err(|error| self.at_this_line(&error))?;
        Ok(Some((sealed, self.head)))
    }

    fn follow(&mut self, sealed: &Sealed) -> Result<()> {
        if self.batches == 1 {
            self.head = checkpoint::origin(sealed)?;
            if self.head != self.preamble.from {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    "the first batch does not begin where the first line says",
                ));
            }
        }
        self.head.follow_sealed(sealed)?;
        self.state.absorb(&sealed.open()?)
    }

    /// Checks that nothing is missing at the end.
    pub(in crate::ledger) fn end(&self) -> Result<()> {
        if self.newest == self.preamble.head {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Damaged,
            format!(
                "`{}` ends in line {} with batch {}, and goes to batch {} by its first line: its \
                 end is cut off or was changed",
                self.name, self.line, self.newest.sequence, self.preamble.head.sequence
            ),
        )
        .help(REPAIR))
    }

    /// What was read and folded, to its end.
    pub(in crate::ledger) fn whole(self) -> Result<(Backup, State)> {
        self.end()?;
        let of =
            |state: &State| (state.ledger.clone(), state.fleet.clone(), state.environment.clone());
        let Preamble { ledger, fleet, environment, .. } = self.preamble.clone();
        if of(&self.state) != (ledger, fleet, environment) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("line 1 of `{}` names another ledger than its batches", self.name),
            )
            .help(REPAIR));
        }
        if self.state.begins.is_some_and(|begins| self.head.sequence < begins.until) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("`{}` ends within the checkpoint that it begins with", self.name),
            )
            .help(REPAIR));
        }
        Ok((self.preamble.backup(self.batches, self.bytes, self.sum), self.state))
    }

    /// An error of the batch in the line that was read last, with its place.
    pub(in crate::ledger) fn at_this_line(&self, error: &Error) -> Error {
        let kind = error.kind();
        let located =
            Error::new(kind, format!("line {} of `{}`: {}", self.line, self.name, error.message()));
        let located = if kind == ErrorKind::NewerVersion {
            located.help("use the version of agent-iac that wrote it, or a newer one")
        } else {
            located.help(REPAIR)
        };
        match std::error::Error::source(error) {
            Some(cause) => located.caused_by(cause.to_string()),
            None => located,
        }
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut bytes);
        read.map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("line {} of `{}` cannot be read", self.line, self.name),
            )
            .help("check the disk and that this user may read the file")
            .caused_by(error)
        })?;
        if bytes.is_empty() {
            self.line -= 1;
            return Ok(None);
        }
        self.sum.update(&bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if bytes.pop() != Some(b'\n') {
            return Err(self.damaged("does not end: the file is cut off"));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| self.damaged("is no text").caused_by(error))
    }

    fn sealed(&self, line: &str) -> Result<Sealed> {
        let parts = line.strip_prefix("{\"entries\":").and_then(|rest| {
            let rest = rest.strip_suffix('}')?;
            let at = rest.rfind(HEADER)?;
            Some((&rest[..at], &rest[at + ",\"header\":".len()..]))
        });
        let Some((entries, header)) = parts else {
            return Err(self.damaged("is no batch in canonical JSON"));
        };
        let read: Header = serde_json::from_str(header)
            .map_err(|error| self.damaged("has a header that cannot be read").caused_by(error))?;
        // What is hashed is the canonical form, so another must not stand here.
        if Digest::of_bytes(header.as_bytes()) != read.hash()? {
            return Err(self.damaged("has a header that is not canonical JSON"));
        }
        Ok(Sealed { header: read, entries: entries.to_owned() })
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(ErrorKind::Damaged, format!("line {} of `{}` {what}", self.line, self.name))
            .help(REPAIR)
    }
}

const REPAIR: &str = "give another copy of this file, or an older backup";
