//! The conformance suite of secret stores.
//!
//! Owns the contract of the [`SecretStore`] traits as calls and answers. It
//! knows no backend: a backend's own tests run [`check`] on it.

use std::sync::Arc;

use crate::{
    address::Address,
    error::{Error, ErrorKind, Result},
    ledger::{Claim, Head},
    secret::Secret,
    value::Digest,
    vault::{Deliver, Delivery, Labels, Open, Pin, SecretStore, StoredVersion, Versions},
};

/// A path with everything in it that a path may hold.
const PATH: &str = "agents/É \"quoted\" & 'single' $HOME/*?<>|%2e+~/db";

/// Runs the suite; `make` gives a new, empty store at each call.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::block_on, testing, vault::MemoryVault};
///
/// block_on(testing::vault::check(|| Arc::new(MemoryVault::new())));
/// ```
///
/// # Panics
///
/// When the store breaks the contract, saying which part of it.
pub async fn check(make: impl Fn() -> Arc<dyn SecretStore>) {
    an_empty_place_has_no_versions(&Case::new(make())).await;
    a_staged_version_is_pending_and_read_by_no_consumer(&Case::new(make())).await;
    a_repeated_call_changes_nothing_and_answers_the_same(&Case::new(make())).await;
    a_claim_stores_one_value(&Case::new(make())).await;
    another_claim_replaces_what_is_pending(&Case::new(make())).await;
    promotion_moves_the_labels(&Case::new(make())).await;
    what_is_not_pending_cannot_be_promoted(&Case::new(make())).await;
    discarding_takes_only_the_pending_version_of_the_claim(&Case::new(make())).await;
    removing_takes_one_generation(&Case::new(make())).await;
    a_version_that_is_not_expected_is_not_opened(&Case::new(make())).await;
    answers_stand_in_the_order_of_the_paths(&Case::new(make())).await;
    similar_paths_are_different_places(&Case::new(make())).await;
    a_path_that_no_place_can_hold_is_refused(&Case::new(make())).await;
    values_of_any_bytes_and_size_come_back_as_they_were(&Case::new(make())).await;
    a_second_handle_sees_what_the_first_has_done(&Case::new(make())).await;
    the_fingerprint_key_stays_the_same(&Case::new(make())).await;
    a_pin_never_goes_back(&Case::new(make())).await;
    deliveries_side_by_side_all_arrive(&Case::new(make())).await;
}

struct Case {
    store: Arc<dyn SecretStore>,
    labels: Arc<dyn Labels>,
    deliver: Arc<dyn Deliver>,
    open: Arc<dyn Open>,
    address: Address,
}

impl Case {
    fn new(store: Arc<dyn SecretStore>) -> Self {
        Self {
            labels: store.labels().expect("a store under test gives a handle for planning"),
            deliver: store.deliver().expect("a store under test gives a handle for applying"),
            open: store.open().expect("a store under test gives a handle for the probe"),
            address: "triage.key".parse().expect("the address is well formed"),
            store,
        }
    }

    async fn try_stage(&self, path: &str, generation: u32, value: &str) -> Result<StoredVersion> {
        let secret = Secret::from_text(value.to_owned());
        let (address, claim) = (&self.address, &claim(generation));
        self.deliver.stage(Delivery { path, address, generation, claim, secret: &secret }).await
    }

    /// Stages a generation under the claim of the same number.
    async fn stage(&self, path: &str, generation: u32) -> StoredVersion {
        let staged = self.try_stage(path, generation, &value(generation)).await;
        staged.expect("a version can be staged")
    }

    async fn promote(&self, path: &str, generation: u32) -> StoredVersion {
        let promoted = self.deliver.promote(path, &claim(generation)).await;
        promoted.expect("a staged version can be promoted")
    }

    async fn publish(&self, path: &str, generation: u32) -> StoredVersion {
        self.stage(path, generation).await;
        self.promote(path, generation).await
    }

    async fn versions(&self, path: &str) -> Versions {
        let versions = self.labels.versions(&[path.to_owned()]).await;
        let mut versions = versions.expect("versions can be read");
        assert_eq!(versions.len(), 1, "one answer for one path");
        versions.remove(0)
    }

    async fn read(&self, path: &str, generation: Option<u32>) -> Result<String> {
        self.open.open(path, generation, None).await.map(|secret| text(&secret))
    }
}

fn claim(number: u32) -> Claim {
    Claim::from_text(format!("5eed.{number}"))
}

fn value(generation: u32) -> String {
    format!("value-{generation}")
}

fn text(secret: &Secret) -> String {
    secret.expose(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The kind of an error whose message and repair were looked at: a person must
/// be able to act on them, and no value may stand in them.
#[track_caller]
fn kind<T>(result: Result<T>) -> ErrorKind {
    let error: Error = result.err().expect("the call is refused");
    let shown = format!("{error:?}");
    assert!(!shown.contains("value-"), "an error shows a value: {shown}");
    assert!(error.repair().is_some(), "an error names no repair: {shown}");
    error.kind()
}

async fn an_empty_place_has_no_versions(case: &Case) {
    assert_eq!(case.versions(PATH).await, Versions::default());
    assert!(case.deliver.staged(PATH).await.expect("staged can be asked").is_none());
    assert_eq!(kind(case.read(PATH, None).await), ErrorKind::NotFound);
    assert_eq!(kind(case.read(PATH, Some(1)).await), ErrorKind::NotFound);
    assert!(!case.store.description().is_empty());
}

async fn a_staged_version_is_pending_and_read_by_no_consumer(case: &Case) {
    let stored = case.stage(PATH, 1).await;
    assert_eq!((stored.generation, &stored.claim), (1, &claim(1)));
    let expected = Versions { pending: Some(stored.clone()), ..Versions::default() };
    assert_eq!(case.versions(PATH).await, expected);
    assert_eq!(kind(case.read(PATH, None).await), ErrorKind::NotFound);
    let read = case.read(PATH, Some(1)).await.expect("a probe opens a pending version by number");
    assert_eq!(read, value(1));
    let (staged, secret) =
        case.deliver.staged(PATH).await.expect("staged can be asked").expect("one is staged");
    assert_eq!((staged, text(&secret)), (stored, value(1)));
}

async fn a_repeated_call_changes_nothing_and_answers_the_same(case: &Case) {
    let stored = case.stage(PATH, 1).await;
    assert_eq!(case.stage(PATH, 1).await, stored, "stage");
    assert_eq!(case.promote(PATH, 1).await, stored, "promote answers what stage answered");
    let after = case.versions(PATH).await;
    assert_eq!(case.promote(PATH, 1).await, stored, "promote");
    assert_eq!(case.stage(PATH, 1).await, stored, "stage after its promotion");
    assert_eq!(case.versions(PATH).await, after, "repeating moved a label");
    for _ in 0..2 {
        case.stage(PATH, 2).await;
        case.deliver.discard(PATH, &claim(2)).await.expect("discard");
        case.deliver.discard(PATH, &claim(2)).await.expect("discard again");
        case.deliver.remove(PATH, 1).await.expect("remove");
        case.deliver.remove(PATH, 1).await.expect("remove again");
    }
    assert_eq!(case.versions(PATH).await, Versions::default());
}

async fn a_claim_stores_one_value(case: &Case) {
    let stored = case.stage(PATH, 1).await;
    let other = case.try_stage(PATH, 1, "value-other").await;
    assert_eq!(kind(other), ErrorKind::InvalidInput);
    let secret = Secret::from_text(value(1));
    let (address, claim) = (&case.address, &claim(1));
    let other = Delivery { path: PATH, address, generation: 2, claim, secret: &secret };
    assert_eq!(kind(case.deliver.stage(other).await), ErrorKind::InvalidInput);
    assert_eq!(case.versions(PATH).await.pending, Some(stored));
    assert_eq!(case.read(PATH, Some(1)).await.expect("it is as it was"), value(1));
}

async fn another_claim_replaces_what_is_pending(case: &Case) {
    let current = case.publish(PATH, 1).await;
    let lost = case.stage(PATH, 2).await;
    let pending = case.stage(PATH, 3).await;
    assert_ne!(lost.digest, pending.digest);
    let expected = Versions { current: Some(current), previous: None, pending: Some(pending) };
    assert_eq!(case.versions(PATH).await, expected);
    assert_eq!(case.read(PATH, None).await.expect("current"), value(1));
    assert_eq!(kind(case.read(PATH, Some(2)).await), ErrorKind::NotFound);
}

async fn promotion_moves_the_labels(case: &Case) {
    let first = case.publish(PATH, 1).await;
    assert_eq!(case.read(PATH, None).await.expect("current"), value(1));
    let second = case.stage(PATH, 2).await;
    assert_eq!(case.read(PATH, None).await.expect("current while pending"), value(1));
    case.promote(PATH, 2).await;
    assert_eq!(case.read(PATH, None).await.expect("current"), value(2));
    assert_eq!(case.read(PATH, Some(1)).await.expect("previous"), value(1));
    let expected = Versions { current: Some(second.clone()), previous: Some(first), pending: None };
    assert_eq!(case.versions(PATH).await, expected);
    assert!(case.deliver.staged(PATH).await.expect("staged can be asked").is_none());
    let third = case.publish(PATH, 3).await;
    let expected = Versions { current: Some(third), previous: Some(second), pending: None };
    assert_eq!(case.versions(PATH).await, expected);
    assert_eq!(kind(case.read(PATH, Some(1)).await), ErrorKind::NotFound);
}

async fn what_is_not_pending_cannot_be_promoted(case: &Case) {
    assert_eq!(kind(case.deliver.promote(PATH, &claim(1)).await), ErrorKind::NotFound);
    case.publish(PATH, 1).await;
    case.stage(PATH, 2).await;
    let before = case.versions(PATH).await;
    assert_eq!(kind(case.deliver.promote(PATH, &claim(3)).await), ErrorKind::NotFound);
    assert_eq!(case.versions(PATH).await, before);
}

async fn discarding_takes_only_the_pending_version_of_the_claim(case: &Case) {
    case.publish(PATH, 1).await;
    case.stage(PATH, 2).await;
    let before = case.versions(PATH).await;
    for other in [1, 3] {
        case.deliver.discard(PATH, &claim(other)).await.expect("discard of another claim");
        assert_eq!(case.versions(PATH).await, before);
    }
    case.deliver.discard(PATH, &claim(2)).await.expect("discard");
    assert_eq!(case.versions(PATH).await, Versions { pending: None, ..before });
    assert_eq!(kind(case.read(PATH, Some(2)).await), ErrorKind::NotFound);
}

async fn removing_takes_one_generation(case: &Case) {
    for generation in 1..=2 {
        case.publish(PATH, generation).await;
    }
    case.stage(PATH, 3).await;
    let before = case.versions(PATH).await;
    case.deliver.remove(PATH, 9).await.expect("remove of what is not there");
    assert_eq!(case.versions(PATH).await, before);
    case.deliver.remove(PATH, 1).await.expect("remove previous");
    let left = Versions { previous: None, ..before };
    assert_eq!(case.versions(PATH).await, left);
    assert_eq!(kind(case.read(PATH, Some(1)).await), ErrorKind::NotFound);
    case.deliver.remove(PATH, 2).await.expect("remove current");
    assert_eq!(case.versions(PATH).await, Versions { current: None, ..left });
    assert_eq!(kind(case.read(PATH, None).await), ErrorKind::NotFound);
    case.deliver.remove(PATH, 3).await.expect("remove pending");
    assert_eq!(case.versions(PATH).await, Versions::default());
    assert!(case.deliver.staged(PATH).await.expect("staged can be asked").is_none());
}

async fn a_version_that_is_not_expected_is_not_opened(case: &Case) {
    let stored = case.publish(PATH, 1).await;
    for generation in [None, Some(1)] {
        let opened = case.open.open(PATH, generation, Some(stored.digest)).await;
        assert_eq!(text(&opened.expect("the expected version is opened")), value(1));
        let refused = case.open.open(PATH, generation, Some(Digest::ZERO)).await;
        assert_eq!(kind(refused), ErrorKind::Damaged);
    }
}

async fn answers_stand_in_the_order_of_the_paths(case: &Case) {
    let paths = ["z", "nothing/here", "a", "z"].map(str::to_owned);
    let z = case.publish("z", 1).await;
    let a = case.publish("a", 2).await;
    let versions = case.labels.versions(&paths).await.expect("versions can be read");
    let current: Vec<_> = versions.into_iter().map(|versions| versions.current).collect();
    assert_eq!(current, [Some(z.clone()), None, Some(a), Some(z)]);
    assert!(case.labels.versions(&[]).await.expect("no path is no error").is_empty());
}

/// Paths that a file system or an escaping could take for one another.
async fn similar_paths_are_different_places(case: &Case) {
    let long = "x".repeat(120);
    let (long_a, long_b) = (format!("{long}/{long}/{long}/a"), format!("{long}/{long}/{long}/b"));
    let paths = [
        "a",
        "A",
        "a/b",
        "a+b",
        "a%2fb",
        "a%2Fb",
        "a b",
        "a.b",
        "a.json",
        "a.age",
        "a~b",
        "\u{e9}",
        "e\u{301}",
        "con",
        "CON",
        "nul/x",
        "a.g1",
        "a/current",
        "a/pending",
        "-rf",
        &long_a,
        &long_b,
    ];
    for (number, path) in (1..).zip(paths) {
        case.publish(path, number).await;
    }
    for (number, path) in (1..).zip(paths) {
        assert_eq!(case.read(path, None).await.expect("current"), value(number), "at `{path}`");
        assert_eq!(case.versions(path).await.current.map(|v| v.generation), Some(number));
    }
}

async fn a_path_that_no_place_can_hold_is_refused(case: &Case) {
    for path in ["", "/", "..", "../a", "a/../b", "/a", "a/", "a//b", "a\0b", "a\nb", "a\\b"] {
        let paths = [path.to_owned()];
        assert_eq!(kind(case.labels.versions(&paths).await), ErrorKind::InvalidInput, "{path:?}");
        let staged = case.try_stage(path, 1, "value-1").await;
        assert_eq!(kind(staged), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(case.read(path, None).await), ErrorKind::InvalidInput, "{path:?}");
        let removed = case.deliver.remove(path, 1).await;
        assert_eq!(kind(removed), ErrorKind::InvalidInput, "{path:?}");
    }
}

async fn values_of_any_bytes_and_size_come_back_as_they_were(case: &Case) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_byte.iter().copied().cycle().take(100_000).collect();
    for (number, bytes) in (1..).zip([vec![], vec![0], b"\r\n".to_vec(), every_byte, large]) {
        let secret = Secret::from_bytes(bytes);
        let (address, claim) = (&case.address, &claim(number));
        let delivery = Delivery { path: PATH, address, generation: number, claim, secret: &secret };
        let stored = case.deliver.stage(delivery).await.expect("a version can be staged");
        let (_, staged) =
            case.deliver.staged(PATH).await.expect("staged can be asked").expect("one is staged");
        assert!(staged.equals(&secret), "staged value {number} is another");
        case.promote(PATH, number).await;
        let opened = case.open.open(PATH, None, Some(stored.digest)).await;
        assert!(opened.expect("current").equals(&secret), "opened value {number} is another");
    }
}

async fn a_second_handle_sees_what_the_first_has_done(case: &Case) {
    let other = Case::new(Arc::clone(&case.store));
    let stored = case.stage(PATH, 1).await;
    assert_eq!(other.versions(PATH).await.pending, Some(stored));
    other.promote(PATH, 1).await;
    assert_eq!(case.read(PATH, None).await.expect("current"), value(1));
}

async fn the_fingerprint_key_stays_the_same(case: &Case) {
    let key = |case: &Case| {
        let deliver = Arc::clone(&case.deliver);
        async move { deliver.fingerprint_key().await.expect("the key can be read") }
    };
    let (name, first) = key(case).await;
    assert!(first.expose(<[u8]>::len) >= 32, "the key is shorter than a digest");
    for case in [case, &Case::new(Arc::clone(&case.store))] {
        let (same, again) = key(case).await;
        assert_eq!(name, same);
        assert!(first.equals(&again), "the key has changed under the same name");
    }
}

async fn a_pin_never_goes_back(case: &Case) {
    let ledger = "led/ger \"1\"";
    let pin = |sequence, salt: &str| Pin {
        ledger: ledger.to_owned(),
        head: Head { sequence, hash: Digest::of_bytes(salt.as_bytes()) },
    };
    assert_eq!(case.labels.pin(ledger).await.expect("a pin can be read"), None);
    for sequence in [1, 5, 5] {
        case.deliver.set_pin(&pin(sequence, "a")).await.expect("a pin goes forward");
    }
    for (sequence, salt) in [(4, "a"), (0, "a"), (5, "b")] {
        let refused = case.deliver.set_pin(&pin(sequence, salt)).await;
        assert_eq!(kind(refused), ErrorKind::Refused, "batch {sequence}");
    }
    assert_eq!(case.labels.pin(ledger).await.expect("a pin can be read"), Some(pin(5, "a")));
    assert_eq!(case.labels.pin("another").await.expect("a pin can be read"), None);
}

async fn deliveries_side_by_side_all_arrive(case: &Case) {
    let paths: Vec<String> = (1..=40).map(|number| format!("side/by/side/{number}")).collect();
    let all = (1..).zip(&paths).map(|(number, path)| case.publish(path, number));
    let stored = futures_util::future::join_all(all).await;
    let versions = case.labels.versions(&paths).await.expect("versions can be read");
    for (versions, stored) in versions.into_iter().zip(stored) {
        assert_eq!(versions.current, Some(stored));
    }
    // Repeats of one call at once, as after a time-out that was none.
    let same = futures_util::future::join_all((0..8).map(|_| case.stage(PATH, 1))).await;
    assert!(same.iter().all(|stored| *stored == same[0]));
    let same = futures_util::future::join_all((0..8).map(|_| case.promote(PATH, 1))).await;
    assert!(same.iter().all(|stored| *stored == same[0]));
    let current = Some(same[0].clone());
    let expected = Versions { current, previous: None, pending: None };
    assert_eq!(case.versions(PATH).await, expected);
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{clock::block_on, vault::MemoryVault};
    use std::sync::Arc;

    #[test]
    fn the_store_in_memory_keeps_the_contract() {
        block_on(check(|| Arc::new(MemoryVault::new())));
    }
}
