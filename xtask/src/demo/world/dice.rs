//! The one source of chance of the world.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A part of the generator with a random stream of its own.
///
/// With one stream per stage, a new sort of training line changes the corpus but leaves the names, the facts and
/// the cases as they were.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// Inventing the subjects.
    Names = 1,
    /// Giving each subject its objects and each fact its held-out phrasing.
    Facts,
    /// Drawing the cases and the retained facts.
    Cases,
    /// Writing the training lines.
    Corpus,
}

/// Seeded chance.
///
/// The draws are written out over the raw ChaCha words instead of taken from `rand`: the sampling algorithms of
/// `rand` may change with a release, while the cipher's words cannot, and a world must stay the same world.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of one stage of the world of `seed`.
    pub(super) fn new(seed: u64, stage: Stage) -> Self {
        let mut words = ChaCha8Rng::seed_from_u64(seed);
        words.set_stream(stage as u64);
        Self(words)
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    ///
    /// The high half of a product is uneven by at most `bound` parts in 2^64, far below anything a world of a
    /// few thousand draws can show, so no draw is rejected.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// True in `percent` of a hundred draws.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Shuffles in place (Fisher-Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
