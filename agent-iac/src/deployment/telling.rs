//! Telling consumers of the present generation of their credentials, and taking
//! in who has confirmed it.
//!
//! Owns the order in which the consumers of one credential are told, and what
//! is recorded of it. How each kind is told is the teller's matter
//! ([`Tell`](crate::consumer::Tell)); what a missing confirmation means, the
//! rotation's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use super::Deployment;
use crate::{
    address::{Address, Instance},
    apply::Untold,
    blueprint::Blueprint,
    consumer::{Consumer, Notice, Tell, Told},
    error::{Error, Result},
    ledger::{Append, CredentialEvent, CredentialRecord, Entry, Rotation, State},
};

/// How many credentials have their consumers told at once.
const AT_ONCE: usize = 16;

/// A credential whose present generation somebody uses.
struct Present<'a> {
    address: &'a Address,
    delivered: &'a CredentialRecord,
    consumers: &'a BTreeSet<Consumer>,
    told: &'a BTreeMap<String, u32>,
    confirmed: &'a BTreeMap<String, u32>,
}

impl Present<'_> {
    fn said(&self, event: CredentialEvent) -> Entry {
        Entry::of(self.address, event).at_generation(self.delivered.generation)
    }

    fn knows(&self, of: &BTreeMap<String, u32>, consumer: &Consumer) -> bool {
        let newest = of.get(&consumer.to_string());
        newest.is_some_and(|newest| *newest >= self.delivered.generation)
    }

    /// Tells who was not told, files first: whoever is signalled reads them.
    async fn tell(&self, teller: &dyn Tell) -> (Vec<Entry>, Vec<Untold>) {
        let (mut entries, mut untold) = (Vec::new(), Vec::new());
        let untaught = |consumer: &&Consumer| !self.knows(self.told, consumer);
        let (files, others): (Vec<_>, Vec<_>) = self
            .consumers
            .iter()
            .filter(untaught)
            .partition(|consumer| matches!(consumer, Consumer::File(_)));
        for consumer in files.into_iter().chain(others) {
            let reads = !matches!(consumer, Consumer::File(_)) && !consumer.confirms();
            let told = if reads && !untold.is_empty() {
                Told::Failed { because: "a file of the credential is not written yet".into() }
            } else {
                let notice = Notice {
                    credential: self.address,
                    generation: self.delivered.generation,
                    place: &self.delivered.place,
                    digest: self.delivered.stored,
                    consumer,
                };
                teller.tell(notice).await
            };
            let name = consumer.to_string();
            match told {
                Told::Told => {
                    entries.push(self.said(CredentialEvent::Told { consumer: name.clone() }));
                    if !consumer.confirms() {
                        entries.push(self.said(CredentialEvent::Confirmed { consumer: name }));
                    }
                }
                Told::Failed { because } | Told::NotAllowed { because } => {
                    untold.push(Untold { address: self.address.clone(), consumer: name, because });
                }
            }
        }
        (entries, untold)
    }
}

impl Deployment {
    /// Takes in who confirmed what, and says whether anybody did. Of an inbox
    /// that cannot be read nobody counts as having confirmed, and it says why.
    pub(super) async fn listen(
        &self,
        blueprint: &Blueprint,
        state: &State,
        agents: &BTreeSet<Instance>,
    ) -> Result<(bool, Option<Arc<Error>>)> {
        let Some(inbox) = &self.inbox else { return Ok((false, None)) };
        let present = presents(blueprint, state, agents);
        let waited_for = present.iter().flat_map(|present| {
            let waits = |consumer: &&Consumer| {
                consumer.confirms() && !present.knows(present.confirmed, consumer)
            };
            present.consumers.iter().filter(waits).map(move |consumer| (present, consumer))
        });
        let waited_for: Vec<_> = waited_for.collect();
        if waited_for.is_empty() {
            return Ok((false, None));
        }
        let asked: Vec<(Address, Consumer)> = waited_for
            .iter()
            .map(|(present, consumer)| (present.address.clone(), (*consumer).clone()))
            .collect();
        let answers = match inbox.confirmed(&asked).await {
            Ok(answers) => answers,
            Err(error) => return Ok((false, Some(Arc::new(error)))),
        };
        let mut entries = Vec::new();
        for ((present, consumer), answer) in waited_for.into_iter().zip(answers) {
            // One that is ahead of the ledger confirms what it cannot use.
            if answer.is_some_and(|answer| answer.generation == present.delivered.generation) {
                let consumer = consumer.to_string();
                entries.push(present.said(CredentialEvent::Confirmed { consumer }));
            }
        }
        let heard = !entries.is_empty();
        if heard {
            self.ledger.append(Append { entries, ..Append::default() }).await?;
        }
        Ok((heard, None))
    }

    /// Tells the consumers that do not know the present generation yet, and
    /// says who could not be told; they are told by the next one who looks.
    pub(super) async fn tell(
        &self,
        blueprint: &Blueprint,
        state: &State,
        agents: &BTreeSet<Instance>,
    ) -> Result<Vec<Untold>> {
        let Some(teller) = &self.teller else { return Ok(Vec::new()) };
        let present = presents(blueprint, state, agents);
        let telling: Vec<BoxFuture<'_, _>> =
            present.iter().map(|present| present.tell(&**teller).boxed()).collect();
        let told: Vec<_> = stream::iter(telling).buffered(AT_ONCE).collect().await;
        let (entries, untold): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        if !entries.is_empty() {
            self.ledger.append(Append { entries, ..Append::default() }).await?;
        }
        Ok(untold.into_iter().flatten().collect())
    }
}

/// The credentials of these agents, or of all, that consumers are declared of
/// and nothing is under way with. Nobody is told anything of an agent that
/// leaves or is held.
fn presents<'a>(
    blueprint: &'a Blueprint,
    state: &'a State,
    agents: &BTreeSet<Instance>,
) -> Vec<Present<'a>> {
    static NOBODY: BTreeMap<String, u32> = BTreeMap::new();
    let present = blueprint.resources().iter().filter_map(|(address, desired)| {
        let consumers = &desired.credential.as_ref()?.consumers;
        let instance = address.instance();
        let meant = agents.is_empty() || agents.contains(instance);
        if consumers.is_empty() || !meant {
            return None;
        }
        let agent = state.agents.get(instance)?;
        let record = state.records.get(address)?;
        if agent.leaving.is_some() || agent.hold.is_some() || record.open.is_some() {
            return None;
        }
        let delivered = record.object.as_ref()?.credential.as_ref()?;
        let rotation: Option<&Rotation> = record.rotation.as_deref();
        Some(Present {
            address,
            delivered,
            consumers,
            told: rotation.map_or(&NOBODY, |rotation| &rotation.told),
            confirmed: rotation.map_or(&NOBODY, |rotation| &rotation.confirmed),
        })
    });
    present.collect()
}
