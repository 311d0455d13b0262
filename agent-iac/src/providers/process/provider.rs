//! The folder of environments as the engine manages it.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;

use super::{
    Runtime, RuntimeSpec,
    folder::{Fate, Folder, Standing},
    resources::is_name,
};
use crate::{
    address::quoted,
    clock::Entropy,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        Capabilities, Limits, Listing, Manage, Mark, Object, Observation, Observe, Observers,
        Operation, Probers, Provider, Recovery, Reference, Settled, Write, Writers, Written,
    },
    resource::{Property as _, Reading},
    value::Value,
};

/// The processes of one machine as a system that is managed: a folder that says
/// in which environment each may be started.
///
/// | principal | needs |
/// | --- | --- |
/// | observe, `exec` | to read the folder |
/// | apply | to write to the folder, which nobody else may |
#[derive(Clone)]
pub struct ProcessProvider {
    folder: Folder,
    entropy: Arc<dyn Entropy>,
}

impl ProcessProvider {
    /// Makes the folder where there is none, and names it.
    ///
    /// # Errors
    ///
    /// When it cannot be made or read.
    pub fn create(folder: impl Into<PathBuf>, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let folder = Folder(folder.into());
        folder.create(&random_id(&*entropy))?;
        Ok(Self { folder, entropy })
    }

    /// Names a folder, which must be there once it is used.
    pub fn new(folder: impl Into<PathBuf>, entropy: Arc<dyn Entropy>) -> Self {
        Self { folder: Folder(folder.into()), entropy }
    }
}

impl std::fmt::Debug for ProcessProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessProvider").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn random_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0_u8; 12];
    entropy.fill(&mut bytes);
    bytes.iter().fold("run_".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[async_trait]
impl Provider for ProcessProvider {
    fn description(&self) -> String {
        format!("processes {}", self.folder.shown())
    }

    fn limits(&self) -> Limits {
        // One file; a second batch would only wait for the first.
        Limits { concurrent: 1, writes_per_second: None }
    }

    async fn target(&self) -> Result<String> {
        Ok(self.folder.read()?.id)
    }

    fn observers(&self) -> Result<Observers> {
        let observer = Arc::new(Observer { folder: self.folder.clone() });
        Ok(Observers::new().with::<Runtime, _>(&observer))
    }

    fn writers(&self) -> Result<Writers> {
        let entropy = Arc::clone(&self.entropy);
        let writer = Arc::new(Writer { folder: self.folder.clone(), entropy });
        Ok(Writers::new().with::<Runtime, _>(&writer))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new())
    }
}

struct Observer {
    folder: Folder,
}

struct Writer {
    folder: Folder,
    entropy: Arc<dyn Entropy>,
}

fn capabilities() -> Capabilities {
    Capabilities {
        recovery: Recovery::Registry,
        checks_seen: true,
        batch: 1_000,
        ..Capabilities::default()
    }
}

fn read(folder: &Folder, references: &[Reference]) -> Result<Vec<Observation>> {
    let standing = folder.read()?;
    let found = references.iter().map(|reference| match reference {
        Reference::Id(id) => standing.objects.get(id),
        Reference::Key(key) => named(&standing, key.get("name").and_then(Value::as_text)),
    });
    let observed = |found: Option<&Object>| match found {
        Some(object) => Observation::Present(object.clone()),
        None => Observation::Absent,
    };
    Ok(found.map(observed).collect())
}

fn named<'s>(standing: &'s Standing, name: Option<&str>) -> Option<&'s Object> {
    let is = |object: &&Object| object.value("name").and_then(Value::as_text) == name;
    name.and_then(|_| standing.objects.values().find(is))
}

fn list(folder: &Folder, listing: &Listing) -> Result<Vec<Object>> {
    match listing {
        Listing::All => Ok(folder.read()?.objects.into_values().collect()),
        // A process belongs to no identity of this system.
        Listing::Of(_) => Ok(Vec::new()),
    }
}

macro_rules! observes {
    ($($principal:ident),*) => {$(
        #[async_trait]
        impl Observe<Runtime> for $principal {
            fn capabilities(&self) -> Capabilities {
                capabilities()
            }

            async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
                read(&self.folder, references)
            }

            async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
                list(&self.folder, listing)
            }
        }
    )*};
}

observes!(Observer, Writer);

#[async_trait]
impl Manage<Runtime> for Writer {
    async fn write(&self, batch: &[Write<Runtime>]) -> Vec<Result<Written>> {
        let done = self.folder.change(|standing| {
            batch.iter().map(|job| write(standing, job, &*self.entropy)).collect::<Vec<_>>()
        });
        done.unwrap_or_else(|error| {
            // The rename may have happened before what failed after it.
            let doubt = || {
                Error::new(ErrorKind::InDoubt, error.message())
                    .help("settle the claims of this run")
                    .retry_as(error.retry())
            };
            batch.iter().map(|_| Err(doubt())).collect()
        })
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.folder.change(|standing| {
            let settled = claims.iter().map(|claim| match standing.fate(claim) {
                Fate::Done(object) => Settled::Done(Written { object, correlation: None }),
                Fate::GivenUp => Settled::NotDone,
                Fate::Unknown => {
                    // A late write under it must not land any more.
                    standing.give_up(claim);
                    Settled::NotDone
                }
            });
            settled.collect()
        })
    }
}

/// Carries one write out on what stands there; an error changes nothing.
fn write(standing: &mut Standing, job: &Write<Runtime>, entropy: &dyn Entropy) -> Result<Written> {
    match standing.fate(&job.claim) {
        Fate::Done(object) => return Ok(Written { object, correlation: None }),
        Fate::GivenUp => {
            let message = format!("the claim {} was given up when its run was settled", job.claim);
            return Err(Error::new(ErrorKind::Refused, message)
                .help("repeat the write under a claim of the present run"));
        }
        Fate::Unknown => {}
    }
    let object = match &job.operation {
        Operation::Create(spec) => {
            if !is_name(&spec.name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{} is not the name of a runtime", quoted(&spec.name)),
                )
                .help("use a-z, 0-9, dashes, dots and `_`"));
            }
            if let Some(found) = named(standing, Some(&spec.name)) {
                let what = format!("the runtime {}", quoted(&spec.name));
                return Err(job.mark.taken(&what, found.mark.as_ref()));
            }
            Some(object(random_id(entropy), spec, &job.mark))
        }
        Operation::Update { id, desired } => {
            let now = as_seen(standing, id, job)?.ok_or_else(|| gone(id))?;
            if now.value("name").and_then(Value::as_text) != Some(&desired.name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the name of a runtime cannot change",
                )
                .help("make a new one and delete this one"));
            }
            Some(object(id.clone(), desired, &job.mark))
        }
        Operation::Delete { id } => {
            if as_seen(standing, id, job)?.is_some() {
                standing.objects.remove(id);
            }
            None
        }
        Operation::Suspend { .. } | Operation::Resume { .. } => {
            return Err(Error::new(ErrorKind::Unsupported, "a runtime cannot be suspended")
                .help("suspend the identity that it acts as"));
        }
    };
    if let Some(object) = &object {
        standing.objects.insert(object.id.clone(), object.clone());
    }
    standing.register(&job.claim, &job.mark.address, object.clone());
    Ok(Written { object, correlation: None })
}

fn as_seen<'s>(
    standing: &'s Standing,
    id: &str,
    job: &Write<Runtime>,
) -> Result<Option<&'s Object>> {
    let Some(now) = standing.objects.get(id) else { return Ok(None) };
    job.mark.not_foreign(&format!("the runtime {}", quoted(id)), now.mark.as_ref())?;
    match job.seen.moved::<Runtime>(now) {
        None => Ok(Some(now)),
        Some(how) => Err(Error::new(
            ErrorKind::StalePlan,
            format!("the runtime {} is not as it was seen: {how}", quoted(id)),
        )
        .help("plan again")),
    }
}

fn gone(id: &str) -> Error {
    Error::new(ErrorKind::StalePlan, format!("the runtime {} is gone", quoted(id)))
        .help("plan again")
}

fn object(id: String, spec: &RuntimeSpec, mark: &Mark) -> Object {
    let fields = [
        ("name", spec.name.to_value()),
        ("command", spec.command.to_value()),
        ("variables", spec.variables.to_value()),
        ("secrets", spec.secrets.to_value()),
        ("exposed", spec.exposed.to_value()),
        ("exposed_because", spec.exposed_because.to_value()),
        ("directory", spec.directory.to_value()),
        ("on_rotation", spec.on_rotation.to_value()),
        ("stagger", spec.stagger.to_value()),
        ("stop_within", spec.stop_within.to_value()),
        ("open_files", spec.open_files.to_value()),
        ("processes", spec.processes.to_value()),
        ("memory", spec.memory.to_value()),
        ("id", id.to_value()),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), Reading::Known(value)));
    Object {
        id,
        label: None,
        fields: fields.into(),
        suspended: false,
        mark: Some(mark.clone()),
        obstacle: None,
    }
}

#[cfg(all(test, feature = "_os-entropy"))]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{
        clock::{SystemClock, SystemEntropy, block_on},
        resource::Resource as _,
        testing::provider::{Sample, Suite},
    };

    fn provider(folder: &tempfile::TempDir) -> ProcessProvider {
        ProcessProvider::create(folder.path().join("runtimes"), Arc::new(SystemEntropy))
            .expect("the folder is a new one")
    }

    #[test]
    fn runtimes_keep_the_contract_of_providers() {
        let folder = tempfile::tempdir().unwrap();
        let provider = Arc::new(provider(&folder));
        let suite = Suite::new(provider, Arc::new(SystemClock), Arc::new(SystemEntropy));
        block_on(suite.check_identity::<Runtime>(|sample: &Sample| {
            let mut runtime = Runtime::builder();
            runtime.name(sample.name()).command(["/bin/true", "--x"]);
            runtime.secrets(BTreeMap::from([("KEY".to_owned(), "vault:a/key".to_owned())]));
            if sample.changed() {
                runtime.variables(BTreeMap::from([("LANG".to_owned(), "C".to_owned())]));
                runtime.memory(64_u32).directory("/srv");
            }
            runtime
        }));
    }

    #[test]
    fn a_folder_that_others_write_to_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let provider = provider(&folder);
        let file = folder.path().join("runtimes/runtimes.json");
        assert!(block_on(provider.target()).is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(block_on(provider.target()).unwrap_err().kind(), ErrorKind::Io);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert_eq!(block_on(provider.target()).unwrap_err().kind(), ErrorKind::Io);
        fs::remove_file(&file).unwrap();
        for (text, kind) in [
            ("{\"format\":2}", ErrorKind::NewerVersion),
            ("{\"format\":1}", ErrorKind::Damaged),
            ("", ErrorKind::Damaged),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(block_on(provider.target()).unwrap_err().kind(), kind, "{text}");
        }
    }
}
