//! A secret store whose every call passes the world's gate.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    Gate,
    gate::{Fault, Side},
    witness::Witness,
};
use crate::{
    error::{ErrorKind, Result},
    ledger::Claim,
    secret::Secret,
    value::Digest,
    vault::{Deliver, Delivery, Labels, Open, Pin, SecretStore, StoredVersion, Versions},
};

/// Wraps any secret store, so that its world can crash and err before and
/// after each of its effects.
#[derive(Clone)]
pub struct GatedStore {
    name: String,
    inner: Arc<dyn SecretStore>,
    gate: Gate,
    witness: Arc<Witness>,
}

impl GatedStore {
    pub(super) fn new(
        name: &str,
        inner: Arc<dyn SecretStore>,
        gate: Gate,
        witness: Arc<Witness>,
    ) -> Self {
        Self { name: name.to_owned(), inner, gate, witness }
    }

    fn over<T: ?Sized>(&self, inner: Arc<T>) -> Gated<T> {
        Gated {
            name: self.name.clone(),
            inner,
            gate: self.gate.clone(),
            witness: Arc::clone(&self.witness),
        }
    }
}

impl SecretStore for GatedStore {
    fn description(&self) -> String {
        format!("gated {}", self.inner.description())
    }

    fn labels(&self) -> Result<Arc<dyn Labels>> {
        Ok(Arc::new(self.over(self.inner.labels()?)))
    }

    fn deliver(&self) -> Result<Arc<dyn Deliver>> {
        Ok(Arc::new(self.over(self.inner.deliver()?)))
    }

    fn open(&self) -> Result<Arc<dyn Open>> {
        Ok(Arc::new(self.over(self.inner.open()?)))
    }
}

impl fmt::Debug for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatedStore({})", self.inner.description())
    }
}

/// The handle of one principal.
struct Gated<T: ?Sized> {
    name: String,
    inner: Arc<T>,
    gate: Gate,
    witness: Arc<Witness>,
}

impl<T: ?Sized + Send + Sync> Gated<T> {
    async fn pass(&self, call: &str) -> Result<()> {
        self.gate.pass(ErrorKind::Vault, &format!("{}/{call}", self.name)).await
    }

    /// Runs a call that has an effect between its two boundaries.
    async fn through<A: Send>(
        &self,
        call: &str,
        effect: impl Future<Output = Result<A>> + Send,
    ) -> Result<A> {
        let call = format!("{}/{call}", self.name);
        let error = |side: Side| {
            let call = call.as_str();
            move |fault: Fault| fault.error(ErrorKind::Vault, call, side)
        };
        self.gate.before(&call).await.map_err(error(Side::Before))?;
        let answer = effect.await?;
        self.witness.changed();
        self.gate.after(&call).await.map_err(error(Side::After))?;
        Ok(answer)
    }
}

#[async_trait]
impl<T: ?Sized + Labels> Labels for Gated<T> {
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>> {
        self.pass("versions").await?;
        self.inner.versions(paths).await
    }

    async fn pin(&self, ledger: &str) -> Result<Option<Pin>> {
        self.pass("pin").await?;
        self.inner.pin(ledger).await
    }
}

#[async_trait]
impl<T: ?Sized + Deliver> Deliver for Gated<T> {
    async fn stage(&self, delivery: Delivery<'_>) -> Result<StoredVersion> {
        self.witness.secret(delivery.secret);
        let call = format!("stage {}", delivery.address);
        self.through(&call, self.inner.stage(delivery)).await
    }

    async fn staged(&self, path: &str) -> Result<Option<(StoredVersion, Secret)>> {
        self.pass(&format!("staged {path}")).await?;
        self.inner.staged(path).await
    }

    async fn promote(&self, path: &str, claim: &Claim) -> Result<StoredVersion> {
        self.through(&format!("promote {path}"), self.inner.promote(path, claim)).await
    }

    async fn discard(&self, path: &str, claim: &Claim) -> Result<()> {
        self.through(&format!("discard {path}"), self.inner.discard(path, claim)).await
    }

    async fn remove(&self, path: &str, generation: u32) -> Result<()> {
        self.through(&format!("remove {path}"), self.inner.remove(path, generation)).await
    }

    async fn fingerprint_key(&self) -> Result<(String, Secret)> {
        let (name, key) = self.through("fingerprint key", self.inner.fingerprint_key()).await?;
        self.witness.secret(&key);
        Ok((name, key))
    }

    async fn set_pin(&self, pin: &Pin) -> Result<()> {
        self.through("set pin", self.inner.set_pin(pin)).await
    }
}

#[async_trait]
impl<T: ?Sized + Open> Open for Gated<T> {
    async fn open(
        &self,
        path: &str,
        generation: Option<u32>,
        expect: Option<Digest>,
    ) -> Result<Secret> {
        self.pass(&format!("open {path}")).await?;
        self.inner.open(path, generation, expect).await
    }
}
