//! The thread that looks for new generations, and confirms those that are used.
//!
//! It alone waits for secret stores and the inbox, which may stand still; the
//! process is looked after without them.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::{Tell, life::Event, private::Using};
use crate::{clock::block_on, consumer::Credential};

/// From here on the process uses this generation of a binding, and no older one.
#[derive(Debug)]
pub(super) struct Uses {
    pub(super) binding: usize,
    pub(super) generation: u32,
}

pub(super) struct Follower {
    pub(super) every: Duration,
    pub(super) using: Arc<Using>,
    /// Closed when the run is over.
    pub(super) orders: mpsc::Receiver<Uses>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) tell: Tell,
    pub(super) follows: Vec<Follows>,
}

/// One binding.
pub(super) struct Follows {
    name: String,
    credential: Credential,
    /// The newest that was read.
    seen: u32,
    unconfirmed: Option<u32>,
    /// What went wrong is told once, and not at every look.
    told: (Once, Once),
}

/// Tells a thing that goes on only when it begins.
#[derive(Debug, Default)]
pub(super) struct Once(bool);

impl Once {
    pub(super) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    pub(super) fn is_over(&mut self) {
        self.0 = false;
    }
}

/// Under what a process is known that uses a credential, to others that confirm
/// for the same consumer.
pub(super) fn key(credential: &Credential) -> Option<String> {
    let consumer = credential.consumer()?;
    Some(format!("{consumer} {}", credential.address()))
}

impl Follows {
    pub(super) fn new(name: &str, credential: &Credential) -> Self {
        Self {
            name: name.to_owned(),
            credential: credential.clone(),
            seen: 0,
            unconfirmed: None,
            told: Default::default(),
        }
    }
}

impl Follower {
    /// Reads all of them, then looks for others until the orders are over.
    pub(super) fn run(mut self) {
        for index in 0..self.follows.len() {
            let follows = &mut self.follows[index];
            let (event, failed) = match block_on(follows.credential.current()) {
                Ok(current) => {
                    follows.seen = current.generation;
                    (Event::Read(index, current), false)
                }
                Err(error) => (Event::Failed(error), true),
            };
            if self.events.send(event).is_err() || failed {
                return;
            }
        }
        loop {
            match self.orders.recv_timeout(self.every) {
                Ok(Uses { binding, generation }) => {
                    self.follows[binding].unconfirmed = Some(generation);
                    self.confirm(binding);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    for index in 0..self.follows.len() {
                        self.look(index);
                        self.confirm(index);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let _over: Result<(), _> = self.events.send(Event::Done);
                    return;
                }
            }
        }
    }

    fn look(&mut self, index: usize) {
        let follows = &mut self.follows[index];
        match block_on(follows.credential.watch().after(follows.seen).look()) {
            Ok(found) => {
                follows.told.0.is_over();
                if let Some(current) = found {
                    follows.seen = current.generation;
                    let _over: Result<(), _> = self.events.send(Event::Read(index, current));
                }
            }
            Err(error) => {
                if follows.told.0.begins() {
                    (self.tell)(&format!("{}: {error}", follows.credential.address()));
                }
            }
        }
    }

    fn confirm(&mut self, index: usize) {
        let follows = &mut self.follows[index];
        let Some(generation) = follows.unconfirmed else { return };
        let confirmed = match key(&follows.credential) {
            None => Ok(true),
            Some(key) => self.using.set(&key, generation).and_then(|()| {
                // The last of a runtime's processes speaks for all of them.
                let free = !self.using.behind(&key, generation)?;
                if free {
                    block_on(follows.credential.confirm(generation))?;
                }
                Ok(free)
            }),
        };
        match confirmed {
            Ok(confirmed) => {
                follows.told.1.is_over();
                if confirmed {
                    follows.unconfirmed = None;
                }
            }
            Err(error) => {
                if follows.told.1.begins() {
                    let name = &follows.name;
                    (self.tell)(&format!(
                        "`{name}`: generation {generation} is not confirmed yet: {error}"
                    ));
                }
            }
        }
    }
}
