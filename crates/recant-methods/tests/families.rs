//! One edit on a model of every family: it holds, nothing else of the file changes, it goes back to the byte, and
//! methods that a family's shape rules out say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_core::Blobs;
use recant_edit::{Contexts, EditError, Fact};
use recant_methods::{MethodInputs, Setting, method};
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
        let found = (0..model.spec().layers)
            .flat_map(|layer| facts.iter().map(move |fact| (layer, fact)))
            .find_map(holds);
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
            let layers = vec![0, model.spec().layers - 1];
            let planned = method(name, &inputs(0, if name == "emmet" { Vec::new() } else { layers }))
                .unwrap()
                .plan(&model, &[facts(&model).remove(0).0]);
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
