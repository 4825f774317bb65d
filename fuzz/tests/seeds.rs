//! The corpus without a fuzzer: good bytes are accepted, hostile ones refused, and no promise is broken.

use recant_fuzz::seeds::{TARGETS, sealed, seeds};

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

/// A checksum covers every bit of every format.
#[test]
fn every_flipped_bit_of_a_sealed_file_is_refused() {
    let functions: std::collections::BTreeMap<_, _> = TARGETS.into();
    for mut seed in sealed() {
        let function = functions[seed.target];
        for bit in 0..8 * seed.bytes.len() {
            seed.bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!function(&seed.bytes), "{}, bit {bit}", seed.name);
            seed.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(function(&seed.bytes), "{}", seed.name);
    }
}
