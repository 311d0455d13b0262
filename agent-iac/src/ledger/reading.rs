//! Reading events.
//!
//! An event stands as one object that names its kind and its phase among its
//! other members. Serde's own way to read such a form keeps all of it, twice
//! over, until both names are known. Nearly everything in a ledger is a step,
//! though, and in canonical JSON its kind stands before all that is large: from
//! there on, its members are read straight into what they are.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use serde_json::Value as Json;

use super::{Claim, Event, Managed, StepEvent};
use crate::plan::Action;

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Ledger,
    Plan,
    Run,
    Step,
    Observed,
    Credential,
    Agent,
    Record,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Begun,
    Done,
    Failed,
    InDoubt,
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event with its kind and its phase")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Event, A::Error> {
        let mut before = serde_json::Map::new();
        let kind = loop {
            let Some(name) = members.next_key::<String>()? else {
                return Err(A::Error::missing_field("kind"));
            };
            if name == "kind" {
                break members.next_value::<Kind>()?;
            }
            keep(&mut before, name, members.next_value()?)?;
        };
        if kind == Kind::Step {
            let mut step = Step::default();
            for (name, value) in before {
                step.take(&name, Kept(value))?;
            }
            while let Some(name) = members.next_key::<String>()? {
                step.take(&name, Coming(&mut members))?;
            }
            return Ok(Event::Step(step.whole()?));
        }
        while let Some(name) = members.next_key::<String>()? {
            if name == "kind" {
                return Err(A::Error::duplicate_field("kind"));
            }
            keep(&mut before, name, members.next_value()?)?;
        }
        let whole = Json::Object(before);
        match kind {
            Kind::Ledger => serde_json::from_value(whole).map(Event::Ledger),
            Kind::Plan => serde_json::from_value(whole).map(Event::Plan),
            Kind::Run => serde_json::from_value(whole).map(Event::Run),
            Kind::Step => serde_json::from_value(whole).map(Event::Step),
            Kind::Observed => serde_json::from_value(whole).map(Event::Observed),
            Kind::Credential => serde_json::from_value(whole).map(Event::Credential),
            Kind::Agent => serde_json::from_value(whole).map(Event::Agent),
            Kind::Record => serde_json::from_value(whole).map(Event::Record),
        }
        .map_err(A::Error::custom)
    }
}

/// Two readers could take different ones of two members with one name.
fn keep<E: Error>(
    members: &mut serde_json::Map<String, Json>,
    name: String,
    value: Json,
) -> Result<(), E> {
    let twice = format!("the key {name:?} stands twice");
    match members.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(E::custom(twice)),
    }
}

/// The value of a member: still to be read, or kept from before it was known
/// what it is.
trait Member<E> {
    fn read<T: DeserializeOwned>(self) -> Result<T, E>;
}

struct Coming<'m, A>(&'m mut A);

impl<'de, A: MapAccess<'de>> Member<A::Error> for Coming<'_, A> {
    fn read<T: DeserializeOwned>(self) -> Result<T, A::Error> {
        self.0.next_value()
    }
}

struct Kept(Json);

impl<E: Error> Member<E> for Kept {
    fn read<T: DeserializeOwned>(self) -> Result<T, E> {
        serde_json::from_value(self.0).map_err(E::custom)
    }
}

/// The members of a step's event, as far as they were read.
#[expect(clippy::option_option, reason = "a member that is null is not one that is missing")]
#[derive(Default)]
struct Step {
    phase: Option<Phase>,
    claim: Option<Claim>,
    action: Option<Action>,
    deposed: Option<bool>,
    target: Option<Option<Arc<Managed>>>,
    id: Option<Option<String>>,
    provider: Option<String>,
    resource_type: Option<String>,
    object: Option<Option<Arc<Managed>>>,
    error: Option<String>,
}

impl Step {
    fn take<E: Error>(&mut self, name: &str, value: impl Member<E>) -> Result<(), E> {
        match name {
            "phase" => once(&mut self.phase, "phase", value),
            "claim" => once(&mut self.claim, "claim", value),
            "action" => once(&mut self.action, "action", value),
            "deposed" => once(&mut self.deposed, "deposed", value),
            "target" => once(&mut self.target, "target", value),
            "id" => once(&mut self.id, "id", value),
            "provider" => once(&mut self.provider, "provider", value),
            "resource_type" => once(&mut self.resource_type, "resource_type", value),
            "object" => once(&mut self.object, "object", value),
            "error" => once(&mut self.error, "error", value),
            "kind" => Err(E::duplicate_field("kind")),
            _ => value.read::<serde::de::IgnoredAny>().map(drop),
        }
    }

    fn whole<E: Error>(self) -> Result<StepEvent, E> {
        let missing = E::missing_field;
        let claim = self.claim.ok_or_else(|| missing("claim"))?;
        Ok(match self.phase.ok_or_else(|| missing("phase"))? {
            Phase::Begun => StepEvent::Begun {
                claim,
                action: self.action.ok_or_else(|| missing("action"))?,
                deposed: self.deposed.unwrap_or_default(),
                target: self.target.flatten(),
                id: self.id.flatten(),
                provider: self.provider.ok_or_else(|| missing("provider"))?,
                resource_type: self.resource_type.ok_or_else(|| missing("resource_type"))?,
            },
            Phase::Done => StepEvent::Done { claim, object: self.object.flatten() },
            Phase::Failed => {
                StepEvent::Failed { claim, error: self.error.ok_or_else(|| missing("error"))? }
            }
            Phase::InDoubt => {
                StepEvent::InDoubt { claim, error: self.error.ok_or_else(|| missing("error"))? }
            }
        })
    }
}

fn once<T: DeserializeOwned, E: Error>(
    slot: &mut Option<T>,
    name: &'static str,
    value: impl Member<E>,
) -> Result<(), E> {
    if slot.is_some() {
        return Err(E::duplicate_field(name));
    }
    *slot = Some(value.read()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = r#"{"claim":"r.1","kind":"step","object":null,"phase":"done"}"#;

    fn read(text: &str) -> Result<Event, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_step_is_read_in_whatever_order_its_members_stand() {
        let done = read(DONE).unwrap();
        assert_eq!(done, StepEvent::Done { claim: Claim::from_text("r.1"), object: None }.into());
        for text in [
            r#"{"kind":"step","phase":"done","object":null,"claim":"r.1"}"#,
            r#"{"object":null,"phase":"done","claim":"r.1","kind":"step"}"#,
            r#"{"claim":"r.1","kind":"step","phase":"done"}"#,
            r#"{"claim":"r.1","kind":"step","later":[{"version":"has"}],"phase":"done"}"#,
        ] {
            assert_eq!(read(text).unwrap(), done, "{text}");
        }
    }

    #[test]
    fn what_is_missing_twice_there_or_unknown_is_named() {
        for (text, named) in [
            (r#"{"claim":"r.1","phase":"done"}"#, "missing field `kind`"),
            (r#"{"claim":"r.1","kind":"step"}"#, "missing field `phase`"),
            (r#"{"kind":"step","phase":"done"}"#, "missing field `claim`"),
            (r#"{"claim":"r.1","kind":"step","phase":"failed"}"#, "missing field `error`"),
            (r#"{"claim":"r.1","kind":"step","phase":"ended"}"#, "unknown variant `ended`"),
            (r#"{"claim":"r.1","kind":"stop"}"#, "unknown variant `stop`"),
            (r#"{"claim":"r.1","claim":"r.2","kind":"step","phase":"done"}"#, "stands twice"),
            (r#"{"kind":"step","claim":"r.1","claim":"r.2","phase":"done"}"#, "duplicate field"),
            (r#"{"kind":"step","claim":"r.1","kind":"step","phase":"done"}"#, "duplicate field"),
            (r#"{"kind":"run","kind":"run"}"#, "duplicate field `kind`"),
            (r#"{"claim":1,"kind":"step","phase":"done"}"#, "invalid type"),
            ("[]", "an event with its kind"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
