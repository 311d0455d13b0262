//! The keys of a declaration that belong to the engine.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    resource::{Ref, Resource},
};

/// Where something was declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The file, as the compiler or the reader named it.
    pub file: std::borrow::Cow<'static, str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Source {
    /// A place in a Rust file; used by derived code with `file!()`, `line!()`
    /// and `column!()`.
    pub const fn rust(file: &'static str, line: u32, column: u32) -> Self {
        Self { file: std::borrow::Cow::Borrowed(file), line, column }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What is done about drift without a plan.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// It is reported; taking it back goes through a plan.
    #[default]
    Report,
    /// What widens access is taken back at once; the rest is reported.
    RevertWidening,
}

/// What a declaration says to the engine about one resource. Each method is
/// the key of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The provider's name; the type's own unless said.
    pub provider: Option<String>,
    /// Resources that must exist first, beside those that are referred to.
    pub depends_on: BTreeSet<Address>,
    /// Refuse to delete or replace it, also once it has left the code.
    pub protect: bool,
    /// What is done about drift without a plan.
    pub on_drift: OnDrift,
    /// Properties that others manage: read, never compared or written.
    pub ignore: BTreeSet<String>,
    /// Why something unusual is wanted.
    pub because: Option<String>,
    /// How long one generation of a credential lives.
    pub rotate: Option<String>,
    /// How long two generations are valid together.
    pub overlap: Option<String>,
    /// When it may be rotated.
    pub window: Option<String>,
    /// When it may not be.
    pub blackouts: Vec<String>,
    /// The time zone of what the other terms say of days and hours.
    pub zone: Option<String>,
    /// Over how long a fleet's rotations are spread.
    pub jitter: Option<String>,
    /// What is done when a rotation fails.
    pub retry: Option<String>,
    /// How long the system accepts one generation, where it keeps leases.
    pub lease: Option<String>,
    /// The redundancy group, of which never two members are in transition.
    pub group: Option<String>,
    /// Where a credential is delivered, as `store:path`.
    pub deliver: Option<String>,
    /// Who uses the credential, each as the text of a
    /// [`Consumer`](crate::consumer::Consumer).
    pub consumers: BTreeSet<String>,
    /// What happens to an older generation whose time is over while consumers
    /// have not confirmed the present one.
    pub at_deadline: Option<String>,
}

impl Terms {
    /// Sets [`Terms::provider`].
    pub fn provider(&mut self, name: impl Into<String>) {
        self.provider = Some(name.into());
    }

    /// Adds to [`Terms::depends_on`]: references, alone or in an array.
    pub fn depends_on(&mut self, on: impl IntoAddresses) {
        on.add_to(&mut self.depends_on);
    }

    /// Sets [`Terms::protect`].
    pub fn protect(&mut self, protect: impl std::borrow::Borrow<bool>) {
        self.protect = *protect.borrow();
    }

    /// Sets [`Terms::on_drift`].
    pub fn on_drift(&mut self, policy: OnDrift) {
        self.on_drift = policy;
    }

    /// Sets [`Terms::ignore`].
    pub fn ignore<T: Into<String>>(&mut self, properties: impl IntoIterator<Item = T>) {
        self.ignore.extend(properties.into_iter().map(Into::into));
    }

    /// Sets [`Terms::because`].
    pub fn because(&mut self, why: impl Into<String>) {
        self.because = Some(why.into());
    }

    /// Sets [`Terms::rotate`].
    pub fn rotate(&mut self, period: impl Into<String>) {
        self.rotate = Some(period.into());
    }

    /// Sets [`Terms::overlap`].
    pub fn overlap(&mut self, period: impl Into<String>) {
        self.overlap = Some(period.into());
    }

    /// Sets [`Terms::window`].
    pub fn window(&mut self, window: impl Into<String>) {
        self.window = Some(window.into());
    }

    /// Adds to [`Terms::blackouts`].
    pub fn blackouts<T: Into<String>>(&mut self, blackouts: impl IntoIterator<Item = T>) {
        self.blackouts.extend(blackouts.into_iter().map(Into::into));
    }

    /// Sets [`Terms::zone`].
    pub fn zone(&mut self, zone: impl Into<String>) {
        self.zone = Some(zone.into());
    }

    /// Sets [`Terms::jitter`].
    pub fn jitter(&mut self, jitter: impl Into<String>) {
        self.jitter = Some(jitter.into());
    }

    /// Sets [`Terms::retry`].
    pub fn retry(&mut self, retry: impl Into<String>) {
        self.retry = Some(retry.into());
    }

    /// Sets [`Terms::lease`].
    pub fn lease(&mut self, lease: impl Into<String>) {
        self.lease = Some(lease.into());
    }

    /// Sets [`Terms::group`].
    pub fn group(&mut self, group: impl Into<String>) {
        self.group = Some(group.into());
    }

    /// Sets [`Terms::deliver`].
    pub fn deliver(&mut self, place: impl Into<String>) {
        self.deliver = Some(place.into());
    }

    /// Sets [`Terms::consumers`].
    pub fn consumers<T: Into<String>>(&mut self, names: impl IntoIterator<Item = T>) {
        self.consumers.extend(names.into_iter().map(Into::into));
    }

    /// Sets [`Terms::at_deadline`].
    pub fn at_deadline(&mut self, what: impl Into<String>) {
        self.at_deadline = Some(what.into());
    }
}

/// One reference, or several in an array.
pub trait IntoAddresses {
    /// Adds the addresses.
    fn add_to(self, addresses: &mut BTreeSet<Address>);
}

impl<R: Resource> IntoAddresses for &Ref<R> {
    fn add_to(self, addresses: &mut BTreeSet<Address>) {
        addresses.insert(self.address().clone());
    }
}

impl<T: IntoAddresses, const N: usize> IntoAddresses for [T; N] {
    fn add_to(self, addresses: &mut BTreeSet<Address>) {
        for one in self {
            one.add_to(addresses);
        }
    }
}

macro_rules! tuples_of_references {
    ($($name:ident)+) => {
        impl<$($name: IntoAddresses),+> IntoAddresses for ($($name,)+) {
            fn add_to(self, addresses: &mut BTreeSet<Address>) {
                #[allow(non_snake_case, reason = "the type parameters name the parts")]
                let ($($name,)+) = self;
                $($name.add_to(addresses);)+
            }
        }
    };
}

// An array holds references of one type only; a tuple mixes them.
tuples_of_references!(A B);
tuples_of_references!(A B C);
tuples_of_references!(A B C D);
