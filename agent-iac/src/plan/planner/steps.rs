//! How steps are put together.

use std::borrow::Cow;

use super::{Planner, Wanted, resolve, shown};
use crate::{
    access::{Access, AccessChange, Verdict},
    address::Address,
    ledger::Managed,
    plan::{
        Action, CredentialTarget, Part, PropertyChange, Reason, Risk, Step, Target, Undeclared,
    },
    provider::{AtOnce, Observation, Recovery},
    resource::{Node, Reading},
    schema::{Field, Kind, Mutability, ResourceType},
    value::Value,
};

/// What is said where the system allows one credential at a time.
pub(super) const GAP: &str = "the system allows one credential at a time: between the old one's \
    end and the new one's delivery there is none that works";

/// A step on a recorded object that changes nothing by itself.
pub(super) fn bare(address: &Address, object: &Managed, action: Action, reason: Reason) -> Step {
    Step {
        address: address.clone(),
        resource_type: object.resource_type.clone(),
        kind: object.kind,
        provider: object.provider.clone(),
        action,
        part: Part::Whole,
        reason,
        source: None,
        because: None,
        changes: Vec::new(),
        access: AccessChange::default(),
        risk: Risk::None,
        notes: Vec::new(),
        id: None,
        seen: Observation::Absent,
        target: None,
        retires: None,
        after: std::collections::BTreeSet::new(),
    }
}

/// A step that removes a recorded object.
pub(super) fn removal(
    address: &Address,
    object: &Managed,
    reason: Reason,
    seen: Observation,
    access: &Access,
) -> Step {
    let access = access.change_to(&Access::NONE);
    let risk = match object.kind {
        Kind::Identity | Kind::Runtime => Risk::Destroys,
        Kind::Credential => Risk::Narrows,
        Kind::Permission => risk_of(&access),
    };
    Step {
        changes: vanishing(object),
        access,
        risk,
        id: Some(object.id.clone()),
        seen,
        retires: object.credential.as_ref().map(|credential| CredentialTarget {
            generation: credential.generation,
            place: credential.place.clone(),
            lease: None,
        }),
        ..bare(address, object, Action::Delete, reason)
    }
}

/// A step that removes what nobody declared.
pub(super) fn removal_of_undeclared(
    address: Address,
    ty: &'static ResourceType,
    found: &Undeclared,
    hands_over: bool,
) -> Step {
    let mut access = found.access.change_to(&Access::NONE);
    if hands_over {
        access.undecided.insert("whoever takes it over gets what it gave".into());
    }
    let changes = found
        .object
        .fields
        .iter()
        .filter(|(name, _)| ty.field(name).is_some())
        .map(|(name, reading)| PropertyChange {
            name: name.clone(),
            before: Some(reading.clone()),
            after: None,
            replaces: false,
        })
        .collect();
    Step {
        address,
        resource_type: ty.name.to_owned(),
        kind: ty.kind,
        provider: found.provider.clone(),
        action: Action::Delete,
        part: Part::Whole,
        reason: Reason::Undeclared,
        source: None,
        because: None,
        changes,
        risk: if ty.kind == Kind::Permission { risk_of(&access) } else { Risk::Narrows },
        access,
        notes: Vec::new(),
        id: Some(found.object.id.clone()),
        seen: Observation::Present(found.object.clone()),
        target: None,
        retires: None,
        after: std::collections::BTreeSet::new(),
    }
}

/// What a recorded object already is, as a target that keeps it.
pub(super) fn target_of(object: &Managed) -> Target {
    Target {
        properties: object
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), Node::Known(value.clone())))
            .collect(),
        access: object.access.clone(),
        dependencies: object.dependencies.clone(),
        protect: object.protect,
        credential: object.credential.as_ref().map(|credential| CredentialTarget {
            generation: credential.generation,
            place: credential.place.clone(),
            lease: None,
        }),
    }
}

fn vanishing(object: &Managed) -> Vec<PropertyChange> {
    object
        .properties
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| PropertyChange {
            name: name.clone(),
            before: Some(Reading::Known(value.clone())),
            after: None,
            replaces: false,
        })
        .collect()
}

pub(super) fn risk_of(access: &AccessChange) -> Risk {
    match access.verdict() {
        Verdict::Keeps => Risk::Low,
        Verdict::Narrows => Risk::Narrows,
        Verdict::Widens => Risk::Widens,
    }
}

impl Wanted<'_> {
    /// What was seen, as a step carries it.
    fn observation(&self) -> Observation {
        self.seen.map_or(Observation::Absent, |object| Observation::Present(object.clone()))
    }

    /// What a property that others manage keeps: its value as it was read, or
    /// as it was recorded where it could not be. `None` for every other
    /// property, and for an object that is made.
    fn kept(&self, name: &str) -> Option<Node> {
        let object = self.seen.filter(|_| self.desired.ignore.contains(name))?;
        let field = self.desired.resource_type.field(name)?;
        let value = match object.fields.get(name) {
            Some(Reading::Known(value)) => field.ty.normalise(value.clone()),
            Some(Reading::Redacted | Reading::Unreadable(_)) => {
                self.recorded?.properties.get(name)?.clone()
            }
            Some(Reading::Unsupported) | None => Value::Null,
        };
        Some(Node::Known(value))
    }

    /// A property that others manage and whose value is not known, so that no
    /// write could leave it as it is; and why.
    pub(super) fn at_risk(&self) -> Option<(&str, String)> {
        let object = self.seen?;
        self.desired.ignore.iter().find_map(|name| match object.fields.get(name)? {
            Reading::Redacted => Some((name.as_str(), "the system hides it".to_owned())),
            Reading::Unreadable(why) => Some((name.as_str(), why.clone())),
            Reading::Known(_) | Reading::Unsupported => None,
        })
    }
}

impl Planner<'_> {
    /// A step on a desired resource.
    pub(super) fn step(&self, wanted: &Wanted<'_>, action: Action, reason: Reason) -> Step {
        let Wanted { address, desired, recorded, seen } = wanted;
        let before = match seen {
            Some(object) => {
                self.access_of(address, &desired.provider, desired.resource_type, object)
            }
            None => Access::NONE,
        };
        let access = before.change_to(&self.access_wanted(address, desired));
        let risk = match action {
            Action::NoChange | Action::Adopt | Action::Move | Action::Forget | Action::Record => {
                Risk::None
            }
            Action::Resume => Risk::Widens,
            Action::Suspend => Risk::Narrows,
            _ => risk_of(&access),
        };
        Step {
            address: (*address).clone(),
            resource_type: desired.resource_type.name.to_owned(),
            kind: desired.resource_type.kind,
            provider: desired.provider.clone(),
            action,
            part: Part::Whole,
            reason,
            source: Some(desired.source.clone()),
            because: desired.because.clone(),
            changes: Vec::new(),
            access,
            risk,
            notes: Vec::new(),
            id: recorded.map(|object| object.id.clone()),
            seen: wanted.observation(),
            target: Some(self.target(wanted)),
            retires: None,
            after: std::collections::BTreeSet::new(),
        }
    }

    fn target(&self, wanted: &Wanted<'_>) -> Target {
        let Wanted { address, desired, recorded, .. } = wanted;
        let resolved = resolve(desired, self);
        Target {
            properties: desired
                .properties
                .iter()
                .map(|(name, node)| {
                    let node = wanted
                        .kept(name)
                        .unwrap_or_else(|| shown(resolved.get(name).map(Cow::as_ref), node));
                    (name.to_owned(), node)
                })
                .collect(),
            access: self.access_wanted(address, desired),
            dependencies: desired.dependencies.clone(),
            protect: desired.protect,
            credential: desired.credential.as_ref().map(|credential| {
                let kept = recorded.and_then(|object| object.credential.as_ref());
                CredentialTarget {
                    generation: kept
                        .map_or_else(|| self.next_generation(address), |kept| kept.generation),
                    place: credential.place.clone(),
                    lease: credential.policy.lease().map(|lease| lease.as_secs()),
                }
            }),
        }
    }

    pub(super) fn next_generation(&self, address: &Address) -> u32 {
        self.record_of(address).map_or(0, |record| record.generations) + 1
    }

    /// A step that makes an object which does not exist.
    pub(super) fn creation(&self, wanted: &Wanted<'_>, reason: Reason) -> Step {
        let anew = Wanted { recorded: None, seen: None, ..*wanted };
        let mut step = self.step(&anew, Action::Create, reason);
        step.changes = step
            .target
            .iter()
            .flat_map(|target| &target.properties)
            .filter(|(name, node)| {
                // What is as if it had been left out says nothing.
                let left_out = wanted.desired.resource_type.field(name).map(Field::left_out);
                **node != Node::Known(left_out.unwrap_or_default())
            })
            .map(|(name, node)| PropertyChange {
                name: name.clone(),
                before: None,
                after: Some(node.clone()),
                replaces: false,
            })
            .collect();
        let capabilities =
            self.capabilities(&wanted.desired.provider, wanted.desired.resource_type.name);
        if capabilities.recovery == Recovery::None {
            step.notes.push(
                "after a crash it cannot be learned whether this was done; a doubt is possible"
                    .into(),
            );
        }
        step
    }

    /// The two steps of a replacement: make the new, remove the old.
    pub(super) fn replacement(
        &self,
        wanted: &Wanted<'_>,
        object: &Managed,
        changes: Vec<PropertyChange>,
        action: Action,
        reason: Reason,
    ) -> [Step; 2] {
        let before = match wanted.seen {
            Some(real) => {
                self.access_of(wanted.address, &object.provider, wanted.desired.resource_type, real)
            }
            None => object.access.clone(),
        };
        let mut make = self.creation(wanted, reason.clone());
        make.action = action;
        make.part = Part::Make;
        make.changes = changes;
        make.access = before.change_to(&self.access_wanted(wanted.address, wanted.desired));
        make.risk = risk_of(&make.access).max(match object.kind {
            Kind::Identity | Kind::Runtime => Risk::Destroys,
            Kind::Credential | Kind::Permission => Risk::Low,
        });
        let credential = self
            .capabilities(&wanted.desired.provider, wanted.desired.resource_type.name)
            .credential;
        if credential.is_some_and(|credential| credential.at_once == AtOnce::One) {
            make.notes.push(GAP.into());
        }
        let mut remove =
            removal(wanted.address, object, reason, wanted.observation(), &Access::NONE);
        remove.action = action;
        remove.part = Part::Remove;
        remove.source = Some(wanted.desired.source.clone());
        remove.risk = make.risk;
        [make, remove]
    }
}

/// Whether one of the changed properties is part of the natural key, so that
/// the old and the new object can stand side by side.
pub(super) fn key_changes(ty: &'static ResourceType, changes: &[PropertyChange]) -> bool {
    ty.key_fields().any(|field| changes.iter().any(|change| change.name == field.name))
}

/// The properties that cannot be changed in place.
pub(super) fn replacing(ty: &'static ResourceType, changes: &mut [PropertyChange]) -> bool {
    let mut any = false;
    for change in changes {
        change.replaces =
            ty.field(&change.name).is_none_or(|field| field.mutability == Mutability::Replace);
        any |= change.replaces;
    }
    any
}
