//! One WISE edit on the demo model: the blocks below the side memory computed once an edit, beside computing them
//! again at every step, in one process. `cargo bench -p recant-benches --bench wise_edit`.
//!
//! 20 steps over 6 contexts, 8 replayed edits and 12 locality prompts, for a side memory in either block of the
//! upper half. Criterion's report is followed by a table with the ratio. `RAYON_NUM_THREADS=1` measures one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail")]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use recant::backend::{Device, DeviceSpec, upload_f32};
use recant::methods::wise::WiseSettings;
use recant::methods::wise::side::{Lesson, Rows};
use recant::model::{Model, Slot};

const STEPS: usize = 20;

/// Rows of an edit's usual lengths with made-up tokens.
fn rows() -> Rows {
    let ids =
        |count: usize, salt: u32| (0..count as u32).map(|i| (i * 7_919 + salt * 104_729) % 1_000).collect();
    let lengths = [12usize, 17, 17, 22, 22, 22].into_iter().chain([12; 8]);
    let mut rows = Rows::default();
    for (salt, length) in lengths.enumerate() {
        rows.inside.push(ids(length, salt as u32));
        rows.prompts.push(length);
        rows.lookups.push(length - 6);
        rows.targets.push(vec![7]);
    }
    rows.outside = (0..12).map(|salt| ids(12, 100 + salt)).collect();
    rows
}

fn edit(model: &Model, settings: &WiseSettings, rows: &Rows, cached: bool) -> Duration {
    let [d_model, d_mlp] = model.weight(Slot::MlpDown(settings.layer)).unwrap().dims();
    let main = model.weight(Slot::MlpDown(settings.layer)).unwrap();
    let mask = upload_f32::<2>(vec![1.0; d_model * d_mlp], [d_model, d_mlp], model.device());
    let mut delta = mask.clone() * 0.0;
    let started = Instant::now();
    if cached {
        let lesson = Lesson::new(model, &WiseSettings { n_iter: STEPS, ..*settings }, rows).unwrap();
        let (_, losses) = lesson.learn(delta, &mask, &main, &()).unwrap();
        assert_eq!(losses.len(), STEPS, "made-up targets are not learned early");
    } else {
        for _ in 0..STEPS {
            let lesson = Lesson::new(model, &WiseSettings { n_iter: 1, ..*settings }, rows).unwrap();
            delta = lesson.learn(delta, &mask, &main, &()).unwrap().0;
        }
    }
    started.elapsed()
}

fn main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let model = Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let layers = model.spec().layers;
    let rows = rows();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut lines = Vec::new();
    for layer in layers / 2..layers {
        let settings = WiseSettings { edit_lr: 1e-3, ..WiseSettings::new(layer) };
        let mut group =
            criterion.benchmark_group(format!("WISE edit, side memory in block {layer} of {layers}"));
        group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_secs(5));
        let mut medians = Vec::new();
        for (path, cached) in [("recomputed", false), ("once an edit", true)] {
            let mut times = Vec::new();
            group.bench_function(path, |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations)
                        .map(|_| {
                            let time = edit(&model, &settings, &rows, cached);
                            times.push(time);
                            time
                        })
                        .sum()
                });
            });
            times.sort();
            medians.push((path, times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()));
        }
        group.finish();
        let slow = medians[0].1;
        for (path, seconds) in medians {
            lines.push(format!("| {layer} of {layers} | {path} | {seconds:.3} | {:.2} |", slow / seconds));
        }
    }
    println!("\n| block | lower blocks | seconds an edit (median) | times as fast |");
    println!("|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}
