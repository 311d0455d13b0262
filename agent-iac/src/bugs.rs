//! Deliberate bugs, which the simulation has to find.
//!
//! `bug!("name")` stands where the engine would go wrong. It is `false` in
//! every build but those with `--cfg agent_iac_bugs`, in which a test chooses
//! one bug for its thread. A bug is never more than a condition at the place
//! where the right thing is done, so that the engine reads as it runs.

#[cfg(agent_iac_bugs)]
mod chosen {
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Lets the engine have this bug on this thread from now on, or none.
    pub fn choose(name: Option<&'static str>) {
        CHOSEN.set(name);
    }

    /// Whether the engine has this bug on this thread.
    pub fn is(name: &str) -> bool {
        CHOSEN.get() == Some(name)
    }
}

#[cfg(agent_iac_bugs)]
pub use chosen::{choose, is};

#[cfg(agent_iac_bugs)]
macro_rules! bug {
    ($name:literal) => {
        $crate::bugs::is($name)
    };
}

#[cfg(not(agent_iac_bugs))]
macro_rules! bug {
    ($name:literal) => {
        false
    };
}

pub(crate) use bug;
