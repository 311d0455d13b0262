//! Random bytes from a seed.

use std::sync::{Mutex, PoisonError};

use crate::clock::Entropy;

/// A stream of numbers that one seed decides (the mixing function is that of
/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014).
#[derive(Clone, Debug)]
pub(in crate::testing) struct Random(u64);

impl Random {
    /// The stream of a seed and a name, so that draws for one purpose never
    /// move those for another.
    pub(in crate::testing) fn new(seed: u64, purpose: &str) -> Self {
        let mut stream = Self(seed);
        for byte in purpose.bytes() {
            stream.0 = stream.next() ^ u64::from(byte);
        }
        stream
    }

    pub(in crate::testing) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included. The slight preference of
    /// small numbers that a remainder has is of no matter here.
    pub(in crate::testing) fn between(&mut self, low: u64, high: u64) -> u64 {
        match (high - low).checked_add(1) {
            Some(span) => low + self.next() % span,
            None => self.next(),
        }
    }

    /// Whether something happens that happens so often in ten thousand times.
    pub(in crate::testing) fn one_of(&mut self, in_ten_thousand: u64) -> bool {
        self.next() % 10_000 < in_ten_thousand
    }

    /// One of several.
    pub(in crate::testing) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.next() % of.len() as u64).unwrap_or(0);
        &of[at]
    }
}

/// Random bytes that the world's seed decides: the same seed gives the same
/// claims and the same secrets.
///
/// It is not for real secrets: who knows the seed, or a few bytes of the
/// stream, knows all of it.
///
/// ```
/// use agent_iac::{clock::Entropy as _, testing::world::SimEntropy};
///
/// let (mut a, mut b) = ([0; 8], [0; 8]);
/// SimEntropy::new(1).fill(&mut a);
/// SimEntropy::new(1).fill(&mut b);
/// assert_eq!(a, b);
/// ```
#[derive(Debug)]
pub struct SimEntropy(Mutex<Random>);

impl SimEntropy {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self::for_purpose(seed, "entropy")
    }

    pub(super) fn for_purpose(seed: u64, purpose: &str) -> Self {
        Self(Mutex::new(Random::new(seed, purpose)))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let drawn = random.next().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, purpose: &str) -> [u8; 20] {
        let mut bytes = [0; 20];
        SimEntropy::for_purpose(seed, purpose).fill(&mut bytes);
        bytes
    }

    #[test]
    fn seed_and_purpose_decide_the_stream() {
        assert_eq!(drawn(1, "a"), drawn(1, "a"));
        assert_ne!(drawn(1, "a"), drawn(2, "a"));
        assert_ne!(drawn(1, "a"), drawn(1, "b"));
    }

    #[test]
    fn a_draw_stays_between_its_bounds_and_reaches_both() {
        let mut random = Random::new(3, "bounds");
        let drawn: std::collections::BTreeSet<u64> =
            (0..200).map(|_| random.between(4, 7)).collect();
        assert_eq!(drawn, [4, 5, 6, 7].into());
        assert_eq!(random.between(9, 9), 9);
    }
}
