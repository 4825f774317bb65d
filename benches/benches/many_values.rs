//! The value search of a batch: many facts in one graph beside the same search one fact at a time, in one process.
//! `cargo bench -p recant-benches --bench many_values`.
//!
//! 20 steps in six contexts with a prompt of nine tokens, as MEMIT searches: 32 facts on the demo model, where a
//! pass over one fact is mostly overhead, and 8 on a made-up model of the size of GPT-2 small. Criterion's report is
//! followed by a table with the ratio. `RAYON_NUM_THREADS=1` measures one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail")]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use recant::backend::{Device, DeviceSpec};
use recant::methods::lookup::{FactRows, Row};
use recant::methods::search::{SearchSettings, many::Inject, many::search_many};
use recant::model::Model;

/// MEMIT's defaults; made-up facts never reach the early stop, so every step is taken.
const SETTINGS: SearchSettings = SearchSettings {
    v_lr: 0.5,
    v_num_grad_steps: 20,
    v_weight_decay: 0.5,
    clamp_norm_factor: 0.75,
    kl_factor: 0.0625,
    name_factor: 0.0,
    early_stop: 0.0,
};

/// Tokens of the prefixes of six contexts.
const PREFIXES: [usize; 6] = [0, 7, 7, 10, 8, 8];

/// A fact of made-up tokens; its prompt has nine, of which the eighth ends the subject.
fn fact(number: usize, vocab: usize) -> FactRows {
    let ids = |count: usize, salt: usize| {
        (0..count).map(move |i| ((i * 7_919 + (number * 31 + salt) * 104_729) % vocab) as u32)
    };
    let row = |(salt, prefix): (usize, usize)| Row {
        ids: ids(prefix, salt + 2).chain(ids(9, 1)).collect(),
        lookup: prefix + 7,
        again: Vec::new(),
    };
    FactRows {
        rewriting: PREFIXES.into_iter().enumerate().map(row).collect(),
        prompt_lengths: PREFIXES.iter().map(|prefix| prefix + 9).collect(),
        essence: Row { ids: ids(6, 1).collect(), lookup: 3, again: Vec::new() },
        names: Vec::new(),
        target: vec![ids(1, 9).next().unwrap()],
    }
}

/// Searches the values of all facts below `max_bytes`; with 1 byte each fact has a graph of its own.
fn values(model: &Model, facts: &[FactRows], max_bytes: usize) -> Duration {
    let started = Instant::now();
    let found = search_many(SETTINGS, model, 1, facts, Inject::ResidPost, max_bytes, &()).unwrap();
    assert!(found.len() == facts.len() && found.iter().all(|found| found.losses.len() == 20));
    started.elapsed()
}

fn main() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let made_up = recant_benches::gpt2_small();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut lines = Vec::new();
    for (name, dir, count) in [("demo model", demo.as_path(), 32), ("GPT-2 small", made_up.path(), 8)] {
        let model = Model::open(dir, &device).unwrap();
        let facts: Vec<FactRows> = (0..count).map(|number| fact(number, model.spec().vocab)).collect();
        let mut group = criterion.benchmark_group(format!("values of {count} facts, {name}"));
        group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_secs(5));
        let mut medians = Vec::new();
        for (path, max_bytes) in [("one at a time", 1), ("512 MB", 512 << 20)] {
            let mut times = Vec::new();
            group.bench_function(path, |bencher| {
                bencher.iter_custom(|iterations| {
                    let each = (0..iterations).map(|_| values(&model, &facts, max_bytes));
                    let each: Vec<Duration> = each.collect();
                    times.extend_from_slice(&each);
                    each.iter().sum()
                });
            });
            times.sort();
            medians.push((path, times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()));
        }
        group.finish();
        let alone = medians[0].1;
        for (path, seconds) in medians {
            let each = 1e3 * seconds / count as f64;
            lines.push(format!("| {name} | {count} | {path} | {each:.0} | {:.2} |", alone / seconds));
        }
    }
    println!("\n| model | facts | graph | ms a fact (median) | times as fast |");
    println!("|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}
