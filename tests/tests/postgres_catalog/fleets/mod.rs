//! Random fleets over the random graphs: planned, applied, changed and removed
//! by a deployment with the least rights, and held against the server.
//!
//! After each apply a second plan is empty, and the server has exactly what it
//! had before with what was declared: every privilege with its grantor, every
//! owner, role, membership, default privilege and policy, as queries of the
//! test's own find them. What cannot be done is named, and counted.

#![expect(clippy::future_not_send, reason = "each is carried out on one thread")]

mod declared;
mod draw;
mod facts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_iac::{
    address::Address,
    apply::{Outcome, Report},
    config::{self, Types},
    deployment::{Deployment, PlanRequest},
    plan::{Action, Blocked, Plan, Reason, SavedPlan, Step},
};
use agent_iac_tests::{on_each_version, operator};
use tempfile::TempDir;

pub(super) use self::draw::extras;
pub(super) use self::facts::Facts;
use self::{
    declared::{Agent, Declared, On, Setting, What},
    draw::Draw,
    facts::Spot,
};
use super::{
    graph::{Chance, Graph, TRY},
    oracle::{AT_ONCE, GRAPHS, SEED, number},
    *,
};

on_each_version![a_random_fleet_over_each_random_graph_is_what_the_server_has_and_leaves_no_trace];

/// There is a fleet over every fourth of the graphs, unless `AGENT_IAC_EACH` says
/// another number: a life has eight plans, and a run of continuous integration
/// has minutes.
const EACH: u64 = 4;

/// One graph with its fleet.
struct Life {
    n: u64,
    /// What the names of its roles and schemas begin with.
    prefix: String,
    /// As it is declared first, and after somebody worked on it.
    first: Vec<Agent>,
    changed: Vec<Agent>,
}

/// Some graphs whose fleets are one, with the ledger and the vault of it.
struct Side {
    reach: &'static str,
    lives: Vec<Life>,
    _folder: TempDir,
    /// Always there, but while it is given another fleet.
    deployment: Option<Deployment>,
    /// What was applied, and is not removed.
    applied: BTreeMap<Address, Declared>,
    /// The graphs of which something was refused.
    refused: BTreeSet<u64>,
    /// The graphs of which something could not be taken back, and is forgotten
    /// at the end.
    kept: BTreeSet<u64>,
}

/// How often something was seen.
type Counts = BTreeMap<String, usize>;

async fn a_random_fleet_over_each_random_graph_is_what_the_server_has_and_leaves_no_trace(
    cluster: &'static Cluster,
) {
    let seed = number("AGENT_IAC_SEED", SEED);
    let graphs = number("AGENT_IAC_GRAPHS", GRAPHS);
    let each = number("AGENT_IAC_EACH", EACH);
    let version = cluster.version();
    println!(
        "PostgreSQL {version}: fleets over every {each}th of {graphs} graphs from \
         AGENT_IAC_SEED={seed}"
    );
    let mut counts = Counts::new();
    let numbers: Vec<u64> = (0..graphs).step_by(usize::try_from(each).unwrap()).collect();
    for numbers in numbers.chunks(usize::try_from(AT_ONCE).unwrap()) {
        let world = World::new(cluster, &format!("fleets{}", numbers[0]), &[]).await;
        live(&world, cluster, seed, numbers, &mut counts).await;
    }
    let told: Vec<String> = counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
    println!("PostgreSQL {version}: {}", told.join(", "));
    if graphs < GRAPHS {
        // So few need not have everything.
        return;
    }
    for kind in [
        "role",
        "grant",
        "grant on columns",
        "membership",
        "default privileges",
        "ownership",
        "policy",
        "hardening",
        "hardening of the future",
        "login",
    ] {
        for action in ["create", "update", "delete"] {
            // What cannot be changed in place is made anew.
            let never = action == "update" && ["login", "ownership"].contains(&kind);
            let seen = counts.get(&format!("{action} {kind}")).copied().unwrap_or_default();
            assert!(never || seen > 0, "no {action} of a {kind} was tried: {counts:?}");
        }
    }
    for what in ["adopt role", "adopt grant", "take undeclared grant", "undeclared and reported"] {
        assert!(counts.contains_key(what), "{what} was never tried: {counts:?}");
    }
}

/// The whole life of some graphs' fleets, in one database.
async fn live(
    world: &World,
    cluster: &'static Cluster,
    seed: u64,
    numbers: &[u64],
    counts: &mut Counts,
) {
    world.admin.run(TRY).await;
    world.run(&format!("CREATE ROLE @_apply LOGIN PASSWORD '{PASSWORD}'")).await;
    let mut graphs = Vec::new();
    for n in numbers.iter().copied() {
        let prefix = format!("{}_g{n}", world.name);
        let graph = Graph::new(&prefix, &mut Chance(seed.wrapping_add(n)), world.version);
        let extras = draw::extras(&graph, &prefix, n);
        world.admin.run(&format!("{}{extras}", graph.script)).await;
        graphs.push((n, prefix, graph));
    }
    let mut facts = Facts::of(world).await;
    // Another chance than the graph's own, so that it does not change the graph.
    let chance = |n: u64| Chance(!seed.wrapping_add(n));
    let mut chances = Vec::new();
    let mut script = String::new();
    for (n, prefix, graph) in &graphs {
        let mut chance = chance(*n);
        script.push_str(&draw::given_away(graph, prefix, *n, &mut chance, &mut facts));
        chances.push(chance);
    }
    world.admin.run(&script).await;
    let roles = "SELECT rolname || ' ' || oid FROM pg_roles WHERE rolname ~ '^@_g'";
    let roles = world.admin.rows(&world.named(roles)).await;
    let oids: BTreeMap<String, String> = roles
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, oid)| (name.to_owned(), oid.to_owned()))
        .collect();
    let names = oids.iter().map(|(name, oid)| (oid.clone(), name.clone())).collect();
    let setting = Setting { version: world.version, admins: world.named("@_admins"), names };
    let mut sides = [Side::new(world, cluster, "declared"), Side::new(world, cluster, "exclusive")];
    for ((n, prefix, graph), mut chance) in graphs.iter().zip(chances) {
        let side = usize::from(chance.one_in(2));
        let mut draw = Draw {
            chance: &mut chance,
            setting: &setting,
            graph,
            prefix,
            n: *n,
            database: &world.name,
            before: &facts,
            oids: &oids,
        };
        let first = draw.fleet();
        let changed = draw.changed(&first);
        sides[side].lives.push(Life { n: *n, prefix: prefix.clone(), first, changed });
    }
    prepare(world, &setting, &mut sides).await;
    let mut before = Facts::of(world).await;
    let begun = before.clone();
    let agents = |life: &Life| life.first.clone();
    phase(world, &setting, &mut sides, "first", &agents, &[], &mut before, seed, counts).await;
    let agents = |life: &Life| life.changed.clone();
    phase(world, &setting, &mut sides, "changed", &agents, &[], &mut before, seed, counts).await;
    // What was adopted is as it was found again, and the rest leaves.
    let agents = |life: &Life| life.first.iter().filter_map(as_found).collect();
    phase(world, &setting, &mut sides, "as found", &agents, &[], &mut before, seed, counts).await;
    let left = |side: &Side| side.applied.keys().map(ToString::to_string).collect::<Vec<_>>();
    let forgotten: Vec<Vec<String>> = sides.iter().map(left).collect();
    let nobody = |_: &Life| Vec::new();
    phase(world, &setting, &mut sides, "left", &nobody, &forgotten, &mut before, seed, counts)
        .await;
    let differs = Facts::of(world).await.against(&begun);
    for life in sides.iter().flat_map(|side| &side.lives) {
        let name = format!("{}_", life.prefix);
        let own: Vec<&String> = differs.iter().filter(|line| line.contains(&name)).collect();
        // An adopted role is not as it was where what nobody declared was taken
        // from it.
        let is_adopted = life.first.iter().any(|agent| as_found(agent).is_some());
        let may_differ = is_adopted && sides[1].lives.iter().any(|other| other.n == life.n)
            || sides.iter().any(|side| side.refused.contains(&life.n));
        assert!(
            may_differ || own.is_empty(),
            "graph {} of AGENT_IAC_SEED={seed} is not as it was: {own:?}",
            life.n
        );
        if own.is_empty() {
            *counts.entry("graphs as they were".to_owned()).or_default() += 1;
        }
    }
    let left = world.named(
        "SELECT address FROM agent_iac.objects WHERE address !~ '-old[.]' UNION ALL
        SELECT rolname FROM pg_roles WHERE rolname ~ '^@_g[0-9]+_n'",
    );
    let mut left = world.admin.rows(&left).await;
    // What could not be taken back keeps its role, and was forgotten.
    for n in sides.iter().flat_map(|side| &side.kept) {
        let (agent, role) = (format!("g{n}-"), world.named(&format!("@_g{n}_")));
        left.retain(|line| !line.starts_with(&agent) && !line.starts_with(&role));
    }
    assert_eq!(left, [""; 0], "AGENT_IAC_SEED={seed}: traces are left");
}

/// Of an agent, what was there before.
fn as_found(agent: &Agent) -> Option<Agent> {
    let declared: Vec<Declared> = agent
        .declared
        .iter()
        .filter_map(|one| {
            let what = one.found.as_ref()?.what.clone();
            Some(Declared { what, ..one.clone() })
        })
        .collect();
    (!declared.is_empty()).then(|| Agent { declared, ..agent.clone() })
}

impl Side {
    fn new(world: &World, cluster: &Cluster, reach: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let principal = |who: &str| {
            let password = Password::given(Secret::from_text(PASSWORD.into()));
            Principal::new(format!("{}_{who}", world.name), password).unwrap()
        };
        let endpoint = format!("postgresql://127.0.0.1:{}/{}", cluster.port(), world.name);
        let provider = PostgresProvider::new(endpoint.parse().unwrap())
            .observe(principal("observe"))
            .apply(principal("apply"))
            .administrators(format!("{}_admins", world.name))
            .scope(format!("{}_g*", world.name));
        let fleet = agent_iac::fleet::Fleet::new(format!("graphs-{reach}"));
        let deployment = Deployment::embedded(fleet, "test", folder.path())
            .unwrap()
            .with_provider("postgres", Arc::new(provider));
        Self {
            reach,
            lives: Vec::new(),
            _folder: folder,
            deployment: Some(deployment),
            applied: BTreeMap::new(),
            refused: BTreeSet::new(),
            kept: BTreeSet::new(),
        }
    }

    fn text(&self, agents: &[&Agent], forgotten: &[String]) -> String {
        declared::toml(&format!("graphs-{}", self.reach), self.reach, agents, forgotten)
    }

    /// The same ledger and vault with a fleet.
    fn declare(&mut self, text: &str) -> &Deployment {
        let fleet = config::parse(text, "fleet.toml", &Types::builtin());
        let fleet = fleet.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
        let deployment = self.deployment.take().unwrap();
        self.deployment.insert(deployment.with_fleet(fleet))
    }
}

/// Types what all of the fleets require, and lets the administrators in to the
/// roles that are adopted.
async fn prepare(world: &World, setting: &Setting, sides: &mut [Side]) {
    let mut script = BTreeSet::new();
    let mut ordered = Vec::new();
    for side in sides {
        let all: [Vec<Agent>; 2] = [
            side.lives.iter().flat_map(|life| life.first.clone()).collect(),
            side.lives.iter().flat_map(|life| life.changed.clone()).collect(),
        ];
        for agents in all {
            let text = side.text(&agents.iter().collect::<Vec<_>>(), &[]);
            let deployment = side.declare(&text);
            let blueprint = deployment.blueprint().unwrap();
            for required in deployment.requires(&blueprint).remove("postgres").unwrap() {
                let statement = required.statement;
                if !statement.starts_with("CREATE ROLE") && script.insert(statement.clone()) {
                    ordered.push(statement);
                }
            }
            for agent in agents.iter().filter(|agent| as_found(agent).is_some()) {
                let statement =
                    format!("GRANT {} TO {} WITH ADMIN OPTION;", agent.role, setting.admins);
                if script.insert(statement.clone()) {
                    ordered.push(statement);
                }
            }
        }
    }
    for one in &ordered {
        world.admin.run(one).await;
    }
}

/// Plans and applies one state of all fleets, and holds what comes of it
/// against the server.
#[allow(clippy::too_many_arguments, reason = "it is what the phases of a life differ in")]
async fn phase(
    world: &World,
    setting: &Setting,
    sides: &mut [Side],
    name: &str,
    agents_of: &dyn Fn(&Life) -> Vec<Agent>,
    forgotten: &[Vec<String>],
    before: &mut Facts,
    seed: u64,
    counts: &mut Counts,
) {
    let mut texts = BTreeMap::new();
    let mut wrong: Vec<(String, String)> = Vec::new();
    for (at, side) in sides.iter_mut().enumerate() {
        if side.lives.is_empty() {
            continue;
        }
        let agents: Vec<Agent> = side.lives.iter().flat_map(agents_of).collect();
        let refs: Vec<&Agent> = agents.iter().collect();
        for life in &side.lives {
            let own = agents_of(life);
            let text = side.text(&own.iter().collect::<Vec<_>>(), &[]);
            texts.insert(life.prefix.clone(), (life.n, text));
        }
        let none = Vec::new();
        let text = side.text(&refs, forgotten.get(at).unwrap_or(&none));
        side.declare(&text);
        let deployment = side.deployment.take().unwrap();
        let declared: BTreeMap<Address, Declared> = agents
            .iter()
            .flat_map(|agent| {
                agent.declared.iter().map(|one| {
                    let address = format!("{}.{}", agent.name, one.field);
                    (address.parse().unwrap(), one.clone())
                })
            })
            .collect();
        let mut plan = deployment.plan(&PlanRequest::default()).await.unwrap();
        let mut refused = BTreeSet::new();
        if forgotten.is_empty() {
            side.kept.clear();
        }
        for round in 0.. {
            let report = apply(&deployment, plan.clone()).await;
            let mut outcomes: BTreeMap<(String, Action), Vec<&Outcome>> = BTreeMap::new();
            for step in &report.steps {
                let of = (step.address.to_string(), step.action);
                outcomes.entry(of).or_default().push(&step.outcome);
            }
            for step in &plan.steps {
                let of = (step.address.to_string(), step.action);
                let told: Vec<&Outcome> = outcomes.remove(&of).unwrap_or_default();
                // A graph alone is looked at closely.
                if side.lives.len() == 1 {
                    let told: Vec<String> = told.iter().map(|one| shown(one)).collect();
                    println!("{name}: {} {}: {told:?}", step.action, step.address);
                }
                let is_done = |one: &&Outcome| matches!(one, Outcome::Done | Outcome::Unproved(_));
                // The second half of a replacement has been told with the first.
                let Some(&why) = told.iter().find(|one| !is_done(one)) else {
                    if !told.is_empty() {
                        side.done(step, &declared, setting, before, counts);
                    }
                    continue;
                };
                if step.action == Action::ReplaceDeleteFirst && is_done(&told[0]) {
                    side.applied.remove(&step.address);
                }
                // What needs something that was refused has to wait for it.
                let waits = matches!(why, Outcome::Skipped { because }
                    if refused.iter().any(|one| because.contains(&format!("`{one}`"))));
                let why = shown(why);
                refused.insert(step.address.to_string());
                side.refused.extend(graph_of(&step.address));
                if step.action == Action::Delete {
                    side.kept.extend(graph_of(&step.address));
                }
                match rightly_refused(&why).or(waits.then_some("it waits for another")) {
                    Some(kind) => *counts.entry(format!("refused: {kind}")).or_default() += 1,
                    None => wrong.push((
                        step.address.to_string(),
                        format!("{} {}: {why}", step.action, step.address),
                    )),
                }
            }
            for address in declared.keys().filter(|address| !side.applied.contains_key(address)) {
                let is_blocked = plan.blocked.iter().any(|one| one.address == *address);
                if !is_blocked && !refused.contains(&address.to_string()) {
                    wrong.push((address.to_string(), format!("{address}: it has no step")));
                }
            }
            plan = deployment.plan(&PlanRequest::default()).await.unwrap();
            // What is adopted is taken as it is. Only then is it seen what
            // differs of it, and what is on it that nobody declared.
            let of_adopted = |step: &Step| {
                step.address.instance().to_string().ends_with("-old")
                    && !refused.contains(&step.address.to_string())
            };
            if round > 1 || name != "first" || !plan.steps.iter().any(of_adopted) {
                break;
            }
        }
        for blocked in plan.blocked.iter().filter(|blocked| stays(blocked)) {
            side.refused.extend(graph_of(&blocked.address));
            side.kept.extend(graph_of(&blocked.address));
        }
        wrong.extend(second_thoughts(&plan, &refused, counts));
        side.deployment = Some(deployment);
    }
    let facts = Facts::of(world).await;
    let declared = sides.iter().flat_map(|side| side.applied.values());
    let expected = declared::with(before, declared, setting);
    for line in facts.against(&expected) {
        let at = line.clone();
        wrong.push((at, line));
    }
    if wrong.is_empty() {
        return;
    }
    let mut shown = format!("{} things are wrong once `{name}` is applied\n", wrong.len());
    let mut told = 0;
    for (prefix, (n, text)) in &texts {
        let agent = format!("g{n}-");
        let is_its = |(at, _): &(String, String)| {
            at.starts_with(&agent) || at.contains(&format!("{prefix}_"))
        };
        let (own, others) = wrong.into_iter().partition(is_its);
        wrong = others;
        let own: Vec<(String, String)> = own;
        if own.is_empty() {
            continue;
        }
        shown.push_str(&format!(
            "\n== graph {n}, alone with AGENT_IAC_SEED={} AGENT_IAC_GRAPHS=1\n",
            seed.wrapping_add(*n)
        ));
        for (_, line) in own {
            shown.push_str(&format!("{line}\n"));
        }
        told += 1;
        if told < 4 {
            shown.push_str(text);
        }
    }
    for (_, line) in wrong {
        shown.push_str(&format!("== of no graph: {line}\n"));
    }
    panic!("PostgreSQL {}: {shown}", world.version);
}

/// Whether something declared stays for a named reason: the administrators could
/// act as an owner by way of a membership that nobody declared, and that was
/// taken back; and what it needs stays with it.
fn stays(blocked: &Blocked) -> bool {
    let reason = &blocked.reason;
    !blocked.address.is_undeclared()
        && (reason.contains("is no member of that role")
            || reason.contains("needs it, and stays as it is"))
}

/// The number of the graph that an agent is of.
fn graph_of(address: &Address) -> Option<u64> {
    let agent = address.instance().to_string();
    agent.strip_prefix('g')?.split('-').next()?.parse().ok()
}

impl Side {
    /// Takes note of what a step that was done has changed.
    fn done(
        &mut self,
        step: &Step,
        declared: &BTreeMap<Address, Declared>,
        setting: &Setting,
        before: &mut Facts,
        counts: &mut Counts,
    ) {
        let mut count = |what: String| *counts.entry(what).or_default() += 1;
        if step.reason == Reason::Undeclared {
            let mut heirs = self.applied.iter().filter_map(|(address, one)| match &one.what {
                What::Role { heir, .. } if address.instance() == step.address.instance() => {
                    heir.as_ref()
                }
                _ => None,
            });
            taken(step, heirs.next_back(), before, setting);
            count(format!(
                "take undeclared {}",
                step.resource_type.trim_start_matches("postgres.")
            ));
            return;
        }
        if step.action == Action::Forget {
            // It stays as it is: as it was found, or what could not be taken.
            let left = self.applied.remove(&step.address);
            *before = declared::with(before, left.iter(), setting);
            count("forget".to_owned());
            return;
        }
        let kind = declared.get(&step.address).or_else(|| self.applied.get(&step.address));
        let kind = kind.map_or("nothing", |one| one.what.kind());
        match step.action {
            Action::Delete => {
                count(format!("delete {kind}"));
                self.applied.remove(&step.address);
            }
            Action::Suspend => {}
            action => {
                count(format!("{action} {kind}"));
                if let Some(one) = declared.get(&step.address) {
                    self.applied.insert(step.address.clone(), one.clone());
                }
            }
        }
    }
}

/// Takes from the facts what nobody declared and a step took back. `heir` is
/// who takes over what the role owns.
fn taken(step: &Step, heir: Option<&String>, before: &mut Facts, setting: &Setting) {
    let id = step.id.as_deref().unwrap();
    let object = step.seen.object().unwrap();
    let text = |field: &str| match object.value(field) {
        Some(value) => value.as_text().unwrap_or_default().to_owned(),
        None => String::new(),
    };
    let words = || -> BTreeSet<String> {
        let words = object.value("allow").unwrap().as_list().unwrap();
        words.iter().map(|word| word.as_text().unwrap().to_uppercase().replace('-', " ")).collect()
    };
    if step.resource_type == "postgres.login" {
        // Somebody's role that is a member of this one, and can act as it.
        let (member, of) = (text("user"), &setting.names[&text("of")]);
        before.rest.retain(|line| !line.starts_with(&format!("member|{member}|{of}|")));
        return;
    }
    let role = setting.names[&text("to")].clone();
    match step.resource_type.as_str() {
        "postgres.grant" => {
            let (_, rest) = id.split_once(" on ").unwrap();
            let (on, by) = rest.rsplit_once(" by ").unwrap();
            let on = On::of_id(on);
            // What an owner gave is the next owner's.
            let by = if by == "owner" { before.owners[&on.what].clone() } else { text("grantor") };
            let words = words();
            before.acl.retain(|Spot { on: what, column, to, by: whom, privilege }, _| {
                let is_here = on.places().contains(column);
                let parties = (what, to, whom) == (&on.what, &role, &by);
                !(parties && is_here && words.contains(privilege))
            });
        }
        "postgres.membership" => {
            let (of, by) = (text("of"), text("grantor"));
            before.rest.retain(|line| {
                let is_from = setting.version < 16 || line.ends_with(&format!("|{by}"));
                !(line.starts_with(&format!("member|{role}|{of}|")) && is_from)
            });
        }
        "postgres.default_privileges" => {
            let (creator, schema) = (text("for_role"), text("in_schema"));
            let letter = declared::letter(&text("on"));
            let words = words();
            before.rest.retain(|line| {
                let start = format!("default|{creator}|{schema}|{letter}|{role}|");
                let word = line.strip_prefix(&start).and_then(|rest| rest.split('|').next());
                !word.is_some_and(|word| words.contains(word))
            });
        }
        "postgres.ownership" => {
            let (_, on) = id.split_once(" owns ").unwrap();
            before.give(on, heir.expect("nothing is taken without an heir"));
        }
        other => panic!("a {other} was taken back: {id}"),
    }
}

async fn apply(deployment: &Deployment, plan: Plan) -> Report {
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    deployment.apply(&saved, &context).await.unwrap()
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done | Outcome::Unproved(_) => "done".to_owned(),
        Outcome::Failed(error) => {
            format!("failed: {} ({})", error.chain(), error.repair().unwrap_or_default())
        }
        Outcome::Skipped { because } => format!("skipped: {because}"),
        Outcome::InDoubt(error) => format!("in doubt: {}", error.chain()),
    }
}

/// What a refusal is called that names why the server cannot do it.
fn rightly_refused(why: &str) -> Option<&'static str> {
    [
        ("it was passed on", "passed on"),
        ("in whose name it is given", "an owner who may not look into the schema"),
        ("is to the owner of it", "a grant to the owner"),
        ("the creator's own", "a creator's own default privileges"),
        ("memberships make no circle", "a circle"),
    ]
    .into_iter()
    .find(|(part, _)| why.contains(part))
    .map(|(_, kind)| kind)
}

/// What a second plan has left to do, beside what was refused.
fn second_thoughts(
    plan: &Plan,
    refused: &BTreeSet<String>,
    counts: &mut Counts,
) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut say = |address: &Address, what: String| wrong.push((address.to_string(), what));
    for step in &plan.steps {
        if !refused.contains(&step.address.to_string()) {
            let Step { address, action, reason, changes, .. } = step;
            let changes: Vec<String> = changes
                .iter()
                .map(|change| format!("{} {:?} -> {:?}", change.name, change.before, change.after))
                .collect();
            say(address, format!("again: {action} {address}: {reason} {}", changes.join(", ")));
        }
    }
    for blocked in &plan.blocked {
        let kind = [
            "cannot become that role",
            "is no member of that role",
            "does not inherit",
            "give the role an `heir`",
        ]
        .into_iter()
        .find(|part| blocked.reason.contains(part));
        match kind {
            Some(kind) if blocked.address.is_undeclared() => {
                *counts.entry(format!("blocked: {kind}")).or_default() += 1;
            }
            _ if stays(blocked) => {
                *counts.entry("blocked: it stays".to_owned()).or_default() += 1;
            }
            _ => say(&blocked.address, format!("blocked: {}: {}", blocked.address, blocked.reason)),
        }
    }
    for drift in &plan.drift {
        say(
            &drift.address,
            format!("drift: {}: {:?} gone {}", drift.address, drift.fields, drift.gone),
        );
    }
    for (address, why) in &plan.unread {
        say(address, format!("unread: {address}: {why:?}"));
    }
    for address in &plan.in_doubt {
        say(address, format!("in doubt: {address}"));
    }
    for found in plan.undeclared.iter().filter(|found| found.instance.is_some()) {
        *counts.entry("undeclared and reported".to_owned()).or_default() += 1;
        let _ = found;
    }
    wrong
}
