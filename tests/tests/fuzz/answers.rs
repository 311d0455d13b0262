//! A provider that answers what it likes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock},
};

use agent_iac::{
    Agent, Error, ErrorKind, Result,
    apply::RunContext,
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    import::{Accountable, Draft, SurveyRequest},
    ledger::{Ledger, backup as back_up},
    plan::{SavedPlan, render},
    provider::{
        Capabilities, Listing, Mark, Object, Observation, Observe, Observers, Probers, Provider,
        Reach, Reference, Writers,
    },
    resource::{Reading, Resource},
    testing::world::{self as sim, World},
    value::Value,
};
use agent_iac_tests::{converge, simulated};
use async_trait::async_trait;

use super::{
    is_named,
    mutate::{self, Random},
    operator,
};

/// Reads invoices.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2999-12-31", grace = "0d", name = "reader")]
struct Reader {
    #[input(key)]
    tenant: String,
    #[input]
    actions: Vec<String>,

    #[identity(name = format!("reader-{tenant}"), note = "first")]
    account: sim::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}"),
        allow = actions.iter().cloned().collect::<BTreeSet<String>>(),
    )]
    invoices: sim::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/key"))]
    key: sim::Key,
}

fn fleet(tenants: &[&str], actions: &[&str]) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    for tenant in tenants {
        fleet.add(ReaderInputs {
            tenant: (*tenant).into(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        });
    }
    fleet
}

/// A world in which two agents were applied, and a deployment that changes one,
/// removes one and makes one.
struct Office {
    world: World,
    ledger: Arc<dyn Ledger>,
    deployment: Deployment,
}

fn office() -> Office {
    let world = World::new(3);
    let (ledger, store) = (world.ledger("billing", "test"), world.store("vault"));
    let with = |fleet| simulated(&world, fleet, Arc::clone(&ledger), Arc::clone(&store));
    world.run(converge(&with(fleet(&["eu", "us"], &["read"])))).finished().unwrap();
    world.exit();
    let deployment = with(fleet(&["eu", "asia"], &["read", "list"]));
    Office { world, ledger, deployment }
}

/// A plan with steps of every sort.
pub(crate) fn plan() -> Vec<u8> {
    let Office { world, deployment, .. } = office();
    let plan = world.run(deployment.plan(&PlanRequest::default())).finished().unwrap();
    SavedPlan::new(plan).unwrap().to_bytes().unwrap()
}

/// A ledger with a life in it.
pub(crate) fn backup() -> Vec<u8> {
    let Office { world, ledger, deployment } = office();
    world.run(converge(&deployment)).finished().unwrap();
    let mut file = Vec::new();
    world.run(back_up(&*ledger, &mut file)).finished().unwrap();
    file
}

/// Applies a plan that somebody edited and sealed anew.
pub(crate) fn apply(saved: &SavedPlan, context: &RunContext) -> bool {
    let Office { world, deployment, .. } = office();
    match world.run(deployment.apply(saved, context)).finished() {
        Ok(report) => report.is_complete(),
        Err(error) => is_named(&error),
    }
}

/// What is listed and read.
type Answer = Box<dyn Fn(&str, &[Reference]) -> Option<Vec<Observation>> + Send + Sync>;

/// Answers of its own in the place of a system's.
struct Hostile {
    inner: sim::SimProvider,
    answer: Answer,
}

#[async_trait]
impl<R: Resource> Observe<R> for Hostile {
    fn capabilities(&self) -> Capabilities {
        let observers = self.inner.observers().expect("the simulated system is there");
        observers.of(R::TYPE).map(|observe| observe.capabilities()).unwrap_or_default()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        (self.answer)(R::TYPE, references).ok_or_else(|| Error::new(ErrorKind::Provider, "no"))
    }

    async fn list(&self, _: &Listing) -> Result<Vec<Object>> {
        let answered = (self.answer)(R::TYPE, &[]);
        let answered = answered.ok_or_else(|| Error::new(ErrorKind::Provider, "no"))?;
        Ok(answered.iter().filter_map(|answer| answer.object().cloned()).collect())
    }
}

/// The provider that hands out its observers.
struct Front(Arc<Hostile>);

#[async_trait]
impl Provider for Front {
    fn description(&self) -> String {
        "a system that answers what it likes".into()
    }

    async fn target(&self) -> Result<String> {
        self.0.inner.target().await
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new()
            .with::<sim::Account, _>(&self.0)
            .with::<sim::Grant, _>(&self.0)
            .with::<sim::Key, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        self.0.inner.writers()
    }

    fn probers(&self) -> Result<Probers> {
        self.0.inner.probers()
    }
}

/// Everything that reads: a plan in each form, drift, a survey and its draft.
fn read_all(office: Office, answer: Answer) -> bool {
    let Office { world, deployment, .. } = office;
    let inner = world.provider("sim");
    let front = Front(Arc::new(Hostile { inner, answer }));
    let deployment = deployment.with_provider("sim", Arc::new(front));
    let mut taken = true;
    match world.run(deployment.plan(&PlanRequest::default())).finished() {
        Ok(plan) => {
            taken &= plan.unread.is_empty();
            let saved = SavedPlan::new(plan).unwrap();
            let options = render::Options::default();
            let shown = render::text(&saved, &options).to_string();
            assert!(!shown.contains('\u{1b}'), "it moves the cursor of who reads the plan");
            assert!(!render::markdown(&saved, &options).is_empty());
            assert!(render::json(&saved).is_ok());
            SavedPlan::from_bytes(&saved.to_bytes().unwrap()).unwrap();
            let context = operator().acknowledging(saved.digest());
            match world.run(deployment.apply(&saved, &context)).finished() {
                Ok(report) => taken &= report.is_complete(),
                Err(error) => taken = is_named(&error),
            }
        }
        Err(error) => taken = is_named(&error),
    }
    match world.run(deployment.survey(&SurveyRequest::default())).finished() {
        Ok(survey) => {
            let accountable = Accountable::new("team:billing", jiff::civil::date(2999, 12, 31));
            match Draft::of(&survey, &accountable) {
                Ok(draft) => {
                    assert!(!draft.toml().is_empty() && !draft.rust("sim").is_empty());
                }
                Err(error) => taken = is_named(&error),
            }
        }
        Err(error) => taken = is_named(&error),
    }
    taken
}

/// What the simulated system itself says of everything, once.
fn sound() -> &'static BTreeMap<&'static str, Vec<Object>> {
    static SOUND: OnceLock<BTreeMap<&'static str, Vec<Object>>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let sim = office().world.provider("sim");
        let types = ["sim.account", "sim.grant", "sim.key"];
        types.into_iter().map(|ty| (ty, sim.objects(ty))).collect()
    })
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth > 6 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => Value::Int([0, -1, i64::MAX, i64::MIN][random.below(4)]),
        3 => Value::Text(mutate::text(random)),
        4 => Value::List((0..random.below(4)).map(|_| value(random, depth + 1)).collect()),
        _ => Value::Map(
            (0..random.below(4))
                .map(|_| (mutate::text(random), value(random, depth + 1)))
                .collect(),
        ),
    }
}

fn object(random: &mut Random, ty: &str) -> Object {
    let all = &sound()[ty];
    let mut object = all[random.below(all.len())].clone();
    for _ in 0..random.below(3) {
        match random.below(7) {
            0 => object.id = mutate::text(random),
            1 => object.label = Some(mutate::text(random)),
            2 => object.obstacle = Some(mutate::text(random)),
            3 => object.suspended = !object.suspended,
            4 => {
                object.mark = random.one_in(2).then(|| Mark {
                    fleet: mutate::text(random),
                    environment: "test".into(),
                    address: "reader[\"eu\"].account".parse().unwrap(),
                });
            }
            _ => {
                let names: Vec<String> = object.fields.keys().cloned().collect();
                let name = if random.one_in(5) || names.is_empty() {
                    mutate::text(random)
                } else {
                    names[random.below(names.len())].clone()
                };
                let reading = match random.below(6) {
                    0 => Reading::Redacted,
                    1 => Reading::Unreadable(mutate::text(random)),
                    2 => Reading::Unsupported,
                    _ => Reading::Known(value(random, 0)),
                };
                object.fields.insert(name, reading);
            }
        }
    }
    object
}

/// One history of hostile answers.
pub(crate) fn play(random: &mut Random) -> bool {
    let random = Mutex::new(Random::new(random.number()));
    read_all(
        office(),
        Box::new(move |ty, references| {
            let mut random = random.lock().unwrap();
            if random.one_in(12) {
                return None;
            }
            // Too few, too many, or as many as were asked for.
            let asked = if references.is_empty() { 3 } else { references.len() };
            let count = match random.below(10) {
                0 => asked - 1,
                1 => asked + 1,
                _ => asked,
            };
            let answer = |random: &mut Random| match random.below(8) {
                0 => Observation::Absent,
                1 => Observation::Unread(mutate::text(random)),
                _ => Observation::Present(object(random, ty)),
            };
            Some((0..count).map(|_| answer(&mut random)).collect())
        }),
    )
}

/// A system with very much in it: each identity with a name of that length,
/// and with `circular`, each grant on what is called like another identity.
pub(crate) fn list(what: &str, count: usize, length: usize) {
    let circular = what == "circular";
    let objects = move |ty: &str| -> Vec<Observation> {
        let pad = "x".repeat(length);
        let model = &sound()[ty][0];
        let one = |number: usize| {
            let mut object = model.clone();
            object.id = format!("{ty}-{number}");
            object.mark = None;
            let next = (number + 1) % count;
            let known = |text: String| Reading::Known(Value::Text(text));
            match ty {
                "sim.account" => {
                    drop(object.fields.insert("name".into(), known(format!("{pad}-{number}"))));
                }
                _ => {
                    let owner = if ty == "sim.grant" { "to" } else { "of" };
                    object.fields.insert(owner.into(), known(format!("sim.account-{number}")));
                    if circular && ty == "sim.grant" {
                        object.fields.insert("on".into(), known(format!("{pad}-{next}")));
                    }
                }
            }
            Observation::Present(object)
        };
        (0..count).map(one).collect()
    };
    let answer = move |ty: &str, references: &[Reference]| {
        Some(if references.is_empty() {
            objects(ty)
        } else {
            vec![Observation::Absent; references.len()]
        })
    };
    read_all(office(), Box::new(answer));
}
