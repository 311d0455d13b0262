//! What has to hold before anything is written: only on what was seen, and
//! never on what is somebody else's.
//!
//! Pure. The wording is that of the other providers, so that one repair fits
//! everywhere.

use super::{super::outcome, Found, Job, Kind};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{Object, Observation, Operation},
    resource::{Reading, Resource},
};

/// Judges a write by what is there now.
///
/// # Errors
///
/// When something stands where it would create, when what it is about is
/// another fleet's, gone, or not as it was seen.
pub(super) fn permitted<K: Kind>(job: &Job<K>, found: Option<&Found>) -> Result<()> {
    let what = || K::what(job, found);
    let now = found.map(|found| &found.object);
    match (&job.operation, now) {
        // What is gone already is deleted.
        (Operation::Create(_) | Operation::Delete { .. }, None) => Ok(()),
        (Operation::Create(_), Some(now)) => {
            Err(outcome::exists(&what(), now.mark.as_ref(), &job.mark))
        }
        (_, None) => Err(stale(&what(), "is gone")),
        (_, Some(now)) => {
            outcome::not_foreign(&what(), now.mark.as_ref(), &job.mark)?;
            match moved::<K>(&job.seen, now) {
                None => Ok(()),
                Some(how) => Err(stale(&what(), &format!("is not as it was seen: {how}"))),
            }
        }
    }
}

/// Judges what is read after a write, in its transaction: exactly what was
/// declared, or nothing after a delete.
///
/// # Errors
///
/// When it is something else.
pub(super) fn as_written<K: Kind>(job: &Job<K>, read: Observation) -> Result<Option<Object>> {
    let what = || K::what(job, None);
    let wrong = |how: &str| Err(not_as_written(&what(), how));
    let object = match (read, matches!(job.operation, Operation::Delete { .. })) {
        (Observation::Absent, true) => return Ok(None),
        (Observation::Absent, false) => return wrong("it is not there"),
        (Observation::Present(_), true) => return wrong("it is still there"),
        (Observation::Unread(why), _) => return wrong(&format!("it cannot be read ({why})")),
        (Observation::Present(object), false) => object,
    };
    let suspended = match job.operation {
        Operation::Suspend { .. } => true,
        Operation::Resume { .. } => false,
        _ => object.suspended,
    };
    if object.suspended != suspended {
        return wrong(if suspended { "it is not suspended" } else { "it is suspended" });
    }
    let declared = job.spec().map(K::declared).unwrap_or_default();
    for field in K::RESOURCE.fields {
        let Some(wanted) = declared.get(field.name) else { continue };
        let wanted = field.ty.normalise(wanted.clone());
        let found = object.value(field.name).map(|value| field.ty.normalise(value.clone()));
        if found.as_ref() != Some(&wanted) {
            let found = found.map_or_else(|| "cannot be read".into(), |is| format!("is {is}"));
            return wrong(&format!("`{}` was to be {wanted} and {found}", field.name));
        }
    }
    Ok(Some(object))
}

/// The error of a write that the world has overtaken.
pub(super) fn stale(what: &str, how: &str) -> Error {
    Error::new(ErrorKind::StalePlan, format!("{what} {how}")).help("plan again")
}

/// The error of a change that is not there, or not alone, when it is looked at.
pub(super) fn not_as_written(what: &str, how: &str) -> Error {
    stale(what, &format!("is not as it was written: {how}"))
}

/// Says how an object differs from what was seen of it.
fn moved<R: Resource>(seen: &Observation, now: &Object) -> Option<String> {
    let seen = match seen {
        Observation::Present(seen) => seen,
        Observation::Absent => return Some("there was none then".into()),
        Observation::Unread(_) => return Some("it could not be read then".into()),
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
            Some(Reading::Known(now)) => Some(format!("`{}` was {then} and is {now}", field.name)),
            _ => Some(format!("`{}` cannot be read now", field.name)),
        }
    })
}
