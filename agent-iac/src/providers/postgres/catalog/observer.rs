//! The handle that planning and drift hold.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    super::{
        DefaultPrivileges, Grant, Login, Membership, Ownership, Policy, Public, PublicDefaults,
        Role, view::View,
    },
    Read,
};
use crate::{
    error::Result,
    provider::{
        Capabilities, Listing, Object, Observation, Observe, Observers, Permission, Reference,
        Surrounded, Surroundings,
    },
};

/// Only reads.
struct Observer {
    view: View,
}

#[async_trait]
impl<R: Read> Observe<R> for Observer {
    fn capabilities(&self) -> Capabilities {
        <R as Read>::capabilities()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        super::read::<R>(&self.view, references).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        super::list::<R>(&self.view, listing).await
    }

    async fn surroundings(
        &self,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings> {
        R::surroundings(&self.view, of, everybody).await
    }
}

/// Handles that read a cluster.
pub(in super::super) fn observers(view: View) -> Observers {
    let observer = Arc::new(Observer { view });
    Observers::new()
        .with::<Role, _>(&observer)
        .with::<Grant, _>(&observer)
        .with::<Membership, _>(&observer)
        .with::<DefaultPrivileges, _>(&observer)
        .with::<Policy, _>(&observer)
        .with::<Ownership, _>(&observer)
        .with::<Public, _>(&observer)
        .with::<PublicDefaults, _>(&observer)
        .with::<Login, _>(&observer)
}
