//! GRACE's codebook: keys with balls around them.
//!
//! Two laws hold after any sequence of edits and removals, and tests hold them:
//! 1. balls of different targets never meet;
//! 2. every edit is answered with its own target, unless a later edit has exactly its key and another target.

use crate::lifelong::Pair;

/// One key, its ball and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which pair it is.
    pub pair: usize,
    /// Radius of its ball; below 0 when a later edit stands exactly on it.
    pub epsilon: f64,
}

/// Keys with balls, folded from pairs in the order in which they were learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    pairs: Vec<Pair>,
    entries: Vec<Entry>,
}

/// A split leaves the older ball this share of the distance, so that two halves never touch.
const SHARE: f64 = 0.499;

impl Codebook {
    /// The codebook that learned these pairs one after the other, each with an initial radius of `eps`.
    #[must_use]
    pub fn fold(pairs: &[Pair], eps: f64) -> Self {
        let mut this = Self { pairs: Vec::with_capacity(pairs.len()), entries: Vec::new() };
        for pair in pairs {
            this.pairs.push(pair.clone());
            this.learn(this.pairs.len() - 1, eps);
            this.rescue(eps);
        }
        this
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The pair behind an entry.
    #[must_use]
    pub fn pair(&self, entry: &Entry) -> &Pair {
        &self.pairs[entry.pair]
    }

    /// The entry that answers a key: the nearest whose ball holds it, the newest of equally near ones; `None`
    /// when no ball does (the model is left alone: deferral).
    #[must_use]
    pub fn lookup(&self, key: &[f32]) -> Option<&Entry> {
        let mut best: Option<(f64, &Entry)> = None;
        for entry in &self.entries {
            let d = distance(key, &self.pairs[entry.pair].key);
            if d <= entry.epsilon && best.is_none_or(|(held, _)| d <= held) {
                best = Some((d, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }

    /// Algorithm 1 of the paper for the pair at `new`.
    fn learn(&mut self, new: usize, eps: f64) {
        let pair = &self.pairs[new];
        let to = |entry: &Entry| distance(&pair.key, &self.pairs[entry.pair].key);
        let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.epsilon >= 0.0);
        let near = live.map(|(at, entry)| (to(entry), at)).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((d, near)) = near else { return self.add(new, eps) };
        let held = &self.entries[near];
        if d > held.epsilon + eps || self.pairs[held.pair].target != pair.target {
            return self.add(new, eps);
        }
        // Expand: the same answer is near, so its ball grows to hold this key, if it meets no other target.
        let grown = held.epsilon.max(d);
        let centre = &self.pairs[held.pair];
        let clear = self.entries.iter().filter(|other| other.epsilon >= 0.0).all(|other| {
            let there = &self.pairs[other.pair];
            there.target == centre.target || grown + other.epsilon < distance(&centre.key, &there.key)
        });
        if clear { self.entries[near].epsilon = grown } else { self.add(new, eps) }
    }

    /// A key of its own. Balls of other targets that would meet its own are split: both end before the middle.
    fn add(&mut self, new: usize, eps: f64) {
        let pair = &self.pairs[new];
        let mut epsilon = eps;
        for entry in self.entries.iter_mut().filter(|entry| entry.epsilon >= 0.0) {
            let there = &self.pairs[entry.pair];
            let d = distance(&pair.key, &there.key);
            if there.target == pair.target || entry.epsilon + epsilon < d {
                continue;
            }
            entry.epsilon = if d > 0.0 { entry.epsilon.min(SHARE * d) } else { -1.0 };
            epsilon = epsilon.min(SHARE * d);
        }
        self.entries.push(Entry { pair: new, epsilon });
    }

    /// A split may uncover an edit that an expansion had taken in. Such an edit gets a key of its own, unless a
    /// later one stands exactly on it. That is a split again, so it goes on until nothing is uncovered; each pair
    /// becomes an entry at most once.
    fn rescue(&mut self, eps: f64) {
        while let Some(lost) = (0..self.pairs.len()).find(|&old| self.is_lost(old)) {
            self.add(lost, eps);
        }
    }

    fn is_lost(&self, old: usize) -> bool {
        let pair = &self.pairs[old];
        let own = self.entries.iter().any(|entry| entry.pair == old);
        let answered =
            self.lookup(&pair.key).is_some_and(|entry| self.pairs[entry.pair].target == pair.target);
        let replaced =
            self.pairs[old + 1..].iter().any(|later| later.target != pair.target && later.key == pair.key);
        !own && !answered && !replaced
    }
}

/// Euclidean distance, summed in f64 in order.
#[must_use]
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |(&x, &y): (&f32, &f32)| (f64::from(x) - f64::from(y)).powi(2);
    a.iter().zip(b).map(square).sum::<f64>().sqrt()
}
