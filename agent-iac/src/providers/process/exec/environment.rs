//! What a process is started in, as it stands in the folder of the provider.

use std::{collections::BTreeMap, io, time::Duration};

use rustix::process::Pid;

use super::super::resources::is_variable;
use crate::{
    consumer::Signal,
    error::{Error, ErrorKind, Result},
    provider::Object,
    resource::Property,
    value::Value,
    vault::Place,
};

/// What happens when a secret is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRotation {
    /// The process is ended and started anew.
    Restart,
    /// It is signalled.
    Signal(Signal),
    /// It reads its file each time.
    Nothing,
}

/// An environment that a process can be started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Secrets in files.
    pub secrets: BTreeMap<String, Place>,
    /// Secrets in variables.
    pub exposed: BTreeMap<String, Place>,
    /// The working directory.
    pub directory: Option<String>,
    /// What happens when a secret is rotated.
    pub on_rotation: OnRotation,
    /// Those of one group are never restarted at the same time.
    pub group: Option<String>,
    /// How long it has to end.
    pub stop_within: Duration,
    /// How many files it may have open.
    pub open_files: Option<u32>,
    /// How many processes its user may have.
    pub processes: Option<u32>,
    /// How much memory it may map, in MiB.
    pub memory: Option<u32>,
}

impl Environment {
    /// Reads what the provider has observed.
    ///
    /// # Errors
    ///
    /// When it is no environment in which a process can be started.
    pub fn of(object: &Object) -> Result<Self> {
        let wrong = |field: &str| {
            Error::new(ErrorKind::Damaged, format!("`{field}` of the runtime cannot be used"))
                .help("plan again: somebody else may have written it")
        };
        let places = |field: &str| -> Result<BTreeMap<String, Place>> {
            let bound: BTreeMap<String, String> = read(object, field)?.unwrap_or_default();
            let sound = |(name, place): (String, String)| {
                let place = place.parse().ok().filter(|_| is_variable(&name));
                place.map(|place| (name, place)).ok_or_else(|| wrong(field))
            };
            bound.into_iter().map(sound).collect()
        };
        let variables: BTreeMap<String, String> = read(object, "variables")?.unwrap_or_default();
        if !variables.keys().all(|name| is_variable(name)) {
            return Err(wrong("variables"));
        }
        let on_rotation = match read::<String>(object, "on_rotation")?.as_deref() {
            None | Some("restart") => OnRotation::Restart,
            Some("nothing") => OnRotation::Nothing,
            Some(signal) => {
                OnRotation::Signal(signal.parse().map_err(|_: Error| wrong("on_rotation"))?)
            }
        };
        let exposed = places("exposed")?;
        if !exposed.is_empty() && read::<String>(object, "exposed_because")?.is_none() {
            return Err(wrong("exposed"));
        }
        let group = read::<String>(object, "stagger")?;
        if group.as_deref().is_some_and(|group| !super::super::resources::is_name(group)) {
            return Err(wrong("stagger"));
        }
        Ok(Self {
            command: read(object, "command")?.unwrap_or_default(),
            variables,
            secrets: places("secrets")?,
            exposed,
            directory: read(object, "directory")?,
            on_rotation,
            group,
            stop_within: Duration::from_secs(
                read::<u32>(object, "stop_within")?.unwrap_or(10).into(),
            ),
            open_files: read(object, "open_files")?,
            processes: read(object, "processes")?,
            memory: read(object, "memory")?,
        })
    }

    /// The places that its secrets are read from.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.secrets.values().chain(self.exposed.values())
    }

    /// Sets the limits of a process that was started just now. There is no way
    /// to do it earlier without `unsafe`; what it starts later inherits them.
    #[cfg(target_os = "linux")]
    pub(super) fn limit(&self, pid: Pid) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, prlimit};

        for (resource, most) in [
            (Resource::Nofile, self.open_files.map(u64::from)),
            (Resource::Nproc, self.processes.map(u64::from)),
            (Resource::As, self.memory.map(|mib| u64::from(mib) << 20)),
        ] {
            if most.is_some() {
                prlimit(Some(pid), resource, Rlimit { current: most, maximum: most })?;
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn limit(&self, _: Pid) -> io::Result<()> {
        match (self.open_files, self.processes, self.memory) {
            (None, None, None) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "limits are set on Linux only")),
        }
    }
}

fn read<P: Property>(object: &Object, field: &str) -> Result<Option<P>> {
    match object.value(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => P::from_value(value).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("`{field}` of the runtime has another shape"))
                .help("plan again: somebody else may have written it")
        }),
    }
}
