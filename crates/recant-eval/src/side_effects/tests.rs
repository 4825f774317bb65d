use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Blobs, Matrix};
use recant_edit::Fact;
use recant_model::{Slot, Strategy};

use super::*;
use crate::dataset::Retained;

fn model() -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
    Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap()
}

/// The model with something added to its first MLP's matrix, another number to each output: a norm would take one away that
/// is the same for all.
fn moved(model: &Model, by: f32) -> Model {
    let spec = model.spec();
    let outputs = (0..spec.d_model).map(|at| by * [1.0, -0.5, 0.25][at % 3]).collect();
    let (u, v) = (Matrix::column(outputs), Matrix::column(vec![1.0; spec.d_mlp]));
    let patch = model.express(Slot::MlpDown(0), Addend::low_rank(u, v).unwrap()).unwrap();
    model.apply(&patch, &Blobs::new()).unwrap().0
}

fn probes(model: &Model) -> SideProbes {
    let facts = [Fact::new("the cat", "{} is", "cold").unwrap()];
    let own = model.generate("the sea is", 2, Strategy::Greedy).unwrap().text;
    let retained = [("the sea is", own.trim()), ("the sea is", "zzz qqq")];
    let retained =
        retained.map(|(prompt, answer)| Retained { prompt: prompt.to_owned(), answer: answer.to_owned() });
    SideProbes::of(&facts, &retained)
}

fn compared(models: [&Model; 2]) -> SideEffects {
    let mut told = Vec::new();
    let goes_on = &mut |done, of| {
        told.push((done, of));
        ControlFlow::Continue(())
    };
    let effects = side_effects(&probes(models[0]), models, goes_on).unwrap().unwrap();
    assert!(told.iter().enumerate().all(|(at, &(done, of))| at == done && of == told.len()), "{told:?}");
    effects
}

#[test]
fn a_model_beside_itself_has_moved_nowhere() {
    let model = model();
    let effects = compared([&model, &model]);
    assert_eq!((effects.kl, effects.perplexity[0].to_bits()), (0.0, effects.perplexity[1].to_bits()));
    assert_eq!(effects.share(SideKind::Relation), Some(1.0));
    assert_eq!(effects.reach(), Reach::Little);
    assert!(effects.groups.iter().all(|group| group.changed.is_empty()));
    // The fact that the model does not answer could not be lost.
    let retained = effects.groups.iter().find(|group| group.kind == SideKind::Retained);
    assert!(retained.is_none_or(|group| group.asked == 1), "{retained:?}");
}

#[test]
fn what_moved_is_counted_and_shown() {
    let model = model();
    let effects = compared([&model, &moved(&model, 0.5)]);
    let relation = &effects.groups[0];
    assert_eq!((relation.kind, relation.asked), (SideKind::Relation, 32));
    assert_eq!(relation.kept + relation.changed.len(), 32);
    assert!(relation.kept < 29 && effects.kl > 0.05, "{effects:?}");
    assert_eq!(effects.reach(), Reach::Much);
    // As one plain pass after the other says.
    let changed = &relation.changed[0];
    for (model, token, probability) in [
        (&model, &changed.before, changed.probability_before),
        (&moved(&model, 0.5), &changed.after, changed.probability_after),
    ] {
        let answer = model.answers(&changed.prompt, 1).unwrap().remove(0);
        assert_eq!(&answer.token, token);
        assert!((f64::from(answer.logprob).exp() - probability).abs() < 1e-5);
    }
    let surest =
        relation.changed.windows(2).all(|two| two[0].probability_before >= two[1].probability_before);
    assert!(surest, "{:?}", relation.changed);
}

/// Perplexity and divergence of plain texts, one token after the other.
#[test]
fn drift_is_that_of_single_passes() {
    let models = [model(), moved(&model(), 0.1)];
    let effects = compared([&models[0], &models[1]]);
    let (mut nll, mut kl, mut tokens) = ([0.0; 2], 0.0, 0.0);
    for text in TEXTS {
        let ids = models[0].tokenizer().encode(text).unwrap();
        let ids = &ids[..ids.len().min(models[0].spec().context)];
        for end in 1..ids.len() {
            let batch = TokenBatch::new(&[ids[..end].to_vec()], models[0].spec()).unwrap();
            let [was, is] =
                [&models[0], &models[1]].map(|model| model.log_probs(&batch, &[(0, end - 1)]).remove(0));
            nll[0] -= f64::from(was[ids[end] as usize]);
            nll[1] -= f64::from(is[ids[end] as usize]);
            kl += was.iter().zip(&is).map(|(p, q)| f64::from(p.exp()) * f64::from(p - q)).sum::<f64>();
            tokens += 1.0;
        }
    }
    for (is, nll) in effects.perplexity.into_iter().zip(nll) {
        let expected: f64 = (nll / tokens).exp();
        assert!((is / expected - 1.0).abs() < 1e-4, "{effects:?} {expected}");
    }
    assert!((effects.kl / (kl / tokens) - 1.0).abs() < 1e-2, "{} {}", effects.kl, kl / tokens);
}

#[test]
fn numbers_that_are_none_are_far_and_an_observer_breaks_off() {
    let model = model();
    let broken = moved(&model, f32::MAX);
    let effects = compared([&model, &broken]);
    assert_eq!((effects.share(SideKind::Relation), effects.reach()), (Some(0.0), Reach::Much));
    let broken_off = side_effects(&probes(&model), [&model, &model], &mut |done, _| match done {
        0 | 1 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    assert_eq!(broken_off.unwrap(), None);
}

#[test]
fn reach_is_by_what_was_sure() {
    let change = |probability_before| SideChange {
        prompt: String::new(),
        before: String::new(),
        probability_before,
        after: String::new(),
        probability_after: 0.5,
    };
    let of = |kind, asked, changed: Vec<SideChange>| SideEffects {
        groups: vec![SideGroup { kind, asked, kept: asked - changed.len(), changed }],
        perplexity: [2.0, 2.0],
        kl: 0.0,
    };
    for (effects, reach) in [
        (of(SideKind::Relation, 32, vec![]), Reach::Little),
        (of(SideKind::Relation, 32, vec![change(0.2)]), Reach::Little),
        (of(SideKind::Relation, 32, vec![change(0.4)]), Reach::Some),
        (of(SideKind::Relation, 32, vec![change(0.2); 2]), Reach::Little),
        (of(SideKind::Namesake, 5, vec![change(0.2)]), Reach::Little),
        (of(SideKind::Namesake, 5, vec![change(0.9)]), Reach::Some),
        (of(SideKind::Relation, 32, vec![change(0.2); 4]), Reach::Much),
        (of(SideKind::Name, 1, vec![change(0.2)]), Reach::Much),
        (SideEffects { kl: f64::NAN, ..of(SideKind::Name, 1, vec![]) }, Reach::Much),
    ] {
        assert_eq!(effects.reach(), reach, "{effects:?}");
    }
}
