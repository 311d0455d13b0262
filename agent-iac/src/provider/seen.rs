//! What a provider judges before it writes: only on what was seen, and never
//! what is somebody else's.
//!
//! Owns that judgement and its wording, so that one repair fits every system.

use super::{Mark, Object, Observation};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    resource::{Reading, Resource},
};

impl Observation {
    /// Says how an object of type `R` differs from what was seen of it; `None`
    /// when it does not. It is what a provider asks within its transaction
    /// whose [`Capabilities::checks_seen`](super::Capabilities::checks_seen)
    /// says that it does.
    pub fn moved<R: Resource>(&self, now: &Object) -> Option<String> {
        let seen = match self {
            Self::Present(seen) => seen,
            Self::Absent => return Some("there was none then".into()),
            Self::Unread(_) => return Some("it could not be read then".into()),
        };
        if seen.id != now.id {
            return Some(format!("that was another one, {}", quoted(&seen.id)));
        }
        if seen.suspended != now.suspended {
            let is = if now.suspended { "suspended" } else { "active" };
            return Some(format!("it is {is} now"));
        }
        R::RESOURCE.fields.iter().find_map(|field| {
            // What was not read then cannot have decided anything.
            let Some(Reading::Known(then)) = seen.fields.get(field.name) else { return None };
            let then = field.ty.normalise(then.clone());
            match now.fields.get(field.name) {
                Some(Reading::Known(now)) if field.ty.normalise(now.clone()) == then => None,
                Some(Reading::Known(now)) => {
                    Some(format!("`{}` was {then} and is {now}", field.name))
                }
                _ => Some(format!("`{}` cannot be read now", field.name)),
            }
        })
    }
}

impl Mark {
    /// Refuses to write what another fleet, or the same one in another
    /// environment, says to be its own. `what` names the object, and `found` is
    /// the mark on it.
    ///
    /// # Errors
    ///
    /// When it is somebody else's.
    pub fn not_foreign(&self, what: &str, found: Option<&Self>) -> Result<()> {
        match found {
            Some(mark) if (&mark.fleet, &mark.environment) != (&self.fleet, &self.environment) => {
                Err(Error::new(ErrorKind::Foreign, format!("{what} belongs to {mark}"))
                    .help("move it there first, or leave it to that fleet"))
            }
            _ => Ok(()),
        }
    }

    /// The error of a creation under this mark that finds something in its
    /// place, with the mark `found` on it.
    pub fn taken(&self, what: &str, found: Option<&Self>) -> Error {
        match found {
            Some(mark) if mark == self => {
                Error::new(ErrorKind::StalePlan, format!("{what} exists already"))
                    .help("plan again")
            }
            Some(mark) => {
                Error::new(ErrorKind::Foreign, format!("{what} exists and belongs to {mark}"))
                    .help("choose another one, or move it here first")
            }
            None => Error::new(ErrorKind::Foreign, format!("{what} exists and is not ours"))
                .help("import it, or choose another one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_somebody_elses_is_named_with_its_owner() {
        let mark = |environment: &str| Mark {
            fleet: "acme".into(),
            environment: environment.into(),
            address: "a.b".parse().unwrap(),
        };
        let ours = mark("test");
        assert!(ours.not_foreign("the role `r`", Some(&mark("test"))).is_ok());
        assert!(ours.not_foreign("the role `r`", None).is_ok());
        let error = ours.not_foreign("the role `r`", Some(&mark("live"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Foreign);
        assert!(error.message().contains("live"), "{error}");
        assert_eq!(ours.taken("it", Some(&mark("test"))).kind(), ErrorKind::StalePlan);
        assert_eq!(ours.taken("it", None).kind(), ErrorKind::Foreign);
    }
}
