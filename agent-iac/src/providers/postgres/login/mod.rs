//! Logins: composed, made, tried and ended.
//!
//! Owns what a login is called, what is delivered of it, and how it ends. It
//! knows nothing of grants.

mod issue;
mod probe;
mod revoke;
mod secret;

pub(super) use probe::Prober;

use async_trait::async_trait;

use super::{Login, write::Writer};
use crate::{
    clock::Entropy,
    error::Result,
    ledger::Claim,
    provider::{Composition, Issue, IssueRequest, Issued, RevokeRequest, Settled, Written},
    secret::Secret,
};

#[async_trait]
impl Issue<Login> for Writer {
    async fn compose(
        &self,
        batch: &[Composition<Login>],
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        issue::compose(self.view(), batch, entropy).await
    }

    async fn issue(&self, batch: &[IssueRequest<Login>]) -> Vec<Result<Issued>> {
        issue::issue(self, batch).await
    }

    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
        revoke::revoke(self, batch).await
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.settle(claims).await
    }
}
