//! Settings: what is declared is what can be set, what is told, and what the resources of a method obey.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::open;
use recant_edit::{Contexts, EditError, StatisticsError};
use recant_methods::{
    Asked, Kind, LayerRule, MEMORIES, METHODS, MethodInputs, MethodSpec, Setting, Wishes, memory, method,
};
use recant_model::Model;

fn inputs(settings: Vec<Setting>) -> MethodInputs {
    let contexts = Contexts::new(vec!["{}".to_owned(), "So. {}".to_owned()]).unwrap();
    MethodInputs { layer: 1, layers: vec![0, 1], contexts, covariance: None, settings, seed: 3 }
}

fn set(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned() }
}

/// The settings that a method tells of when it is given some.
fn told(
    info: &MethodSpec,
    mut settings: Vec<Setting>,
    model: &Model,
) -> Result<BTreeMap<String, String>, EditError> {
    if MEMORIES.iter().any(|memory| memory.name == info.name) {
        return Ok(memory(info.name, &inputs(settings), model.clone())?.settings());
    }
    if info.needs_moments {
        // There are none here.
        settings.retain(|set| set.key != "mom2_adjustment");
        settings.push(set("mom2_adjustment", "false"));
    }
    Ok(method(info.name, &inputs(settings))?.settings())
}

/// Another value than the default, which the setting takes.
fn other(name: &str, default: &str) -> String {
    match (name, default) {
        ("fact_token", _) => "subject_last".to_owned(),
        ("val_init", _) => "warm".to_owned(),
        ("optim", _) => "adam".to_owned(),
        ("pool", _) => "mean".to_owned(),
        ("focus", _) => "prompt".to_owned(),
        ("merge_alg", _) => "linear".to_owned(),
        ("values", _) => "independent".to_owned(),
        ("on_conflict", _) => "replace".to_owned(),
        (_, "true") => "false".to_owned(),
        (_, "false" | "alike") => match name {
            "norm_constraint" | "bare_weight" => "0.5".to_owned(),
            _ => "true".to_owned(),
        },
        (_, number) => {
            let number: f64 = number.parse().unwrap();
            if number.fract() == 0.0 && number >= 1.0 {
                // As a whole number, which a share or a cosine cannot be.
                (number + 1.0).to_string()
            } else {
                (number / 2.0).to_string()
            }
        }
    }
}

#[test]
fn what_is_declared_can_be_set_and_is_told() {
    let model = open("gpt2-tiny");
    for info in METHODS.iter().chain(&MEMORIES) {
        let declared = (info.settings)();
        let names: BTreeSet<&str> = declared.iter().map(|param| param.name).collect();
        assert_eq!(names.len(), declared.len(), "{}: a name is declared twice", info.name);
        let plain = told(info, vec![], &model).unwrap();
        let keys: BTreeSet<&str> =
            plain.keys().map(String::as_str).filter(|key| *key != "contexts").collect();
        assert_eq!(keys, names, "{}", info.name);
        for param in &declared {
            assert!(!param.doc.is_empty(), "{} {}", info.name, param.name);
            let Some(default) = &param.default else { continue };
            let measured = param.name == "mom2_adjustment";
            // The seed is that of everything.
            let expected = if param.name == "seed" { "3" } else { default };
            assert!(measured || plain[param.name] == expected, "{} {}", info.name, param.name);
            let changed = other(param.name, default);
            if measured {
                continue;
            }
            for name in std::iter::once(&param.name).chain(param.aliases) {
                let now = told(info, vec![set(name, &changed)], &model);
                let now = now.unwrap_or_else(|error| panic!("{} {name}: {error}", info.name));
                assert_eq!(now[param.name], changed, "{} {name}", info.name);
            }
        }
        let layer = told(info, vec![set("layer", "2")], &model).unwrap();
        assert_eq!(layer["layers"], "2", "{}", info.name);
        let unknown = told(info, vec![set("no_such", "1")], &model).unwrap_err().to_string();
        assert!(names.iter().all(|name| unknown.contains(name)), "{unknown}");
    }
}

/// Values that a kind has not.
fn outside(kind: &Kind) -> Vec<String> {
    let words: &[&str] = match kind {
        Kind::Whole { least: 1 } => &["0", "-1", "1.5", "many"],
        Kind::Whole { .. } => &["-1", "1.5", "many"],
        Kind::Number { .. } => &["NaN", "inf", "much", ""],
        Kind::Layers => &["x", "3-1", "1,1", ""],
        _ => &["x", "", "TRUE"],
    };
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if let Kind::Number { least, most, .. } = kind {
        // The smallest positive number stands for "above 0".
        words.push(if *least == f64::MIN_POSITIVE { 0.0 } else { least - 0.5 }.to_string());
        words.extend(most.is_finite().then(|| (most + 0.5).to_string()));
    }
    words
}

#[test]
fn what_a_kind_has_not_is_refused_with_what_it_has() {
    let model = open("gpt2-tiny");
    for info in MethodSpec::all() {
        for param in (info.settings)() {
            // Of the statistics that are not there.
            let kinds = (param.name != "mom2_adjustment").then_some(&param.kind);
            for value in kinds.into_iter().flat_map(outside) {
                let error = told(info, vec![set(param.name, &value)], &model).unwrap_err().to_string();
                let all = [param.name, &param.kind.to_string()].iter().all(|text| error.contains(text));
                assert!(all, "{} {} = {value:?}: {error}", info.name, param.name);
            }
        }
    }
}

#[test]
fn a_typing_error_is_told_what_was_probably_meant() {
    let model = open("gpt2-tiny");
    let rome = MethodSpec::find("rome").unwrap();
    let error = told(rome, vec![set("v_num_grad_step", "3")], &model).unwrap_err().to_string();
    assert!(error.contains("did you mean v_num_grad_steps?"), "{error}");
    let error = MethodSpec::find("menit").unwrap_err().to_string();
    assert!(error.contains("did you mean memit?"), "{error}");
    let error = asked(&wishes(None, None, &["rome.kl_facter=1"]), &["rome"]).unwrap_err().to_string();
    assert!(error.contains("did you mean kl_factor?"), "{error}");
}

fn wishes(layer: Option<usize>, layers: Option<&[usize]>, settings: &[&str]) -> Wishes {
    let settings = settings.iter().map(|text| Setting::parse(text).unwrap()).collect();
    Wishes { layer, layers: layers.map(<[usize]>::to_vec), seed: None, settings }
}

fn asked(wishes: &Wishes, names: &[&str]) -> Result<Vec<Asked>, EditError> {
    let infos: Vec<&MethodSpec> = names.iter().map(|name| MethodSpec::find(name).unwrap()).collect();
    wishes.of_all(&infos, open("gpt2-tiny").spec())
}

type Wish = (Option<usize>, Option<&'static [usize]>, &'static [&'static str], &'static [&'static str]);

/// One rule for everything that says a layer, most particular first.
#[test]
fn layers_follow_one_rule() {
    let table: [(Wish, &[&[usize]]); 12] = [
        ((None, None, &[], &["rome", "memit", "emmet"]), &[&[1], &[1], &[1]]),
        ((Some(2), None, &[], &["rome", "memit", "emmet", "grace"]), &[&[2], &[2], &[2], &[2]]),
        ((None, Some(&[0, 1]), &[], &["memit", "emmet", "ledger"]), &[&[0, 1], &[1], &[0, 1]]),
        ((Some(2), Some(&[0, 1]), &[], &["rome", "memit"]), &[&[2], &[0, 1]]),
        ((None, None, &["layer=2"], &["rome", "memit"]), &[&[2], &[2]]),
        ((None, None, &["layers=0,2"], &["memit", "emmet"]), &[&[0, 2], &[0, 2]]),
        ((None, None, &["memit.layers=0,2"], &["rome", "memit"]), &[&[1], &[0, 2]]),
        ((Some(1), Some(&[0, 1]), &["memit.layers=0,2"], &["rome", "memit"]), &[&[1], &[0, 2]]),
        ((Some(0), None, &["rome.layer=2"], &["rome", "r-rome"]), &[&[2], &[0]]),
        // The same said twice is no contradiction.
        ((Some(1), None, &["layer=1"], &["rome"]), &[&[1]]),
        ((None, Some(&[0, 1]), &["layers=0-1"], &["memit"]), &[&[0, 1]]),
        // A list that ends at the layer does not contradict it.
        ((Some(1), Some(&[0, 1]), &[], &["rome"]), &[&[1]]),
    ];
    for ((layer, layers, settings, methods), expected) in table {
        let wishes = wishes(layer, layers, settings);
        let asked = asked(&wishes, methods).unwrap_or_else(|error| panic!("{wishes:?}: {error}"));
        let found: Vec<Vec<usize>> = asked.iter().map(|asked| asked.layers.clone()).collect();
        assert_eq!(found, expected, "{wishes:?}");
    }
}

/// What cannot both be is refused, with both as they were said.
#[test]
fn contradictions_are_refused_by_name() {
    let table: [(Wish, &[&str]); 9] = [
        ((Some(1), None, &["layer=2"], &["rome"]), &["layer 1", "layer = 2"]),
        ((None, Some(&[0, 1]), &["layers=2"], &["memit"]), &["layers 0,1", "layers = 2"]),
        ((None, None, &["layer=1", "layers=2"], &["rome"]), &["layer = 1", "layers = 2"]),
        ((None, None, &["v_lr=1", "v_lr=2"], &["rome"]), &["v_lr = 1", "v_lr = 2"]),
        ((None, None, &["rome.v_lr=1", "rome.v_lr=2"], &["rome"]), &["rome.v_lr = 1", "rome.v_lr = 2"]),
        ((Some(2), Some(&[0, 1]), &[], &["memit"]), &["layer 2", "memit at layers 0,1"]),
        ((None, Some(&[0, 2]), &[], &["rome"]), &["layers 0,2", "rome at layers 1"]),
        ((None, None, &["layers=0,9"], &["memit"]), &["no layer 9"]),
        ((None, None, &["grace.eps=1"], &["rome"]), &["grace is none of the methods"]),
    ];
    for ((layer, layers, settings, methods), words) in table {
        let wishes = wishes(layer, layers, settings);
        let error = asked(&wishes, methods).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{wishes:?}: {error}");
    }
}

#[test]
fn a_seed_is_that_of_every_method() {
    let wishes = |settings: &[&str]| Wishes { seed: Some(7), ..wishes(None, None, settings) };
    let seeds = |settings: &[&str]| {
        let asked = asked(&wishes(settings), &["rome", "grace", "wise"])?;
        Ok::<_, EditError>(asked.iter().map(|asked| asked.seed).collect::<Vec<_>>())
    };
    assert_eq!(seeds(&[]).unwrap(), [7, 7, 7]);
    assert_eq!(seeds(&["grace.seed=8"]).unwrap(), [7, 8, 7]);
    assert!(matches!(seeds(&["seed=8"]), Err(EditError::Contradiction { .. })));
}

#[test]
fn a_plan_is_asked_for_as_many_facts_as_the_registry_says() {
    let (model, fact) =
        (open("gpt2-tiny"), |subject| recant_edit::Fact::new(subject, "{} is", "cold").unwrap());
    let facts = [fact("The sea"), fact("The cat")];
    for info in METHODS.iter().filter(|info| !info.many && info.layers == LayerRule::One) {
        let editor = method(info.name, &inputs(vec![set("layer", "1")]));
        let editor = match editor {
            Err(EditError::Statistics(StatisticsError::Missing)) => {
                method(info.name, &inputs(vec![set("mom2_adjustment", "false")])).unwrap()
            }
            made => made.unwrap(),
        };
        for count in [0, 2] {
            let refused = editor.plan(&model, &facts[..count]);
            assert!(
                matches!(refused, Err(EditError::FactCount { count: c, .. }) if c == count),
                "{}",
                info.name
            );
        }
    }
}
