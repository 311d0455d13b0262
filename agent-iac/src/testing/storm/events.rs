//! What happens in a storm: events, drawn from the seed, each by an operator.

use std::{fmt, time::Duration};

use super::{
    super::world::Random,
    code::{AGENTS, Code, TENANTS},
};

/// A change of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Declare(&'static str),
    Note(&'static str, u64),
    Widen(&'static str),
    Narrow(&'static str),
    /// Everything of the agent is made anew: its account cannot move.
    Move(&'static str),
    /// Its account gets another name, or its first one again, and so is another
    /// one.
    Rename(&'static str),
    /// Its secrets are delivered to another place.
    Deliver(&'static str),
    Remove(&'static str),
    /// With another name its account is another one.
    Mailer(Option<&'static str>),
    Keeper,
    Adopt,
}

/// What an outside hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    Widen,
    Narrow,
    PlantGrant,
    PlantKey,
    DropGrant,
    DropKey,
    DropToken,
    DropAccount,
    Suspend,
    Resume,
    Note,
    /// An account under a name that the code may declare later; of nobody, or
    /// of another fleet.
    Squat(bool),
}

/// What an operator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Changes the code, and applies it.
    Change(Change),
    Apply,
    /// Applies to one agent only.
    ApplyTo(&'static str),
    /// Plans, leaves the plan lying, and applies it then.
    ApplyLate(Duration),
    /// Applies code that an accident emptied.
    Emptied,
    Revert,
    Kill(&'static str),
    Resume(&'static str),
    Hold(&'static str, u32),
    Release(&'static str),
    /// Runs a runner for so long.
    Watch(Duration),
    /// Renews the credentials of an agent now.
    Renew(&'static str),
    /// Says that the credentials of an agent are known to others.
    Compromise(&'static str),
    /// Lets a consumer confirm what stands at its place now.
    Confirm(&'static str),
    Drift(Drift, u64),
    Wait(Duration),
    /// Turns the hands of the world's clock by so many minutes.
    Turn(i64),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) operator: usize,
    /// How long the operator waits before it.
    pub(super) gap: Duration,
    pub(super) deed: Deed,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, gap, deed } = self;
        write!(f, "operator {operator}, {} ms later: {deed:?}", gap.as_millis())
    }
}

/// What a seed decides before anything happens.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) start: Code,
    pub(super) operators: usize,
    pub(super) events: Vec<Event>,
}

impl Script {
    pub(super) fn drawn(seed: u64) -> Self {
        let mut random = Random::new(seed, "script");
        let mut start = Code::default();
        for tenant in TENANTS {
            if random.one_of(5_000) {
                start.readers.insert(tenant, super::code::Terms::default());
            }
        }
        start.mailer = random.one_of(5_000).then_some("mailer");
        start.keeper = random.one_of(3_000);
        start.cap = random.one_of(3_000).then_some(1);
        let operators = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let count = random.between(4, 12);
        let mut events: Vec<Event> = (0..count).map(|_| event(&mut random, operators)).collect();
        if super::weather::worst(seed) && operators > 1 {
            // What the one makes the other may take for nobody's.
            let deeds = [Deed::Watch(Duration::from_hours(1)), Deed::Revert];
            let meeting = deeds.into_iter().enumerate().map(|(operator, deed)| {
                let gap = Duration::from_millis(random.between(0, 400));
                Event { operator, gap, deed }
            });
            events.splice(0..0, meeting.collect::<Vec<_>>());
        }
        Self { start, operators, events }
    }
}

fn event(random: &mut Random, operators: usize) -> Event {
    let operator = usize::try_from(random.between(0, operators as u64 - 1)).unwrap_or(0);
    // Mostly at once, so that operators meet.
    let gap = match random.between(0, 9) {
        0..=5 => Duration::from_millis(random.between(0, 400)),
        6 | 7 => Duration::from_secs(random.between(1, 20)),
        _ => Duration::from_secs(random.between(20, 400)),
    };
    Event { operator, gap, deed: deed(random) }
}

fn deed(random: &mut Random) -> Deed {
    let agent = *random.pick(&AGENTS);
    match random.between(0, 99) {
        0..=26 => Deed::Change(change(random)),
        27..=32 => Deed::Watch(Duration::from_secs(random.between(600, 180_000))),
        33 | 34 => Deed::Renew(agent),
        35 => Deed::Compromise(agent),
        36..=38 => Deed::Confirm(agent),
        39..=41 => Deed::Apply,
        42..=46 => Deed::ApplyTo(agent),
        47..=52 => Deed::ApplyLate(Duration::from_secs(random.between(60, 3_000))),
        53 | 54 => Deed::Emptied,
        55..=61 => Deed::Revert,
        62..=65 => Deed::Kill(agent),
        66..=68 => Deed::Resume(agent),
        69..=71 => Deed::Hold(agent, u32::try_from(random.between(1, 30)).unwrap_or(1)),
        72 => Deed::Release(agent),
        73..=91 => Deed::Drift(drift(random), random.next()),
        92..=97 => Deed::Wait(Duration::from_secs(random.between(600, 180_000))),
        _ => Deed::Turn(*random.pick(&[-61, -9, 9, 61])),
    }
}

fn change(random: &mut Random) -> Change {
    let tenant = *random.pick(&TENANTS);
    match random.between(0, 23) {
        0..=5 => Change::Declare(tenant),
        6 => Change::Note(tenant, random.between(2, 9)),
        7 | 8 => Change::Widen(tenant),
        9 | 10 => Change::Narrow(tenant),
        11..=13 => Change::Move(tenant),
        14 | 15 => Change::Remove(tenant),
        16 | 17 => Change::Rename(tenant),
        18 | 19 => Change::Deliver(tenant),
        20 => Change::Mailer(Some("mailer")),
        21 => Change::Mailer(*random.pick(&[None, Some("postman")])),
        22 => Change::Keeper,
        _ => Change::Adopt,
    }
}

fn drift(random: &mut Random) -> Drift {
    *random.pick(&[
        Drift::Widen,
        Drift::Widen,
        Drift::Narrow,
        Drift::Narrow,
        Drift::PlantGrant,
        Drift::PlantKey,
        Drift::DropGrant,
        Drift::DropKey,
        Drift::DropToken,
        Drift::DropAccount,
        Drift::Suspend,
        Drift::Resume,
        Drift::Note,
        Drift::Squat(false),
        Drift::Squat(true),
    ])
}

impl Change {
    /// Makes the change; of an agent that is not declared there is none.
    pub(super) fn make(&self, code: &mut Code, made_by_hand: &str) {
        let mut of = |tenant, change: &dyn Fn(&mut super::code::Terms)| {
            if let Some(terms) = code.readers.get_mut(tenant) {
                change(terms);
            }
        };
        match self {
            Self::Declare(tenant) => {
                code.readers.entry(tenant).or_default();
            }
            Self::Note(tenant, number) => of(tenant, &|terms| terms.note = format!("n{number}")),
            Self::Widen(tenant) => of(tenant, &|terms| {
                terms.actions.insert("write");
            }),
            Self::Narrow(tenant) => of(tenant, &|terms| {
                terms.actions.retain(|action| *action == "read");
            }),
            Self::Move(tenant) => of(tenant, &|terms| {
                terms.home = if terms.home == "here" { "there" } else { "here" };
            }),
            Self::Rename(tenant) => of(tenant, &|terms| {
                terms.name = if terms.name == "reader" { "clerk" } else { "reader" };
            }),
            Self::Deliver(tenant) => of(tenant, &|terms| {
                terms.place = if terms.place == "agents" { "services" } else { "agents" };
            }),
            Self::Remove(tenant) => drop(code.readers.remove(tenant)),
            Self::Mailer(name) => code.mailer = *name,
            Self::Keeper => code.keeper = true,
            Self::Adopt => code.adopts = Some(made_by_hand.to_owned()),
        }
    }
}
