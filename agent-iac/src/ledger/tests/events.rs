//! Any event, for property tests, and the proof that its persisted form loses
//! nothing.

use std::sync::Arc;

use proptest::{collection, option, prelude::*, sample::select};

use super::super::*;
use crate::{
    access::{Access, Effect, Tuple},
    agent::{Period, Source},
    plan::Action,
    provider::{Mark, Object, Observation, Tried},
    resource::Reading,
    schema::Kind,
    secret::{Fingerprint, Secret},
    value::{Digest, MAX_INT, Value, canonical},
    vault::Place,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,8}",
        "\\PC{0,8}",
        select(vec!["\u{0}\"\\\n", "ẞ𐌀\u{fffd}"]).prop_map(String::from)
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<u32>().prop_map(|seed| Digest::of_bytes(&seed.to_be_bytes()))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000, 0_i32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap())
}

pub(super) fn instance() -> impl Strategy<Value = Instance> {
    select(vec!["a", r#"a["k"]"#, r#"b["x\"y","ü]."]"#]).prop_map(|text| text.parse().unwrap())
}

pub(super) fn address() -> impl Strategy<Value = Address> {
    (instance(), select(vec!["x", "y"]))
        .prop_map(|(instance, resource)| instance.resource(resource).unwrap())
}

pub(super) fn run() -> impl Strategy<Value = RunId> {
    (1_u8..3).prop_map(|run| {
        serde_json::from_value(serde_json::Value::String(format!("{run:032x}"))).unwrap()
    })
}

pub(super) fn claim() -> impl Strategy<Value = Claim> {
    (run(), 0_usize..2).prop_map(|(run, step)| run.claim(step))
}

fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-MAX_INT..=MAX_INT).prop_map(Value::Int),
        text().prop_map(Value::Text),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            collection::btree_map(text(), inner, 0..3).prop_map(Value::Map),
        ]
    })
    .boxed()
}

fn fields() -> impl Strategy<Value = BTreeMap<String, Value>> {
    collection::btree_map(text(), value(), 0..3)
}

fn actor() -> impl Strategy<Value = Actor> {
    let assurance = select(vec![Assurance::Asserted, Assurance::Oidc, Assurance::Signed]);
    (text(), text(), assurance).prop_map(|(issuer, subject, assurance)| Actor {
        issuer,
        subject,
        assurance,
    })
}

fn place() -> impl Strategy<Value = Place> {
    select(vec!["vault:a/b", "vault:ü"]).prop_map(|text| text.parse().unwrap())
}

fn fingerprint() -> impl Strategy<Value = (String, Fingerprint)> {
    (text(), address(), any::<u32>()).prop_map(|(key, address, generation)| {
        let secret = Secret::from_text(String::from("s"));
        (key, Fingerprint::of(&secret, &address, generation, &secret))
    })
}

fn access() -> impl Strategy<Value = Access> {
    let tuple = (text(), any::<bool>(), text(), text(), option::of(text())).prop_map(
        |(principal, allow, action, object, condition)| Tuple {
            principal,
            effect: if allow { Effect::Allow } else { Effect::Deny },
            action,
            object,
            condition,
        },
    );
    (collection::btree_set(tuple, 0..3), collection::btree_set(text(), 0..2))
        .prop_map(|(tuples, undecided)| Access { tuples, undecided })
}

fn credential() -> impl Strategy<Value = CredentialRecord> {
    let times = (option::of(time()), option::of(time()));
    (1_u32..5, place(), option::of(digest()), option::of(fingerprint()), times).prop_map(
        |(generation, place, stored, fingerprint, (issued_at, verified_at))| CredentialRecord {
            generation,
            place,
            stored,
            fingerprint,
            issued_at,
            verified_at,
        },
    )
}

pub(super) fn managed() -> BoxedStrategy<Managed> {
    let kind = select(vec![Kind::Identity, Kind::Permission, Kind::Credential, Kind::Runtime]);
    (
        (text(), kind, text(), select(vec!["1", "2"]), fields(), fields()),
        (access(), collection::btree_set(address(), 0..2), any::<bool>(), any::<bool>()),
        option::of(credential()),
    )
        .prop_map(|(what, how, credential)| {
            let (resource_type, kind, provider, id, properties, outputs) = what;
            let (access, dependencies, protect, suspended) = how;
            let id = id.to_owned();
            Managed {
                resource_type,
                kind,
                provider,
                id,
                properties,
                outputs,
                access,
                dependencies,
                protect,
                suspended,
                credential,
            }
        })
        .boxed()
}

fn mark() -> impl Strategy<Value = Mark> {
    (text(), text(), address()).prop_map(|(fleet, environment, address)| Mark {
        fleet,
        environment,
        address,
    })
}

fn observation() -> impl Strategy<Value = Observation> {
    let object = (text(), fields(), any::<bool>(), option::of(mark())).prop_map(
        |(id, fields, suspended, mark)| Object {
            id,
            fields: fields.into_iter().map(|(name, v)| (name, Reading::Known(v))).collect(),
            suspended,
            mark,
            obstacle: None,
            label: None,
        },
    );
    prop_oneof![
        Just(Observation::Absent),
        object.prop_map(Observation::Present),
        text().prop_map(Observation::Unread),
    ]
}

fn tried() -> impl Strategy<Value = Tried> {
    prop_oneof![
        Just(Tried::Accepted),
        text().prop_map(Tried::Refused),
        text().prop_map(Tried::Unknown),
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    let refused = Tried::Refused(String::from("no"));
    let holds =
        Proof { accepted: Tried::Accepted, random: refused.clone(), revoked: refused, gone: false };
    let any = (tried(), tried(), tried(), any::<bool>())
        .prop_map(|(accepted, random, revoked, gone)| Proof { accepted, random, revoked, gone });
    prop_oneof![Just(holds), any]
}

fn cause() -> impl Strategy<Value = Cause> {
    select(vec![Cause::Removed, Cause::Expired, Cause::Killed])
}

fn authority() -> impl Strategy<Value = Authority> {
    prop_oneof![
        (digest(), actor()).prop_map(|(digest, actor)| Authority::Acknowledged { digest, actor }),
        digest().prop_map(|digest| Authority::Standing { digest }),
        (actor(), text()).prop_map(|(actor, reason)| Authority::Emergency { actor, reason }),
    ]
}

fn ledger_event() -> impl Strategy<Value = LedgerEvent> {
    let head = (any::<u32>(), digest())
        .prop_map(|(sequence, hash)| Head { sequence: sequence.into(), hash })
        .boxed();
    prop_oneof![
        (text(), text(), text(), any::<u32>()).prop_map(|(id, fleet, environment, format)| {
            LedgerEvent::Opened { id, fleet, environment, format }
        }),
        (text(), head.clone()).prop_map(|(place, head)| LedgerEvent::Pinned { place, head }),
        (text(), head.clone(), 1_u64..9, collection::vec(head.clone(), 0..2), actor()).prop_map(
            |(id, from, batches, lost, actor)| LedgerEvent::Continued {
                id,
                fleet: String::from("office"),
                environment: String::from("test"),
                format: FORMAT,
                from,
                batches,
                lost,
                actor,
            }
        ),
        (collection::btree_map(text(), head.clone(), 0..3), head, actor(), text())
            .prop_map(|(lost, to, actor, reason)| LedgerEvent::Rewound { lost, to, actor, reason }),
    ]
}

fn plan_event() -> impl Strategy<Value = PlanEvent> {
    prop_oneof![
        (digest(), actor()).prop_map(|(digest, actor)| PlanEvent::Proposed { digest, actor }),
        (digest(), actor()).prop_map(|(digest, actor)| PlanEvent::Acknowledged { digest, actor }),
        (digest(), actor(), text()).prop_map(|(digest, actor, reason)| PlanEvent::Refused {
            digest,
            actor,
            reason
        }),
    ]
}

fn run_event() -> BoxedStrategy<RunEvent> {
    let purpose = select(vec![
        RunPurpose::Apply,
        RunPurpose::Revert,
        RunPurpose::Rotate,
        RunPurpose::Retire,
        RunPurpose::Kill,
        RunPurpose::Recover,
    ]);
    let begun =
        (
            purpose,
            actor(),
            authority(),
            collection::vec(instance(), 0..3),
            option::of(text()),
            text(),
        )
            .prop_map(|(purpose, actor, authority, instances, revision, engine)| {
                RunEvent::Begun { purpose, actor, authority, instances, revision, engine }
            });
    let ended = any::<(u32, u32, u32, u32)>().prop_map(|(done, failed, skipped, in_doubt)| {
        RunEvent::Ended { summary: Summary { done, failed, skipped, in_doubt } }
    });
    prop_oneof![begun, ended].boxed()
}

fn step_event() -> BoxedStrategy<StepEvent> {
    let action = select(vec![
        Action::Create,
        Action::Update,
        Action::ReplaceCreateFirst,
        Action::ReplaceDeleteFirst,
        Action::Delete,
        Action::Suspend,
        Action::Resume,
    ]);
    let id = option::of(select(vec![String::from("1"), String::from("2")]));
    let begun = ((claim(), action, any::<bool>()), option::of(shared()), id, text(), text())
        .prop_map(|((claim, action, deposed), target, id, provider, resource_type)| {
            StepEvent::Begun { claim, action, deposed, target, id, provider, resource_type }
        });
    prop_oneof![
        begun,
        (claim(), option::of(shared()))
            .prop_map(|(claim, object)| StepEvent::Done { claim, object }),
        (claim(), text()).prop_map(|(claim, error)| StepEvent::Failed { claim, error }),
        (claim(), text()).prop_map(|(claim, error)| StepEvent::InDoubt { claim, error }),
    ]
    .boxed()
}

fn observed_event() -> BoxedStrategy<ObservedEvent> {
    let differing = collection::btree_map(text(), (value(), value()), 0..3);
    prop_oneof![
        (differing, option::of(observation()))
            .prop_map(|(fields, found)| ObservedEvent::Drift { fields, found }),
        text().prop_map(|reason| ObservedEvent::Unread { reason }),
    ]
    .boxed()
}

fn credential_event() -> BoxedStrategy<CredentialEvent> {
    prop_oneof![
        (claim(), text()).prop_map(|(claim, id)| CredentialEvent::Issued { claim, id }),
        (claim(), place(), digest(), fingerprint()).prop_map(
            |(claim, place, stored, fingerprint)| CredentialEvent::Delivered {
                claim,
                place,
                stored,
                fingerprint,
            }
        ),
        tried().prop_map(|tried| CredentialEvent::Verified { tried }),
        place().prop_map(|place| CredentialEvent::Promoted { place }),
        text().prop_map(|id| CredentialEvent::Lost { id }),
        text().prop_map(|consumer| CredentialEvent::Told { consumer }),
        text().prop_map(|consumer| CredentialEvent::Confirmed { consumer }),
        (actor(), text())
            .prop_map(|(actor, reason)| CredentialEvent::Compromised { actor, reason }),
        collection::btree_set(text(), 0..3)
            .prop_map(|waiting| CredentialEvent::Overdue { waiting }),
        collection::btree_set(text(), 0..3)
            .prop_map(|consumers| CredentialEvent::CutOff { consumers }),
        (text(), option::of(proof()))
            .prop_map(|(id, proof)| CredentialEvent::Revoked { id, proof }),
    ]
    .boxed()
}

fn agent_event() -> BoxedStrategy<AgentEvent> {
    let source = (text(), any::<u32>(), any::<u32>()).prop_map(|(file, line, column)| Source {
        file: file.into(),
        line,
        column,
    });
    let day = (1990_i16..2400, 1_i8..13, 1_i8..29).prop_map(|(y, m, d)| jiff::civil::date(y, m, d));
    let declared = (text(), text(), day, 0_u64..3_000_000, option::of(source)).prop_map(
        |(owner, purpose, expires, grace, source)| AgentEvent::Declared {
            owner,
            purpose,
            expires,
            grace: Period::seconds(grace),
            source,
        },
    );
    let left = (
        cause(),
        any::<u32>(),
        collection::btree_set(address(), 0..2),
        collection::btree_map(address(), text(), 0..2),
    )
        .prop_map(|(cause, seconds, proved, open)| AgentEvent::Left {
            cause,
            seconds: seconds.into(),
            proved,
            open,
        });
    prop_oneof![
        3 => declared,
        1 => cause().prop_map(|cause| AgentEvent::Suspended { cause }),
        1 => option::of(actor()).prop_map(|actor| AgentEvent::Resumed { actor }),
        1 => (text(), time(), actor())
            .prop_map(|(reason, until, actor)| AgentEvent::Held { reason, until, actor }),
        1 => actor().prop_map(|actor| AgentEvent::Released { actor }),
        1 => left,
    ]
    .boxed()
}

fn shared() -> impl Strategy<Value = Arc<Managed>> {
    managed().prop_map(Arc::new)
}

fn record_event() -> BoxedStrategy<RecordEvent> {
    prop_oneof![
        (shared(), option::of(mark()))
            .prop_map(|(object, from)| RecordEvent::Adopted { object, from }),
        address().prop_map(|from| RecordEvent::Moved { from }),
        Just(RecordEvent::Forgotten),
        shared().prop_map(|object| RecordEvent::Updated { object }),
        (any::<u32>(), option::of(shared()), any::<u32>()).prop_map(
            |(version, object, generations)| RecordEvent::Carried {
                record: Box::new(Record {
                    version: version.into(),
                    object,
                    generations,
                    ..Record::default()
                }),
            }
        ),
    ]
    .boxed()
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => ledger_event().prop_map(Event::from),
        1 => plan_event().prop_map(Event::from),
        2 => run_event().prop_map(Event::from),
        6 => step_event().prop_map(Event::from),
        1 => observed_event().prop_map(Event::from),
        3 => credential_event().prop_map(Event::from),
        3 => agent_event().prop_map(Event::from),
        3 => record_event().prop_map(Event::from),
    ]
}

/// An entry that mostly names what its kind of event has to name.
pub(super) fn entry() -> BoxedStrategy<Entry> {
    let named = prop::bool::weighted(0.95);
    (event(), address(), instance(), run(), named, option::of(text()))
        .prop_map(|(event, address, instance, run, named, correlation)| Entry {
            run: named.then_some(run),
            address: Some(address)
                .filter(|_| named && !matches!(event, Event::Agent(_) | Event::Run(_))),
            instance: Some(instance).filter(|_| named && matches!(event, Event::Agent(_))),
            generation: None,
            correlation,
            event,
        })
        .boxed()
}

proptest! {
    #[test]
    fn every_entry_comes_back_from_its_persisted_form(entry in entry()) {
        let bytes = canonical(&entry).unwrap();
        let back: Entry = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&back, &entry);
        prop_assert_eq!(canonical(&back).unwrap(), bytes);
    }

    #[test]
    fn the_persisted_form_is_what_other_tools_call_canonical(entry in entry()) {
        let theirs = serde_json_canonicalizer::to_vec(&entry).unwrap();
        prop_assert_eq!(canonical(&entry).unwrap(), theirs);
    }
}
