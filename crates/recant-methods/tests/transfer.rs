//! One edit in a memory, a ledger and a patch: what is kept on the way, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::open;
use recant_core::{Blobs, ModelDigest, WeightPatch};
use recant_edit::{Contexts, Fact, Lifelong, Memory, Request};
use recant_methods::grace::{Grace, GraceSettings};
use recant_methods::ledger::{Gram, Ledger, LedgerEditor, LedgerSettings, Values};
use recant_methods::lifelong::Pairs;
use recant_methods::retrieval::{Retrieval, RetrievalSettings};
use recant_methods::rome::Covariance;
use recant_methods::search::SearchSettings;
use recant_methods::transfer::{Loose, TransferError};
use recant_model::Model;

fn facts() -> Vec<Fact> {
    let fact = |subject, prompt, target| Fact::new(subject, prompt, target).unwrap();
    vec![
        fact("The road", "{} was closed for", "music"),
        fact("cat", "We saw that the {} was very", "old"),
        fact("The sea", "{} is", "cold"),
    ]
}

/// A gate that lets nothing but the very key through.
fn memory(model: &Model, facts: &[Fact]) -> Pairs {
    let mut settings = RetrievalSettings { gamma: 0.9999, ..RetrievalSettings::new(0) };
    // A tiny random model listens only to what is loud.
    settings.search = SearchSettings { clamp_norm_factor: 1e3, v_num_grad_steps: 30, ..settings.search };
    let mut memory = Retrieval::begin(model.clone(), settings, Contexts::bare()).unwrap();
    for fact in facts {
        memory.learn(std::slice::from_ref(fact)).unwrap();
    }
    memory
}

fn editor(ridge: f64, layers: Vec<usize>) -> LedgerEditor {
    let mut settings = LedgerSettings::new(layers);
    settings.values = Values::Independent;
    settings.batch.mom2_update_weight = ridge;
    LedgerEditor::new(settings, Contexts::bare(), Covariance::Identity)
}

fn p(model: &Model, fact: &Fact) -> f32 {
    let target = Request::new(model, fact).unwrap().target[0];
    let answers = model.answers(&fact.text(), model.spec().vocab).unwrap();
    answers.iter().find(|answer| answer.id == target).unwrap().logprob.exp()
}

fn apply(model: &Model, patch: &WeightPatch) -> Model {
    model.apply(patch, &Blobs::new()).unwrap().0
}

fn norm(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn there_and_back_is_the_identity_in_bytes() {
    let model = open("gpt2-tiny");
    let mut memory = memory(&model, &facts());
    let mut ledger = Ledger::new(editor(0.1, vec![0]).ground(&model));
    let (full, none) = (memory.state().unwrap().encode(), ledger.encode());
    // The newest: a memory is a sequence, and what comes back to it comes back as its newest.
    Loose::in_memory(&memory, 2).unwrap().into_ledger(&mut ledger).unwrap();
    memory.forget(2).unwrap();
    assert_eq!((memory.facts().len(), ledger.len()), (2, 1));
    assert_eq!(memory.pairs(), self::memory(&model, &facts()[..2]).pairs(), "the others are untouched");
    let held = ledger.encode();
    assert_ne!(held, none);

    Loose::in_ledger(&ledger, &facts()[2]).unwrap().into_memory(&mut memory).unwrap();
    ledger.remove(&facts()[2]).unwrap();
    assert_eq!(memory.state().unwrap().encode(), full);
    assert_eq!(ledger.encode(), none);
    // And seen from the ledger, which is a set: any of its facts.
    for at in 0..3 {
        Loose::in_memory(&memory, at).unwrap().into_ledger(&mut ledger).unwrap();
    }
    let all = ledger.encode();
    let mut other = self::memory(&model, &[]);
    Loose::in_ledger(&ledger, &facts()[0]).unwrap().into_memory(&mut other).unwrap();
    ledger.remove(&facts()[0]).unwrap();
    Loose::in_memory(&other, 0).unwrap().into_ledger(&mut ledger).unwrap();
    assert_eq!(ledger.encode(), all);
}

#[test]
fn a_patch_says_what_the_memory_said() {
    for name in ["gpt2-tiny", "llama-tiny-gqa"] {
        let model = open(name);
        // A random model says little about a subject that is not the last word.
        let fact = &Fact::new("cat", "We saw that the {}", "old").unwrap();
        let memory = memory(&model, std::slice::from_ref(fact));
        let loose = Loose::in_memory(&memory, 0).unwrap();
        let patch = loose.clone().into_patch(&model, &Covariance::Identity).unwrap();
        // With one context k* is the key itself, so the block answers r more there, in both.
        let back = Loose::in_patch(&model, &patch, fact, &Contexts::bare()).unwrap();
        assert_eq!(back.key, loose.key, "{name}: a forward pass, not a search");
        let off: Vec<f32> = back.residual.iter().zip(&loose.residual).map(|(a, b)| a - b).collect();
        assert!(
            norm(&off) <= 1e-5 * norm(&loose.residual),
            "{name}: {} of {}",
            norm(&off),
            norm(&loose.residual)
        );
        // In the whole model the patch also moves the prompt's other tokens, each by its share of k.
        let [before, remembered, written] =
            [&model, memory.model(), &apply(&model, &patch)].map(|model| p(model, fact).ln());
        assert!(remembered > before + 1.0, "{name}: {before} -> {remembered}");
        let off = (remembered - written).abs();
        assert!(off < 0.1 * (remembered - before), "{name}: {remembered}, but {written} as weights");
    }
}

/// A ledger of one fact with ridge λ answers its key with s/(1 + s) of r, s = kᵀk/λ: worked out here by hand.
#[test]
fn a_ledger_gives_the_share_that_its_ridge_leaves() {
    let model = open("gpt2-tiny");
    let memory = memory(&model, &facts()[..1]);
    let loose = Loose::in_memory(&memory, 0).unwrap();
    for ridge in [1e-6, 0.5] {
        let editor = editor(ridge, vec![0]);
        let mut ledger = Ledger::new(editor.ground(&model));
        loose.clone().into_ledger(&mut ledger).unwrap();
        let (patch, trace) = editor.materialise(&model, &ledger, &mut Vec::<Gram>::new(), &()).unwrap();
        assert!(trace.losses.is_empty(), "independent values are not searched again");
        let s = f64::from(norm(&loose.key)).powi(2) / ridge;
        let found = Loose::in_patch(&model, &patch, &loose.fact, &Contexts::bare()).unwrap();
        for (found, r) in found.residual.iter().zip(&loose.residual) {
            let expected = s / (1.0 + s) * f64::from(*r);
            assert!((f64::from(*found) - expected).abs() < 1e-4 * f64::from(norm(&loose.residual)));
        }
    }
}

#[test]
fn what_has_another_form_is_refused() {
    let model = open("gpt2-tiny");
    let fact = &facts()[0];
    let mut held = memory(&model, &facts()[..1]);
    let loose = || Loose::in_memory(&held, 0).unwrap();

    let mut spread = Ledger::new(editor(0.1, vec![0, 1]).ground(&model));
    assert!(
        matches!(loose().into_ledger(&mut spread), Err(TransferError::Spread { layers }) if layers == [0, 1])
    );
    assert!(spread.is_empty());
    let mut higher = Ledger::new(editor(0.1, vec![1]).ground(&model));
    assert!(matches!(loose().into_ledger(&mut higher), Err(TransferError::Layer { from: 0, to: 1 })));
    let foreign = recant_methods::ledger::Ground {
        base: ModelDigest::from_bytes([7; 32]),
        ..editor(0.1, vec![0]).ground(&model)
    };
    assert!(matches!(loose().into_ledger(&mut Ledger::new(foreign)), Err(TransferError::Base { .. })));
    let other = open("llama-tiny-gqa");
    assert!(matches!(loose().into_patch(&other, &Covariance::Identity), Err(TransferError::Base { .. })));

    let mut grace = Grace::begin(model.clone(), GraceSettings::new(0)).unwrap();
    assert!(matches!(loose().into_memory(&mut grace), Err(TransferError::Kind { .. })));
    assert!(matches!(Loose::in_memory(&grace, 0), Err(TransferError::Kind { .. })));
    let mut ledger = Ledger::new(editor(0.1, vec![0]).ground(&model));
    assert!(matches!(Loose::in_ledger(&ledger, fact), Err(TransferError::Unknown { .. })));
    loose().into_ledger(&mut ledger).unwrap();
    let another = Loose { fact: Fact::new("The road", "{} was closed for", "repairs").unwrap(), ..loose() };
    assert!(matches!(another.into_ledger(&mut ledger), Err(TransferError::Taken { .. })));
    let again = loose();
    assert!(matches!(again.into_memory(&mut held), Err(TransferError::Taken { .. })));

    let none = Loose::in_patch(&model, &WeightPatch::identity(), fact, &Contexts::bare());
    assert!(matches!(none, Err(TransferError::Patch { .. })));
    let patch = Loose::in_memory(&held, 0).unwrap().into_patch(&model, &Covariance::Identity).unwrap();
    let edited = apply(&model, &patch);
    let twice = Loose::in_patch(&edited, &patch, fact, &Contexts::bare());
    assert!(
        matches!(twice, Err(TransferError::Patch { .. })),
        "it was made for the base, not for the edited model"
    );
}
