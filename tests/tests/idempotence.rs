//! Applying what is there already changes nothing and writes nothing.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use agent_iac::{
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    plan::SavedPlan,
};
use agent_iac_tests::{
    converge,
    embedded::{Version, deployment},
    operator,
};

/// Every file below a folder: its bytes, and when they were last written.
type Files = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.metadata().unwrap();
            if metadata.is_dir() {
                open.push(path);
            } else {
                let file = (fs::read(&path).unwrap(), metadata.modified().unwrap());
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), file);
            }
        }
    }
    found
}

fn assert_untouched(before: &Files, after: &Files, when: &str) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "{when}: files came or went");
    for (path, (bytes, written)) in before {
        let (now, again) = &after[path];
        assert!(bytes == now, "{when}: {} has other bytes", path.display());
        assert_eq!(written, again, "{when}: {} was written again", path.display());
    }
}

fn apply_again(deployment: &Deployment) {
    let settled = block_on(deployment.recover(&operator())).unwrap();
    assert!(settled.run.is_none(), "{settled:?}");
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    assert!(plan.is_clean(), "{plan:?}");
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    let report = block_on(deployment.apply(&saved, &context)).unwrap();
    assert!(report.run.is_none() && report.is_complete(), "{report:?}");
}

#[test]
fn a_second_apply_leaves_every_file_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = deployment(folder.path(), Version::Full, 12).unwrap();
    block_on(converge(&first)).unwrap();

    // In the same process, with everything open.
    let opened = files(folder.path());
    assert!(opened.contains_key(Path::new("ledger.db-wal")), "{:?}", opened.keys());
    apply_again(&first);
    assert_untouched(&opened, &files(folder.path()), "while it is open");

    // In another one, as a timer does it.
    drop(first);
    let closed = files(folder.path());
    for name in ["authority.db", "ledger.db", "vault/format", "vault/keys/fingerprint.age"] {
        assert!(closed.contains_key(Path::new(name)), "{name} is not in {:?}", closed.keys());
    }
    assert!(closed.keys().any(|path| path.starts_with("vault/secrets")), "{:?}", closed.keys());
    let second = deployment(folder.path(), Version::Full, 12).unwrap();
    apply_again(&second);
    drop(second);
    assert_untouched(&closed, &files(folder.path()), "after it was closed");
}

#[test]
fn a_change_is_seen_by_what_compares_the_files() {
    let folder = tempfile::tempdir().unwrap();
    block_on(converge(&deployment(folder.path(), Version::Full, 2).unwrap())).unwrap();
    let before = files(folder.path());
    block_on(converge(&deployment(folder.path(), Version::Changed, 2).unwrap())).unwrap();
    let after = files(folder.path());
    for name in ["authority.db", "ledger.db"] {
        assert_ne!(before[Path::new(name)], after[Path::new(name)], "{name}");
    }
}
