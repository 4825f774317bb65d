//! A measurement that is broken off and gone on with is the measurement that was never broken off.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use common::open;
use recant_methods::moments::{
    CollectError, Collector, Moments, MomentsFileError, ResumeError, partial_path,
};
use recant_model::Model;

const BUDGET: u64 = 8_000;

/// A corpus with short texts, and some that are longer than the model's context.
fn corpus(dir: &Path) -> PathBuf {
    let text = |i: usize| format!("{} text {}", "the sea was cold ".repeat(1 + 7 * (i % 4)), i * i);
    let path = dir.join("corpus.txt");
    std::fs::write(&path, (0..150).map(|i| text(i) + "\n").collect::<String>()).unwrap();
    path
}

/// Reads on until `texts` more are read.
fn some(collector: &mut Collector<'_>, corpus: &Path, texts: usize) -> ControlFlow<()> {
    let mut left = texts;
    let enough = |_: &Collector<'_>| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    collector.read(&[corpus], enough).unwrap()
}

fn begin(model: &Model) -> Collector<'_> {
    Collector::new(model, &[0, 2], Some(BUDGET)).unwrap().with_max_tokens(40)
}

fn bytes(dir: &Path, moments: &Moments) -> Vec<u8> {
    let path = dir.join("stats");
    moments.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_measurement_goes_on_to_the_same_bytes() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let (corpus, partial) = (corpus(dir.path()), partial_path(&dir.path().join("stats")));
    assert!(partial.ends_with("stats.partial"));
    let mut whole = begin(&model);
    let mut texts = 0;
    let ended = whole.read(&[&corpus], |_| {
        texts += 1;
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    let wanted = bytes(dir.path(), &whole.finish().unwrap());
    // Broken off at every few texts: in the middle of a batch, behind one, and twice.
    let mut broken_off = 0;
    for first in (1..texts).step_by(7) {
        let mut collector = begin(&model);
        assert!(some(&mut collector, &corpus, first).is_break());
        collector.keep(&partial).unwrap();
        // A second interruption while it catches up, and a third a little later.
        let mut collector = begin(&model).resume(&partial).unwrap().value;
        let kept = std::fs::read(&partial).unwrap();
        if first > 1 {
            assert!(some(&mut collector, &corpus, first - 1).is_break());
            collector.keep(&partial).unwrap();
            assert!(std::fs::read(&partial).unwrap() == kept, "what was kept is not lost while catching up");
        }
        let mut collector = begin(&model).resume(&partial).unwrap().value;
        if some(&mut collector, &corpus, first + 2).is_break() {
            collector.keep(&partial).unwrap();
            collector = begin(&model).resume(&partial).unwrap().value;
            broken_off += 1;
        }
        let ended = collector.read(&[&corpus], |_| ControlFlow::Continue(()));
        assert!(ended.unwrap().is_continue());
        assert!(bytes(dir.path(), &collector.finish().unwrap()) == wanted, "broken off after {first} texts");
    }
    assert!(broken_off > 3);
}

#[test]
fn what_was_begun_with_something_else_is_refused() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let (corpus, partial) = (corpus(dir.path()), dir.path().join("stats.partial"));
    let mut collector = begin(&model);
    assert!(some(&mut collector, &corpus, 20).is_break());
    collector.keep(&partial).unwrap();
    let differs = |collector: Collector<'_>| match collector.resume(&partial).map(|_| ()).unwrap_err() {
        ResumeError::Differs { what, .. } => what,
        other => panic!("{other}"),
    };
    let other = open("llama-tiny-gqa");
    assert_eq!(differs(Collector::new(&other, &[0, 1], Some(BUDGET)).unwrap().with_max_tokens(40)), "model");
    let of = |layers: &[usize], budget| Collector::new(&model, layers, Some(budget)).unwrap();
    assert_eq!(differs(of(&[0, 1], BUDGET).with_max_tokens(40)), "set of layers");
    assert_eq!(differs(of(&[0, 2], BUDGET + 1).with_max_tokens(40)), "budget");
    assert_eq!(differs(of(&[0, 2], BUDGET)), "longest piece");

    // Another corpus shows at the place that was reached, or when it ends before it.
    let text = std::fs::read_to_string(&corpus).unwrap();
    std::fs::write(&corpus, text.replacen("cold", "warm", 1)).unwrap();
    let mut collector = begin(&model).resume(&partial).unwrap().value;
    let ended = collector.read(&[&corpus], |_| ControlFlow::Continue(()));
    assert!(matches!(ended, Err(CollectError::OtherCorpus { texts: 20 })), "{ended:?}");
    let beginning: String = text.split_inclusive('\n').take(19).collect();
    std::fs::write(&corpus, beginning).unwrap();
    let mut collector = begin(&model).resume(&partial).unwrap().value;
    assert!(collector.read(&[&corpus], |_| ControlFlow::Continue(())).unwrap().is_continue());
    assert!(matches!(collector.finish(), Err(CollectError::OtherCorpus { texts: 20 })));
}

/// The file is not believed: each cut, and a flipped bit anywhere in the tensors, is noticed.
#[test]
fn a_damaged_measurement_is_refused() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let (corpus, partial) = (corpus(dir.path()), dir.path().join("stats.partial"));
    let mut collector = begin(&model);
    assert!(some(&mut collector, &corpus, 21).is_break());
    collector.keep(&partial).unwrap();
    let good = std::fs::read(&partial).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&partial, bytes).unwrap();
        let error = begin(&model).resume(&partial).map(|_| ()).expect_err(what);
        assert!(matches!(error, ResumeError::File(MomentsFileError::Format { .. })), "{what}: {error}");
    };
    for len in (0..header).chain((header..good.len()).step_by(4_001)) {
        refused(&good[..len], &format!("cut to {len}"));
    }
    for at in (header..good.len()).step_by(4_001) {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        refused(&damaged, &format!("byte {at}"));
    }
}
