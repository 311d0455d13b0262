//! The handle that applying holds.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;

use super::{
    super::{
        DefaultPrivileges, Grant, Membership, Ownership, Policy, Public, Role,
        catalog::{self, Read},
        server::Server,
        view::{Layout, View},
    },
    Kind, Writer,
};
use crate::{
    error::Result,
    ledger::Claim,
    provider::{
        Capabilities, Listing, Manage, Object, Observation, Observe, Reference, Settled, Write,
        Writers, Written,
    },
};

#[async_trait]
impl<K: Kind> Observe<K> for Writer {
    fn capabilities(&self) -> Capabilities {
        <K as Read>::capabilities()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        catalog::read::<K>(self.view(), references).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        catalog::list::<K>(self.view(), listing).await
    }
}

#[async_trait]
impl<K: Kind> Manage<K> for Writer {
    async fn write(&self, batch: &[Write<K>]) -> Vec<Result<Written>> {
        K::write(self, batch).await
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.settle(claims).await
    }
}

/// Handles that write a cluster: the server's database as the provider's own,
/// and `others` beside it, as `administrators`. `observer` is let into the
/// registry; the logins in `principals` are not locked out.
#[doc(hidden)]
pub fn writers(
    server: Server,
    others: BTreeSet<String>,
    administrators: Option<String>,
    principals: BTreeSet<String>,
    observer: Option<String>,
) -> Writers {
    let own = server.endpoint().database().to_owned();
    let layout = Arc::new(Layout { own, others, administrators, principals });
    let writer = Arc::new(Writer::new(View { server, layout }, observer));
    Writers::new()
        .with::<Role, _>(&writer)
        .with::<Grant, _>(&writer)
        .with::<Membership, _>(&writer)
        .with::<DefaultPrivileges, _>(&writer)
        .with::<Policy, _>(&writer)
        .with::<Ownership, _>(&writer)
        .with::<Public, _>(&writer)
}
