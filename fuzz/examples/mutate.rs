//! Mutates the seeds without a fuzzer, and counts for every decoder the inputs tried, those accepted and panics:
//! `cargo run --release --example mutate -- SECONDS [SEED]`. What makes a panic is kept in `artifacts/`.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use recant_fuzz::seeds::{TARGETS, seeds};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// One small change.
fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let len = bytes.len().max(1);
    let (a, b) = (dice.below(len), dice.below(len));
    let (begin, end) = (a.min(b), a.max(b));
    match dice.below(9) {
        0 | 1 if !bytes.is_empty() => bytes[a] ^= 1 << dice.below(8),
        2 if !bytes.is_empty() => bytes[a] = dice.next() as u8,
        // A length, a count or a number at its edges.
        3 if bytes.len() >= 8 => {
            let edges = [0, 1, u64::from(u32::MAX), u64::MAX, 1 << 31, 1 << 63];
            let at = a.min(bytes.len() - 8);
            let width = [1, 2, 4, 8][dice.below(4)];
            bytes[at..at + width].copy_from_slice(&edges[dice.below(edges.len())].to_le_bytes()[..width]);
        }
        4 => bytes.truncate(a),
        5 => drop(bytes.drain(begin.min(bytes.len())..end.min(bytes.len()))),
        6 if end - begin < 4096 && !bytes.is_empty() => {
            let part = bytes[begin..end].to_vec();
            bytes.splice(begin..begin, part);
        }
        7 if !other.is_empty() => {
            let from = dice.below(other.len());
            let until = other.len().min(from + 1 + dice.below(64));
            let at = a.min(bytes.len());
            let to = bytes.len().min(at + until - from);
            bytes.splice(at..to, other[from..until].iter().copied());
        }
        _ => bytes.insert(a.min(bytes.len()), dice.next() as u8),
    }
}

fn main() -> std::io::Result<()> {
    let number = |at: usize, default: u64| {
        std::env::args().nth(at).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (seconds, seed) = (number(1, 60), number(2, 1));
    let all = seeds();
    let each = Duration::from_secs_f64(seconds as f64 / TARGETS.len() as f64);
    // A panic is counted and kept; its message would be one of thousands.
    std::panic::set_hook(Box::new(|_| ()));
    let mut total = [0u64; 3];
    println!("{:<12} {:>10} {:>10} {:>7}", "decoder", "tried", "accepted", "panics");
    for (target, function) in TARGETS {
        let mine: Vec<&[u8]> =
            all.iter().filter(|seed| seed.target == target).map(|seed| &seed.bytes[..]).collect();
        let mut dice = Dice(seed);
        let mut counts = [0u64; 3];
        let started = Instant::now();
        while started.elapsed() < each {
            let mut bytes = mine[dice.below(mine.len())].to_vec();
            let other = mine[dice.below(mine.len())];
            (0..=dice.below(4)).for_each(|_| change(&mut bytes, other, &mut dice));
            counts[0] += 1;
            match catch_unwind(|| function(&bytes)) {
                Ok(accepted) => counts[1] += u64::from(accepted),
                Err(_) => {
                    counts[2] += 1;
                    std::fs::create_dir_all("artifacts")?;
                    std::fs::write(format!("artifacts/{target}-{}", counts[2]), &bytes)?;
                }
            }
        }
        println!("{target:<12} {:>10} {:>10} {:>7}", counts[0], counts[1], counts[2]);
        total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    println!("{:<12} {:>10} {:>10} {:>7}", "all", total[0], total[1], total[2]);
    if total[2] > 0 {
        return Err(std::io::Error::other("some inputs make a decoder panic; they are in artifacts/"));
    }
    Ok(())
}
