//! The forward pass against `transformers`, on fixtures made by `fixtures/make_fixtures.py`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; the figures are asked for with --nocapture"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use recant_backend::{Device, DeviceSpec, host, upload_f32};
use recant_core::{Point, Site};
use recant_model::{
    ForwardInput, KvCache, Model, ModelSpec, NoHook, Observer, Past, Positions, Row, Slot, Source, Strategy,
    TokenBatch, gather_rows,
};
use safetensors::SafeTensors;

/// Every fixture: a folder with a reference.
fn fixtures() -> Vec<String> {
    let entries = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap());
    let with_reference = entries.filter(|entry| entry.path().join("reference.safetensors").exists());
    let mut names: Vec<String> =
        with_reference.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Every device that this build has and this machine offers.
fn devices() -> Vec<Device> {
    DeviceSpec::compiled_in().into_iter().filter_map(|spec| Device::open(spec).ok()).collect()
}

fn on_every_device() -> impl Iterator<Item = (Device, String)> {
    devices().into_iter().flat_map(|device| fixtures().into_iter().map(move |name| (device.clone(), name)))
}

struct Reference {
    ids: Vec<Vec<u32>>,
    greedy: Vec<u32>,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Reference {
    /// What a site holds; what the MLP adds is its output where nothing else is said.
    fn at(&self, site: Site) -> &[f32] {
        let added = |site| match site {
            Site::Block(i, Point::MlpAdd) => Site::Block(i, Point::MlpOut),
            site => site,
        };
        let found =
            self.tensors.get(&site.to_string()).or_else(|| self.tensors.get(&added(site).to_string()));
        found.unwrap_or_else(|| panic!("no reference of {site}"))
    }
}

fn reference(name: &str) -> Reference {
    let bytes = std::fs::read(fixture(name).join("reference.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ints = |name: &str| {
        let view = file.tensor(name).unwrap();
        let all = view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
        (all.collect::<Vec<_>>(), view.shape()[1])
    };
    let (ids, width) = ints("ids");
    let floats = file.names().into_iter().filter(|name| !["ids", "greedy"].contains(name)).map(|name| {
        let numbers = file.tensor(name).unwrap().data().chunks_exact(4);
        (name.to_owned(), numbers.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    });
    Reference {
        ids: ids.chunks(width).map(<[u32]>::to_vec).collect(),
        greedy: ints("greedy").0,
        tensors: floats.collect(),
    }
}

fn max_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn logits(model: &Model, hidden: Tensor<3>) -> Vec<f32> {
    let [batch, tokens, width] = hidden.dims();
    host(&model.net().unembed(hidden.reshape([batch * tokens, width])))
}

/// Every site of a model: a mixture of experts has no single key.
fn sites(spec: &ModelSpec) -> Vec<Site> {
    let blocks = (0..spec.layers).flat_map(|i| Point::ALL.map(|point| (i, point)));
    let there = blocks.filter(|&(i, point)| point != Point::MlpKey || !spec.is_mixture(i));
    let blocks = there.map(|(i, point)| Site::Block(i as u16, point));
    std::iter::once(Site::Embed).chain(blocks).chain([Site::FinalNorm]).collect()
}

#[test]
fn logits_and_every_site_equal_transformers() {
    for (device, name) in on_every_device() {
        let (device, name) = (&device, &name);
        let model = Model::open(&fixture(name), device).unwrap();
        let reference = reference(name);
        let batch = TokenBatch::new(&reference.ids, model.spec()).unwrap();
        let mut observer = Observer::of(sites(model.spec()));
        let hidden = model.net().forward(ForwardInput::tokens(&batch, device), &mut observer).unwrap();
        let mut worst = 0.0f32;
        for site in sites(model.spec()) {
            let ours = host(&observer.take(site).unwrap());
            let difference = max_difference(&ours, reference.at(site));
            worst = worst.max(difference);
            assert!(difference <= 1e-4, "{name} on {}: {site} differs by {difference}", device.spec());
        }
        let difference = max_difference(&logits(&model, hidden), &reference.tensors["logits"]);
        assert!(difference <= 1e-4, "{name} on {}: logits differ by {difference}", device.spec());
        println!("{name:22} on {}: sites {worst:.1e}, logits {difference:.1e}", device.spec());
    }
}

/// Rows of one length go through the model together; each writes what it writes alone, ends included.
#[test]
fn rows_together_write_what_they_write_alone() {
    for (device, name) in on_every_device() {
        let model = Model::open(&fixture(&name), &device).unwrap();
        let draw = |seed| Strategy::Sample { top_k: 5, temperature: 1.0, seed };
        let row = |prompt: &[u32], max_new, strategy| Row { prompt: prompt.to_vec(), max_new, strategy };
        let rows = [
            row(&[5, 6, 7], 6, Strategy::Greedy),
            row(&[8, 9], 3, draw(1)),
            row(&[3, 4, 5], 2, draw(2)),
            row(&[7, 5], 6, Strategy::Greedy),
            row(&[6, 6, 6], 0, draw(3)),
        ];
        let together = model.generate_rows(&rows, true).unwrap();
        for (at, Row { prompt, max_new, strategy }) in rows.into_iter().enumerate() {
            let alone = model.generate_ids(prompt, max_new, strategy, true).unwrap();
            assert_eq!(together[at], alone, "row {at} of {name} on {}", device.spec());
            assert!(alone.ids.len() <= alone.prompt_tokens + max_new);
        }
        assert!(model.generate_rows(&[], true).unwrap().is_empty());
        // A prompt that fills the context has one token after it.
        let full = vec![5; model.spec().context];
        let written = model.generate_ids(full, 3, Strategy::Greedy, false).unwrap();
        assert_eq!(written.ids.len(), model.spec().context + 1, "{name}");
    }
}

#[test]
fn greedy_generation_with_a_cache_equals_transformers() {
    for (device, name) in on_every_device() {
        let (device, name) = (&device, &name);
        let model = Model::open(&fixture(name), device).unwrap();
        let reference = reference(name);
        let prompt = reference.greedy[..4].to_vec();
        let new = reference.greedy.len() - prompt.len();
        let written = model.generate_ids(prompt, new, Strategy::Greedy, false).unwrap();
        assert_eq!(written.ids, reference.greedy, "{name} on {}", device.spec());
    }
}

/// Law 6: observing changes nothing, bit for bit on a CPU; stopping early sees the same numbers.
#[test]
fn observers_change_nothing() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    for name in &fixtures() {
        let model = Model::open(&fixture(name), &device).unwrap();
        let batch = TokenBatch::new(&reference(name).ids, model.spec()).unwrap();
        let input = || ForwardInput::tokens(&batch, &device);
        let plain = host(&model.net().forward(input(), &mut NoHook).unwrap());
        let mut all = Observer::of(sites(model.spec()));
        assert_eq!(host(&model.net().forward(input(), &mut all).unwrap()), plain);

        let site = Site::Block(1, model.spec().key_point(1));
        let mut early = Observer::up_to([site]);
        assert!(model.net().forward(input(), &mut early).is_none());
        assert_eq!(host(&early.take(site).unwrap()), host(&all.take(site).unwrap()));
        assert!(early.take(Site::Block(2, Point::ResidPre)).is_none());
    }
}

/// Law 6: a pass that starts above a layer, at a position, on cached keys and values equals the full one.
#[test]
fn a_cached_tail_equals_the_full_pass() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    for name in &fixtures() {
        let model = Model::open(&fixture(name), &device).unwrap();
        let batch = TokenBatch::new(&reference(name).ids, model.spec()).unwrap();
        let mut cache = KvCache::default();
        let site = Site::Block(0, Point::ResidPost);
        let mut observer = Observer::of([site]);
        let input = ForwardInput::tokens(&batch, &device).keeping(&mut cache);
        let full = model.net().forward(input, &mut observer).unwrap();

        // Row 0 resumes at token 5, row 1 at token 3: row 1 must not see the rest of the longer prefix.
        let (starts, past, tokens) = ([5usize, 3], 5usize, 7usize);
        let x = observer.take(site).unwrap();
        let row = |i: usize| x.clone().narrow(0, i, 1).narrow(1, starts[i], tokens);
        let input = ForwardInput {
            source: Source::Residual { block: 1, x: Tensor::cat(vec![row(0), row(1)], 0) },
            positions: Positions::Rows(starts.to_vec()),
            past: Some(Past { cache: cache.prefix(past, 1), lengths: Some(starts.to_vec()) }),
            keep: None,
            only: None,
        };
        let tail = model.net().forward(input, &mut NoHook).unwrap();
        for (i, &start) in starts.iter().enumerate() {
            let ours = host(&tail.clone().narrow(0, i, 1));
            let theirs = host(&full.clone().narrow(0, i, 1).narrow(1, start, tokens));
            let difference = max_difference(&ours, &theirs);
            assert!(difference <= 1e-4, "{name} row {i}: the tail differs by {difference}");
        }
    }
}

/// A pass that is asked about some places alone gives what the whole pass has there, wherever it begins.
#[test]
fn places_alone_are_those_of_the_whole_pass() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let places = [(1usize, 2usize), (0, 6), (0, 0), (1, 2)];
    for name in &fixtures() {
        let model = Model::open(&fixture(name), &device).unwrap();
        let batch = TokenBatch::new(&reference(name).ids, model.spec()).unwrap();
        let last = model.spec().layers - 1;
        let begins = (1..=last).map(|block| (block, Site::Block(block as u16, Point::ResidPre)));
        let begins: Vec<_> = begins.chain([(last + 1, Site::Block(last as u16, Point::ResidPost))]).collect();
        let mut observer = Observer::of(begins.iter().map(|(_, site)| *site));
        let full = model.net().forward(ForwardInput::tokens(&batch, &device), &mut observer).unwrap();
        let expected = host(&gather_rows(full, &places, &device));
        let mut inputs = vec![ForwardInput::tokens(&batch, &device)];
        for (block, site) in begins {
            let source = Source::Residual { block, x: observer.take(site).unwrap() };
            inputs.push(ForwardInput { source, ..ForwardInput::tokens(&batch, &device) });
        }
        for (at, input) in inputs.into_iter().enumerate() {
            let input = ForwardInput { only: Some(&places), ..input };
            let found = model.net().forward(input, &mut NoHook).unwrap();
            assert_eq!(found.dims(), [1, places.len(), model.spec().d_model]);
            let difference = max_difference(&host(&found), &expected);
            assert!(difference <= 1e-5, "{name}, begin {at}: {difference}");
        }
    }
}

/// A mixture of experts shows no key, whoever asks for it, and a pass that is to stop there goes on to its end.
#[test]
fn a_mixture_has_no_key() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let model = Model::open(&fixture("qwen3-moe-tiny"), &device).unwrap();
    let batch = TokenBatch::new(&reference("qwen3-moe-tiny").ids, model.spec()).unwrap();
    for (block, there) in [(0, false), (1, true), (2, false)] {
        assert_eq!(model.slot(Slot::MlpDown(block)).is_some(), there);
        assert_eq!(model.weight(Slot::MlpDown(block)).is_some(), there);
        let key = Site::Block(block as u16, Point::MlpKey);
        let mut observer = Observer::up_to([key]);
        let went_on = model.net().forward(ForwardInput::tokens(&batch, &device), &mut observer).is_some();
        assert_eq!((observer.take(key).is_some(), went_on), (there, !there), "block {block}");
    }
}

/// A gradient goes through the experts and their shares: it is the slope along some directions, at each number of tokens.
#[test]
fn a_gradient_goes_through_a_mixture() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    for name in ["mixtral-tiny", "qwen3-moe-tiny", "qwen3-moe-tiny-step"] {
        let model = Model::open(&fixture(name), &device).unwrap();
        let batch = TokenBatch::new(&reference(name).ids, model.spec()).unwrap();
        let site = Site::Block(0, Point::ResidPost);
        let mut observer = Observer::up_to([site]);
        assert!(model.net().forward(ForwardInput::tokens(&batch, &device), &mut observer).is_none());
        let whole = observer.take(site).unwrap();
        for tokens in [1, 2, 5, 12] {
            let x = whole.clone().narrow(1, 0, tokens);
            let waves = |rate: f32| {
                let count = x.dims().iter().product::<usize>();
                let numbers: Vec<f32> = (0..count).map(|i| (i as f32 * rate).sin()).collect();
                upload_f32::<3>(numbers, x.dims(), &device)
            };
            let weights = waves(0.7);
            let at = |x: Tensor<3>| {
                let source = Source::Residual { block: 1, x };
                let input = ForwardInput { source, ..ForwardInput::tokens(&batch, &device) };
                (model.net().forward(input, &mut NoHook).unwrap() * weights.clone()).sum()
            };
            let leaf = x.clone().autodiff().require_grad();
            let gradient = leaf.grad(&at(leaf.clone()).backward()).unwrap();
            for rate in [0.3, 1.1, 1.9] {
                let direction = waves(rate);
                let moved = |step: f32| host(&at(x.clone() + direction.clone() * step))[0];
                let step = 1e-3;
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                let found = host(&(gradient.clone() * direction.clone()).sum())[0];
                assert!(
                    (slope - found).abs() <= 2e-2 * slope.abs().max(1.0),
                    "{name}, {tokens} tokens: {slope} and {found}"
                );
            }
        }
    }
}

#[test]
fn sampling_is_a_function_of_its_seed() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let model = Model::open(&fixture("gpt2-tiny"), &device).unwrap();
    let write = |seed| {
        let strategy = Strategy::Sample { top_k: 5, temperature: 1.0, seed };
        model.generate_ids(vec![5, 6], 20, strategy, false).unwrap().ids
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
}
