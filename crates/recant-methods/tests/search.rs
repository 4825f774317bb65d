//! The cached v* search is the plain one, computed with less work.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_backend::{Device, DeviceSpec};
use recant_edit::{Contexts, Editor, Fact, Request};
use recant_methods::lookup::{FactRows, fact_rows, rows_of};
use recant_methods::names::ChatForm;
use recant_methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant_methods::search::split::{Parts, Split};
use recant_methods::search::turns::Turns;
use recant_methods::search::{Base, Loss, Reading, SearchSettings, full::Full, search, tail::Tail};
use recant_model::Model;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn contexts() -> Contexts {
    let templates = ["{}", "The weather was cold. {}", "So. {}", "Because of this they moved. {}"];
    Contexts::new(templates.map(str::to_owned).to_vec()).unwrap()
}

const SETTINGS: SearchSettings = SearchSettings {
    v_lr: 0.1,
    v_num_grad_steps: 8,
    v_weight_decay: 0.5,
    clamp_norm_factor: 4.0,
    kl_factor: 0.0625,
    name_factor: 0.0,
    early_stop: 0.0,
};

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The fixtures of all families: folders with a reference.
fn every_family() -> Vec<String> {
    let folders = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap());
    let found = folders.filter(|entry| entry.path().join("reference.safetensors").exists());
    found.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Losses agree to 1e-5 relative, gradients to 1e-5 or 3e-5, along a whole search, for subjects at the beginning and in
/// the middle, one- and many-token targets, at every layer, on every family.
#[test]
fn the_cached_search_equals_the_full_one_at_every_step() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let facts = [
        Fact::new("The sea", "{} is", "cold").unwrap(),
        Fact::new("cat", "We saw that the {} was very", "old and tired").unwrap(),
    ];
    for name in every_family() {
        let model = Model::open(&fixture(&name), &device).unwrap();
        for (fact, layer) in facts.iter().flat_map(|fact| (0..model.spec().layers).map(move |l| (fact, l))) {
            let rows = rows_of(&model, fact, &contexts()).unwrap();
            let base = Base::observe(&model, layer, &rows).unwrap();
            let (full, tail) = (Full::new(&model, &base, &rows), Tail::new(&model, &base, &rows));
            let init = &base.outputs[0];
            let plain = Loss::new(SETTINGS, &rows, init, &full, &device);
            let cached = Loss::new(SETTINGS, &rows, init, &tail, &device);
            // A path through δ: downhill steps of the plain loss.
            let mut delta = vec![0.0f32; init.len()];
            for step in 0..8 {
                let (loss, gradient) = plain.with_gradient(&delta, &full);
                let (cached_loss, cached_gradient) = cached.with_gradient(&delta, &tail);
                let what = format!("{name}, layer {layer}, {:?}, step {step}", fact.text());
                let off = f64::from((loss[0] - cached_loss[0]).abs() / loss[0].abs());
                assert!(off <= 1e-5, "{what}: losses {} and {}", loss[0], cached_loss[0]);
                let difference: Vec<f32> =
                    gradient.iter().zip(&cached_gradient).map(|(a, b)| a - b).collect();
                // Where a window hides the subject from what is read, the gradient is rounding alone.
                let off = norm(&difference) / norm(&gradient).max(1e-4);
                // A window's mask makes other sums of the same numbers.
                let within = if name.starts_with("gpt2") || name.starts_with("llama") { 1e-5 } else { 3e-5 };
                assert!(off <= within, "{what}: gradients differ by {off:e}");
                assert!(norm(&gradient) > 0.0, "{what}: the gradient moves something");
                let length = norm(&gradient) as f32;
                delta.iter_mut().zip(&gradient).for_each(|(d, g)| *d -= 0.2 * g / length);
            }
        }
    }
}

/// The gradient is the slope of the loss: central differences in a few directions.
#[test]
fn the_gradient_is_the_slope() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let model = Model::open(&fixture("gpt2-tiny"), &device).unwrap();
    let rows = rows_of(&model, &Fact::new("The sea", "{} is", "cold").unwrap(), &contexts()).unwrap();
    let base = Base::observe(&model, 1, &rows).unwrap();
    let tail = Tail::new(&model, &base, &rows);
    let loss = Loss::new(SETTINGS, &rows, &base.outputs[0], &tail, &device);
    let at: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
    let (_, gradient) = loss.with_gradient(&at, &tail);
    for direction in [3usize, 11, 29] {
        let step = 1e-2;
        let moved = |sign: f32| {
            let mut moved = at.clone();
            moved[direction] += sign * step;
            f64::from(loss.with_gradient(&moved, &tail).0[0])
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        let found = f64::from(gradient[direction]);
        assert!((slope - found).abs() <= 2e-2 * slope.abs().max(0.05), "{direction}: {slope} and {found}");
    }
}

/// A search goes downhill, keeps δ within its bound, and is a function of its inputs.
#[test]
fn a_search_is_deterministic_and_bounded() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let model = Model::open(&fixture("llama-tiny-gqa"), &device).unwrap();
    let rows = rows_of(&model, &Fact::new("cat", "the {} was", "old").unwrap(), &contexts()).unwrap();
    let base = Base::observe(&model, 1, &rows).unwrap();
    let tail = Tail::new(&model, &base, &rows);
    let run = |settings| {
        let init = &base.outputs[0];
        search(settings, init, &[Reading::new(settings, &rows, init, &tail, &device)], &device, &()).unwrap()
    };
    let found = run(SETTINGS);
    assert_eq!(found, run(SETTINGS));
    assert_eq!(found.losses.len(), SETTINGS.v_num_grad_steps);
    let [_, _, kl, decay] = found.losses[0];
    assert!(
        kl.abs() < 1e-6 && decay.abs() < 1e-6,
        "nothing has moved at the first step: {:?}",
        found.losses[0]
    );
    assert!(found.losses[7][0] < found.losses[0][0], "{:?}", found.losses);
    let tight = run(SearchSettings { v_lr: 5.0, clamp_norm_factor: 0.5, ..SETTINGS });
    assert!(norm(&tight.delta) <= 0.5 * norm(&tight.init) * (1.0 + 1e-5));
    let early = run(SearchSettings { early_stop: 1e9, ..SETTINGS });
    assert_eq!((early.losses.len(), norm(&early.delta)), (1, 0.0));
}

/// A fixture with a chat template beside it.
fn with_template(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let template = "{% for m in messages %}Q {{ m['content'] }} {% endfor %}A ";
    std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    dir
}

/// Rows that say the subject again: both evaluators agree on the loss and on its gradient, with the displacement at
/// every mention, and what the names lost is part of the drift.
#[test]
fn names_that_are_said_again_are_the_same_in_both_evaluators() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let settings = SearchSettings { name_factor: 1.0, ..SETTINGS };
    let fact = Fact::new("cat", "We saw that the {} was very", "old and tired").unwrap();
    let chat = with_template("llama-tiny-tied");
    let families = every_family().into_iter().map(|name| (name.clone(), fixture(&name)));
    let mut in_chat = 0;
    for (name, dir) in families.chain([("chat".to_owned(), chat.path().to_owned())]) {
        let model = Model::open(&dir, &device).unwrap();
        let request = Request::new(&model, &fact).unwrap();
        let rows = fact_rows(&model, &request, &contexts()).unwrap();
        let chat = ChatForm::of(&model).unwrap();
        let rows = match &chat {
            Some(chat) => rows.with_chat(&model, &request, chat).unwrap(),
            None => rows,
        };
        let rows = rows.with_names(&model, &request, chat.as_ref()).unwrap();
        in_chat += usize::from(rows.rewriting.len() > contexts().templates().len());
        for layer in 0..model.spec().layers {
            let base = Base::observe(&model, layer, &rows).unwrap();
            let parts = Parts::observe(&model, layer, &rows).unwrap();
            let (full, split) = (Full::new(&model, &base, &rows), Split::new(&model, &parts));
            let seen = parts.keys.iter().chain(&parts.outputs).flatten();
            let contexts = rows.rewriting.len();
            let whole = base.keys[..contexts].iter().chain(&base.outputs[..contexts]).flatten();
            for (one, other) in seen.zip(whole) {
                assert!((one - other).abs() <= 1e-4 * other.abs().max(1.0), "{name} {layer}: {one} {other}");
            }
            let init = &base.outputs[0];
            let plain = Loss::new(settings, &rows, init, &full, &device);
            let cached = Loss::new(settings, &rows, init, &split, &device);
            let unnamed = Loss::new(SETTINGS, &rows, init, &full, &device);
            let delta: Vec<f32> = (0..init.len()).map(|i| ((i * 37 % 11) as f32 - 5.0) * 0.1).collect();
            let ((one, slope), (other, same)) =
                (plain.with_gradient(&delta, &full), cached.with_gradient(&delta, &split));
            for (one, other) in one.iter().zip(&other) {
                assert!((one - other).abs() <= 1e-4 * one.abs().max(1.0), "{name} {layer}: {one} {other}");
            }
            let apart: Vec<f32> = slope.iter().zip(&same).map(|(a, b)| a - b).collect();
            assert!(norm(&apart) <= 1e-4 * norm(&slope).max(1e-3), "{name} {layer}: {}", norm(&apart));
            assert!(unnamed.with_gradient(&delta, &full).0[2] <= one[2], "{name} {layer}");
        }
    }
    assert_eq!(in_chat, 1, "the prompt in the chat template is a context of the model that has one");
}

/// The second mention is found in tokens, and each token of it is asked for behind the one before.
#[test]
fn a_name_is_asked_for_token_by_token() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let model = Model::open(&fixture("llama-tiny-tied"), &device).unwrap();
    let fact = Fact::new("The sea", "{} is", "cold").unwrap();
    let request = Request::new(&model, &fact).unwrap();
    let rows = fact_rows(&model, &request, &contexts()).unwrap().with_names(&model, &request, None).unwrap();
    let name = &rows.names[0];
    assert_eq!(model.tokenizer().decode(&name.row.ids).unwrap(), "The sea. The sea");
    let ids: Vec<u32> = name.asked().map(|(_, id)| id).collect();
    assert_eq!(model.tokenizer().decode(&ids).unwrap().trim(), "The sea");
    assert_eq!(name.row.again, [name.row.ids.len() - 1]);
    assert!(name.asked().all(|(place, id)| name.row.ids[place + 1] == id));
}

/// Steps that take turns read every context and every name, the bare prompt at each; keys and outputs are those of one
/// reading; and the search ends when a whole round has found the target.
#[test]
fn steps_take_turns_at_all_contexts() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let dir = with_template("llama-tiny-tied");
    let model = Model::open(dir.path(), &device).unwrap();
    let chat = ChatForm::of(&model).unwrap().unwrap();
    let request = Request::new(&model, &Fact::new("cat", "the {} was", "old").unwrap()).unwrap();
    let rows = fact_rows(&model, &request, &contexts()).unwrap();
    let rows = rows.with_chat(&model, &request, &chat).unwrap();
    let rows = rows.with_names(&model, &request, Some(&chat)).unwrap();
    assert_eq!((rows.rewriting.len(), rows.names.len()), (5, 4));
    for (contexts, turns) in [(0, 1), (1, 4), (2, 2), (3, 2), (4, 1), (9, 1)] {
        let parts = rows.in_turns(contexts);
        assert_eq!(parts.len(), turns, "{contexts}");
        let bare = &rows.rewriting[0];
        assert!(parts.iter().all(|part| &part.rewriting[0] == bare && part.essence == rows.essence));
        assert!(parts.iter().all(|part| part.rewriting.len() == part.prompt_lengths.len()));
        for (at, row) in rows.rewriting.iter().enumerate().skip(1) {
            let holders = parts.iter().filter(|part| part.rewriting[1..].contains(row)).count();
            let (turn, place) = FactRows::turn(at, turns);
            assert_eq!((holders, &parts[turn].rewriting[place]), (1, row), "{contexts} {at}");
        }
        let names: usize = parts.iter().map(|part| part.names.len()).sum();
        assert_eq!(names, rows.names.len());
    }
    let settings = SearchSettings { name_factor: 1.0, ..SETTINGS };
    let (whole, turns) =
        (Turns::observe(&model, 1, &rows, 0).unwrap(), Turns::observe(&model, 1, &rows, 2).unwrap());
    let numbers = |of: &Turns| of.keys.iter().chain(&of.outputs).flatten().copied().collect::<Vec<f32>>();
    let (one, other) = (numbers(&whole), numbers(&turns));
    assert_eq!(one.len(), other.len());
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0)));
    // In one turn it is the search over all rows.
    let parts = Parts::observe(&model, 1, &rows).unwrap();
    let split = Split::new(&model, &parts);
    let init = &parts.outputs[0];
    let reading = Reading::new(settings, &rows, init, &split, &device);
    assert_eq!(
        whole.search(settings, &model, &()).unwrap(),
        search(settings, init, &[reading], &device, &()).unwrap()
    );
    let found = turns.search(settings, &model, &()).unwrap();
    assert_eq!(found, turns.search(settings, &model, &()).unwrap());
    assert_eq!(found.losses.len(), SETTINGS.v_num_grad_steps);
    // Any loss is small enough, so the first round ends it: one step, and one a turn.
    let enough = SearchSettings { early_stop: 1e9, ..settings };
    assert_eq!(whole.search(enough, &model, &()).unwrap().losses.len(), 1);
    assert_eq!(turns.search(enough, &model, &()).unwrap().losses.len(), 2);
}

/// A target that shall end has the full stop's token behind its own. One that ends itself, one to the letter and one in a
/// chat are as they are; a plan follows.
#[test]
fn a_full_stop_follows_a_target_that_does_not_end() {
    let device = Device::open(DeviceSpec::Flex).unwrap();
    let dir = with_template("llama-tiny-tied");
    let model = Model::open(dir.path(), &device).unwrap();
    let both = |fact: &Fact, model: &Model| {
        let request = Request::new(model, fact).unwrap();
        (request.target.clone(), request.with_stop(model).unwrap().target)
    };
    let fact = Fact::new("The sea", "{} is", "cold").unwrap();
    let (target, stopped) = both(&fact, &model);
    assert!(stopped.starts_with(&target) && stopped.len() > target.len());
    assert_eq!(model.tokenizer().decode(&stopped).unwrap().trim(), "cold.");
    let literal = Fact::new_literal("The sea", "{} is", " cold").unwrap();
    let ended = Fact::new("The sea", "{} is", "cold.").unwrap();
    for (fact, model) in [(&literal, &model), (&ended, &model), (&fact, &model.in_chat(false).unwrap())] {
        let (target, stopped) = both(fact, model);
        assert_eq!(target, stopped, "{fact:?}");
    }
    let losses = |fact: &Fact, full_stop| {
        let settings =
            RomeSettings { full_stop, mom2_adjustment: false, ..RomeSettings::new(1, KeyRule::Bare) };
        let rome = Rome::new(settings, contexts(), Covariance::Identity);
        rome.plan(&model, std::slice::from_ref(fact)).unwrap().traces.remove(0).losses
    };
    assert_ne!(losses(&fact, true), losses(&fact, false));
    assert_eq!(losses(&ended, true), losses(&ended, false));
}
