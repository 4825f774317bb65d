//! The corpus without a fuzzer: good bytes are accepted, hostile ones refused, and no promise is broken.

use recant_fuzz::seeds::{TARGETS, seeds};

#[test]
fn good_seeds_are_accepted_and_hostile_ones_refused() {
    let seeds = seeds();
    for (target, function) in TARGETS {
        let mine: Vec<_> = seeds.iter().filter(|seed| seed.target == target).collect();
        assert!(mine.iter().any(|seed| seed.hostile) && mine.iter().any(|seed| !seed.hostile), "{target}");
        let wrong = mine.iter().filter(|seed| function(&seed.bytes) == seed.hostile);
        let wrong: Vec<_> = wrong.map(|seed| &seed.name).collect();
        assert!(wrong.is_empty(), "{target}: {wrong:?}");
    }
}
