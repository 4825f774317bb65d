//! WISE: masks, merging, routing, the loss, storing, going back, forgetting.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use proptest::collection::vec;
use proptest::prelude::*;
use recant_backend::{Device, DeviceSpec, host, upload_f32};
use recant_edit::{Contexts, EditError, Fact, Lifelong, Memory};
use recant_methods::lifelong::{load_state, save_state};
use recant_methods::wise::merge::{MergeAlg, merge};
use recant_methods::wise::side::{Lesson, Rows, mask};
use recant_methods::wise::{Focus, Optim, Pool, Wise, WiseSettings};
use recant_model::{ForwardInput, Model, NoHook, TokenBatch, gather_rows};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn open(name: &str) -> Model {
    Model::open(&fixture(name), &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn facts() -> Vec<Fact> {
    let fact = |subject, prompt, target, locality: &str| {
        Fact::new(subject, prompt, target).unwrap().with_locality(vec![locality.to_owned()])
    };
    vec![
        fact("The sea", "{} is", "cold", "It rained for"),
        fact("cat", "We saw that the {} was very", "old", "In the morning they"),
        fact("The road", "{} was closed for", "music", "She put the cup"),
        fact("dog", "the {} came", "home", "The price of"),
        fact("The lamp", "{} went", "out", "After the rain"),
    ]
}

/// Small margins for small models, so that they are met within a few steps.
fn settings() -> WiseSettings {
    WiseSettings {
        edit_lr: 0.02,
        optim: Optim::Adam,
        n_iter: 25,
        alpha: 0.1,
        beta: 0.5,
        gamma: 0.2,
        mask_ratio: 0.4,
        replay: 2,
        focus: Focus::Prompt,
        strangers: 0,
        save_freq: 500,
        merge_freq: 1000,
        ..WiseSettings::new(0)
    }
}

fn begin(model: &Model, settings: WiseSettings) -> Wise {
    let contexts = Contexts::new(vec!["{}".into(), "So. {}".into()]).unwrap();
    Wise::begin(model.clone(), settings, contexts).unwrap()
}

fn taught(model: &Model, settings: WiseSettings, facts: &[Fact]) -> Wise {
    let mut wise = begin(model, settings);
    for fact in facts {
        wise.learn(std::slice::from_ref(fact)).unwrap();
    }
    wise
}

/// Digest of the bits of all log-probabilities behind every fact's prompt and locality prompt.
fn logits(model: &Model) -> [u8; 32] {
    let ask = |text: String| {
        let mut answers = model.answers(&text, model.spec().vocab).unwrap();
        answers.sort_by_key(|answer| answer.id);
        answers.into_iter().flat_map(|answer| answer.logprob.to_le_bytes()).collect::<Vec<u8>>()
    };
    let texts = facts().into_iter().flat_map(|fact| [fact.text(), fact.locality[0].clone()]);
    recant_core::bytes_digest(&texts.flat_map(ask).collect::<Vec<u8>>())
}

#[test]
fn weights_outside_the_mask_are_the_main_memory_s() {
    let model = open("gpt2-tiny");
    for optim in [Optim::Sgd, Optim::Adam] {
        let settings = WiseSettings { optim, edit_lr: 0.02, save_freq: 2, merge_freq: 4, ..settings() };
        let wise = taught(&model, settings, &facts());
        for shard in 0..3 {
            let delta = wise.delta(shard).unwrap();
            let may = mask(settings.seed, shard, settings.mask_ratio, delta.len());
            let outside = delta.iter().zip(&may).filter(|(_, may)| !**may);
            assert!(outside.clone().count() > 0);
            assert!(outside.into_iter().all(|(x, _)| x.to_bits() == 0), "{optim:?}, shard {shard}");
            assert!(
                delta.iter().zip(&may).any(|(&x, &may)| may && x != 0.0),
                "{optim:?}, shard {shard} learned"
            );
        }
        assert_eq!(wise.model().digest(), model.digest(), "the main memory never moves");
    }
}

#[test]
fn what_is_stored_comes_back_bit_for_bit_and_goes_on_learning() {
    for (name, save_freq, merge_freq) in
        [("gpt2-tiny", 500, 1000), ("llama-tiny-gqa", 2, 4), ("gpt2-tiny", 1, 1)]
    {
        let model = open(name);
        let settings = WiseSettings { save_freq, merge_freq, ..settings() };
        let whole = taught(&model, settings, &facts());
        let half = taught(&model, settings, &facts()[..3]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        save_state(&half.state().unwrap(), &path).unwrap();
        let mut back = Wise::open(open(name), &load_state(&path).unwrap().value).unwrap();
        assert_eq!(logits(back.model()), logits(half.model()), "{name}");
        assert_eq!(back.state().unwrap().id(), half.state().unwrap().id());
        for fact in &facts()[3..] {
            back.learn(std::slice::from_ref(fact)).unwrap();
        }
        assert_eq!(back.state().unwrap().id(), whole.state().unwrap().id(), "{name}");
        assert_eq!(logits(back.model()), logits(whole.model()));
        assert_ne!(logits(whole.model()), logits(&model));
        // Going back past what the file remembers trains the last shard again, to the same bits.
        back.roll_back(2).unwrap();
        assert_eq!(back.state().unwrap().id(), taught(&model, settings, &facts()[..2]).state().unwrap().id());
    }
}

#[test]
fn an_edit_taken_out_was_never_there() {
    let model = open("gpt2-tiny");
    for (save_freq, merge_freq) in [(500, 500), (2, 4), (1, 1)] {
        let settings = WiseSettings { save_freq, merge_freq, ..settings() };
        for gone in 0..facts().len() {
            let mut wise = taught(&model, settings, &facts());
            wise.forget(gone).unwrap();
            let mut left = facts();
            left.remove(gone);
            let never = taught(&model, settings, &left);
            assert_eq!(wise.facts(), never.facts());
            for shard in 0..3 {
                assert_eq!(wise.delta(shard), never.delta(shard), "without {gone}, shard {shard}");
            }
            assert_eq!(logits(wise.model()), logits(never.model()), "without {gone}");
        }
    }
    let missing = begin(&model, settings()).forget(3);
    assert!(matches!(missing, Err(EditError::NoEdit { index: 3, count: 0 })));
}

#[test]
fn going_back_is_exact_to_any_point() {
    let model = open("gpt2-tiny");
    for (save_freq, merge_freq) in [(500, 500), (2, 4), (1, 1)] {
        let mut wise = begin(&model, WiseSettings { save_freq, merge_freq, ..settings() });
        let mut points = vec![logits(wise.model())];
        for pair in facts().chunks(2) {
            wise.learn(pair).unwrap();
            points.push(logits(wise.model()));
        }
        let last = wise.state().unwrap();
        for steps in (0..points.len()).rev() {
            wise.roll_back(steps).unwrap();
            assert_eq!((wise.steps(), logits(wise.model())), (steps, points[steps]));
        }
        for pair in facts().chunks(2) {
            wise.learn(pair).unwrap();
        }
        assert_eq!(wise.state().unwrap(), last, "and forth again to the same bits");
    }
}

#[test]
fn what_cannot_be_learned_changes_nothing() {
    let model = open("gpt2-tiny");
    let mut wise = begin(&model, WiseSettings { capacity: 3, ..settings() });
    wise.learn(&facts()[..2]).unwrap();
    let before = (wise.state().unwrap(), logits(wise.model()));
    let bare = Fact::new("The sea", "{} is", "cold").unwrap();
    let full = wise.learn(&facts()[2..4]);
    assert!(matches!(full, Err(EditError::Full { capacity: 3, .. })));
    // NaN: a step so wide that the loss is not a number any more.
    let wild = WiseSettings { edit_lr: 1e30, optim: Optim::Sgd, norm_constraint: None, ..settings() };
    let mut wild = begin(&model, wild);
    let error = wild.learn(&facts()[..1]).unwrap_err();
    assert!(matches!(error, EditError::NonFinite { .. }), "{error}");
    assert!(wild.facts().is_empty() && logits(wild.model()) == logits(&model));
    assert_eq!((wise.state().unwrap(), logits(wise.model())), before);
    // The reference code has no texts of its own.
    let mut reference = begin(&model, WiseSettings { reference: true, ..settings() });
    let error = reference.learn(std::slice::from_ref(&bare)).unwrap_err();
    assert!(matches!(error, EditError::Locality { .. }) && error.to_string().contains("neutral=true"));
}

/// Where nobody says what must be left alone, neutral texts stand in, and that is said.
#[test]
fn a_fact_without_locality_prompts_is_learned_with_neutral_texts() {
    let model = open("gpt2-tiny");
    let bare = [Fact::new("The sea", "{} is", "cold").unwrap()];
    let learned = |neutral: bool| {
        let mut wise = begin(&model, WiseSettings { neutral, ..settings() });
        let notes = wise.learn(&bare).unwrap();
        (logits(wise.model()), notes.iter().any(|note| note.contains("neutral texts stand in")))
    };
    let (by_default, noted) = learned(false);
    let (asked, silent) = learned(true);
    assert_eq!(by_default, asked);
    assert!(noted && !silent);
}

/// The lower layers computed once give the loss of a whole forward pass, and its slope.
#[test]
fn the_cached_loss_is_the_plain_one() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        let device = model.device();
        let rows = Rows {
            inside: vec![vec![5, 6, 7, 8], vec![9, 10, 11]],
            prompts: vec![3, 3],
            lookups: vec![1, 0],
            targets: vec![vec![20, 21], vec![22]],
            outside: vec![vec![12, 13, 14]],
        };
        let (d_model, d_mlp) = (model.spec().d_model, model.spec().d_mlp);
        let numbers: Vec<f32> = (0..d_model * d_mlp).map(|i| (i as f32 * 0.37).sin() * 0.05).collect();
        let delta = upload_f32::<2>(numbers, [d_model, d_mlp], device);
        for layer in 0..model.spec().layers {
            let settings = WiseSettings { layer, ..settings() };
            let lesson = Lesson::new(&model, &settings, &rows).unwrap();
            let cached = host(&lesson.loss(&delta).edit)[0];
            let slot = recant_model::Slot::MlpDown(layer);
            let edited = model.net_with(slot, model.weight(slot).unwrap() + delta.clone()).unwrap();
            let batch = TokenBatch::new(&rows.inside, model.spec()).unwrap();
            let hidden = edited.forward(ForwardInput::tokens(&batch, device), &mut NoHook).unwrap();
            let places = [(0usize, 2usize), (0, 3), (1, 2)];
            let logits = edited.unembed(gather_rows(hidden, &places, device));
            let log_probs = host(&burn::tensor::activation::log_softmax(logits, 1));
            let vocab = model.spec().vocab;
            let of = |place: usize, id: usize| f64::from(log_probs[place * vocab + id]);
            let plain = -((of(0, 20) + of(1, 21)) / 2.0 + of(2, 22)) / 2.0;
            assert!((f64::from(cached) - plain).abs() < 1e-5, "{name}, layer {layer}: {cached} and {plain}");
            // The reference divides by one token too many.
            let reference = WiseSettings { reference: true, ..settings };
            let off = host(&Lesson::new(&model, &reference, &rows).unwrap().loss(&delta).edit)[0];
            let expected = -((of(0, 20) + of(1, 21)) / 3.0 + of(2, 22) / 2.0) / 2.0;
            assert!((f64::from(off) - expected).abs() < 1e-5, "{name}, layer {layer}: {off} and {expected}");
        }
    }
}

/// L_act by hand: activations are the lengths of Δ k over prompt tokens.
#[test]
fn the_margins_are_those_of_the_paper() {
    let model = open("gpt2-tiny");
    let device = model.device();
    let rows = Rows {
        inside: vec![vec![5, 6, 7], vec![9, 10]],
        prompts: vec![2, 2],
        lookups: vec![1, 0],
        targets: vec![vec![20, 21], vec![22]],
        outside: vec![vec![12, 13, 14], vec![15]],
    };
    let (d_model, d_mlp) = (model.spec().d_model, model.spec().d_mlp);
    let numbers: Vec<f32> = (0..d_model * d_mlp).map(|i| (i as f32 * 0.11).cos() * 0.2).collect();
    let delta = upload_f32::<2>(numbers.clone(), [d_model, d_mlp], device);
    let lengths = |ids: &[u32], count: usize| -> Vec<f64> {
        let upper = recant_methods::region::Observed::of(&model, 0, &[ids.to_vec()]).unwrap();
        let keys = host(&upper.keys);
        let of = |key: &[f32]| {
            let dot = |row: &[f32]| row.iter().zip(key).map(|(w, k)| f64::from(w * k)).sum::<f64>();
            numbers.chunks(d_mlp).map(|row| dot(row).powi(2)).sum::<f64>().sqrt()
        };
        keys.chunks(d_mlp).take(count).map(of).collect()
    };
    let positive = |x: Vec<f64>| {
        let above: Vec<f64> = x.into_iter().filter(|&x| x > 0.0).collect();
        if above.is_empty() { 0.0 } else { above.iter().sum::<f64>() / above.len() as f64 }
    };
    for pool in [Pool::Mean, Pool::Max] {
        let (alpha, beta, gamma) = (0.3, 1.5, 0.6);
        let settings = WiseSettings { pool, alpha, beta, gamma, ..settings() };
        let one = |x: Vec<f64>| match pool {
            Pool::Mean => x.iter().sum::<f64>() / x.len() as f64,
            _ => x.iter().copied().fold(0.0, f64::max),
        };
        let inside = [one(lengths(&rows.inside[0], 2)), one(lengths(&rows.inside[1], 2))];
        let outside = [one(lengths(&rows.outside[0], 3)), one(lengths(&rows.outside[1], 1))];
        let pairs = outside.iter().flat_map(|o| inside.iter().map(move |i| o - i + gamma)).collect();
        let expected = positive(pairs)
            + positive(outside.iter().map(|o| o - alpha).collect())
            + positive(inside.iter().map(|i| beta - i).collect());
        let found = host(&Lesson::new(&model, &settings, &rows).unwrap().loss(&delta).act)[0];
        assert!((f64::from(found) - expected).abs() < 1e-4, "{pool:?}: {found} and {expected}");
    }
}

/// A route that is decided by the subject: its last token is in scope, the rest of its prompt is not; what the fact
/// teaches is the plain loss when every token may help, and when only the subject may, the slope elsewhere is 0.
#[test]
fn a_scope_is_its_subject() {
    let model = open("gpt2-tiny");
    let device = model.device();
    let rows = Rows {
        inside: vec![vec![5, 6, 7], vec![9, 10]],
        prompts: vec![3, 2],
        lookups: vec![1, 0],
        targets: vec![vec![20], vec![22]],
        outside: vec![vec![12, 13]],
    };
    let (d_model, d_mlp) = (model.spec().d_model, model.spec().d_mlp);
    let numbers: Vec<f32> = (0..d_model * d_mlp).map(|i| (i as f32 * 0.23).sin() * 0.2).collect();
    let delta = upload_f32::<2>(numbers.clone(), [d_model, d_mlp], device);
    let lengths = |ids: &[u32]| -> Vec<f64> {
        let upper = recant_methods::region::Observed::of(&model, 0, &[ids.to_vec()]).unwrap();
        let of = |key: &[f32]| {
            let dot = |row: &[f32]| row.iter().zip(key).map(|(w, k)| f64::from(w * k)).sum::<f64>();
            numbers.chunks(d_mlp).map(|row| dot(row).powi(2)).sum::<f64>().sqrt()
        };
        host(&upper.keys).chunks(d_mlp).map(of).collect()
    };
    let (first, second, apart) =
        (lengths(&rows.inside[0]), lengths(&rows.inside[1]), lengths(&rows.outside[0]));
    let inside = [first[1], second[0]];
    let outside = [apart[0].max(apart[1]), first[0].max(first[2]), second[1]];
    let mean = |x: Vec<f64>| {
        let above: Vec<f64> = x.into_iter().filter(|&x| x > 0.0).collect();
        if above.is_empty() { 0.0 } else { above.iter().sum::<f64>() / above.len() as f64 }
    };
    let (alpha, beta, gamma) = (0.3, 1.5, 0.6);
    let expected = mean(outside.iter().flat_map(|o| inside.map(|i| o - i + gamma)).collect())
        + mean(outside.iter().map(|o| o - alpha).collect())
        + mean(inside.iter().map(|i| beta - i).collect());
    let of = |focus| WiseSettings { focus, alpha, beta, gamma, pool: Pool::Max, ..settings() };
    let edit = |focus, delta: &Tensor<2>| {
        let lesson = Lesson::new(&model, &of(focus), &rows).unwrap();
        lesson.loss(delta).edit
    };
    for focus in [Focus::Subject, Focus::Scope] {
        let found = host(&Lesson::new(&model, &of(focus), &rows).unwrap().loss(&delta).act)[0];
        assert!((f64::from(found) - expected).abs() < 1e-4, "{focus:?}: {found} and {expected}");
        assert_eq!(host(&edit(focus, &delta)), host(&edit(Focus::Prompt, &delta)), "the same pass answers");
    }
    let slope = |focus| {
        let leaf = delta.clone().autodiff().require_grad();
        let grads = edit(focus, &leaf).backward();
        host(&leaf.grad(&grads).unwrap())
    };
    let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off(&slope(Focus::Scope), &slope(Focus::Prompt)) < 1e-6);
    assert!(off(&slope(Focus::Subject), &slope(Focus::Prompt)) > 1e-4);
}

/// TIES as its paper writes it, place by place, with nothing shared with the implementation.
fn naive_ties(deltas: &[Vec<f32>], density: f64) -> Vec<f32> {
    let n = deltas[0].len();
    let keep = (density * n as f64) as usize;
    let trimmed: Vec<Vec<f64>> = deltas
        .iter()
        .map(|delta| {
            let larger = |i: usize| {
                (0..n)
                    .filter(|&j| {
                        delta[j].abs() > delta[i].abs() || (delta[j].abs() == delta[i].abs() && j < i)
                    })
                    .count()
            };
            (0..n).map(|i| if larger(i) < keep { f64::from(delta[i]) } else { 0.0 }).collect()
        })
        .collect();
    (0..n)
        .map(|p| {
            let positive: f64 = trimmed.iter().map(|d| d[p]).filter(|&x| x > 0.0).sum();
            let negative: f64 = trimmed.iter().map(|d| -d[p]).filter(|&x| x > 0.0).sum();
            let chosen: Vec<f64> = if positive >= negative {
                trimmed.iter().map(|d| d[p]).filter(|&x| x > 0.0).collect()
            } else {
                trimmed.iter().map(|d| d[p]).filter(|&x| x < 0.0).collect()
            };
            if chosen.is_empty() { 0.0 } else { (chosen.iter().sum::<f64>() / chosen.len() as f64) as f32 }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ties_is_the_paper_s(
        deltas in (2usize..5, 1usize..30).prop_flat_map(|(n, len)| vec(vec(-3i8..4, len), n)),
        density in 0.05f64..1.0,
    ) {
        // Small whole numbers: sums are exact, and ties, zeros and cancellations happen.
        let deltas: Vec<Vec<f32>> = deltas.iter().map(|d| d.iter().map(|&x| f32::from(x)).collect()).collect();
        let (ours, naive) = (merge(MergeAlg::Ties, &deltas, density, 0), naive_ties(&deltas, density));
        for (a, b) in ours.iter().zip(&naive) {
            prop_assert!((a - b).abs() < 1e-6, "{:?} and {:?}", ours, naive);
        }
    }

    #[test]
    fn the_other_merges_keep_their_laws(a in vec(-2.0f32..2.0, 12), b in vec(-2.0f32..2.0, 12), seed in any::<u64>()) {
        let pair = [a.clone(), b.clone()];
        for (i, x) in merge(MergeAlg::Linear, &pair, 1.0, 0).iter().enumerate() {
            prop_assert!((x - (a[i] + b[i]) / 2.0).abs() < 1e-6);
        }
        // Slerp of a vector with itself is itself; with equal lengths the length is kept.
        let same = merge(MergeAlg::Slerp, &[a.clone(), a.clone()], 1.0, 0);
        prop_assert!(same.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-5));
        let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let scaled: Vec<f32> = b.iter().map(|x| x * length(&a) / length(&b).max(1e-3)).collect();
        let cosine = a.iter().zip(&scaled).map(|(x, y)| x * y).sum::<f32>() / (length(&a) * length(&scaled));
        prop_assume!(length(&a) > 0.1 && length(&b) > 0.1 && cosine.abs() < 0.99);
        let half = merge(MergeAlg::Slerp, &[a.clone(), scaled], 1.0, 0);
        prop_assert!((length(&half) - length(&a)).abs() < 1e-3 * length(&a).max(1.0));
        // DARE keeps a place or drops it, at every place from what the shards have there; nothing dropped is TIES' election.
        let dare = merge(MergeAlg::DareTies, &pair, 1.0, seed);
        for i in 0..12 {
            let agree = [a[i], b[i]].iter().filter(|x| (**x > 0.0) == (a[i] + b[i] >= 0.0)).sum::<f32>() / 2.0;
            prop_assert!((dare[i] - agree).abs() < 1e-6);
        }
        prop_assert_eq!(merge(MergeAlg::DareTies, &pair, 0.3, seed), merge(MergeAlg::DareTies, &pair, 0.3, seed));
    }

}

proptest! {
    // Each case trains a handful of edits.
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// After any sequence of learning and forgetting: known prompts in scope are answered from a side memory and
    /// out-of-scope ones meet the base model's own bits, or the method has said that it could not part them.
    #[test]
    fn known_prompts_are_routed_as_they_should(
        moves in vec((any::<bool>(), 0usize..5), 1..7),
        save_freq in prop::sample::select(vec![1usize, 2, 500]),
        focus in prop::sample::select(vec![Focus::Prompt, Focus::Scope]),
    ) {
        let model = open("gpt2-tiny");
        let settings = WiseSettings { save_freq, merge_freq: save_freq, focus, strangers: 1, ..settings() };
        let mut wise = begin(&model, settings);
        for (learn, which) in moves {
            if learn || wise.facts().is_empty() {
                let notes = wise.learn(&[facts().remove(which)]).unwrap();
                prop_assert_eq!(notes.is_empty(), wise.separates());
            } else {
                let at = which % wise.facts().len();
                wise.forget(at).unwrap();
            }
            if !wise.separates() { continue }
            let vocab = model.spec().vocab;
            for fact in wise.facts() {
                let (edited, base) = (wise.model().answers(&fact.text(), vocab).unwrap(), model.answers(&fact.text(), vocab).unwrap());
                prop_assert_ne!(edited, base, "{:?} is in scope", fact.text());
                // A memory is held to its own facts' strangers, and to the first locality prompt of all.
                let stranger = (save_freq == 500).then(|| fact.prompt.replacen("{}", "Anna Miller", 1));
                for prompt in fact.locality.iter().chain(&stranger) {
                    let (edited, base) = (wise.model().answers(prompt, vocab).unwrap(), model.answers(prompt, vocab).unwrap());
                    prop_assert_eq!(edited, base, "{:?} is out of scope", prompt);
                }
            }
        }
    }
}
