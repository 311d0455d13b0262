//! An agent's process, with the real systems behind its bindings.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Deployment;
use crate::{
    address::{Address, Instance},
    consumer::{Allowed, Confirm, Consumer, Credential, FolderInbox, LocalTeller},
    error::{Error, ErrorKind, Result},
    ledger::{Managed, State},
    provider::{Observation, Reference},
    providers::process::{
        ProcessProvider, Runtime,
        exec::{Environment, Exec},
    },
    resource::Resource as _,
    vault::Place,
};

impl Deployment {
    /// Adds the processes of this machine, for a folder as that of
    /// [`Deployment::embedded`]: their environments as the provider `process`, in
    /// `runtimes/`, and the confirmations of consumers in `inbox/`. Of other
    /// consumers nothing is allowed; [`Deployment::with_teller`] says what is.
    ///
    /// # Errors
    ///
    /// When one of the two folders cannot be made.
    pub fn with_processes(self, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let entropy = Arc::clone(&self.entropy);
        let provider = ProcessProvider::create(folder.join("runtimes"), entropy)?;
        let inbox = Arc::new(FolderInbox::create(folder.join("inbox"))?);
        let teller = LocalTeller::new(Allowed::nothing(), self.stores.clone());
        Ok(self
            .with_provider("process", Arc::new(provider))
            .with_inbox(Arc::<FolderInbox>::clone(&inbox))
            .with_confirmations(inbox)
            .with_teller(Arc::new(teller)))
    }

    /// Says where the processes that [`Deployment::exec`] starts confirm the
    /// generations that they use.
    #[must_use]
    pub fn with_confirmations(mut self, confirm: Arc<dyn Confirm>) -> Self {
        self.confirm = Some(confirm);
        self
    }

    /// Makes an agent's process ready to be started, in the environment that
    /// stands in the provider's folder now. `runtime` names one of the agent's
    /// runtimes where it has several; the folder of its secrets is made below
    /// `below`.
    ///
    /// # Errors
    ///
    /// When nothing of the kind exists, when the agent is leaving or was
    /// stopped, and when the folder, the ledger or a secret store cannot be
    /// read.
    pub async fn exec(
        &self,
        agent: &Instance,
        runtime: Option<&str>,
        below: impl Into<PathBuf>,
    ) -> Result<Exec> {
        let below = below.into();
        let state = self.state().await?;
        let leaves = state.agents.get(agent).and_then(|record| record.leaving.as_ref());
        if leaves.is_some() {
            let message = format!("the agent `{agent}` is leaving or was stopped");
            return Err(Error::new(ErrorKind::Refused, message)
                .help("`show` says why; `resume` lets it act again"));
        }
        let (address, managed) = one_runtime(&state, agent, runtime)?;
        let provider = self.providers.get(&managed.provider).ok_or_else(|| {
            let message = format!("the deployment has no provider named `{}`", managed.provider);
            Error::new(ErrorKind::NotFound, message)
                .help("give the deployment the provider under this name")
        })?;
        let observers = provider.observers()?;
        let observe = observers.of(Runtime::TYPE).ok_or_else(|| {
            let message = format!("`{}` knows no runtimes", managed.provider);
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let found = observe.read(&[Reference::Id(managed.id.clone())]).await?.pop();
        let Some(Observation::Present(object)) = found else {
            return Err(Error::new(ErrorKind::NotFound, "the runtime is not there any more")
                .at(address)
                .help("`plan` shows what would make it again"));
        };
        let environment = Environment::of(&object).map_err(|error| error.at(address))?;
        let mut credentials = BTreeMap::new();
        for place in environment.places() {
            if let Some(credential) = self.credential(&state, place, address)? {
                credentials.insert(place.clone(), credential);
            }
        }
        Exec::new(environment, &credentials, below).map_err(|error| error.at(address))
    }

    /// The credential that is delivered at a place, as a runtime holds it.
    fn credential(
        &self,
        state: &State,
        place: &Place,
        runtime: &Address,
    ) -> Result<Option<Credential>> {
        let at = |managed: &Managed| managed.credential.as_ref().is_some_and(|c| c.place == *place);
        let mut records = state.records.iter();
        let found = records.find(|(_, record)| record.object.as_deref().is_some_and(at));
        let Some((address, _)) = found else { return Ok(None) };
        let store = self.stores.get(place.store()).ok_or_else(|| {
            let message = format!("the deployment has no secret store named `{}`", place.store());
            Error::new(ErrorKind::NotFound, message)
                .help("give the deployment the store under this name")
        })?;
        let credential = Credential::new(address.clone(), place.clone(), &**store)?
            .with_clock(Arc::clone(&self.clock));
        Ok(Some(match &self.confirm {
            Some(inbox) => {
                credential.confirming(Consumer::Runtime(runtime.clone()), Arc::clone(inbox))
            }
            None => credential,
        }))
    }
}

fn one_runtime<'s>(
    state: &'s State,
    agent: &Instance,
    wanted: Option<&str>,
) -> Result<(&'s Address, &'s Managed)> {
    let mut found = state.records.iter().filter_map(|(address, record)| {
        let object = record.object.as_deref().filter(|o| o.resource_type == Runtime::TYPE)?;
        let named = wanted.is_none_or(|wanted| wanted == address.resource());
        (address.instance() == agent && named).then_some((address, object))
    });
    let missing = || {
        let what = wanted.map_or_else(|| agent.to_string(), |name| format!("{agent}.{name}"));
        Error::new(ErrorKind::NotFound, format!("`{what}` has no `{}` that exists", Runtime::TYPE))
            .help("declare one, and `apply`; `show` lists what an agent has")
    };
    let first = found.next().ok_or_else(missing)?;
    match found.next() {
        None => Ok(first),
        Some((other, _)) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("`{agent}` has several runtimes, `{}` and `{other}` among them", first.0),
        )
        .help("name one of them")),
    }
}
