//! What has to hold before anything is written: only on what was seen, and
//! never on what is somebody else's.
//!
//! Pure. The wording is that of the other providers, so that one repair fits
//! everywhere.

use super::{Found, Job, Kind};
use crate::{
    error::{Error, ErrorKind, Result},
    provider::{Object, Observation, Operation},
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
        (Operation::Create(_), Some(now)) => Err(job.mark.taken(&what(), now.mark.as_ref())),
        (_, None) => Err(stale(&what(), "is gone")),
        (_, Some(now)) => {
            job.mark.not_foreign(&what(), now.mark.as_ref())?;
            match job.seen.moved::<K>(now) {
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
