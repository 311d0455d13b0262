//! The handle that applying holds.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    super::{
        DefaultPrivileges, Grant, Login, Membership, Ownership, Policy, Public, PublicDefaults,
        Role,
        catalog::{self, Read},
        outcome,
        view::View,
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
impl<R: Read> Observe<R> for Writer {
    fn capabilities(&self) -> Capabilities {
        <R as Read>::capabilities()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        catalog::read::<R>(self.view(), references).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        catalog::list::<R>(self.view(), listing).await
    }
}

#[async_trait]
impl<K: Kind> Manage<K> for Writer {
    async fn write(&self, batch: &[Write<K>]) -> Vec<Result<Written>> {
        K::write(self, batch).await
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        outcome::settle(self.view(), K::TYPE, claims).await
    }
}

/// Handles that write a cluster.
pub(in super::super) fn writers(view: View) -> Writers {
    let writer = Arc::new(Writer::new(view));
    Writers::new()
        .with::<Role, _>(&writer)
        .with::<Grant, _>(&writer)
        .with::<Membership, _>(&writer)
        .with::<DefaultPrivileges, _>(&writer)
        .with::<Policy, _>(&writer)
        .with::<Ownership, _>(&writer)
        .with::<Public, _>(&writer)
        .with::<PublicDefaults, _>(&writer)
        .with_credential::<Login, _>(&writer)
}
