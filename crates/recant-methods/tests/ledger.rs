//! The ledger's laws: a model is a function of the set of its facts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{contexts, covariance, facts, open};
use proptest::prelude::*;
use recant_backend::host;
use recant_core::{Blobs, ModelDigest, OnConflict};
use recant_edit::{EditError, Editor, Fact, Lifelong, StatisticsError};
use recant_linalg::Rows;
use recant_methods::batch::Metric;
use recant_methods::ledger::{
    Entry, Gram, Ground, Ledger, LedgerEditor, LedgerError, LedgerSequence, LedgerSettings, Part, Values,
    conflict,
};
use recant_methods::moments::{Moments, Square};
use recant_methods::rome::Covariance;
use recant_model::{ForwardInput, Model, Observer, TokenBatch, gather_rows};

const D_MLP: usize = 6;
const D_MODEL: usize = 3;
const METRIC: Metric<'static> = Metric { covariance: &Covariance::Identity, weight: 0.7, norm: 0.0 };

fn ground() -> Ground {
    let base = ModelDigest::from_bytes([3; 32]);
    Ground { base, layers: vec![1, 2], d_mlp: D_MLP, d_model: D_MODEL, recipe: [5; 32] }
}

/// Fact number `i`, with an entry that is a function of `i` alone.
fn made_up(i: u8) -> (Fact, Entry) {
    let fact = Fact::new(format!("subject {}", u16::from(i) * 37 % 64), "{} is", "cold").unwrap();
    let number = |k: usize| ((f32::from(i) + 1.0) * (k as f32 + 1.3) * 0.37).sin();
    let vector = |len: usize, salt: usize| (0..len).map(|k| number(k + salt)).collect::<Vec<f32>>();
    let part = |layer: usize| Part { key: vector(D_MLP, 10 * layer), residual: vector(D_MODEL, 100 + layer) };
    (fact, vec![part(0), part(1)])
}

fn ledger_of(numbers: impl IntoIterator<Item = u8>) -> Ledger {
    let mut ledger = Ledger::new(ground());
    for i in numbers {
        let (fact, entry) = made_up(i);
        ledger.add(fact, entry).unwrap();
    }
    ledger
}

fn residuals(ledger: &Ledger) -> Rows {
    let vectors: Vec<Vec<f32>> = ledger.iter().map(|(_, entry)| entry[0].residual.clone()).collect();
    Rows::of(&vectors).unwrap()
}

/// The bytes of ΔW at the first layer, through a cache that lived through `history`.
fn update(ledger: &Ledger, gram: &mut Gram) -> Vec<u64> {
    gram.follow(ledger, 0, METRIC).unwrap();
    let form = gram.update(&residuals(ledger)).unwrap().unwrap();
    form.left.data().iter().chain(form.right.data()).map(|x| x.to_bits()).collect()
}

fn sets() -> impl Strategy<Value = std::collections::BTreeSet<u8>> {
    prop::collection::btree_set(0u8..24, 1..10)
}

proptest! {
    /// Any order of adding and any detour gives the same value, the same bytes and, through a cache that saw
    /// the whole detour, the same update to the last bit.
    #[test]
    fn history_does_not_matter(set in sets(), detour in prop::collection::vec((0u8..24, any::<bool>()), 0..20), seed in any::<u64>()) {
        let plain = ledger_of(set.iter().copied());
        let mut wandering = Ledger::new(ground());
        let mut gram = Gram::default();
        for (i, add) in detour {
            let (fact, entry) = made_up(i);
            if add {
                wandering.add(fact, entry).unwrap();
            } else if wandering.holds(&fact) {
                wandering.remove(&fact).unwrap();
            }
            gram.follow(&wandering, 0, METRIC).unwrap();
        }
        let mut order: Vec<u8> = set.iter().copied().collect();
        order.sort_by_key(|&i| (u64::from(i) + 1).wrapping_mul(seed | 1));
        for &i in &order {
            let (fact, entry) = made_up(i);
            wandering.add(fact, entry).unwrap();
        }
        let strangers: Vec<Fact> = wandering.facts().filter(|fact| !plain.holds(fact)).cloned().collect();
        for fact in strangers {
            wandering.remove(&fact).unwrap();
        }
        prop_assert_eq!(wandering.encode(), plain.encode());
        prop_assert_eq!(update(&wandering, &mut gram), update(&plain, &mut Gram::default()));
    }

    /// Merging is a union: associative, commutative, idempotent, with the empty ledger as its unit.
    #[test]
    fn merging_is_a_union(a in sets(), b in sets(), c in sets()) {
        let [x, y, z] = [&a, &b, &c].map(|set| ledger_of(set.iter().copied()));
        let left = x.merge(&y).unwrap().merge(&z).unwrap();
        prop_assert_eq!(&left, &x.merge(&y.merge(&z).unwrap()).unwrap());
        prop_assert_eq!(&x.merge(&y).unwrap(), &y.merge(&x).unwrap());
        prop_assert_eq!(&x.merge(&x).unwrap(), &x);
        prop_assert_eq!(&x.merge(&Ledger::new(ground())).unwrap(), &x);
        let all: Vec<u8> = a.iter().chain(&b).chain(&c).copied().collect();
        let at_once: std::collections::BTreeSet<u8> = all.into_iter().collect();
        prop_assert_eq!(left.encode(), ledger_of(at_once).encode());
    }

    /// What the layer answers to a key misses its value by exactly R (I + G)⁻¹, never by more than R itself.
    #[test]
    fn the_residual_of_a_written_key_is_bounded(set in sets()) {
        let ledger = ledger_of(set);
        let mut gram = Gram::default();
        gram.follow(&ledger, 0, METRIC).unwrap();
        let r = residuals(&ledger);
        let form = gram.update(&r).unwrap().unwrap();
        let delta = form.to_dense();
        let missing = gram.factor().unwrap().solve(&r).unwrap();
        let mut sum = 0.0;
        for ((_, entry), (r, missing)) in ledger.iter().zip(r.iter().zip(missing.iter())) {
            for o in 0..D_MODEL {
                let key = entry[0].key.iter().map(|&k| f64::from(k));
                let got: f64 = key.zip(&delta[o * D_MLP..]).map(|(k, w)| k * w).sum();
                prop_assert!((r[o] - got - missing[o]).abs() < 1e-10, "{} {} {}", r[o], got, missing[o]);
                sum += (r[o] - got).powi(2);
            }
        }
        let norm: f64 = r.data().iter().map(|x| x * x).sum();
        prop_assert!(sum <= norm * (1.0 + 1e-12));
    }

    #[test]
    fn bytes_read_back(set in sets()) {
        let ledger = ledger_of(set);
        prop_assert_eq!(Ledger::decode(&ledger.encode()).unwrap(), ledger);
    }

    /// A damaged byte is refused or gives another ledger that encodes to those very bytes; it never panics.
    #[test]
    fn damage_is_noticed_or_canonical(set in sets(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = ledger_of(set).encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = Ledger::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}

/// A literal target comes back as one, and moves no bytes of the others.
#[test]
fn a_literal_target_comes_back() {
    let mut ledger = ledger_of([1]);
    let plain = ledger.encode();
    let (fact, entry) = made_up(2);
    ledger.add(fact.literally(" cold\n"), entry).unwrap();
    let read = Ledger::decode(&ledger.encode()).unwrap();
    assert_eq!(read, ledger);
    assert_eq!(read.facts().filter(|fact| fact.literal).count(), 1);
    assert_eq!(Ledger::decode(&plain).unwrap(), ledger_of([1]));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = ledger_of([1, 2]).encode();
    for len in 0..bytes.len() {
        assert!(Ledger::decode(&bytes[..len]).is_err(), "{len}");
    }
    assert!(Ledger::decode(&[bytes, vec![0]].concat()).is_err());
}

/// Many layers of vectors without numbers: each entry would cost fifteen bytes here and a megabyte in memory.
#[test]
fn entries_that_cost_nothing_are_refused() {
    let n_layers = 20_000u32;
    let (layers, numbers) =
        ((0..n_layers).flat_map(u32::to_le_bytes), [n_layers, 0, 0].map(u32::to_le_bytes));
    let mut bytes = b"recant-ledger-1\n".to_vec();
    bytes.extend([[7; 32], [5; 32]].concat());
    bytes.extend(numbers.concat());
    bytes.extend(layers);
    bytes.extend(0u32.to_le_bytes());
    let error = Ledger::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("no numbers"), "{error}");
}

#[test]
fn what_does_not_go_together_is_refused_and_changes_nothing() {
    let mut ledger = ledger_of([1]);
    let (fact, mut entry) = made_up(1);
    entry[0].key[0] += 1.0;
    assert!(matches!(ledger.add(fact.clone(), entry), Err(LedgerError::Differs { .. })));
    let (other, mut entry) = made_up(2);
    entry[1].residual[0] = f32::NAN;
    assert!(matches!(ledger.add(other.clone(), entry), Err(LedgerError::NonFinite { .. })));
    assert!(matches!(ledger.add(other.clone(), vec![]), Err(LedgerError::Shape { .. })));
    assert!(matches!(ledger.remove(&other), Err(LedgerError::Unknown { .. })));
    let elsewhere = Ledger::new(Ground { recipe: [0; 32], ..ground() });
    assert!(matches!(ledger.merge(&elsewhere), Err(LedgerError::Ground { .. })));
    assert_eq!(ledger, ledger_of([1]));
    let (mut new, entry) = (fact.clone(), made_up(3).1);
    new.target = "warm".to_owned();
    assert_eq!(ledger.replace(new.clone(), entry).unwrap(), [fact]);
    assert_eq!(ledger.facts().collect::<Vec<_>>(), [&new]);
}

fn editor(model: &Model, values: Values) -> LedgerEditor {
    let mut settings = LedgerSettings::new(vec![0, 1]);
    settings.values = values;
    settings.joint_steps = 3;
    settings.batch.search.v_num_grad_steps = 4;
    LedgerEditor::new(settings, contexts(), covariance(model, &[0, 1]))
}

/// The same, with a say for ordinary text.
fn preserving(model: &Model, weight: f64) -> LedgerEditor {
    let mut settings = LedgerSettings::new(vec![0, 1]);
    settings.joint_steps = 12;
    settings.preserve = weight;
    settings.preserve_texts = 40;
    settings.batch.search.v_num_grad_steps = 4;
    LedgerEditor::new(settings, contexts(), covariance(model, &[0, 1]))
}

/// On a real model, one at a time, with a detour, in another order and in one go: the same bytes.
#[test]
fn a_model_is_a_function_of_its_set_of_facts() {
    for (name, values, keep) in [
        ("gpt2-tiny", Values::Independent, 0.0),
        ("llama-tiny-gqa", Values::Independent, 0.0),
        ("gpt2-tiny", Values::Joint, 0.0),
        ("gpt2-tiny", Values::Joint, 4.0),
    ] {
        let model = open(name);
        let editor = if keep > 0.0 { preserving(&model, keep) } else { editor(&model, values) };
        let facts = facts();
        let plan = editor.plan(&model, &facts).unwrap();
        let at_once = model.apply(&plan.patch, &Blobs::new()).unwrap().0;
        let mut sequence = LedgerSequence::new(model.clone(), editor.clone());
        for fact in facts.iter().rev() {
            sequence.learn(std::slice::from_ref(fact)).unwrap();
        }
        assert_eq!(sequence.model().digest(), at_once.digest(), "{name}, {values:?}: order");
        assert_ne!(at_once.digest(), model.digest());
        sequence.forget(&facts[1..2]).unwrap();
        let rest: Vec<Fact> =
            facts.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, f)| f.clone()).collect();
        let never = model.apply(&editor.plan(&model, &rest).unwrap().patch, &Blobs::new()).unwrap().0;
        assert_eq!(sequence.model().digest(), never.digest(), "{name}, {values:?}: removed = never added");
        let other = editor.ledger(&model, &facts[1..2]).unwrap();
        sequence.merge(&other).unwrap();
        assert_eq!(sequence.model().digest(), at_once.digest(), "{name}, {values:?}: merged");
        sequence.roll_back(0).unwrap();
        assert_eq!(sequence.model().digest(), model.digest());
        assert_eq!(sequence.model().device_digest(), model.device_digest());
        assert_eq!((sequence.steps(), sequence.ledger().len()), (0, 0));
    }
}

fn overlapped(report: &conflict::ConflictReport, disturbed: &conflict::Disturbance) -> bool {
    report.overlaps.iter().any(|overlap| overlap.other == disturbed.fact)
}

/// A thousand made-up facts, put in and taken out along different ways: the same bytes as at once, and a report that does
/// not depend on what its cache has seen.
#[test]
fn a_thousand_facts_are_those_made_at_once() {
    const COUNT: u32 = 1_000;
    let model = open("gpt2-tiny");
    let mut settings = LedgerSettings::new(vec![1]);
    settings.values = Values::Independent;
    let editor = LedgerEditor::new(settings, contexts(), covariance(&model, &[1]));
    let spec = model.spec();
    let made_up = |i: u32| {
        let number = |k: usize| ((f64::from(i) + 1.0) * (k as f64 + 1.3) * 0.37).sin() as f32;
        let vector = |len: usize, salt: usize| (0..len).map(|k| number(k + salt)).collect::<Vec<f32>>();
        let fact = Fact::new(format!("subject {}", i * 617 % COUNT), "{} is", "cold").unwrap();
        (fact, vec![Part { key: vector(spec.d_mlp, 0), residual: vector(spec.d_model, 7) }])
    };
    let of = |numbers: &mut dyn Iterator<Item = u32>| {
        let mut ledger = Ledger::new(editor.ground(&model));
        numbers.map(made_up).for_each(|(fact, entry)| ledger.add(fact, entry).unwrap());
        ledger
    };
    let write = |ledger: &Ledger, grams: &mut Vec<Gram>| {
        editor.materialise(&model, ledger, grams, &()).unwrap().0.id()
    };
    let (all, most) = (of(&mut (0..COUNT)), of(&mut (0..COUNT - 1).rev()));
    let mut grams = Vec::new();
    let last = [made_up(COUNT - 1)];
    let report = conflict::report(&editor, &model, &most, &last, &mut grams).unwrap();
    assert_eq!(report, conflict::report(&editor, &model, &most, &last, &mut grams).unwrap());
    assert_eq!(report, conflict::report(&editor, &model, &most, &last, &mut Vec::new()).unwrap());
    assert_eq!((report.disturbed.len(), report.leverage.len()), (999, 1));
    let flagged = report.flagged();
    assert!(!flagged.contains(&&last[0].0) && flagged.iter().all(|fact| most.holds(fact)));
    let worst = &report.disturbed[0];
    assert_eq!(
        flagged.contains(&&worst.fact),
        worst.change > conflict::DISTURBED || overlapped(&report, worst)
    );
    let at_once = write(&all, &mut Vec::new());
    let mut ledger = most.clone();
    let without = write(&ledger, &mut grams);
    assert_ne!(without, at_once);
    let [(fact, entry)] = last;
    ledger.add(fact.clone(), entry).unwrap();
    assert_eq!(write(&ledger, &mut grams), at_once, "inserted");
    ledger.remove(&fact).unwrap();
    assert_eq!(write(&ledger, &mut grams), without, "removed");
}

/// Mean KL divergence of what `model` expects in the texts from what `base` does, over every place, in f64.
fn drift(base: &Model, model: &Model, texts: &[Vec<u32>]) -> f64 {
    let expected = |model: &Model, ids: &[u32]| -> Vec<Vec<f64>> {
        let batch = TokenBatch::new(&[ids.to_vec()], model.spec()).unwrap();
        let input = ForwardInput::tokens(&batch, model.device());
        let hidden = model.net().forward(input, &mut Observer::of([])).unwrap();
        let places: Vec<(usize, usize)> = (0..ids.len()).map(|at| (0, at)).collect();
        let logits = host(&model.net().unembed(gather_rows(hidden, &places, model.device())));
        let log_softmax = |row: &[f32]| {
            let sum = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            row.iter().map(|&x| f64::from(x) - sum).collect()
        };
        logits.chunks_exact(logits.len() / ids.len()).map(log_softmax).collect()
    };
    let kl = |(p, q): (Vec<f64>, Vec<f64>)| p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    let each =
        |ids: &Vec<u32>| expected(base, ids).into_iter().zip(expected(model, ids)).map(kl).sum::<f64>();
    texts.iter().map(each).sum::<f64>() / texts.iter().map(Vec::len).sum::<usize>() as f64
}

/// Ordinary text that has a say moves less than text that has none, and its weight is part of the recipe.
#[test]
fn what_is_preserved_drifts_less() {
    let model = open("gpt2-tiny");
    let (without, with) = (preserving(&model, 0.0), preserving(&model, 5_000.0));
    let Covariance::Measured(moments) = covariance(&model, &[0, 1]) else { panic!("they are measured") };
    let texts: Vec<Vec<u32>> = moments.moments().sample().texts().take(40).map(<[u32]>::to_vec).collect();
    let edited = |editor: &LedgerEditor| {
        let plan = editor.plan(&model, &facts()).unwrap();
        assert!(plan.traces[0].losses.iter().all(|loss| loss[0].is_finite()));
        model.apply(&plan.patch, &Blobs::new()).unwrap().0
    };
    let [free, kept] = [&without, &with].map(|editor| drift(&model, &edited(editor), &texts));
    assert!(drift(&model, &model, &texts).abs() < 1e-12);
    assert!(kept < 0.7 * free, "{kept} with the term, {free} without");
    assert_ne!(without.ground(&model).recipe, with.ground(&model).recipe);
}

#[test]
fn nothing_can_be_preserved_without_a_sample() {
    let model = open("gpt2-tiny");
    let Covariance::Measured(moments) = covariance(&model, &[0, 1]) else { panic!("they are measured") };
    let bare = [0, 1]
        .map(|layer| (layer, Square::new(128, moments.moments().mean(layer).unwrap().to_vec()).unwrap()));
    let bare = Moments::new(model.digest(), [0; 32], 4_000, bare.into_iter().collect());
    let mut settings = LedgerSettings::new(vec![0, 1]);
    settings.preserve = 1.0;
    settings.batch.search.v_num_grad_steps = 2;
    let covariance = Covariance::measured(std::sync::Arc::new(bare), &model).unwrap();
    let refused = LedgerEditor::new(settings, contexts(), covariance).plan(&model, &facts()).unwrap_err();
    assert!(
        matches!(refused, EditError::Statistics(StatisticsError::NoSample { preserve: 1.0 })),
        "{refused}"
    );
}

#[test]
fn contradictions_follow_the_policy() {
    let model = open("gpt2-tiny");
    let held = facts().remove(0);
    let mut new = held.clone();
    new.target = "old".to_owned();
    let base = editor(&model, Values::Independent);
    let with = |policy| {
        let mut settings = LedgerSettings::new(vec![1]);
        settings.values = Values::Independent;
        settings.batch.search.v_num_grad_steps = 2;
        settings.on_conflict = policy;
        let mut sequence = LedgerSequence::new(
            model.clone(),
            LedgerEditor::new(settings, contexts(), covariance(&model, &[1])),
        );
        sequence.learn(std::slice::from_ref(&held)).unwrap();
        let outcome = sequence.learn(std::slice::from_ref(&new));
        (outcome.map_err(|error| error.to_string()), sequence.ledger().facts().cloned().collect::<Vec<_>>())
    };
    let (refused, facts) = with(OnConflict::Refuse);
    assert!(refused.unwrap_err().contains("on_conflict=replace"));
    assert_eq!(facts, std::slice::from_ref(&held));
    let (replaced, facts) = with(OnConflict::Theirs);
    assert!(replaced.unwrap().iter().any(|note| note.contains("was replaced")));
    assert_eq!(facts, [new.clone()]);
    let (_, facts) = with(OnConflict::Both);
    assert_eq!(facts.len(), 2);

    let ledger = base.ledger(&model, std::slice::from_ref(&held)).unwrap();
    let entries = base.entries(&model, std::slice::from_ref(&new), &()).unwrap();
    let report = conflict::report(&base, &model, &ledger, &entries, &mut Vec::new()).unwrap();
    assert_eq!(report.contradictions, [conflict::Contradiction { new: new.clone(), held: held.clone() }]);
    // The same prompt has the same key.
    assert!((report.overlaps[0].cosine - 1.0).abs() < 1e-9, "{:?}", report.overlaps);
    assert_eq!((report.leverage.len(), report.disturbed.len()), (1, 1));
    let leverage = report.leverage[0].leverage;
    assert!(leverage > 0.0 && leverage < 1.0);
    assert!(report.disturbed[0].change > 0.0);
}

/// A setting beyond those that ledgers were first stored with has to say what was done before it, or every stored ledger
/// becomes one of other settings.
#[test]
fn every_setting_of_the_ledger_is_old_or_declared() {
    let first = [
        "bare_weight",
        "blue",
        "clamp_norm_factor",
        "consistent_keys",
        "contexts",
        "essence",
        "fact_token",
        "joint_lr",
        "joint_steps",
        "kl_factor",
        "layers",
        "max_mb",
        "mom2_adjustment",
        "mom2_update_weight",
        "norm_weight",
        "penalty",
        "preserve",
        "preserve_texts",
        "v_lr",
        "v_num_grad_steps",
        "v_weight_decay",
        "values",
    ];
    let editor = LedgerEditor::new(LedgerSettings::new(vec![0]), contexts(), Covariance::Identity);
    let recipe = editor.recipe();
    let later = recipe.settings.keys().filter(|key| !recipe.since.iter().any(|(since, _)| since == key));
    assert_eq!(later.collect::<Vec<_>>(), first);
    assert!(recipe.former_digest().is_some());
}
