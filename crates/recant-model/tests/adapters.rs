//! A model that carries an adapter: decided once a sequence from the prompt, row by row.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::tensor::Tensor;
use recant_backend::{Device, DeviceSpec, upload_f32};
use recant_core::{Point, Site};
use recant_model::{
    Adapter, Flow, Hook, Model, Row, SaveError, SaveOptions, Strategy, TokenBatch, replace_rows,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Model {
    Model::open(&fixture(name), &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

/// What an adapter saw: prompt lengths, and tokens of the pass.
type Seen = Arc<Mutex<Vec<(Vec<usize>, usize)>>>;

/// Adds a vector to the MLP's output of every row whose prompt has an even number of tokens (or of none), and
/// writes down what it saw.
struct Even {
    device: Device,
    never: bool,
    seen: Seen,
}

struct EvenHook<'a> {
    adapter: &'a Even,
    routes: Vec<bool>,
    prompts: Vec<usize>,
}

impl Adapter for Even {
    fn begin(&self, prompts: &[usize]) -> Box<dyn Hook + '_> {
        let routes = prompts.iter().map(|prompt| !self.never && prompt.is_multiple_of(2)).collect();
        Box::new(EvenHook { adapter: self, routes, prompts: prompts.to_vec() })
    }
}

impl Hook for EvenHook<'_> {
    fn wants(&self, site: Site) -> bool {
        site == Site::Block(0, Point::MlpOut)
    }

    fn visit(&mut self, _: Site, x: Tensor<3>) -> Flow {
        let [_, tokens, width] = x.dims();
        self.adapter.seen.lock().unwrap().push((self.prompts.clone(), tokens));
        let push: Tensor<3> = upload_f32(vec![0.5; width], [1, 1, width], &self.adapter.device);
        Flow::Continue(replace_rows(x.clone(), x + push, &self.routes, &self.adapter.device))
    }
}

fn with_even(model: &Model, never: bool) -> (Model, Seen) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let adapter = Even { device: model.device().clone(), never, seen: Arc::clone(&seen) };
    (model.with_adapter(Arc::new(adapter)), seen)
}

fn rows() -> Vec<Vec<u32>> {
    vec![vec![5, 6, 7, 8], vec![9, 10, 11], vec![12, 13, 14, 15, 16]]
}

fn ends(batch: &TokenBatch) -> Vec<(usize, usize)> {
    batch.lengths().iter().enumerate().map(|(row, len)| (row, len - 1)).collect()
}

#[test]
fn an_adapter_that_routes_nothing_is_no_adapter() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let (adapted, seen) = with_even(&model, true);
        let batch = TokenBatch::new(&rows(), model.spec()).unwrap();
        let places = ends(&batch);
        assert_eq!(model.log_probs(&batch, &places), adapted.log_probs(&batch, &places), "{name}");
        assert_eq!(seen.lock().unwrap().len(), 1, "the adapter was asked");
        let bare = model.generate("The sea is", 8, Strategy::Greedy).unwrap();
        assert_eq!(bare, adapted.generate("The sea is", 8, Strategy::Greedy).unwrap(), "{name}");
    }
}

#[test]
fn a_batch_mixes_routed_and_unrouted_rows() {
    let model = open("gpt2-tiny");
    let (adapted, _) = with_even(&model, false);
    // Prompts of 2, 3 and 4 tokens: the first and the last row are routed.
    let batch = TokenBatch::new(&rows(), model.spec()).unwrap().with_prompts(&[2, 3, 4]);
    let places = ends(&batch);
    let (plain, routed) = (model.log_probs(&batch, &places), adapted.log_probs(&batch, &places));
    assert_eq!(plain[1], routed[1], "an unrouted row keeps its bits");
    assert_ne!(plain[0], routed[0]);
    assert_ne!(plain[2], routed[2]);
    // The same rows in another company give the same numbers: nothing leaks from row to row.
    let alone = TokenBatch::new(&rows()[..1], model.spec()).unwrap().with_prompts(&[2]);
    let alone = adapted.log_probs(&alone, &[(0, 3)]);
    let off = alone[0].iter().zip(&routed[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-5, "{off}");
}

#[test]
fn the_whole_row_is_the_prompt_unless_said_otherwise() {
    let model = open("gpt2-tiny");
    let batch = TokenBatch::new(&rows(), model.spec()).unwrap();
    assert_eq!(batch.prompts(), [4, 3, 5]);
    assert_eq!(batch.clone().with_prompts(&[2]).prompts(), [2, 3, 5]);
    assert_eq!(batch.with_prompts(&[0, 99, 5, 7]).prompts(), [1, 3, 5], "numbers outside a row are moved in");
}

/// Greedy generation with the cache equals reading everything anew at each token with the same prompt length:
/// the side is chosen once and held, although the sequence's own length changes parity at every token.
#[test]
fn generation_holds_the_route() {
    for name in ["gpt2-tiny", "llama-tiny-tied"] {
        let model = open(name);
        let (adapted, seen) = with_even(&model, false);
        for prompt in [vec![5u32, 6, 7, 8], vec![5, 6, 7]] {
            let written = adapted.generate_ids(prompt.clone(), 6, Strategy::Greedy, false).unwrap();
            let mut ids = prompt.clone();
            for _ in 0..6 {
                let batch = TokenBatch::new(std::slice::from_ref(&ids), model.spec()).unwrap();
                let batch = batch.with_prompts(&[prompt.len()]);
                let next = adapted.log_probs(&batch, &[(0, ids.len() - 1)]).remove(0);
                let best = next.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
                ids.push(best.unwrap().0 as u32);
            }
            assert_eq!(written.ids, ids, "{name}, prompt of {}", prompt.len());
        }
        assert!(seen.lock().unwrap().iter().all(|(prompts, _)| *prompts == [4] || *prompts == [3]));
        // Each row of several keeps its own route.
        let row = |prompt: &[u32]| Row { prompt: prompt.to_vec(), max_new: 6, strategy: Strategy::Greedy };
        let rows = [row(&[5, 6, 7, 8]), row(&[5, 6, 7]), row(&[6, 6, 7, 9]), row(&[7, 6, 5, 4])];
        let together = adapted.generate_rows(&rows, false).unwrap();
        for (row, together) in rows.into_iter().zip(together) {
            let alone = adapted.generate_ids(row.prompt, row.max_new, row.strategy, false).unwrap();
            assert_eq!(together, alone, "{name}");
        }
    }
}

#[test]
fn a_fork_with_an_adapter_leaves_its_parent_alone_and_is_not_saved_without_it() {
    let model = open("gpt2-tiny");
    let (adapted, _) = with_even(&model, false);
    assert!(model.adapters().is_empty());
    assert_eq!((adapted.adapters().len(), adapted.digest()), (1, model.digest()));
    let dir = tempfile::tempdir().unwrap();
    let refused = adapted.save(&dir.path().join("out"), SaveOptions::default());
    assert!(matches!(refused, Err(SaveError::Adapters { count: 1 })));
    assert!(!dir.path().join("out").exists());
}
