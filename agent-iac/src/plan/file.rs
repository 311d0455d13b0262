//! A plan in its saved form.

use serde::{Deserialize, Serialize};

use super::{FORMAT, Plan};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::Actor,
    value::{Digest, canonical},
};

/// A plan with its digest, as it is written to a file: canonical JSON, without
/// any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    digest: Digest,
    /// Who proposed it; no part of the digest, so that a pipeline can plan
    /// again to the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proposed_by: Option<Actor>,
    plan: Plan,
}

/// A saved plan as it stands in a file. The seal also covers what the plan's
/// digest leaves out, as the time of its observations: what somebody edits
/// there is seen, though it changes no effect.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    saved: SavedPlan,
    seal: Digest,
}

impl SavedPlan {
    /// Seals a plan with its digest.
    ///
    /// # Errors
    ///
    /// As [`Plan::digest`].
    pub fn new(mut plan: Plan) -> Result<Self> {
        Ok(Self { digest: plan.own_digest()?, proposed_by: None, plan })
    }

    /// Says who proposes it; the ledger records that when it is applied.
    #[must_use]
    pub fn proposed_by(self, actor: Actor) -> Self {
        Self { proposed_by: Some(actor), ..self }
    }

    /// Who proposed it.
    pub fn proposer(&self) -> Option<&Actor> {
        self.proposed_by.as_ref()
    }

    /// The digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan, taken out.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// The bytes to save.
    ///
    /// # Errors
    ///
    /// As [`Plan::digest`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = canonical(&Sealed { saved: self.clone(), seal: Digest::of(self)? })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a saved plan back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`] when it is no saved plan, or when it was edited:
    /// its content then has another digest. [`ErrorKind::NewerVersion`] when a
    /// newer version of this crate wrote it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            plan: Format,
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |message: &str| {
            Error::new(ErrorKind::Damaged, message.to_owned())
                .help("plan again, and apply the new plan")
        };
        let versioned: Versioned = serde_json::from_slice(bytes)
            .map_err(|error| damaged("this is not a saved plan").caused_by(error))?;
        if versioned.plan.format > FORMAT {
            return Err(Error::new(
                ErrorKind::NewerVersion,
                format!(
                    "the plan has format {}, and this version reads up to {FORMAT}",
                    versioned.plan.format
                ),
            )
            .help("apply it with the version that made it, or plan again"));
        }
        let Sealed { mut saved, seal } = serde_json::from_slice(bytes)
            .map_err(|error| damaged("the saved plan cannot be read").caused_by(error))?;
        if saved.plan.own_digest()? != saved.digest || Digest::of(&saved)? != seal {
            return Err(damaged(
                "the plan was edited after it was saved: its content has another digest",
            ));
        }
        Ok(saved)
    }
}
