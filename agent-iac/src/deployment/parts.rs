//! Planning a fleet by parts, so that neither time nor memory goes to what
//! does not change.
//!
//! Owns when a plan that was made of a part is the plan of the whole: when all
//! that it does is to make or change what is declared, and nothing was found
//! that nobody declared. Whatever takes something away, or is not what was
//! expected, is planned with everything in view.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join;
use jiff::Timestamp;

use super::{Deployment, PlanRequest};
use crate::{
    address::{Address, Instance},
    blueprint::Blueprint,
    drift::{Greeted, watched_whole},
    error::Result,
    ledger::{Head, Page, Query, State},
    plan::{Action, AgentChange, Apart, Part, Plan},
    value::Digest,
};

/// How many agents are looked at together. Each part costs a few calls of each
/// system, and what is held of it is some thousand objects.
const AT_ONCE: usize = 500;

/// The ids of real objects that are known, of the providers and types that are
/// watched as a whole: of each so much of a digest that no two share it.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<u128>>>;

/// What the parts of a fleet amount to.
struct Looked {
    /// The ledger's head, the same for all of them.
    head: Head,
    targets: BTreeMap<String, String>,
    observed_at: Timestamp,
    /// The agents of which something is to be done.
    others: BTreeSet<Instance>,
    known: Known,
    /// Agents of which nothing is made, and why.
    apart: BTreeMap<Instance, Apart>,
}

impl Deployment {
    /// A plan from no more than what concerns it; `None` where that does not
    /// do, or would cost more than to have everything in view.
    pub(super) async fn plan_in_parts<'a>(
        &'a self,
        blueprint: &Blueprint,
        request: &PlanRequest,
        greeted: &mut Greeted<'a>,
    ) -> Result<Option<Plan>> {
        // A record that moves is at two addresses.
        if !blueprint.moved().is_empty() {
            return Ok(None);
        }
        if !request.targets.is_empty() {
            return self.plan_some(blueprint, request, greeted).await;
        }
        if !self.is_worth_parts() || request.max_leaving.is_some() {
            return Ok(None);
        }
        self.plan_all(blueprint, greeted).await
    }

    /// Whether the fleet is so large that all of it is looked at by parts.
    pub(super) fn is_worth_parts(&self) -> bool {
        self.fleet.agents.len() > 2 * self.part_size.unwrap_or(AT_ONCE)
    }

    async fn plan_some<'a>(
        &'a self,
        blueprint: &Blueprint,
        request: &PlanRequest,
        greeted: &mut Greeted<'a>,
    ) -> Result<Option<Plan>> {
        if request.targets.iter().any(|target| blueprint.agent(target).is_none()) {
            return Ok(None);
        }
        let closure = blueprint.with_needs(&request.targets);
        let users = blueprint.in_need_of(closure.iter().copied());
        let query = Query::Agents(closure.union(&users).map(|agent| (*agent).clone()).collect());
        let state = self.ledger.state(&query).await?;
        self.check_ledger(&state).await?;
        if !reaches_no_further(&state, &closure) {
            return Ok(None);
        }
        let part = blueprint.part(&closure);
        let greeted = std::mem::take(greeted);
        let plan = self.plan_on(&part, &state, request, false, greeted).await;
        // What others are given on these identities stands beside the plan.
        let alone = users.iter().all(|user| closure.contains(*user));
        Ok((is_plain(&plan) && (alone || plan.beside.is_empty())).then_some(plan))
    }

    async fn plan_all<'a>(
        &'a self,
        blueprint: &Blueprint,
        greeted: &mut Greeted<'a>,
    ) -> Result<Option<Plan>> {
        let Some(looked) = self.look_through(blueprint, greeted).await? else { return Ok(None) };
        let Looked { head, mut targets, observed_at, others, known, apart } = looked;
        let closure = blueprint.with_needs(&others);
        let query = Query::Agents(closure.iter().map(|agent| (*agent).clone()).collect());
        let state = self.ledger.state(&query).await?;
        if state.head != head || !reaches_no_further(&state, &closure) {
            return Ok(None);
        }
        let part = blueprint.part(&closure);
        let request = PlanRequest { targets: others.clone(), max_leaving: None };
        let mut plan = self.plan_on(&part, &state, &request, false, Greeted::default()).await;
        let same = agree(&mut targets, &plan.targets);
        if !same || !is_plain(&plan) || !plan.beside.is_empty() {
            return Ok(None);
        }
        if !self.shows_only(blueprint, &known).await {
            return Ok(None);
        }
        let rest = blueprint.resources().len() - part.resources().len();
        plan.unchanged = plan.unchanged.saturating_add(u32::try_from(rest).unwrap_or(u32::MAX));
        plan.observed_at = plan.observed_at.min(observed_at);
        plan.targets = targets;
        plan.apart.extend(apart);
        Ok(Some(plan))
    }

    /// Looks at all agents, some at a time, for those of which something is to
    /// be done.
    async fn look_through<'a>(
        &'a self,
        blueprint: &Blueprint,
        greeted: &mut Greeted<'a>,
    ) -> Result<Option<Looked>> {
        let at_once = self.part_size.unwrap_or(AT_ONCE);
        let mut known = Known::new();
        for (name, provider) in &self.providers {
            let Ok(observers) = provider.observers() else { continue };
            let watched = watched_whole(blueprint, name, &observers).into_iter();
            let watched = watched.map(|ty| (ty.name.to_owned(), BTreeSet::new())).collect();
            known.insert(name.clone(), watched);
        }
        let most = blueprint.agents().count() / 4;
        let mut unseen: BTreeSet<&Instance> = blueprint.agents().map(|(agent, _)| agent).collect();
        let mut page = self.ledger.page(None, at_once).await?;
        self.check_ledger(&page.state).await?;
        if !page.state.lost.is_empty() {
            return Ok(None);
        }
        let mut looked = Looked {
            head: page.state.head,
            targets: BTreeMap::new(),
            observed_at: self.clock.now(),
            others: BTreeSet::new(),
            known,
            apart: BTreeMap::new(),
        };
        loop {
            let Page { state, last } = page;
            note_known(&state, &mut looked.known);
            // The next page is read while this one is planned.
            let next = async {
                match &last {
                    Some(_) => self.ledger.page(last.as_ref(), at_once).await.map(Some),
                    None => Ok(None),
                }
            };
            let this = self.look_at(blueprint, state, &mut looked, &mut unseen, greeted);
            let (next, fits) = join(next, this).await;
            // With most of it to be done, all has to be in view anyway.
            if !fits? || looked.others.len() > most {
                return Ok(None);
            }
            match next? {
                Some(next) => page = next,
                None => break,
            }
            if page.state.head != looked.head {
                return Ok(None);
            }
        }
        looked.others.extend(unseen.into_iter().cloned());
        Ok((looked.others.len() <= most).then_some(looked))
    }

    /// Plans the agents of one page; `false` where they cannot be planned
    /// without the others.
    async fn look_at<'a>(
        &'a self,
        blueprint: &Blueprint,
        mut state: State,
        looked: &mut Looked,
        unseen: &mut BTreeSet<&Instance>,
        greeted: &mut Greeted<'a>,
    ) -> Result<bool> {
        let recorded = state.records.keys().map(Address::instance).chain(state.agents.keys());
        let agents: BTreeSet<Instance> = recorded.cloned().collect();
        if agents.is_empty() {
            return Ok(true);
        }
        for agent in &agents {
            unseen.remove(agent);
        }
        let closure = blueprint.with_needs(&agents);
        let users = blueprint.in_need_of(closure.iter().copied());
        let more = closure.union(&users).filter(|agent| !agents.contains(**agent));
        let more: Vec<Instance> = more.map(|agent| (*agent).clone()).collect();
        if !more.is_empty() {
            let others = self.ledger.state(&Query::Agents(more)).await?;
            if others.head != state.head {
                return Ok(false);
            }
            state.records.extend(others.records);
            state.agents.extend(others.agents);
        }
        if !reaches_no_further(&state, &closure) {
            return Ok(false);
        }
        let part = blueprint.part(&closure);
        let request = PlanRequest { targets: agents, max_leaving: None };
        let greeted = std::mem::take(greeted);
        let plan = self.plan_on(&part, &state, &request, false, greeted).await;
        let fits =
            is_plain(&plan) && plan.beside.is_empty() && agree(&mut looked.targets, &plan.targets);
        looked.apart.extend(plan.apart);
        looked.others.extend(plan.steps.into_iter().map(|step| step.address.instance().clone()));
        looked.others.extend(plan.agents.into_iter().map(|agent| agent.instance));
        Ok(fits)
    }

    /// Whether the systems that are watched as a whole show nothing that is not
    /// known.
    async fn shows_only(&self, blueprint: &Blueprint, known: &Known) -> bool {
        for (name, provider) in &self.providers {
            let Ok(observers) = provider.observers() else { return false };
            for ty in watched_whole(blueprint, name, &observers) {
                let Some(observe) = observers.of(ty.name).cloned() else { continue };
                let Ok(ids) = observe.ids().await else { return false };
                let known = known.get(name).and_then(|types| types.get(ty.name));
                let is_known = |id: &String| known.is_some_and(|known| known.contains(&short(id)));
                if !ids.iter().all(is_known) {
                    return false;
                }
            }
        }
        true
    }
}

/// Whether a plan of a part is what a plan of the whole would say of it. To
/// make something and to change it rests on what it needs, which is in view;
/// to take something away, or to judge what was found, also on who needs it.
fn is_plain(plan: &Plan) -> bool {
    let makes = |action: Action| matches!(action, Action::Create | Action::Update | Action::Record);
    plan.steps.iter().all(|step| step.part == Part::Whole && makes(step.action))
        && plan.agents.iter().all(|agent| matches!(agent.change, AgentChange::Declared { .. }))
        && plan.blocked.is_empty()
        && plan.drift.is_empty()
        && plan.undeclared.is_empty()
        && plan.unread.is_empty()
        && plan.in_doubt.is_empty()
}

/// Whether what is recorded of some agents needs nothing of any others: where a
/// declaration has come to need something else, the old one is not in view.
fn reaches_no_further(state: &State, closure: &BTreeSet<&Instance>) -> bool {
    let records = state.records.iter().filter(|(at, _)| closure.contains(at.instance()));
    let objects = records.flat_map(|(_, record)| record.object.iter().chain(&record.deposed));
    objects
        .flat_map(|object| &object.dependencies)
        .all(|needed| closure.contains(needed.instance()))
}

/// Takes in which system stands behind each provider; `false` when it is
/// another one than it was.
fn agree(targets: &mut BTreeMap<String, String>, more: &BTreeMap<String, String>) -> bool {
    more.iter().all(|(name, target)| {
        targets.entry(name.clone()).or_insert_with(|| target.clone()) == target
    })
}

fn note_known(state: &State, known: &mut Known) {
    let mut note = |provider: &str, ty: &str, id: &str| {
        if let Some(ids) = known.get_mut(provider).and_then(|types| types.get_mut(ty)) {
            ids.insert(short(id));
        }
    };
    for record in state.records.values() {
        for object in record.object.iter().chain(&record.deposed) {
            note(&object.provider, &object.resource_type, &object.id);
        }
        if let Some(open) = &record.open {
            for id in open.id.iter().chain(&open.issued) {
                note(&open.provider, &open.resource_type, id);
            }
        }
    }
}

fn short(id: &str) -> u128 {
    let digest = Digest::of_bytes(id.as_bytes());
    let (half, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
    u128::from_le_bytes(*half)
}
