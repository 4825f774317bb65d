//! One edit on a model of every family: it holds, nothing else of the file changes, it goes back to the byte, and
//! methods that a family's shape rules out say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_core::Blobs;
use recant_edit::{Contexts, EditError, Fact, Lifelong};
use recant_methods::moments::{CollectError, Collector};
use recant_methods::retrieval::{Retrieval, RetrievalSettings};
use recant_methods::rome::Covariance;
use recant_methods::transfer::{Loose, TransferError};
use recant_methods::{
    LayerRule, MEMORIES, METHODS, MethodInputs, MethodSpec, Setting, Wishes, memory, method, open_memory,
};
use recant_model::{Model, SaveOptions};

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures");
    let mut found: Vec<PathBuf> = std::fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("reference.safetensors").exists())
        .collect();
    found.sort();
    found
}

fn open(path: &Path) -> Model {
    Model::open(path, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

fn inputs(layer: usize, layers: Vec<usize>) -> MethodInputs {
    // A random model's MLP says next to nothing; without bounds relative to it, and with time, the edit holds.
    let settings = [
        ("mom2_adjustment", "false"),
        ("clamp_norm_factor", "1000"),
        ("v_weight_decay", "0"),
        ("v_num_grad_steps", "200"),
        ("kl_factor", "0"),
    ];
    let setting = |(key, value): (&str, &str)| Setting { key: key.to_owned(), value: value.to_owned() };
    MethodInputs {
        layer,
        layers,
        contexts: Contexts::bare(),
        covariance: None,
        settings: settings.map(setting).to_vec(),
        seed: 0,
    }
}

const PROMPT: &str = "The model is";

/// Facts whose targets are the next best answers of the model, of those that are one token behind the prompt.
fn facts(model: &Model) -> Vec<(Fact, usize)> {
    let answers = model.answers(PROMPT, 40).unwrap();
    let one = |token: &str, id: u32| {
        let both = model.tokenizer().continuation(PROMPT, token, true);
        !token.trim().is_empty() && both.is_ok_and(|both| both.target == [id])
    };
    let found = answers[1..].iter().filter(|answer| one(&answer.token, answer.id));
    found
        .take(4)
        .map(|answer| (Fact::new_literal("The model", "{} is", &answer.token).unwrap(), answer.id as usize))
        .collect()
}

/// Log-probabilities behind the prompt, by token.
fn log_probs(model: &Model) -> Vec<f32> {
    let mut answers = model.answers(PROMPT, model.spec().vocab).unwrap();
    answers.sort_by_key(|answer| answer.id);
    answers.into_iter().map(|answer| answer.logprob).collect()
}

fn best(log_probs: &[f32]) -> usize {
    (0..log_probs.len()).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b])).unwrap()
}

#[test]
fn an_edit_works_on_every_family() {
    for path in fixtures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let model = open(&path);
        let blocks = model.spec().blocks_with_matrix();
        if blocks.is_empty() {
            continue;
        }
        let before = log_probs(&model);
        let facts = facts(&model);
        let holds = |(layer, (fact, wanted)): (usize, &(Fact, usize))| {
            let editor = method("r-rome", &inputs(layer, Vec::new())).unwrap();
            let plan = editor.plan(&model, std::slice::from_ref(fact)).unwrap();
            let (edited, applied) = model.apply(&plan.patch, &Blobs::new()).unwrap();
            let after = log_probs(&edited);
            (after[*wanted] > after[best(&before)]).then_some((edited, applied, after))
        };
        // Random blocks differ in what they can say.
        let found =
            blocks.into_iter().flat_map(|layer| facts.iter().map(move |fact| (layer, fact))).find_map(holds);
        let (edited, applied, after) = found.unwrap_or_else(|| panic!("{name}: no layer holds"));
        assert_eq!(applied.changed.len(), 1, "{name}");

        let former = edited.undo(&applied).unwrap();
        assert!(
            (former.digest(), log_probs(&former)) == (model.digest(), before),
            "{name}: not the former bytes"
        );

        let out = tempfile::tempdir().unwrap();
        edited.save(&out.path().join("saved"), SaveOptions::default()).unwrap();
        let back = open(&out.path().join("saved"));
        assert!(
            back.digest() == edited.digest() && log_probs(&back) == after,
            "{name}: what was written differs"
        );
    }
}

/// What is missing in the residual stream cannot be shared out where a norm stands before it.
#[test]
fn methods_that_share_out_are_refused_where_a_norm_stands_behind_the_mlp() {
    let mut refused = 0;
    for path in fixtures() {
        let model = open(&path);
        for name in ["memit", "emmet", "alphaedit"] {
            let blocks = model.spec().blocks_with_matrix();
            let (Some(&first), Some(&last)) = (blocks.first(), blocks.last()) else { continue };
            let layers = if name == "emmet" || first == last { Vec::new() } else { vec![first, last] };
            let planned =
                method(name, &inputs(first, layers)).unwrap().plan(&model, &[facts(&model).remove(0).0]);
            match planned {
                Err(EditError::NormBehind { architecture }) => {
                    assert!(model.spec().norm_behind_mlp && architecture == model.spec().architecture);
                    refused += 1;
                }
                planned => {
                    assert!(planned.is_ok() && !model.spec().norm_behind_mlp, "{name} on {}", path.display())
                }
            }
        }
    }
    assert!(refused >= 9, "{refused}");
}

/// Every method that edits or copies a matrix says of a mixture of experts why it does not, before it searches
/// anything, and which blocks have one.
#[test]
fn methods_that_need_a_matrix_are_refused_at_a_mixture_by_name() {
    for (name, mixtures, others) in
        [("mixtral-tiny", vec![0, 1], vec![]), ("qwen3-moe-tiny", vec![0, 2], vec![1])]
    {
        let model = open(&fixtures().into_iter().find(|path| path.ends_with(name)).unwrap());
        let fact = facts(&model).remove(0).0.with_locality(vec!["It rained".to_owned()]);
        let refused = |method: &str, block: usize, error: EditError| {
            let EditError::Mixture(told) = &error else { panic!("{name}, {method}: {error}") };
            assert_eq!((told.block, &told.others), (block, &others), "{name}, {method}");
            let text = error.to_string();
            assert!(
                text.contains(&format!("block {block}")) && text.contains("mixture of experts"),
                "{text}"
            );
            assert!(others.is_empty() == text.contains("no block of it has one"), "{text}");
        };
        for block in mixtures {
            let of_settings = |info: &MethodSpec| {
                let known = inputs(block, Vec::new());
                let settings = known.settings.iter().filter(|set| info.param(&set.key).is_some()).cloned();
                MethodInputs { settings: settings.collect(), ..known }
            };
            for info in &METHODS {
                assert!(info.needs_matrix, "{}", info.name);
                let editor = method(info.name, &of_settings(info)).unwrap();
                refused(info.name, block, editor.plan(&model, std::slice::from_ref(&fact)).unwrap_err());
            }
            let wise = MethodSpec::find("wise").unwrap();
            refused(
                "wise",
                block,
                memory("wise", &of_settings(wise), model.clone()).map(|_| ()).unwrap_err(),
            );
            for info in METHODS.iter().chain(&MEMORIES) {
                let wishes = Wishes { layer: Some(block), layers: Some(vec![block]), ..Wishes::default() };
                let wishes = match info.layers {
                    LayerRule::One => Wishes { layers: None, ..wishes },
                    _ => Wishes { layer: None, ..wishes },
                };
                match wishes.of_all(&[info], model.spec()) {
                    Err(error) => refused(info.name, block, error),
                    Ok(asked) => assert!(!info.needs_matrix && asked[0].layers == [block]),
                }
            }
            let statistics = Collector::new(&model, &[block], None).map(|_| ()).unwrap_err();
            assert!(matches!(statistics, CollectError::Mixture(_)), "{statistics}");
        }
        // Where nobody says a layer, a block is taken that has a matrix, if there is one.
        for info in &METHODS {
            match Wishes::default().of_all(&[info], model.spec()) {
                Ok(asked) => assert_eq!(asked[0].layers, others, "{}", info.name),
                Err(error) => refused(info.name, model.spec().edit.layer, error),
            }
        }
    }
}

/// What the memories look up and replace, a mixture has too: they learn at every block of it, answer, come back from
/// their state, and forget.
#[test]
fn memories_work_at_a_mixture() {
    for (name, block) in [("mixtral-tiny", 0), ("qwen3-moe-tiny", 0), ("qwen3-moe-tiny-step", 1)] {
        let model = open(&fixtures().into_iter().find(|path| path.ends_with(name)).unwrap());
        let before = log_probs(&model);
        for kind in ["memory", "grace"] {
            let info = MethodSpec::find(kind).unwrap();
            let known = inputs(block, Vec::new());
            let mut settings = known.settings.clone();
            settings.retain(|set| info.param(&set.key).is_some());
            let input = MethodInputs { settings, ..known };
            let learned = |(fact, wanted): &(Fact, usize)| {
                let mut learned = memory(kind, &input, model.clone()).unwrap();
                learned.learn(std::slice::from_ref(fact)).unwrap();
                let after = log_probs(learned.model());
                (best(&after) == *wanted || after[*wanted] > after[best(&before)]).then_some((learned, after))
            };
            let found = facts(&model).iter().find_map(learned);
            let (mut learned, after) = found.unwrap_or_else(|| panic!("{name}, {kind}: no fact holds"));
            assert_eq!(learned.model().digest(), model.digest(), "{name}, {kind}: no weight moves");
            let other = "It was a cold day and the sea";
            let answers = |model: &Model| model.answers(other, 5).unwrap();
            if kind == "grace" {
                assert_eq!(answers(learned.model()), answers(&model), "{name}: another prompt is left alone");
            }

            let state = learned.state().unwrap();
            let back = open_memory(&state, model.clone()).unwrap();
            assert_eq!(log_probs(back.model()), after, "{name}, {kind}");
            learned.forget(0).unwrap();
            assert_eq!(log_probs(learned.model()), before, "{name}, {kind}");
        }
    }
}

/// A fact of a memory at a mixture has no weights to go to, and says so.
#[test]
fn a_pair_of_a_mixture_is_no_patch() {
    let model = open(&fixtures().into_iter().find(|path| path.ends_with("mixtral-tiny")).unwrap());
    let mut pairs = Retrieval::begin(model.clone(), RetrievalSettings::new(1), Contexts::bare()).unwrap();
    pairs.learn(&[facts(&model).remove(0).0]).unwrap();
    let loose = Loose::in_memory(&pairs, 0).unwrap();
    assert_eq!(loose.key.len(), model.spec().d_model);
    let refused = loose.into_patch(&model, &Covariance::Identity).unwrap_err();
    assert!(matches!(refused, TransferError::Edit(EditError::Mixture(_))), "{refused}");
}
