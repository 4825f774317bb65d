//! A ledger of 1,000 facts on the demo model: one more fact, one fewer, the conflict report of one, and all at once.
//! `cargo bench -p recant-benches --bench ledger`.
//!
//! Keys and values are made up (a key of numbers that look random at each layer, a value of length 1): the closed form
//! asks only for their sizes. What a new fact costs beside this is the search for its value, which does not depend on
//! the others; `many_values` measures that.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a benchmark may fail")]

use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode};
use recant::backend::{Device, DeviceSpec};
use recant::edit::{Contexts, Fact};
use recant::methods::ledger::{Entry, Gram, Ledger, LedgerEditor, LedgerSettings, Part, Values, conflict};
use recant::methods::moments::Moments;
use recant::methods::rome::Covariance;
use recant::model::Model;

const COUNT: u64 = 1_000;

/// Numbers in -1..1 that are a function of their place.
fn number(seed: u64) -> f32 {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}

fn made_up(i: u64, model: &Model, layers: usize) -> (Fact, Entry) {
    let (d_mlp, d_model) = (model.spec().d_mlp, model.spec().d_model);
    let vector = |len: usize, salt: u64, scale: f32| {
        (0..len as u64).map(|k| scale * number((i * 8 + salt) * 65_536 + k)).collect::<Vec<f32>>()
    };
    let unit = (3.0 / d_model as f32).sqrt();
    let part = |layer: usize| Part {
        key: vector(d_mlp, layer as u64, 0.1),
        residual: vector(d_model, layer as u64 + 4, unit),
    };
    let fact = Fact::new(format!("subject {i}"), "{} is", "cold").unwrap();
    (fact, (0..layers).map(part).collect())
}

fn main() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let model = Model::open(&demo.join("model"), &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let layers = vec![0, 1];
    let moments = Moments::measure(&model, &layers, &[demo.join("data/corpus.txt")], None, |_| ()).unwrap();
    let covariance = Covariance::measured(moments.into(), &model).unwrap();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut settings = LedgerSettings::new(layers.clone());
    settings.values = Values::Independent;
    let editor = LedgerEditor::new(settings, Contexts::bare(), covariance.clone());
    let write = |ledger: &Ledger, grams: &mut Vec<Gram>| {
        editor.materialise(&model, ledger, grams, &()).unwrap().0.id()
    };
    let mut most = Ledger::new(editor.ground(&model));
    (0..COUNT - 1).for_each(|i| {
        let (fact, entry) = made_up(i, &model, layers.len());
        most.add(fact, entry).unwrap();
    });
    let last = [made_up(COUNT - 1, &model, layers.len())];
    let mut all = most.clone();
    all.add(last[0].0.clone(), last[0].1.clone()).unwrap();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (full, former) = (write(&all, &mut with), write(&most, &mut without));
    let mut group = criterion.benchmark_group(format!("a ledger of {COUNT} facts, independent values"));
    group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_secs(5));
    group.bench_function("one more fact", |bencher| {
        bencher.iter_batched_ref(
            || without.clone(),
            |grams| assert_eq!(write(&all, grams), full),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("one fact fewer", |bencher| {
        bencher.iter_batched_ref(
            || with.clone(),
            |grams| assert_eq!(write(&most, grams), former),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("conflict report of one fact", |bencher| {
        bencher.iter_batched_ref(
            || without.clone(),
            |grams| conflict::report(&editor, &model, &most, &last, grams).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("all at once, no cache", |bencher| {
        bencher.iter(|| assert_eq!(write(&all, &mut Vec::new()), full));
    });
    group.finish();
    criterion.final_summary();
}
