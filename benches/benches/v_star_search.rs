//! The v* search at the size of GPT-2 small: the cached evaluator beside our own full forward pass, in one
//! process. `cargo bench -p recant-benches --bench v_star_search`.
//!
//! 20 steps on layer 4 of 12, a prompt of nine tokens, a target of one, as in ROME's own edits: with six
//! contexts of about eight tokens, and with ROME's 21 sampled ones. Criterion's report is followed by a
//! table with the ratio and each path's own peak memory. `RAYON_NUM_THREADS=1` measures one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail")]

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use recant::backend::{Device, DeviceSpec};
use recant::eval::memory;
use recant::methods::lookup::{FactRows, Row};
use recant::methods::search::{Base, Evaluator, Reading, SearchSettings, full::Full, search, tail::Tail};
use recant::model::Model;

const LAYER: usize = 4;

/// ROME's defaults. Made-up weights never reach the early stop, so every step is taken.
const SETTINGS: SearchSettings = SearchSettings {
    v_lr: 0.5,
    v_num_grad_steps: 20,
    v_weight_decay: 0.5,
    clamp_norm_factor: 4.0,
    kl_factor: 0.0625,
    name_factor: 0.0,
    early_stop: 0.0,
};

/// Rows with prefixes of the given lengths before a prompt of nine tokens whose eighth ends the subject.
fn rows(prefixes: &[usize]) -> FactRows {
    let ids = |count: usize, salt: u32| (0..count as u32).map(move |i| (i * 7_919 + salt * 104_729) % 50_000);
    let row = |(salt, &prefix): (usize, &usize)| Row {
        ids: ids(prefix, salt as u32 + 2).chain(ids(9, 1)).collect(),
        lookup: prefix + 7,
        again: Vec::new(),
    };
    FactRows {
        rewriting: prefixes.iter().enumerate().map(row).collect(),
        prompt_lengths: prefixes.iter().map(|prefix| prefix + 9).collect(),
        essence: Row { ids: ids(6, 1).collect(), lookup: 3, again: Vec::new() },
        names: Vec::new(),
        target: vec![1_234],
    }
}

/// One edit's search, from the first look at the model to v*.
fn edit(model: &Model, rows: &FactRows, cached: bool) -> Duration {
    let started = Instant::now();
    let base = Base::observe(model, LAYER, rows).unwrap();
    let evaluator: Box<dyn Evaluator + '_> = match cached {
        true => Box::new(Tail::new(model, &base, rows)),
        false => Box::new(Full::new(model, &base, rows)),
    };
    let (init, device) = (&base.outputs[0], model.device());
    let reading = Reading::new(SETTINGS, rows, init, &*evaluator, device);
    let found = search(SETTINGS, init, &[reading], device, &()).unwrap();
    assert_eq!(found.losses.len(), SETTINGS.v_num_grad_steps);
    started.elapsed()
}

fn main() {
    let dir = recant_benches::gpt2_small();
    let model = Model::open(dir.path(), &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let six = vec![0, 7, 7, 10, 8, 8];
    let twenty_one: Vec<usize> = [0].into_iter().chain([6; 10]).chain([11; 10]).collect();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut lines = Vec::new();
    for (name, prefixes) in [("6 contexts", six), ("21 contexts", twenty_one)] {
        let rows = rows(&prefixes);
        let mut group = criterion.benchmark_group(format!("v* search, {name}"));
        group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_secs(10));
        let mut medians = Vec::new();
        for (path, cached) in [("full forward", false), ("cached", true)] {
            memory::restart_peak();
            let mut times = Vec::new();
            group.bench_function(path, |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations)
                        .map(|_| {
                            let time = edit(&model, &rows, cached);
                            times.push(time);
                            time
                        })
                        .sum()
                });
            });
            times.sort();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            medians.push((path, median.as_secs_f64(), memory::peak_rss_bytes().unwrap_or(0) as f64 / 1e6));
        }
        group.finish();
        let full = medians[0].1;
        for (path, seconds, peak) in medians {
            lines.push(format!("| {name} | {path} | {seconds:.2} | {:.2} | {peak:.0} |", full / seconds));
        }
    }
    println!("\n| contexts | path | seconds an edit (median) | times as fast | peak RSS, MB |");
    println!("|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}
