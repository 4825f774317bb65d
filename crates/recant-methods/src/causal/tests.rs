//! Traces against plain forward passes from the first token to the last, with nothing cached and one row at a time.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use recant_backend::{Device, DeviceSpec, host};
use recant_core::{Point, Site};
use recant_model::{Flow, ForwardInput, Hook, Model, Observer, TokenBatch, gather_rows};

use super::corrupt::Corrupt;
use super::*;

fn open(name: &str) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name);
    Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn question(target: Option<&str>) -> Question {
    Question::new("old cat", "the {} is", target).unwrap()
}

fn settings(samples: usize, seed: u64) -> CausalSettings {
    CausalSettings { corruption: Corruption::Noise { factor: 3.0, samples, seed }, window: Some(2) }
}

fn traced(model: &Model, question: &Question, settings: CausalSettings) -> CausalTrace {
    trace(model, question, settings, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

/// Adds to the embeddings, and puts tensors `[1, 1, d_model]` at one token of some sites.
struct Naive {
    shift: Tensor<3>,
    token: usize,
    puts: BTreeMap<Site, Tensor<3>>,
}

impl Hook for Naive {
    fn wants(&self, site: Site) -> bool {
        site == Site::Embed || self.puts.contains_key(&site)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        if site == Site::Embed {
            return Flow::Continue(x + self.shift.clone());
        }
        let [_, tokens, width] = x.dims();
        let put = self.puts[&site].clone();
        Flow::Continue(x.slice_assign([0..1, self.token..self.token + 1, 0..width], put).narrow(1, 0, tokens))
    }
}

/// The target's probability by softmax in f64 on the host.
fn naive(model: &Model, ids: &[u32], prompt: usize, target: &[u32], hook: &mut dyn Hook) -> f64 {
    let batch = TokenBatch::new(&[ids.to_vec()], model.spec()).unwrap();
    let hidden = model.net().forward(ForwardInput::tokens(&batch, model.device()), hook).unwrap();
    let each = target.iter().enumerate().map(|(at, &id)| {
        let place = [(0, prompt - 1 + at)];
        let logits = host(&model.net().unembed(gather_rows(hidden.clone(), &place, model.device())));
        let exp = |x: f32| f64::from(x).exp();
        exp(logits[id as usize]) / logits.iter().map(|&x| exp(x)).sum::<f64>()
    });
    each.product()
}

/// What a trace should find, one plain forward pass for each number.
struct Expected {
    clean: f64,
    corrupted: f64,
    effects: ByRestored<Effects>,
}

fn expected(
    model: &Model,
    question: &Question,
    target: &[u32],
    settings: CausalSettings,
    window: usize,
) -> Expected {
    let (layers, text) = (model.spec().layers, question.text());
    let prompt = model.tokenizer().encode(&text).unwrap();
    let ids = [&prompt[..], &target[..target.len() - 1]].concat();
    let (_, subject) = subject_tokens(model.tokenizer(), &question.prompt, &question.subject).unwrap();
    let points = [Point::ResidPost, Point::MlpAdd, Point::AttnOut];
    let site = |block: usize, point| Site::Block(block as u16, point);
    let mut seen = Observer::of((0..layers).flat_map(|block| points.map(|point| site(block, point))));
    let clean = naive(model, &ids, prompt.len(), target, &mut seen);
    let seen: BTreeMap<Site, Tensor<3>> = (0..layers)
        .flat_map(|block| points.map(|point| site(block, point)))
        .map(|site| (site, seen.take(site).unwrap()))
        .collect();
    let Corrupt { shift, samples } = Corrupt::new(model, settings.corruption, &ids, &subject).unwrap();
    let mean = |token: usize, sites: &[Site]| {
        let one = |sample: usize| {
            let put = |site: &Site| (*site, seen[site].clone().narrow(1, token, 1));
            let shift = shift.clone().narrow(0, sample, 1);
            let mut hook = Naive { shift, token, puts: sites.iter().map(put).collect() };
            naive(model, &ids, prompt.len(), target, &mut hook)
        };
        (0..samples).map(one).sum::<f64>() / samples as f64
    };
    let corrupted = mean(0, &[]);
    let by_layer = |sites: &dyn Fn(usize) -> Vec<Site>| -> Effects {
        let row = |token: usize| (0..layers).map(|layer| mean(token, &sites(layer)) - corrupted).collect();
        (0..prompt.len()).map(row).collect()
    };
    let windowed = |point: Point| {
        by_layer(&|layer: usize| {
            let (first, last) = (layer as i64 - window as i64 / 2, layer as i64 + (window as i64 + 1) / 2);
            (first.max(0)..last.min(layers as i64)).map(|block| site(block as usize, point)).collect()
        })
    };
    let effects = ByRestored {
        states: by_layer(&|layer| vec![site(layer, Point::ResidPost)]),
        mlp: windowed(Point::MlpAdd),
        attention: windowed(Point::AttnOut),
    };
    Expected { clean, corrupted, effects }
}

/// Up to a share of the probabilities themselves: those of random models are tiny.
fn assert_close(trace: &CausalTrace, expected: &Expected, name: &str) {
    let scale = expected.clean.max(expected.corrupted);
    let close = |a: f64, b: f64, what: &str| {
        assert!((a - b).abs() < 1e-4 * scale, "{name}, {what}: {a} and {b} of {scale}");
    };
    close(trace.clean, expected.clean, "clean");
    close(trace.corrupted, expected.corrupted, "corrupted");
    for restored in Restored::ALL {
        for (token, row) in expected.effects.of(restored).iter().enumerate() {
            for (layer, &effect) in row.iter().enumerate() {
                let what = format!("{} of token {token} at layer {layer}", restored.name());
                close(trace.effects.of(restored)[token][layer], effect, &what);
            }
        }
    }
}

/// Families of every shape: learned positions, rotary ones and shared key heads, attention beside the MLP, norms behind
/// both, experts.
#[test]
fn a_trace_equals_plain_passes_with_a_hook() {
    for name in ["gpt2-tiny", "llama-tiny-gqa", "mistral-tiny", "gptj-tiny", "gemma2-tiny", "mixtral-tiny"] {
        let model = open(name);
        let question = question(Some("cold"));
        let target = question.target_ids(&model).unwrap().unwrap();
        assert!(target.len() > 1, "{name}");
        let trace = traced(&model, &question, settings(2, 5));
        assert_close(&trace, &expected(&model, &question, &target, settings(2, 5), 2), name);
        for restored in Restored::ALL {
            let largest =
                trace.effects.of(restored).concat().into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(largest > 0.02 * trace.clean, "{name}: {} {largest} of {}", restored.name(), trace.clean);
        }
    }
}

/// The mean embedding in place of each of the subject's, and the model's own answer.
#[test]
fn the_mean_embedding_and_the_own_answer_are_the_defaults_that_they_say() {
    let model = open("gpt2-tiny");
    let question = question(None);
    let own = model.answers(&question.text(), 1).unwrap().remove(0);
    let mean = CausalSettings { corruption: Corruption::Mean, window: None };
    let trace = traced(&model, &question, mean);
    assert_eq!((trace.target.as_str(), trace.window), (own.token.trim(), 1));
    assert_close(&trace, &expected(&model, &question, &[own.id], mean, 1), "mean");
    // What Corrupt adds makes every embedding of the subject the mean of the table, by one pass over the vocabulary.
    let (ids, subject) = subject_tokens(model.tokenizer(), &question.prompt, &question.subject).unwrap();
    let shift = host(&Corrupt::new(&model, Corruption::Mean, &ids, &subject).unwrap().shift);
    let table = model
        .tensor(&"wte.weight".parse().unwrap())
        .or_else(|| model.tensor(&"transformer.wte.weight".parse().unwrap()));
    let (table, d) = (table.unwrap().to_f32(), model.spec().d_model);
    let vocab = table.len() / d;
    for (token, &id) in ids.iter().enumerate() {
        for column in 0..d {
            let mean = (0..vocab).map(|row| f64::from(table[row * d + column])).sum::<f64>() / vocab as f64;
            let own = f64::from(table[id as usize * d + column]);
            let wanted = if subject.contains(&token) { mean - own } else { 0.0 };
            assert!((f64::from(shift[token * d + column]) - wanted).abs() < 1e-6, "{token} {column}");
        }
    }
}

/// Restoring what everything behind depends on gives the clean run; restoring what nothing reads, nothing; and so does
/// a subject that is hardly corrupted.
#[test]
fn the_ends_of_a_trace_are_the_clean_run_and_the_corrupted_one() {
    let model = open("llama-tiny-gqa");
    let question = question(None);
    let trace = traced(&model, &question, settings(3, 1));
    let (last, top) = (trace.tokens.len() - 1, trace.layers - 1);
    let total = trace.clean - trace.corrupted;
    assert!(total.abs() > 0.02 * trace.clean, "{} and {}", trace.clean, trace.corrupted);
    let whole = trace.effects.states[last][top];
    assert!((whole - total).abs() < 1e-5 * trace.clean, "{whole} and {total}");
    for token in 0..last {
        assert!(trace.effects.states[token][top].abs() < 1e-5 * trace.corrupted, "{token}");
    }
    for restored in Restored::ALL {
        let before = &trace.effects.of(restored)[..trace.subject.start];
        assert!(!before.is_empty() && before.iter().flatten().all(|&effect| effect == 0.0));
    }
    let faint = Corruption::Noise { factor: 1e-9, samples: 2, seed: 0 };
    let trace = traced(&model, &question, CausalSettings { corruption: faint, window: None });
    assert!((trace.clean - trace.corrupted).abs() < 1e-4 * trace.clean);
    let all = Restored::ALL.map(|restored| trace.effects.of(restored).concat()).concat();
    assert!(all.iter().all(|effect| effect.abs() < 1e-4 * trace.clean));
}

#[test]
fn a_trace_is_a_function_of_its_seed_and_more_samples_keep_the_former() {
    let model = open("gpt2-tiny");
    let question = question(Some("cold"));
    let of = |samples, seed| traced(&model, &question, settings(samples, seed));
    assert_eq!(of(2, 7), of(2, 7));
    assert_ne!(of(2, 7).corrupted, of(2, 8).corrupted);
    let ids = model.tokenizer().encode(&question.text()).unwrap();
    let shift = |samples| {
        let corruption = Corruption::Noise { factor: 3.0, samples, seed: 7 };
        host(&Corrupt::new(&model, corruption, &ids, &(1..3)).unwrap().shift)
    };
    let one = shift(1);
    assert_eq!(one[..], shift(2)[..one.len()]);
    assert_ne!(one[..], shift(2)[one.len()..]);
}

#[test]
fn what_cannot_be_traced_is_said_by_name() {
    let model = open("gpt2-tiny");
    let refused = |question: &Question, settings| {
        trace(&model, question, settings, &mut |_, _| ControlFlow::Continue(())).unwrap_err()
    };
    for window in [0, model.spec().layers + 1] {
        let settings = CausalSettings { window: Some(window), ..settings(1, 0) };
        assert!(
            matches!(refused(&question(None), settings), CausalError::Window { window: found, .. } if found == window)
        );
    }
    for (factor, samples) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (3.0, 0)] {
        let corruption = Corruption::Noise { factor, samples, seed: 0 };
        let settings = CausalSettings { corruption, window: None };
        assert!(
            matches!(refused(&question(None), settings), CausalError::Noise { .. }),
            "{factor} {samples}"
        );
    }
    let long = Question::new("cat", &format!("{{}} {}", "old ".repeat(500)), None).unwrap();
    assert!(matches!(refused(&long, settings(1, 0)), CausalError::Request(RequestError::TooLong { .. })));
    assert!(matches!(Question::new("cat", "a {} is", Some(" ")), Err(FactError::EmptyTarget)));
    assert!(matches!(Question::new("cat", "a dog is", None), Err(FactError::NoSubject { .. })));
    assert_eq!(Question::new(" cat ", "the cat is ", None).unwrap().prompt, "the {} is");
    let stopped = trace(&model, &question(None), settings(1, 0), &mut |done, of| {
        assert!(done <= of);
        if done > 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(CausalError::Cancelled)));
}

/// The reference code's `range(max(0, l - w // 2), min(L, l - (-w // 2)))`, for which -10 // 2 = -5 and -3 // 2 = -2.
#[test]
fn windows_are_those_of_the_reference() {
    assert_eq!(around(0, 10, 48), 0..5);
    assert_eq!(around(20, 10, 48), 15..25);
    assert_eq!(around(47, 10, 48), 42..48);
    assert_eq!(around(5, 3, 12), 4..7);
    assert_eq!(around(5, 1, 12), 5..6);
    assert_eq!([48, 36, 32, 30, 12, 4, 1].map(default_window), [10, 8, 7, 6, 3, 1, 1]);
}

#[test]
fn the_first_of_the_largest_is_the_peak() {
    assert_eq!(peak(&[0.1, 0.4, 0.4, -0.2]), Some((1, 0.4)));
    assert_eq!(peak(&[]), None);
}
