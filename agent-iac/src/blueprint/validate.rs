//! The rules of a fleet, one function each.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::{
    Blueprint, Desired, DesiredAgent, DesiredCredential, Properties, find_cycle,
    graph::in_order_of_need,
};
use crate::{
    address::{Address, Instance, is_printable, quoted},
    agent::{Declared, Period, Source, Terms, Written},
    consumer::Consumer,
    diagnostic::{Code, Diagnostic, Diagnostics, nearest},
    fleet::{Fleet, FleetAgent},
    ledger::FORMAT,
    resource::{Node, Problem},
    rotation::{FleetPolicy, Mistake, Policy},
    schema::{Kind, ResourceType},
    value::Value,
};

/// How long an identity is kept suspended before it is deleted, unless said.
const GRACE: Period = Period::days(7);

pub(super) fn blueprint(fleet: &Fleet, environment: &str) -> Result<Blueprint, Diagnostics> {
    let mut problems = fleet.problems.clone();
    if !fleet.written.is_refused("fleet") {
        check_name("a fleet", &fleet.name, fleet.written.place("fleet"), &mut problems);
    }
    check_name("an environment", environment, None, &mut problems);
    let rotation = check_rotation(fleet, &mut problems);
    let mut policies = Policies::new(rotation);

    let mut agents = BTreeMap::new();
    let mut resources: BTreeMap<Address, Arc<Desired>> = BTreeMap::new();
    let mut first_at: BTreeMap<&Instance, &FleetAgent> = BTreeMap::new();
    for agent in &fleet.agents {
        if let Some(first) = first_at.insert(&agent.instance, agent) {
            problems.push(
                Diagnostic::error(
                    Code::Duplicate,
                    format!(
                        "the agent {} is declared twice; first at {}",
                        agent.instance, first.terms.source
                    ),
                )
                .declared_at(&agent.terms.source)
                .help("mark the input that tells the two apart with `#[input(key)]`"),
            );
            continue;
        }
        if let Some(desired) = check_terms(agent, &mut problems) {
            agents.insert(agent.instance.clone(), desired);
        }
        for declared in &agent.declared() {
            let checked = check_resource(fleet, &mut policies, agent, declared, &mut problems);
            if let Some((address, desired)) = checked {
                resources.insert(address, Arc::new(desired));
            }
        }
    }
    let declared = Places { fleet, all: OnceCell::new() };
    check_references(&declared, &mut resources, &mut problems);
    check_cycles(&resources, &mut problems);
    check_places(&declared, &resources, &mut problems);
    check_shared_objects(&resources, &mut problems);
    check_consumers(&declared, &mut resources, &mut problems);
    check_refactorings(fleet, &resources, &mut problems);
    if problems.has_errors() {
        return Err(problems.sorted());
    }
    let needed_by = needed_by(&resources);
    let mut blueprint = Blueprint {
        format: FORMAT,
        fleet: fleet.name.clone(),
        environment: environment.to_owned(),
        agents,
        resources,
        providers: fleet.providers.clone(),
        stores: fleet.stores.clone(),
        moved: fleet.moved.clone(),
        removed: fleet.removed.clone(),
        imports: fleet.imports.clone(),
        rules: fleet.rules.clone(),
        needed_by,
        rotation: policies.fleet,
        digest: None,
    };
    match blueprint.compute_digest() {
        Ok(digest) => {
            blueprint.digest = Some(digest);
            Ok(blueprint)
        }
        Err(error) => {
            problems.push(Diagnostic::error(Code::Property, error.to_string()));
            Err(problems)
        }
    }
}

/// The other agents that need something of an agent.
fn needed_by(
    resources: &BTreeMap<Address, Arc<Desired>>,
) -> BTreeMap<Instance, BTreeSet<Instance>> {
    let mut needed_by: BTreeMap<Instance, BTreeSet<Instance>> = BTreeMap::new();
    for (address, desired) in resources {
        let of_others = |needed: &&Address| needed.instance() != address.instance();
        for needed in desired.dependencies.iter().filter(of_others) {
            let by = needed_by.entry(needed.instance().clone()).or_default();
            by.insert(address.instance().clone());
        }
    }
    needed_by
}

/// A fleet and an environment stand in marks, files and file names of others.
fn check_name(what: &str, name: &str, place: Option<&Source>, problems: &mut Diagnostics) {
    if Instance::new(name).is_err() {
        let mut diagnostic =
            Diagnostic::error(Code::Name, format!("{} is not the name of {what}", quoted(name)))
                .help("use a-z, 0-9 and dashes, a letter first, at most 63 bytes");
        diagnostic.source = place.cloned();
        problems.push(diagnostic);
    }
}

/// Where the value of a key stands: in a text by itself, in Rust with what it
/// belongs to.
fn place<'s>(written: &'s Written, key: &str, source: &'s Source) -> &'s Source {
    written.place(key).unwrap_or(source)
}

impl Declared {
    fn place(&self, key: &str) -> &Source {
        place(&self.written, key, &self.source)
    }
}

/// Owner, purpose and expiry are mandatory: an agent that nobody answers for
/// is what this crate exists to prevent.
fn check_terms(agent: &FleetAgent, problems: &mut Diagnostics) -> Option<DesiredAgent> {
    let terms = &agent.terms;
    let mut problem = |code, key: &str, message: String, help: &str| {
        if agent.written.is_refused(key) {
            return;
        }
        problems.push(
            Diagnostic::error(code, format!("{}: {message}", agent.instance))
                .declared_at(place(&agent.written, key, &terms.source))
                .help(help),
        );
    };
    for (what, text) in [("owner", &terms.owner), ("purpose", &terms.purpose)] {
        let shown = text.replace('\n', " ");
        if text.trim().is_empty() {
            problem(Code::Terms, what, format!("the {what} is empty"), "say who or what it is");
        } else if !is_printable(&shown) {
            problem(
                Code::Terms,
                what,
                format!("the {what} holds characters that cannot be shown"),
                "use visible characters",
            );
        }
    }
    let expires = terms.expires.parse();
    if expires.is_err() {
        problem(
            Code::Terms,
            "expires",
            format!("{} is not a day", quoted(&terms.expires)),
            "write the last day as `2027-06-30`",
        );
    }
    let grace = terms.grace.as_deref().map_or(Ok(GRACE), str::parse);
    if let Err(error) = &grace {
        problem(Code::Period, "grace", error.message().to_owned(), "write it as `7d`");
    }
    Some(DesiredAgent {
        owner: terms.owner.clone().into_owned(),
        purpose: terms.purpose.trim().to_owned(),
        expires: expires.ok()?,
        grace: grace.ok()?,
        source: terms.source.clone(),
    })
}

/// What the rules say about rotations.
fn check_rotation(fleet: &Fleet, problems: &mut Diagnostics) -> FleetPolicy {
    let mut problem = |key: &str, code, message: String, help: String| {
        let key = format!("rules rotation {key}");
        if fleet.written.is_refused(&key) {
            return;
        }
        let mut diagnostic = Diagnostic::error(code, message).help(help);
        diagnostic.source = fleet.written.place(&key).cloned();
        problems.push(diagnostic);
    };
    let terms = &fleet.rules.rotation;
    let policy = FleetPolicy::read(terms, |key, mistake| {
        let message = format!("`{key}` of the fleet's rotations: {mistake}");
        problem(key, mistake.code, message, mistake.help);
    });
    for name in terms.rates.keys().filter(|name| !fleet.providers.contains_key(*name)) {
        if !fleet.written.is_refused("providers") {
            let help = nearest(name, fleet.providers.keys()).map_or_else(
                || "give rates of the fleet's own providers".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("`rates`: the fleet has no provider named {}", quoted(name));
            problem(&format!("rates {name}"), Code::UnknownProvider, message, help);
        }
    }
    policy
}

/// The policies that were read already: most of a fleet has the same terms.
struct Policies {
    fleet: FleetPolicy,
    known: BTreeMap<Vec<Option<String>>, PolicyRead>,
}

type PolicyRead = Result<Arc<Policy>, Vec<(&'static str, Mistake)>>;

impl Policies {
    fn new(fleet: FleetPolicy) -> Self {
        Self { fleet, known: BTreeMap::new() }
    }

    fn of(&mut self, terms: &Terms) -> PolicyRead {
        let Terms {
            rotate, overlap, window, zone, jitter, retry, lease, group, at_deadline, ..
        } = terms;
        let single = [rotate, overlap, window, zone, jitter, retry, lease, group, at_deadline];
        let blackouts = terms.blackouts.iter().cloned().map(Some);
        let key = single.into_iter().cloned().chain(blackouts).collect();
        let read = || Policy::read(terms, &self.fleet).map(Arc::new);
        self.known.entry(key).or_insert_with(read).clone()
    }
}

fn check_resource(
    fleet: &Fleet,
    policies: &mut Policies,
    agent: &FleetAgent,
    declared: &Declared,
    problems: &mut Diagnostics,
) -> Option<(Address, Desired)> {
    let address = match Address::new(agent.instance.clone(), &declared.field) {
        Ok(address) => address,
        Err(error) => {
            problems.push(
                Diagnostic::error(Code::Name, error.message().to_owned())
                    .declared_at(&declared.source)
                    .help(error.repair().unwrap_or_default()),
            );
            return None;
        }
    };
    let ty = declared.resource_type;
    let properties = check_properties(&address, declared, problems);
    let provider = declared.terms.provider.clone().unwrap_or_else(|| ty.default_provider().into());
    if !fleet.providers.contains_key(&provider) && !fleet.written.is_refused("providers") {
        problems.push(
            Diagnostic::error(
                Code::UnknownProvider,
                format!("the fleet has no provider named {}", quoted(&provider)),
            )
            .at(&address, declared.place("provider"))
            .help(nearest(&provider, fleet.providers.keys()).map_or_else(
                || {
                    if declared.written.in_text() {
                        format!("add `[providers.{provider}]`")
                    } else {
                        format!("add `fleet.provider({provider:?}, Reach::Declared)`")
                    }
                },
                |name| format!("did you mean `{name}`?"),
            )),
        );
    }
    let consumers = parse_consumers(&address, declared, problems);
    let credential = check_credential(fleet, policies, &address, declared, consumers, problems);
    let mut dependencies = declared.terms.depends_on.clone();
    for node in properties.values() {
        dependencies.extend(node.addresses());
    }
    let access = ty.access_of(&address.to_string(), &properties);
    Some((
        address,
        Desired {
            resource_type: ty,
            provider,
            properties: kept(ty, properties),
            access: access.into(),
            dependencies,
            protect: declared.terms.protect,
            on_drift: declared.terms.on_drift,
            ignore: declared.terms.ignore.clone(),
            because: declared.terms.because.clone(),
            credential,
            source: declared.source.clone(),
        },
    ))
}

/// The properties as they are kept.
fn kept(ty: &'static ResourceType, mut properties: BTreeMap<String, Node>) -> Properties {
    let names = ty.fields.iter().map(|field| field.name);
    names.filter_map(|name| Some((name, properties.remove(name)?))).collect()
}

/// Brings the properties into normal form and checks each against its schema.
fn check_properties(
    address: &Address,
    declared: &Declared,
    problems: &mut Diagnostics,
) -> BTreeMap<String, Node> {
    let ty = declared.resource_type;
    let mut problem = |key: &str, message: String, help: String| {
        problems.push(
            Diagnostic::error(Code::Property, message).at(address, declared.place(key)).help(help),
        );
    };
    for name in declared.properties.keys().filter(|name| ty.field(name).is_none()) {
        let known = ty.fields.iter().map(|field| field.name);
        let help = nearest(name, known).map_or_else(
            || format!("`{}` has no such property", ty.name),
            |near| format!("did you mean `{near}`?"),
        );
        problem(name, format!("unknown property `{name}`"), help);
    }
    for name in declared.terms.ignore.iter().filter(|name| ty.field(name).is_none()) {
        let help = nearest(name, ty.fields.iter().map(|field| field.name))
            .map_or_else(|| "remove it".to_owned(), |near| format!("did you mean `{near}`?"));
        problem("ignore", format!("`ignore` names the unknown property `{name}`"), help);
    }
    let mut properties = BTreeMap::new();
    for field in ty.fields {
        let node = match declared.properties.get(field.name) {
            Some(node) => node.clone(),
            None if declared.written.is_refused(field.name) => continue,
            None if field.required => {
                problem(
                    field.name,
                    format!("missing property `{}`", field.name),
                    format!("`{}` needs it: {}", ty.name, field.doc.trim()),
                );
                continue;
            }
            None => Node::Known(Value::Null),
        };
        if let Some(mark) = broken_in(&node) {
            problem(
                field.name,
                format!("`{}` holds text that was a reference: {mark}", field.name),
                "use an output in `format!` as it is, without changing the text".into(),
            );
            continue;
        }
        let known = match node {
            Node::Known(value) => Ok(value),
            node => node.known().ok_or(node),
        };
        let node = match known {
            Err(node) => node,
            Ok(value) => {
                if let Some(why) = field.ty.misfit(&value) {
                    let help = field.doc.trim().to_owned();
                    problem(field.name, format!("`{}`: {why}", field.name), help);
                    continue;
                }
                Node::Known(field.ty.normalise(value))
            }
        };
        properties.insert(field.name.to_owned(), node);
    }
    if let Some(check) = ty.check {
        for Problem { field, message, help } in check(&properties) {
            let diagnostic = Diagnostic::error(Code::Property, message);
            let diagnostic = diagnostic.at(address, declared.place(&field));
            problems.push(match help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
        }
    }
    properties
}

/// Text in which a reference's marks are left over: it was changed on its way,
/// or stands where no reference can, as in a map's key.
fn broken_reference(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => broken_text(text),
        Value::List(items) => items.iter().find_map(broken_reference),
        Value::Map(entries) => entries
            .iter()
            .find_map(|(key, value)| broken_text(key).or_else(|| broken_reference(value))),
        _ => None,
    }
}

fn broken_text(text: &str) -> Option<String> {
    text.contains(['\u{f1ac0}', '\u{f1ac1}']).then(|| quoted(text))
}

fn broken_in(node: &Node) -> Option<String> {
    match node {
        Node::Known(value) => broken_reference(value),
        Node::Output { .. } | Node::Link(_) => None,
        Node::Concat(parts) | Node::List(parts) => parts.iter().find_map(broken_in),
        Node::Map(entries) => {
            entries.iter().find_map(|(key, node)| broken_text(key).or_else(|| broken_in(node)))
        }
    }
}

fn check_credential(
    fleet: &Fleet,
    policies: &mut Policies,
    address: &Address,
    declared: &Declared,
    consumers: BTreeSet<Consumer>,
    problems: &mut Diagnostics,
) -> Option<DesiredCredential> {
    if declared.resource_type.kind != Kind::Credential {
        return None;
    }
    let mut problem = |code, key: &str, message: String, help: &str| {
        problems.push(Diagnostic::error(code, message).at(address, declared.place(key)).help(help));
    };
    let policy = policies.of(&declared.terms);
    for (key, mistake) in policy.as_ref().err().into_iter().flatten() {
        problem(mistake.code, key, format!("`{key}`: {mistake}"), &mistake.help);
    }
    let Some(place) = &declared.terms.deliver else {
        if declared.written.is_refused("deliver") {
            return None;
        }
        problem(
            Code::Place,
            "deliver",
            "the credential has no place".into(),
            "say where it is delivered: `deliver = \"vault:agents/name/key\"`",
        );
        return None;
    };
    if broken_reference(&Value::from(place.as_str())).is_some() {
        problem(
            Code::Place,
            "deliver",
            "the place depends on a value that is known only after apply".into(),
            "use inputs only: consumers must know the place beforehand",
        );
        return None;
    }
    match place.parse::<crate::vault::Place>() {
        Err(error) => {
            let error: crate::Error = error;
            problem(
                Code::Place,
                "deliver",
                error.message().into(),
                error.repair().unwrap_or_default(),
            );
            None
        }
        Ok(place) => {
            if !fleet.stores.contains(place.store()) && !fleet.written.is_refused("stores") {
                let help = nearest(place.store(), fleet.stores.iter()).map_or_else(
                    || {
                        if declared.written.in_text() {
                            format!("add `{}` to `stores`", place.store())
                        } else {
                            format!("add `fleet.store({:?})`", place.store())
                        }
                    },
                    |name| format!("did you mean `{name}`?"),
                );
                problem(
                    Code::UnknownStore,
                    "deliver",
                    format!("the fleet has no secret store named `{}`", place.store()),
                    &help,
                );
            }
            Some(DesiredCredential { place, policy: policy.ok()?, consumers })
        }
    }
}

/// Those that are well-formed; each of the others is a mistake of its own.
fn parse_consumers(
    address: &Address,
    declared: &Declared,
    problems: &mut Diagnostics,
) -> BTreeSet<Consumer> {
    let place = declared.place("consumers");
    let mut problem = |message: String, help: &str| {
        problems.push(Diagnostic::error(Code::Consumer, message).at(address, place).help(help));
    };
    let mut found = BTreeSet::new();
    for text in &declared.terms.consumers {
        if broken_reference(&Value::from(text.as_str())).is_some() {
            problem(
                "a consumer depends on a value that is known only after apply".into(),
                "use inputs only: who is told must be known beforehand",
            );
            continue;
        }
        match text.parse() {
            Ok(consumer) => drop(found.insert(consumer)),
            Err(error) => {
                let error: crate::Error = error;
                problem(error.message().into(), error.repair().unwrap_or_default());
            }
        }
    }
    found
}

/// A runtime that is told must be one, and a file holds one secret. A runtime
/// that binds a credential is told without being named.
fn check_consumers(
    declared: &Places<'_>,
    resources: &mut BTreeMap<Address, Arc<Desired>>,
    problems: &mut Diagnostics,
) {
    let mut files: BTreeMap<&str, &Address> = BTreeMap::new();
    for (address, desired) in resources.iter() {
        let mut problem = |message: String, help: String| {
            let place = declared.place(address, desired, "consumers");
            problems.push(Diagnostic::error(Code::Consumer, message).at(address, place).help(help));
        };
        for consumer in desired.credential.iter().flat_map(|credential| &credential.consumers) {
            match consumer {
                Consumer::Runtime(to) => match declared.declared().get(to) {
                    Some(found) if found.resource_type.kind == Kind::Runtime => {}
                    Some(found) => problem(
                        format!(
                            "`{to}` is no runtime, but of the type `{}`",
                            found.resource_type.name
                        ),
                        "name the runtime that uses the credential".into(),
                    ),
                    None if declared.fleet.unread.contains(to) => {}
                    None => {
                        let runtimes = declared
                            .declared()
                            .iter()
                            .filter(|(_, found)| found.resource_type.kind == Kind::Runtime)
                            .map(|(address, _)| address.to_string());
                        let near = nearest(&to.to_string(), runtimes);
                        problem(
                            format!("the runtime `{to}` is not declared"),
                            near.map_or_else(
                                || "add the agent to the fleet, or name another".into(),
                                |near| format!("did you mean `{near}`?"),
                            ),
                        );
                    }
                },
                Consumer::File(file) => {
                    if let Some(first) = files.insert(file.path(), address) {
                        problem(
                            format!("`{}` is written with {first} too", file.path()),
                            "give each secret a file of its own".into(),
                        );
                    }
                }
                _ => {}
            }
        }
    }
    let placed: BTreeMap<String, &Address> = resources
        .iter()
        .filter_map(|(address, desired)| {
            Some((desired.credential.as_ref()?.place.to_string(), address))
        })
        .collect();
    let mut bindings: Vec<(Address, Address)> = Vec::new();
    let runtimes = resources.iter().filter(|(_, d)| d.resource_type.kind == Kind::Runtime);
    for (runtime, desired) in runtimes {
        for node in desired.properties.values() {
            let linked = node.addresses().into_iter();
            bindings.extend(linked.map(|to| (runtime.clone(), to)));
            // Or by the place at which the secret is read.
            node.known().iter().for_each(|value| {
                each_text(value, &mut |text| {
                    let to = placed.get(text).map(|to| (runtime.clone(), (*to).clone()));
                    bindings.extend(to);
                });
            });
        }
    }
    for (runtime, to) in bindings {
        // Nobody else holds one yet.
        let desired = resources.get_mut(&to).map(Arc::make_mut);
        let credential = desired.and_then(|desired| desired.credential.as_mut());
        if let Some(credential) = credential {
            credential.consumers.insert(Consumer::Runtime(runtime));
        }
    }
}

fn each_text(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::Text(text) => see(text),
        Value::List(items) => items.iter().for_each(|item| each_text(item, see)),
        Value::Map(entries) => entries.values().for_each(|item| each_text(item, see)),
        _ => {}
    }
}

/// Where things were declared. It is looked for only where something is wrong.
struct Places<'f> {
    fleet: &'f Fleet,
    all: OnceCell<BTreeMap<Address, Cow<'f, Declared>>>,
}

impl<'f> Places<'f> {
    /// What was declared, by address: also what was left out for a mistake of
    /// its own, since one mistake gives one error.
    fn declared(&self) -> &BTreeMap<Address, Cow<'f, Declared>> {
        let of = |agent: &'f FleetAgent| {
            let at = |declared: &Declared| agent.instance.resource(&declared.field).ok();
            let all = agent.declared().into_iter();
            all.filter_map(move |declared| Some((at(&declared)?, declared)))
        };
        self.all.get_or_init(|| self.fleet.agents.iter().flat_map(of).collect())
    }

    /// The place of a key of a resource.
    fn place<'p>(&'p self, address: &Address, desired: &'p Desired, key: &str) -> &'p Source {
        self.declared().get(address).map_or(&desired.source, |declared| declared.place(key))
    }

    /// Whether a reference leads to something that was at least meant.
    fn leads_somewhere(&self, to: &Address) -> bool {
        self.declared().contains_key(to) || self.fleet.unread.contains(to)
    }
}

/// Every reference must lead to a declared resource, a link to one of the
/// right type, and an output to one that the type has.
fn check_references(
    declared: &Places<'_>,
    resources: &mut BTreeMap<Address, Arc<Desired>>,
    problems: &mut Diagnostics,
) {
    let mut left_out: Vec<(Address, Address)> = Vec::new();
    for (address, desired) in resources.iter() {
        let place = |key: &str| declared.place(address, desired, key);
        let dangling = |to: &Address, message: String| {
            let near = nearest(&to.to_string(), resources.keys().map(Address::to_string));
            let key = desired.properties.iter().find(|(_, node)| node.addresses().contains(to));
            let key = key.map_or("depends_on", |(name, _)| name);
            Diagnostic::error(Code::DanglingReference, message).at(address, place(key)).help(
                near.map_or_else(
                    || "add the agent to the fleet, or give another reference".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ),
            )
        };
        for to in desired.dependencies.iter().filter(|to| !resources.contains_key(to)) {
            if !declared.leads_somewhere(to) {
                problems.push(dangling(to, format!("it refers to `{to}`, which is not declared")));
            }
            left_out.push((address.clone(), to.clone()));
        }
        for (name, node) in desired.properties.iter() {
            let wanted = desired.resource_type.field(name).and_then(|field| field.ty.link());
            node.references(&mut |to, field| {
                let Some(ty) = resources.get(to).map(|to| to.resource_type) else { return };
                match field {
                    None if wanted.is_some_and(|wanted| wanted != ty.name) => {
                        problems.push(
                            Diagnostic::error(
                                Code::DanglingReference,
                                format!("`{name}` refers to `{to}`, which is a {}", ty.name),
                            )
                            .at(address, place(name))
                            .help(format!("refer to a {}", wanted.unwrap_or_default())),
                        );
                    }
                    Some(output) if ty.output(output).is_none() => {
                        let outputs = ty.outputs.iter().map(|output| output.name);
                        problems.push(
                            Diagnostic::error(
                                Code::DanglingReference,
                                format!("`{name}` refers to `{to}.{output}`, and a {} has no such output", ty.name),
                            )
                            .at(address, place(name))
                            .help(nearest(output, outputs).map_or_else(
                                || "refer to another output".to_owned(),
                                |near| format!("did you mean `{near}`?"),
                            )),
                        );
                    }
                    _ => {}
                }
            });
        }
    }
    for (address, to) in left_out {
        if let Some(desired) = resources.get_mut(&address).map(Arc::make_mut) {
            desired.dependencies.remove(&to);
        }
    }
}

/// A cycle is printed whole, as the chain that closes it.
fn check_cycles(resources: &BTreeMap<Address, Arc<Desired>>, problems: &mut Diagnostics) {
    // Who needs only what needs nothing is part of no cycle, and that is most.
    let needs = |to: &Address| resources.get(to).is_some_and(|to| !to.dependencies.is_empty());
    if !resources.values().any(|desired| desired.dependencies.iter().any(needs))
        || in_order_of_need(resources, |desired| &desired.dependencies).len() == resources.len()
    {
        return;
    }
    let mut needs: BTreeMap<Address, BTreeSet<Address>> =
        resources.iter().map(|(a, d)| (a.clone(), d.dependencies.clone())).collect();
    // Each cycle is cut where it was found, so that all are reported.
    while let Some(cycle) = find_cycle(&needs) {
        let names: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        let last = (*cycle[cycle.len() - 1]).clone();
        let first = cycle[0].clone();
        problems.push(
            Diagnostic::error(
                Code::Cycle,
                format!("resources need each other: {} → {}", names.join(" → "), names[0]),
            )
            .at(&first, &resources[&first].source)
            .help("take one of the references out"),
        );
        if let Some(edges) = needs.get_mut(&last) {
            edges.remove(&first);
        }
    }
}

/// What one credential delivers, another would overwrite.
fn check_places(
    declared: &Places<'_>,
    resources: &BTreeMap<Address, Arc<Desired>>,
    problems: &mut Diagnostics,
) {
    let mut taken = BTreeMap::new();
    for (address, desired) in resources {
        let Some(credential) = &desired.credential else { continue };
        if let Some(first) = taken.insert(&credential.place, address) {
            let place = declared.place(address, desired, "deliver");
            problems.push(
                Diagnostic::error(
                    Code::Place,
                    format!("`{first}` is delivered at `{}` too", credential.place),
                )
                .at(address, place)
                .help("give each credential a place of its own"),
            );
        }
    }
}

/// Two declarations with one natural key would fight over one real object.
fn check_shared_objects(resources: &BTreeMap<Address, Arc<Desired>>, problems: &mut Diagnostics) {
    let key = |desired: &Desired| -> Vec<Node> {
        let fields = desired.resource_type.key_fields();
        fields.filter_map(|field| desired.properties.get(field.name)).cloned().collect()
    };
    // First by a number: to compare the keys themselves would cost more than
    // all the other rules together.
    let mut numbered: Vec<(u64, &Address, &Desired)> = Vec::with_capacity(resources.len());
    for (address, desired) in resources {
        let mut hash = DefaultHasher::new();
        (desired.resource_type.name, &desired.provider).hash(&mut hash);
        let mut comparable = false;
        for field in desired.resource_type.key_fields() {
            let Some(node) = desired.properties.get(field.name) else { continue };
            // What is not known yet cannot be compared; the provider answers.
            comparable = matches!(node, Node::Known(_) | Node::Link(_));
            if !comparable {
                break;
            }
            node.hash(&mut hash);
        }
        if comparable {
            numbered.push((hash.finish(), address, &**desired));
        }
    }
    numbered.sort_unstable_by_key(|(number, ..)| *number);
    let alike = numbered.chunk_by(|(a, ..), (b, ..)| a == b).filter(|alike| alike.len() > 1);
    let mut suspects: Vec<(&Address, &Desired)> =
        alike.flatten().map(|(_, address, desired)| (*address, *desired)).collect();
    suspects.sort_unstable_by_key(|(address, _)| *address);
    let mut claimed = BTreeMap::new();
    for (address, desired) in suspects {
        let (ty, provider) = (desired.resource_type.name, &desired.provider);
        let key = key(desired);
        let Some(first) = claimed.insert((key.clone(), ty, provider), address) else { continue };
        let shown: Vec<String> = key.iter().map(Node::shown).collect();
        let shown = shown.join(", ");
        problems.push(
            Diagnostic::error(
                Code::SharedObject,
                format!("`{first}` claims the same {ty} {shown} of provider `{provider}`"),
            )
            .at(address, &desired.source)
            .help("give it another name, or refer to the other agent's resource"),
        );
    }
}

fn check_refactorings(
    fleet: &Fleet,
    resources: &BTreeMap<Address, Arc<Desired>>,
    problems: &mut Diagnostics,
) {
    let mut problem = |key: &str, message: String, help: &str| {
        let mut diagnostic = Diagnostic::error(Code::Refactoring, message).help(help);
        diagnostic.source = fleet.written.place(key).cloned();
        problems.push(diagnostic);
    };
    let is_declared =
        |address: &Address| resources.contains_key(address) || fleet.unread.contains(address);
    let mut targets = BTreeSet::new();
    for (from, to) in &fleet.moved {
        let key = format!("moved {from}");
        if is_declared(from) {
            problem(
                &key,
                format!("`{from}` was moved and is still declared"),
                "remove one of the two",
            );
        }
        if !is_declared(to) {
            problem(
                &key,
                format!("`{from}` was moved to `{to}`, which is not declared"),
                "declare it",
            );
        }
        if !targets.insert(to) {
            problem(&key, format!("two resources were moved to `{to}`"), "remove one of the two");
        }
    }
    for address in fleet.removed.iter().filter(|address| is_declared(address)) {
        problem(
            &format!("removed {address}"),
            format!("`{address}` is said to be no longer managed and is still declared"),
            "remove one of the two",
        );
    }
    for (address, id) in &fleet.imports {
        let key = format!("import {address}");
        if !is_declared(address) {
            problem(
                &key,
                format!("{} is to be imported as `{address}`, which is not declared", quoted(id)),
                "declare it",
            );
        }
        if id.is_empty() || !is_printable(id) {
            problem(
                &key,
                format!("{} cannot be the id to import as `{address}`", quoted(id)),
                "give the object's id in its system",
            );
        }
    }
}
