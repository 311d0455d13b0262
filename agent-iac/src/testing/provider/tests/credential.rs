//! The same for the rules about credentials.

use super::*;
use crate::{
    provider::{
        AtOnce, Attempt, Composition, CredentialCapabilities, Issue, IssueRequest, Issued, Origin,
        Probe, RevokeRequest, Tried,
    },
    resource::Link,
    secret::Secret,
};

/// A login of the small system.
#[derive(Debug, crate::Resource)]
#[resource(type = "test.login", kind = "credential")]
struct Login {
    #[resource(replace)]
    of: Link<Account>,
    #[resource(output)]
    id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    GivesTheSecretAgain,
    GivesNoSecret,
    IssuesTwice,
    AllowsAThird,
    EndsTheOther,
    LetsTheSuspendedIn,
    LetsTheRevokedIn,
    TellsTheRevokedApart,
    LetsAnybodyIn,
    ListsOfEverybody,
    RefusesTwice,
    ComposesFewer,
    ComposesTheSame,
}

struct Logins {
    wrong: Option<Wrong>,
    accounts: Arc<Small>,
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By id: the login, its secret, and whether it is revoked.
    logins: BTreeMap<String, (Object, Vec<u8>, bool)>,
    claims: BTreeMap<Claim, Object>,
    revocations: std::collections::BTreeSet<Claim>,
}

impl Logins {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    fn composes(&self) -> bool {
        self.is(Wrong::ComposesFewer) || self.is(Wrong::ComposesTheSame)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn issue_one(&self, kept: &mut Kept, request: &IssueRequest<Login>) -> Result<Issued> {
        if let Some(object) = kept.claims.get(&request.claim)
            && !self.is(Wrong::IssuesTwice)
        {
            let (_, secret, _) = &kept.logins[&object.id];
            let again = self.is(Wrong::GivesTheSecretAgain);
            return Ok(Issued {
                written: Written { object: Some(object.clone()), correlation: None },
                secret: again.then(|| Secret::from_bytes(secret.clone())),
            });
        }
        let of = Value::from(request.desired.of.target());
        let live = |(object, _, ended): &&(Object, Vec<u8>, bool)| {
            !ended && object.value("of") == Some(&of)
        };
        if kept.logins.values().filter(live).count() >= 2 && !self.is(Wrong::AllowsAThird) {
            return Err(Error::new(ErrorKind::Refused, "it has two"));
        }
        let id = format!("login-{}", kept.logins.len());
        let mut login = LoginBuilder::default();
        login.of(&request.desired.of).id(id.as_str());
        let object = Object::new::<Login>(id.clone(), &mut login);
        let secret = format!("secret of {id}").into_bytes();
        kept.logins.insert(id, (object.clone(), secret.clone(), false));
        kept.claims.insert(request.claim.clone(), object.clone());
        Ok(Issued {
            written: Written { object: Some(object), correlation: None },
            secret: (!self.is(Wrong::GivesNoSecret)).then(|| Secret::from_bytes(secret)),
        })
    }

    fn try_one(&self, kept: &Kept, attempt: &Attempt<'_>) -> Tried {
        let found = kept
            .logins
            .values()
            .find(|(_, secret, _)| attempt.secret.expose(|bytes| bytes == secret.as_slice()));
        let suspended = self
            .accounts
            .with(|state| state.objects.get(attempt.identity).is_some_and(|one| one.suspended));
        let identity = Value::from(attempt.identity);
        match found {
            _ if self.is(Wrong::LetsAnybodyIn) => Tried::Accepted,
            Some((.., true)) if self.is(Wrong::LetsTheRevokedIn) => Tried::Accepted,
            Some((.., true)) if self.is(Wrong::TellsTheRevokedApart) => {
                Tried::Refused("revoked".into())
            }
            None | Some((.., true)) => Tried::Refused("bad".into()),
            Some((object, ..)) if object.value("of") != Some(&identity) => {
                Tried::Unknown("another's".into())
            }
            Some(_) if suspended && !self.is(Wrong::LetsTheSuspendedIn) => {
                Tried::Refused("suspended".into())
            }
            Some(_) => Tried::Accepted,
        }
    }
}

#[async_trait]
impl Observe<Login> for Logins {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            batch: 1,
            credential: Some(CredentialCapabilities {
                origin: if self.composes() { Origin::Engine } else { Origin::System },
                at_once: AtOnce::Two,
                last_use_known: false,
                propagation: std::time::Duration::ZERO,
            }),
            ..Capabilities::default()
        }
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let find = |kept: &Kept, reference: &Reference| match reference {
            Reference::Id(id) => match kept.logins.get(id) {
                Some((object, _, false)) => Observation::Present(object.clone()),
                _ => Observation::Absent,
            },
            Reference::Key(_) => Observation::Unread("it has no key".into()),
        };
        Ok(self.with(|kept| references.iter().map(|one| find(kept, one)).collect()))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        let wanted = |object: &Object| match listing {
            Listing::Of(ids) if !self.is(Wrong::ListsOfEverybody) => ids
                .iter()
                .any(|id| object.value("of").and_then(Value::as_text) == Some(id.as_str())),
            _ => true,
        };
        Ok(self.with(|kept| {
            let live = kept.logins.values().filter(|(.., ended)| !ended);
            live.map(|(object, ..)| object).filter(|object| wanted(object)).cloned().collect()
        }))
    }
}

#[async_trait]
impl Issue<Login> for Logins {
    async fn compose(&self, batch: &[Composition<Login>], _: &dyn Entropy) -> Vec<Result<Secret>> {
        let fewer = usize::from(self.is(Wrong::ComposesFewer));
        let secret = |generation| Ok(Secret::from_text(format!("generation {generation}")));
        batch.iter().skip(fewer).map(|one| secret(one.generation)).collect()
    }

    async fn issue(&self, batch: &[IssueRequest<Login>]) -> Vec<Result<Issued>> {
        self.with(|kept| batch.iter().map(|request| self.issue_one(kept, request)).collect())
    }

    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
        self.with(|kept| {
            batch
                .iter()
                .map(|request| {
                    let known = !kept.revocations.insert(request.claim.clone());
                    for (id, (.., ended)) in &mut kept.logins {
                        if *id == request.id && *ended && !known && self.is(Wrong::RefusesTwice) {
                            return Err(Error::new(ErrorKind::NotFound, "it is gone"));
                        }
                        *ended |= *id == request.id || self.is(Wrong::EndsTheOther);
                    }
                    Ok(Written { object: None, correlation: None })
                })
                .collect()
        })
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        let known = |kept: &Kept, claim| match kept.claims.get(claim) {
            Some(object) => {
                Settled::Done(Written { object: Some(object.clone()), correlation: None })
            }
            None => Settled::NotDone,
        };
        Ok(self.with(|kept| claims.iter().map(|claim| known(kept, claim)).collect()))
    }
}

#[async_trait]
impl Probe<Login> for Logins {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        self.with(|kept| attempts.iter().map(|attempt| self.try_one(kept, attempt)).collect())
    }
}

struct Both(Arc<Small>, Arc<Logins>);

#[async_trait]
impl Provider for Both {
    fn description(&self) -> String {
        "small".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("small".into())
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new().with::<Account, _>(&self.0).with::<Login, _>(&self.1))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new().with::<Account, _>(&self.0).with_credential::<Login, _>(&self.1))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new().with::<Login, _>(&self.1))
    }
}

/// What the suite says of logins that are wrong; `None` when it passes.
fn verdict(wrong: Option<Wrong>) -> Option<String> {
    let accounts = Arc::new(Small { fault: None, state: Mutex::default() });
    let logins =
        Arc::new(Logins { wrong, accounts: Arc::clone(&accounts), state: Mutex::default() });
    let entropy = Arc::new(Counting(AtomicUsize::new(0)));
    let suite = Suite::new(Arc::new(Both(accounts, logins)), Arc::new(SystemClock), entropy);
    let check = suite.check_credential::<Account, Login>(
        |sample| {
            let mut account = Account::builder();
            account.name(sample.name());
            account
        },
        |account, _| {
            let mut login = Login::builder();
            login.of(Link::id(account));
            login
        },
    );
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(check)));
    ended.err().map(|panic| *panic.downcast::<String>().expect("the suite panics with a text"))
}

#[test]
fn logins_that_keep_the_contract_pass() {
    assert_eq!(verdict(None), None);
}

#[test]
fn each_wrong_about_logins_is_found_by_its_rule() {
    for (wrong, rule) in [
        (Wrong::GivesTheSecretAgain, "an issue under the same claim makes nothing"),
        (Wrong::GivesNoSecret, "the system answers a secret exactly when"),
        (Wrong::IssuesTwice, "an issue under the same claim makes nothing"),
        (Wrong::AllowsAThird, "one credential more than it says is refused"),
        (Wrong::EndsTheOther, "revoking one credential leaves the others"),
        (Wrong::LetsTheSuspendedIn, "the credential of a suspended identity is not accepted"),
        (Wrong::LetsTheRevokedIn, "a revoked credential and a random one are refused"),
        (Wrong::TellsTheRevokedApart, "a revoked credential and a random one are refused"),
        (Wrong::LetsAnybodyIn, "a credential of another identity is not accepted"),
        (Wrong::ListsOfEverybody, "listing by identity gives its credentials"),
        (Wrong::RefusesTwice, "revoking what is gone succeeds"),
        (Wrong::ComposesFewer, "a secret is composed for each credential"),
        (Wrong::ComposesTheSame, "and no two are equal"),
    ] {
        let told = verdict(Some(wrong)).unwrap_or_default();
        assert!(told.contains(rule), "{wrong:?}: {told}");
        assert!(told.contains("`test.login`"), "{wrong:?}: {told}");
    }
}
