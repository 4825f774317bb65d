//! GRACE's codebook against a naive reference and its two laws, after any sequence of edits and removals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::collection::vec;
use proptest::prelude::*;
use recant_methods::grace::{Codebook, distance};
use recant_methods::lifelong::Pair;

/// The codebook as one would write it on paper: every ball as (edit, radius), everything computed anew at every
/// change, nothing kept.
struct Naive {
    edits: Vec<Pair>,
    eps: f64,
}

impl Naive {
    fn gap(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (&self.edits[i].key, &self.edits[j].key);
        (0..a.len())
            .map(|n| (f64::from(a[n]) - f64::from(b[n])) * (f64::from(a[n]) - f64::from(b[n])))
            .sum::<f64>()
            .sqrt()
    }

    fn balls(&self) -> Vec<(usize, f64)> {
        let mut balls: Vec<(usize, f64)> = Vec::new();
        for new in 0..self.edits.len() {
            let mut nearest: Option<usize> = None;
            for b in 0..balls.len() {
                let closer =
                    nearest.is_none_or(|n: usize| self.gap(new, balls[b].0) < self.gap(new, balls[n].0));
                if balls[b].1 >= 0.0 && closer {
                    nearest = Some(b);
                }
            }
            let mut expanded = false;
            if let Some(n) = nearest {
                let (centre, radius) = balls[n];
                let d = self.gap(new, centre);
                if d <= radius + self.eps && self.edits[centre].target == self.edits[new].target {
                    let grown = if d > radius { d } else { radius };
                    let touches = balls.iter().any(|&(other, r)| {
                        r >= 0.0
                            && self.edits[other].target != self.edits[centre].target
                            && grown + r >= self.gap(centre, other)
                    });
                    if !touches {
                        balls[n].1 = grown;
                        expanded = true;
                    }
                }
            }
            if !expanded {
                self.put(&mut balls, new);
            }
            let mut old = 0;
            while old <= new {
                let lost =
                    self.answer(&balls[..], &self.edits[old].key) != Some(self.edits[old].target.clone());
                let later = (old + 1..=new).any(|l| {
                    self.edits[l].key == self.edits[old].key && self.edits[l].target != self.edits[old].target
                });
                if lost && !later && balls.iter().all(|&(b, _)| b != old) {
                    self.put(&mut balls, old);
                    // It may have uncovered an earlier one.
                    old = 0;
                } else {
                    old += 1;
                }
            }
        }
        balls
    }

    fn put(&self, balls: &mut Vec<(usize, f64)>, new: usize) {
        let mut radius = self.eps;
        for ball in balls.iter_mut() {
            let (other, r) = *ball;
            let d = self.gap(new, other);
            if r >= 0.0 && self.edits[other].target != self.edits[new].target && r + radius >= d {
                ball.1 = if d == 0.0 { -1.0 } else { f64::min(r, 0.499 * d) };
                radius = f64::min(radius, 0.499 * d);
            }
        }
        balls.push((new, radius));
    }

    fn answer(&self, balls: &[(usize, f64)], key: &[f32]) -> Option<Vec<u32>> {
        let mut holding: Vec<(f64, usize)> = Vec::new();
        for (b, &(edit, radius)) in balls.iter().enumerate() {
            let d = distance(key, &self.edits[edit].key);
            if d <= radius {
                holding.push((d, b));
            }
        }
        // Nearest first, then newest.
        holding.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        holding.first().map(|&(_, b)| self.edits[balls[b].0].target.clone())
    }
}

fn pair() -> impl Strategy<Value = Pair> {
    // A coarse grid, so that equal keys, equal targets and crowded balls all happen.
    (-6i8..6, -6i8..6, 0u32..3).prop_map(|(x, y, target)| Pair {
        key: vec![f32::from(x) * 0.5, f32::from(y) * 0.5],
        value: vec![f32::from(x), target as f32],
        target: vec![target],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_codebook_is_the_naive_one_after_removals_in_any_order(
        pairs in vec(pair(), 1..14),
        removals in vec(any::<prop::sample::Index>(), 0..8),
        eps in prop::sample::select(vec![0.3, 1.0, 2.5]),
        queries in vec((-4.0f32..4.0, -4.0f32..4.0), 20),
    ) {
        let mut naive = Naive { edits: pairs.clone(), eps };
        let mut pairs = pairs;
        for removal in std::iter::once(None).chain(removals.into_iter().map(Some)) {
            if let Some(removal) = removal {
                if pairs.is_empty() { break }
                let at = removal.index(pairs.len());
                pairs.remove(at);
                naive.edits.remove(at);
            }
            let book = Codebook::fold(&pairs, eps);
            let balls = naive.balls();
            let ours: Vec<_> = book.entries().iter().map(|entry| (entry.pair, entry.epsilon)).collect();
            prop_assert_eq!(&ours, &balls);
            let own = pairs.iter().map(|pair| pair.key.clone());
            for key in own.chain(queries.iter().map(|&(x, y)| vec![x, y])) {
                let answer = book.lookup(&key).map(|entry| book.pair(entry).target.clone());
                prop_assert_eq!(answer, naive.answer(&balls, &key));
            }
        }
    }

    #[test]
    fn the_laws_hold_after_any_sequence(pairs in vec(pair(), 1..25), eps in 0.0f64..3.0) {
        let book = Codebook::fold(&pairs, eps);
        for (i, a) in book.entries().iter().enumerate() {
            for b in &book.entries()[i + 1..] {
                let (x, y) = (book.pair(a), book.pair(b));
                let live = a.epsilon >= 0.0 && b.epsilon >= 0.0;
                if live && x.target != y.target {
                    prop_assert!(a.epsilon + b.epsilon < distance(&x.key, &y.key), "balls of two targets meet");
                }
            }
        }
        for (i, pair) in pairs.iter().enumerate() {
            let replaced = pairs[i + 1..].iter().any(|later| later.key == pair.key && later.target != pair.target);
            if !replaced {
                let answer = book.lookup(&pair.key).map(|entry| &book.pair(entry).target);
                prop_assert_eq!(answer, Some(&pair.target), "edit {} is not answered", i);
            }
        }
    }
}

/// Three moves by hand: far apart two balls; a near key of the same target grows one; a near key of another
/// target splits it.
#[test]
fn keys_defer_expand_and_split() {
    let pair = |x: f32, target: u32| Pair { key: vec![x], value: vec![x], target: vec![target] };
    let radii = |pairs: &[Pair]| {
        Codebook::fold(pairs, 1.0).entries().iter().map(|entry| entry.epsilon).collect::<Vec<_>>()
    };
    assert_eq!(radii(&[pair(0.0, 1), pair(10.0, 2)]), [1.0, 1.0]);
    assert_eq!(radii(&[pair(0.0, 1), pair(1.5, 1)]), [1.5]);
    assert_eq!(radii(&[pair(0.0, 1), pair(1.0, 2)]), [0.499, 0.499]);
    let book = Codebook::fold(&[pair(0.0, 1), pair(10.0, 2)], 1.0);
    assert!(book.lookup(&[5.0]).is_none(), "deferral");
    // The last edit at a key wins.
    let book = Codebook::fold(&[pair(0.0, 1), pair(0.0, 2)], 1.0);
    assert_eq!(book.pair(book.lookup(&[0.0]).unwrap()).target, [2]);
}
