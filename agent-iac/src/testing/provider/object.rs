//! The rules for what is created, changed and deleted.

use super::{
    Sample, Suite,
    case::{Case, Values, fresh},
};
use crate::{
    error::ErrorKind,
    ledger::Claim,
    provider::{
        Listing, Object, Observation, Recovery, Reference, Settled, Surrounded, Surroundings,
        WriteRequest,
    },
    resource::Resource,
    schema::Kind,
};

/// Two identities that what is tested belongs to.
pub(super) struct Owners {
    pub(super) ids: [String; 2],
    requests: Vec<WriteRequest>,
    type_name: &'static str,
}

impl Owners {
    pub(super) async fn create<I: Resource>(
        suite: &Suite,
        sample: &(dyn Fn(&Sample) -> I::Builder + Sync),
    ) -> Self {
        let mut case = Case::new::<I>(suite);
        case.rule("an identity for the others can be created");
        let (first, _) = fresh::<I>(&case, "", &|_, it| sample(it));
        let (second, _) = fresh::<I>(&case, "", &|_, it| sample(it));
        let objects =
            [case.written(case.create(&first)).await, case.written(case.create(&second)).await];
        let requests = objects.iter().map(|object| case.delete(object)).collect();
        Self { ids: objects.map(|object| object.id), requests, type_name: I::TYPE }
    }

    pub(super) async fn delete(self, suite: &Suite) {
        let writers = suite.provider.writers().expect("it gave them at the start");
        let write = writers.of(self.type_name).expect("it had the type at the start");
        for request in self.requests {
            for answer in write.write(vec![request]).await {
                answer.expect("an identity that nothing stands on can be deleted");
            }
        }
    }
}

/// Runs all rules for one type.
pub(super) async fn check<R: Resource>(
    suite: &Suite,
    owners: Option<&[String; 2]>,
    sample: &(dyn Fn(&str, &Sample) -> R::Builder + Sync),
) {
    let owner = |index: usize| owners.map_or("", |ids| ids[index].as_str());
    let mut case = Case::new::<R>(suite);
    let (values, changed) = fresh::<R>(&case, owner(0), sample);
    let changed = case.values(&sample(owner(0), &changed));
    let key_stays = case.ty.key_fields().all(|field| values[field.name] == changed[field.name]);
    case.rule("a changed sample keeps its natural key");
    case.holds(key_stays, &changed);

    let (first, claim) = creating(&mut case, &values).await;
    let (others, _) = fresh::<R>(&case, owner(1), sample);
    let second = case.written(case.create(&others)).await;
    reading(&mut case, &values, &first, &second).await;
    listing(&mut case, owners, &first, &second).await;
    surroundings(&mut case, &first, &second).await;
    batching::<R>(&mut case, owner(0), sample, &values, &second).await;
    settling(&mut case, &claim, &first).await;
    marking(&mut case, &first).await;
    let first = if changed == values { first } else { updating(&mut case, &first, &changed).await };
    let first = suspending(&mut case, first).await;
    deleting(&mut case, &first, &second).await;
}

async fn creating(case: &mut Case<'_>, values: &Values) -> (Object, Claim) {
    case.rule("what was not created is absent");
    if let Some(key) = case.key(values) {
        let found = case.read(&[key]).await;
        case.holds(found == [Observation::Absent], &found);
    }
    case.rule("what is created is answered as it was declared");
    let request = case.create(values);
    let (claim, mark) = (request.claim.clone(), request.mark.clone());
    let created = case.written(request).await;
    case.is_as_declared(&created, values);
    case.rule("what is created is read back as it was answered");
    let found = case.present(&created.id).await;
    case.holds(found == created, &(&found, &created));

    case.rule("a create under the same claim makes nothing and answers the same id");
    let before = case.with_mark(created.mark.as_ref()).await;
    let again = WriteRequest { claim: claim.clone(), mark, ..case.create(values) };
    let again = case.written(again).await;
    case.holds(again.id == created.id, &(&again.id, &created.id));
    let after = case.with_mark(created.mark.as_ref()).await;
    case.holds(before == after, &(&before, &after));

    if case.key(values).is_some() {
        case.rule("a create of what exists under another claim is refused");
        case.refused(case.one(case.create(values)).await, None);
        let found = case.present(&created.id).await;
        case.holds(found == created, &(&found, &created));
    }
    (created, claim)
}

async fn reading(case: &mut Case<'_>, values: &Values, first: &Object, second: &Object) {
    case.rule("reading nothing answers nothing");
    case.read(&[]).await;
    case.rule("answers stand in the order of the references, in any number");
    let id = |object: &Object| Reference::Id(object.id.clone());
    let absent = Reference::Id(format!("{}x", first.id));
    let mut references = vec![id(second), absent, id(first), id(second), id(first)];
    let mut expected: Vec<Option<&str>> =
        vec![Some(&second.id), None, Some(&first.id), Some(&second.id), Some(&first.id)];
    if let Some(key) = case.key(values) {
        references.push(key);
        expected.push(Some(&first.id));
    }
    // More than one request of most systems takes.
    let references: Vec<Reference> =
        references.iter().cycle().take(references.len() * 250).cloned().collect();
    let expected = expected.repeat(250);
    let found = case.read(&references).await;
    let ids: Vec<_> =
        found.iter().map(|one| one.object().map(|object| object.id.as_str())).collect();
    let first_wrong = ids.iter().zip(&expected).position(|(found, expected)| found != expected);
    case.holds(first_wrong.is_none(), &first_wrong.map(|at| (at, ids[at], expected[at])));
    case.rule("what does not exist is absent, and nothing else");
    case.holds(found[1] == Observation::Absent, &found[1]);
    case.rule("the handle that writes reads the same");
    let written = case.done(case.write.read(&references[..5]).await);
    case.holds(written == found[..5], &written);
}

async fn listing(
    case: &mut Case<'_>,
    owners: Option<&[String; 2]>,
    first: &Object,
    second: &Object,
) {
    case.rule("listing all gives every object once");
    let all = case.listed(&Listing::All).await;
    for object in [first, second] {
        let times = all.iter().filter(|id| **id == object.id).count();
        case.holds(times == 1, &format!("{} stands {times} times in it", object.id));
    }
    case.rule("the ids alone are those of the listing");
    let ids = case.done(case.observe.ids().await);
    for object in [first, second] {
        let times = ids.iter().filter(|id| **id == object.id).count();
        case.holds(times == 1, &format!("{} stands {times} times among them", object.id));
    }
    case.rule("listing by identity gives what belongs to it and nothing else");
    if case.ty.kind == Kind::Permission && case.ty.owner_field().is_none() {
        return;
    }
    let of = match (owners, case.ty.kind) {
        (Some(ids), _) => ids[0].clone(),
        (None, Kind::Identity) => first.id.clone(),
        (None, _) => return,
    };
    let found = case.listed(&Listing::Of(vec![of])).await;
    case.holds(found == [first.id.clone()], &found);
    let none = case.listed(&Listing::Of(vec![])).await;
    case.holds(none.is_empty(), &none);
}

async fn surroundings(case: &mut Case<'_>, first: &Object, second: &Object) {
    if case.ty.kind != Kind::Identity {
        return;
    }
    case.rule("surroundings are answered for each identity in order, or for none");
    let id = |object: &Object| Some(Reference::Id(object.id.clone()));
    let of = |identity| Surrounded { identity, permissions: Vec::new() };
    let asked = [of(id(first)), of(None), of(id(second)), of(id(first))];
    let Surroundings { sources, of, .. } = case.done(case.observe.surroundings(&asked, &[]).await);
    let silent = of.is_empty() && sources.is_empty();
    case.holds(silent || of.len() == asked.len(), &format!("{} answers to 4", of.len()));
    case.holds(silent || of[0] == of[3], &"two answers about one identity");
    case.rule("an identity points to sources that are given, each of which stands once");
    let outside = of.iter().flatten().find(|source| **source >= sources.len());
    case.holds(outside.is_none(), &outside);
    let mut names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    case.holds(twice.is_none(), &twice);
    case.rule("a source is the principal of its tuples");
    let another = sources
        .iter()
        .find(|source| source.access.tuples.iter().any(|tuple| tuple.principal != source.name));
    case.holds(another.is_none(), &another);
}

async fn batching<R: Resource>(
    case: &mut Case<'_>,
    owner: &str,
    sample: &(dyn Fn(&str, &Sample) -> R::Builder + Sync),
    existing: &Values,
    seen: &Object,
) {
    case.rule("writing nothing answers nothing");
    case.batch(vec![]).await;
    if case.key(existing).is_none() {
        return;
    }
    case.rule("one write of a batch that fails does not undo or stop the others");
    let (before, _) = fresh::<R>(case, owner, sample);
    let (after, _) = fresh::<R>(case, owner, sample);
    let requests = vec![case.create(&before), case.create(existing), case.create(&after)];
    let mut answers = case.batch(requests).await;
    let (last, middle, first) = (answers.pop(), answers.pop(), answers.pop());
    case.refused(middle.expect("the answers were counted"), None);
    for (answer, values) in [(first, before), (last, after)] {
        let issued = case.done(answer.expect("the answers were counted"));
        let object = issued.written.object.unwrap_or_else(|| case.broken(&"no object"));
        case.is_as_declared(&object, &values);
        case.done(case.one(case.delete(&object)).await);
    }
    let found = case.present(&seen.id).await;
    case.holds(found == *seen, &found);
}

async fn settling(case: &mut Case<'_>, claim: &Claim, created: &Object) {
    case.rule("a claim that was carried out settles as done, with its object");
    let never = case.claim();
    let settled = case.settled(&[never, claim.clone()]).await;
    let registry =
        matches!(case.observe.capabilities().recovery, Recovery::Registry | Recovery::Tagged);
    match &settled[1] {
        Settled::Done(written) => {
            let id = written.object.as_ref().map(|object| object.id.as_str());
            case.holds(id == Some(&created.id), &id);
        }
        // Only a registry or a tag remembers a claim.
        Settled::Unknown(_) if !registry => {}
        other => case.broken(other),
    }
    case.rule("a claim that was never used settles as not done");
    match &settled[0] {
        Settled::NotDone => {}
        Settled::Unknown(_) if !registry => {}
        other => case.broken(other),
    }
}

async fn marking(case: &mut Case<'_>, created: &Object) {
    case.rule("nothing stands in the way of changing what was just made");
    case.holds(created.obstacle.is_none(), &created.obstacle);
    let Some(mark) = &created.mark else { return };
    case.rule("an object carries the mark that it was written with");
    let own = Case::mark("conformance");
    let is_own = (&mark.fleet, &mark.environment) == (&own.fleet, &own.environment);
    case.holds(is_own, mark);
    case.rule("another fleet's object is refused as foreign");
    let foreign = WriteRequest { mark: Case::mark("another"), ..case.delete(created) };
    case.refused(case.one(foreign).await, Some(ErrorKind::Foreign));
    let found = case.present(&created.id).await;
    case.holds(found == *created, &found);
}

async fn updating(case: &mut Case<'_>, created: &Object, changed: &Values) -> Object {
    case.rule("an update gives the object its properties and keeps its id");
    let request = case.update(created, changed);
    let claim = request.claim.clone();
    let updated = case.written(request).await;
    case.holds(updated.id == created.id, &(&updated.id, &created.id));
    case.is_as_declared(&updated, changed);
    let found = case.present(&created.id).await;
    case.holds(found == updated, &(&found, &updated));
    case.rule("an update under the same claim changes nothing");
    let again = case.written(WriteRequest { claim, ..case.update(created, changed) }).await;
    case.holds(again == updated, &again);
    if case.observe.capabilities().checks_seen {
        case.rule("a write whose object is not as it was seen is refused as stale");
        for request in [case.update(created, changed), case.delete(created)] {
            case.refused(case.one(request).await, Some(ErrorKind::StalePlan));
        }
        let found = case.present(&created.id).await;
        case.holds(found == updated, &found);
    }
    updated
}

async fn suspending(case: &mut Case<'_>, object: Object) -> Object {
    if !case.observe.capabilities().suspends {
        case.rule("what cannot be suspended refuses to be");
        case.refused(case.one(case.suspend(&object, true)).await, None);
        return object;
    }
    case.rule("a suspended identity is seen as suspended, and is otherwise as it was");
    let suspended = case.written(case.suspend(&object, true)).await;
    case.holds(suspended == Object { suspended: true, ..object.clone() }, &suspended);
    let found = case.present(&object.id).await;
    case.holds(found == suspended, &found);
    case.rule("suspending twice is no error");
    let again = case.written(case.suspend(&suspended, true)).await;
    case.holds(again == suspended, &again);
    case.rule("a resumed identity is as it was before");
    let resumed = case.written(case.suspend(&suspended, false)).await;
    case.holds(resumed == object, &resumed);
    resumed
}

async fn deleting(case: &mut Case<'_>, first: &Object, second: &Object) {
    case.rule("what was deleted is absent, and nothing else is");
    let request = case.delete(first);
    let claim = request.claim.clone();
    let gone = case.done(case.one(request).await).written.object;
    case.holds(gone.is_none(), &gone);
    let found = case.read_id(&first.id).await;
    case.holds(found == Observation::Absent, &found);
    case.present(&second.id).await;
    case.rule("deleting what is gone succeeds");
    case.done(case.one(WriteRequest { claim, ..case.delete(first) }).await);
    case.done(case.one(case.delete(first)).await);
    case.rule("what is gone cannot be updated");
    if case.observe.capabilities().suspends {
        case.refused(case.one(case.suspend(first, true)).await, None);
    }
    case.rule("every object can be deleted");
    case.done(case.one(case.delete(second)).await);
}
