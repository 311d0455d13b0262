//! A suite that finds nothing proves nothing: each rule is shown to fail.

mod credential;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use super::*;
use crate::{
    access::{Access, Tuple},
    clock::{SystemClock, block_on},
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        Capabilities, Listing, Manage, Object, Observation, Observe, Observers, Operation,
        Permission, Probers, Recovery, Reference, Settled, Source, Surrounded, Surroundings, Write,
        Writers, Written,
    },
    resource::{Reading, Resource as _},
    value::Value,
};

/// An account of a small system in memory.
#[derive(Debug, crate::Resource)]
#[resource(type = "test.account", kind = "identity")]
struct Account {
    #[resource(key)]
    name: String,
    note: Option<String>,
    #[resource(output)]
    id: String,
}

/// What the system does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    AnswersOutOfOrder,
    DropsAnAnswer,
    FindsWhatIsNotThere,
    ForgetsClaims,
    TakesOver,
    IgnoresWhatWasSeen,
    StopsAtAFailure,
    MakesAnotherNote,
    KeepsTheOldNote,
    GivesANewId,
    ListsTooMuch,
    SettlesWrong,
    TakesFromOthers,
    StaysActive,
    DeletesNothing,
    RefusesWhatIsGone,
    SurroundsFewer,
    PointsOutside,
    NamesASourceTwice,
    SpeaksOfAnother,
    IsInTheWay,
}

struct Small {
    fault: Option<Fault>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    claims: BTreeMap<Claim, Written>,
    next: usize,
}

impl Small {
    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_one(&self, state: &mut State, write: &Write<Account>) -> Result<Written> {
        if let Some(written) = state.claims.get(&write.claim)
            && !self.is(Fault::ForgetsClaims)
        {
            return Ok(written.clone());
        }
        let id = match &write.operation {
            Operation::Create(spec) => {
                let name = Value::from(spec.name.as_str());
                let found = state.objects.values().find(|one| one.value("name") == Some(&name));
                if let (Some(found), false) = (found, self.is(Fault::TakesOver)) {
                    return Err(Error::new(ErrorKind::Foreign, format!("{} is there", found.id)));
                }
                state.next += 1;
                format!("{:04}", state.next)
            }
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => id.clone(),
        };
        let now = state.objects.get(&id).cloned();
        match (&write.operation, &now) {
            (Operation::Create(_), _) => {}
            (Operation::Delete { .. }, None) if !self.is(Fault::RefusesWhatIsGone) => {}
            (_, None) => return Err(Error::new(ErrorKind::StalePlan, "it is gone")),
            (_, Some(now)) => {
                let foreign = now.mark.as_ref() != Some(&write.mark);
                if foreign && !self.is(Fault::TakesFromOthers) {
                    return Err(Error::new(ErrorKind::Foreign, "it is another fleet's"));
                }
                if write.seen.object() != Some(now) && !self.is(Fault::IgnoresWhatWasSeen) {
                    return Err(Error::new(ErrorKind::StalePlan, "it has moved"));
                }
            }
        }
        let object = match &write.operation {
            Operation::Create(spec) | Operation::Update { desired: spec, .. } => {
                let mut account = AccountBuilder::default();
                account.name(&spec.name).note(&spec.note).id(id.as_str());
                let mut object = Object::new::<Account>(id.clone(), &mut account);
                object.mark = Some(write.mark.clone());
                object.obstacle = self.is(Fault::IsInTheWay).then(|| "it is in the way".into());
                if now.is_none() && self.is(Fault::MakesAnotherNote) {
                    object.fields.insert("note".into(), Reading::Known("another".into()));
                }
                if let (Some(now), true) = (&now, self.is(Fault::KeepsTheOldNote)) {
                    object.fields.insert("note".into(), now.fields["note"].clone());
                }
                if now.is_some() && self.is(Fault::GivesANewId) {
                    object.id.push('b');
                }
                Some(object)
            }
            Operation::Suspend { .. } => {
                now.map(|now| Object { suspended: !self.is(Fault::StaysActive), ..now })
            }
            Operation::Resume { .. } => now.map(|now| Object { suspended: false, ..now }),
            Operation::Delete { .. } => None,
        };
        match &object {
            Some(object) => drop(state.objects.insert(id, object.clone())),
            None if self.is(Fault::DeletesNothing) => {}
            None => drop(state.objects.remove(&id)),
        }
        let written = Written { object, correlation: None };
        state.claims.insert(write.claim.clone(), written.clone());
        Ok(written)
    }
}

#[async_trait]
impl Observe<Account> for Small {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            checks_seen: true,
            batch: 100,
            suspends: true,
            ..Capabilities::default()
        }
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let find = |state: &State, reference: &Reference| match reference {
            Reference::Id(id) => state.objects.get(id).cloned(),
            Reference::Key(key) => {
                state.objects.values().find(|one| one.value("name") == key.get("name")).cloned()
            }
        };
        let observed = |found: Option<Object>| match found {
            Some(object) => Observation::Present(object),
            None if self.is(Fault::FindsWhatIsNotThere) => Observation::Unread("denied".into()),
            None => Observation::Absent,
        };
        let mut answers: Vec<Observation> = self.with(|state| {
            references.iter().map(|reference| observed(find(state, reference))).collect()
        });
        if self.is(Fault::AnswersOutOfOrder) {
            answers.reverse();
        }
        if self.is(Fault::DropsAnAnswer) {
            answers.retain(|answer| *answer != Observation::Absent);
        }
        Ok(answers)
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        let wanted = |id: &String| match listing {
            Listing::All => true,
            Listing::Of(ids) => ids.contains(id) || self.is(Fault::ListsTooMuch),
        };
        Ok(self
            .with(|state| state.objects.values().filter(|one| wanted(&one.id)).cloned().collect()))
    }

    async fn surroundings(&self, of: &[Surrounded], _: &[Permission]) -> Result<Surroundings> {
        let fewer = usize::from(self.is(Fault::SurroundsFewer));
        let of = of.iter().skip(fewer).map(|_| vec![usize::from(self.is(Fault::PointsOutside))]);
        let who = if self.is(Fault::SpeaksOfAnother) { "me" } else { "everybody" };
        let source = Source {
            name: "everybody".into(),
            access: Access::exactly([Tuple::allow(who, "read", "the board")]),
            counted: BTreeMap::new(),
        };
        let sources = vec![source; 1 + usize::from(self.is(Fault::NamesASourceTwice))];
        Ok(Surroundings { sources, of: of.collect(), ..Surroundings::default() })
    }
}

#[async_trait]
impl Manage<Account> for Small {
    async fn write(&self, batch: &[Write<Account>]) -> Vec<Result<Written>> {
        self.with(|state| {
            let mut failed = false;
            let mut answers = Vec::new();
            for write in batch {
                answers.push(if failed && self.is(Fault::StopsAtAFailure) {
                    Err(Error::new(ErrorKind::Provider, "it stopped"))
                } else {
                    self.write_one(state, write)
                });
                failed |= answers.last().is_some_and(Result::is_err);
            }
            answers
        })
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        let known = |state: &State, claim| match state.claims.get(claim) {
            Some(written) if !self.is(Fault::SettlesWrong) => Settled::Done(written.clone()),
            _ => Settled::NotDone,
        };
        Ok(self.with(|state| claims.iter().map(|claim| known(state, claim)).collect()))
    }
}

/// The system with its principals.
struct System(Arc<Small>);

#[async_trait]
impl Provider for System {
    fn description(&self) -> String {
        "small".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("small".into())
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new().with::<Account, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new().with::<Account, _>(&self.0))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new())
    }
}

/// Bytes that count up: names in this test need not be random.
struct Counting(AtomicUsize);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let [low, ..] = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            *byte = low;
        }
    }
}

/// What the suite says of a system with a fault; `None` when it passes.
fn verdict(fault: Option<Fault>) -> Option<String> {
    let system = System(Arc::new(Small { fault, state: Mutex::default() }));
    let entropy = Arc::new(Counting(AtomicUsize::new(0)));
    let suite = Suite::new(Arc::new(system), Arc::new(SystemClock), entropy);
    let check = suite.check_identity::<Account>(|sample| {
        let mut account = Account::builder();
        account.name(sample.name());
        account.note(if sample.changed() { "changed" } else { "as made" });
        account
    });
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(check)));
    ended.err().map(|panic| *panic.downcast::<String>().expect("the suite panics with a text"))
}

#[test]
fn a_system_that_keeps_the_contract_passes() {
    assert_eq!(verdict(None), None);
}

#[test]
fn each_fault_is_found_by_its_rule_and_named() {
    for (fault, rule) in [
        (Fault::AnswersOutOfOrder, "answers stand in the order of the references"),
        (Fault::DropsAnAnswer, "what was not created is absent"),
        (Fault::FindsWhatIsNotThere, "what was not created is absent"),
        (Fault::ForgetsClaims, "a create under the same claim makes nothing"),
        (Fault::TakesOver, "a create of what exists under another claim is refused"),
        (Fault::IgnoresWhatWasSeen, "a write whose object is not as it was seen"),
        (Fault::StopsAtAFailure, "one write of a batch that fails does not undo or stop"),
        (Fault::MakesAnotherNote, "what is created is answered as it was declared"),
        (Fault::KeepsTheOldNote, "an update gives the object its properties"),
        (Fault::GivesANewId, "an update gives the object its properties and keeps its id"),
        (Fault::ListsTooMuch, "listing by identity gives what belongs to it"),
        (Fault::SettlesWrong, "a claim that was carried out settles as done"),
        (Fault::TakesFromOthers, "another fleet's object is refused as foreign"),
        (Fault::StaysActive, "a suspended identity is seen as suspended"),
        (Fault::DeletesNothing, "what was deleted is absent"),
        (Fault::RefusesWhatIsGone, "deleting what is gone succeeds"),
        (Fault::SurroundsFewer, "surroundings are answered for each identity"),
        (Fault::PointsOutside, "an identity points to sources that are given"),
        (Fault::NamesASourceTwice, "each of which stands once"),
        (Fault::SpeaksOfAnother, "a source is the principal of its tuples"),
        (Fault::IsInTheWay, "nothing stands in the way of changing what was just made"),
    ] {
        let told = verdict(Some(fault)).unwrap_or_default();
        assert!(told.contains(rule), "{fault:?}: {told}");
        assert!(told.contains("`small`") && told.contains("`test.account`"), "{told}");
    }
}

#[test]
fn a_sample_has_a_name_of_its_own() {
    let system = System(Arc::new(Small { fault: None, state: Mutex::default() }));
    let entropy = Arc::new(Counting(AtomicUsize::new(0)));
    let suite = Suite::new(Arc::new(system), Arc::new(SystemClock), entropy);
    let (one, other) = (suite.sample(), suite.sample());
    assert_ne!(one.name(), other.name());
    assert!(one.name().len() <= 40);
}
