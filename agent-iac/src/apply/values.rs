//! What is known while a run goes on, and how records are made of it.

use std::collections::BTreeMap;

use crate::{
    access::Access,
    address::Address,
    error::{Error, ErrorKind, Result},
    ledger::{CredentialRecord, Managed, State},
    plan::{Step, Target},
    provider::{Mark, Object},
    resource::{Lookup, Node, Reading, Unknown},
    schema::ResourceType,
    value::Value,
};

/// Ids and outputs of everything that exists, updated as steps end.
pub(super) struct Values {
    objects: BTreeMap<Address, (String, BTreeMap<String, Value>)>,
}

impl Values {
    pub(super) fn of(state: &State) -> Self {
        let objects = state
            .records
            .iter()
            .filter_map(|(address, record)| {
                let object = record.object.as_ref()?;
                Some((address.clone(), (object.id.clone(), object.outputs.clone())))
            })
            .collect();
        Self { objects }
    }

    pub(super) fn set(&mut self, address: &Address, object: Option<&Managed>) {
        match object {
            Some(object) => {
                let values = (object.id.clone(), object.outputs.clone());
                self.objects.insert(address.clone(), values);
            }
            None => {
                self.objects.remove(address);
            }
        }
    }
}

impl Lookup for Values {
    fn output(&self, address: &Address, field: &str) -> Option<Value> {
        self.objects.get(address)?.1.get(field).cloned()
    }

    fn id(&self, address: &Address) -> Option<String> {
        self.objects.get(address).map(|(id, _)| id.clone())
    }
}

/// The properties of a target with every reference looked up.
pub(super) fn resolve(
    step: &Step,
    target: &Target,
    ty: &'static ResourceType,
    lookup: &dyn Lookup,
) -> Result<BTreeMap<String, Value>> {
    target
        .properties
        .iter()
        .map(|(name, node)| {
            let value = node.resolve(lookup).map_err(|unknown| missing(step, name, &unknown))?;
            let value = match ty.field(name) {
                Some(field) => {
                    let value = field.ty.normalise(value);
                    if let Some(why) = field.ty.misfit(&value) {
                        return Err(Error::new(
                            ErrorKind::ProviderContract,
                            format!("`{name}` became a value of another shape: {why}"),
                        )
                        .at(&step.address));
                    }
                    value
                }
                None => value,
            };
            Ok((name.clone(), value))
        })
        .collect()
}

fn missing(step: &Step, name: &str, unknown: &Unknown) -> Error {
    let what = match &unknown.field {
        Some(field) => format!("{}.{field}", unknown.address),
        None => unknown.address.to_string(),
    };
    Error::new(ErrorKind::NotFound, format!("`{name}` needs `{what}`, which is not known"))
        .help("plan again")
        .at(&step.address)
}

/// The access that a target gives once its properties are resolved: what could
/// not be told when the plan was made can be told now.
pub(super) fn decided_access(
    address: &Address,
    target: &Target,
    properties: &BTreeMap<String, Value>,
    ty: &'static ResourceType,
    lookup: &dyn Lookup,
) -> Access {
    if ty.access.is_none() || target.access.undecided.is_empty() {
        return target.access.clone();
    }
    let nodes = properties.iter().map(|(name, value)| {
        let links = ty.field(name).is_some_and(|field| field.ty.link().is_some());
        // Whoever is ours is named by address, not by id.
        let ours = target
            .dependencies
            .iter()
            .find(|address| links && lookup.id(address).as_deref() == value.as_text());
        (name.clone(), ours.map_or_else(|| Node::Known(value.clone()), |a| Node::Link(a.clone())))
    });
    ty.access_of(&address.to_string(), &nodes.collect())
}

/// What will be recorded once a step is done, as far as that is known before.
pub(super) fn intended(
    step: &Step,
    target: &Target,
    properties: BTreeMap<String, Value>,
) -> Managed {
    Managed {
        resource_type: step.resource_type.clone(),
        kind: step.kind,
        provider: step.provider.clone(),
        id: step.id.clone().unwrap_or_default(),
        properties,
        outputs: BTreeMap::new(),
        access: target.access.clone(),
        dependencies: target.dependencies.clone(),
        protect: target.protect,
        suspended: false,
        credential: target.credential.as_ref().map(|credential| CredentialRecord {
            generation: credential.generation,
            place: credential.place.clone(),
            stored: None,
            fingerprint: None,
            issued_at: None,
            verified_at: None,
        }),
    }
}

/// Fills what was intended with what the provider answered.
pub(super) fn as_written(
    mut intended: Managed,
    object: &Object,
    ty: &'static ResourceType,
) -> Managed {
    intended.id.clone_from(&object.id);
    intended.suspended = object.suspended;
    for field in ty.fields {
        // What could not be read back stays as it was asked for.
        if let Some(Reading::Known(value)) = object.fields.get(field.name) {
            let value = field.ty.normalise(value.clone());
            intended.properties.insert(field.name.to_owned(), value);
        }
    }
    for output in ty.outputs {
        if let Some(Reading::Known(value)) = object.fields.get(output.name) {
            let value = output.ty.normalise(value.clone());
            intended.outputs.insert(output.name.to_owned(), value);
        }
    }
    if let Some(credential) = &intended.credential {
        let place = Value::from(credential.place.to_string());
        intended.outputs.insert("place".into(), place);
        intended.outputs.insert("generation".into(), Value::from(credential.generation));
    }
    intended
}

/// What is recorded of an object that is adopted as it is.
pub(super) fn as_adopted(step: &Step, object: &Object, ty: &'static ResourceType) -> Managed {
    let target = step.target.clone().unwrap_or(Target {
        properties: BTreeMap::new(),
        access: Access::NONE,
        dependencies: std::collections::BTreeSet::new(),
        protect: false,
        credential: None,
    });
    as_written(intended(step, &target, BTreeMap::new()), object, ty)
}

/// Whose an object is.
pub(super) fn mark(fleet: &str, environment: &str, address: &Address) -> Mark {
    Mark { fleet: fleet.to_owned(), environment: environment.to_owned(), address: address.clone() }
}

/// What of an answer is not as it was asked for, if anything.
pub(super) fn broken_promise(
    asked: &BTreeMap<String, Value>,
    object: &Object,
    ty: &'static ResourceType,
) -> Option<String> {
    if object.id.is_empty() {
        return Some("an object without an id".into());
    }
    ty.fields.iter().find_map(|field| {
        let (asked, Reading::Known(read)) =
            (asked.get(field.name)?, object.fields.get(field.name)?)
        else {
            return None;
        };
        let read = field.ty.normalise(read.clone());
        (read != *asked).then(|| format!("`{}` = {read} where {asked} was asked for", field.name))
    })
}
