//! The unedited model, told the fact in the prompt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use recant_backend::{Device, DeviceSpec};
use recant_edit::Fact;
use recant_eval::scores::{ES, NS, PS};
use recant_eval::{
    Case, Event, Exam, Neighbour, Probe, RunOptions, free_scores, judge_in_context, score_probes, unedited,
};
use recant_model::Model;

fn case(id: u64, paraphrase: &str) -> Case {
    Case {
        id,
        fact: Fact::new("sea", "the {} is", "cold").unwrap(),
        target_true: Some("old".into()),
        paraphrases: vec![paraphrase.to_owned()],
        neighbours: vec![Neighbour { prompt: "the wind is".into(), truth: Some("old".into()) }],
        consequences: vec![],
    }
}

/// Every prompt is asked behind the fact's sentence, under its own name in the report; a case whose prompts do not fit there is
/// a failure, and counts as not written.
#[test]
fn every_prompt_is_asked_behind_the_fact() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
    let model = Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    // It fits alone, and not behind the fact.
    let words = |count| "the sea ".repeat(count) + "is";
    let fits =
        |count: &usize| model.tokenizer().encode(&words(*count)).unwrap().len() + 8 < model.spec().context;
    let long = words((1..).take_while(fits).last().unwrap());
    let cases = [case(0, "see, the sea was"), case(1, &long)];
    let options = RunOptions { keep_prompts: true, ..RunOptions::default() };
    let (base, _) = unedited(&model, &cases, &[], options, &mut |_| ()).unwrap();
    let exam = Exam { cases: &cases, retained: &[], base: &base, options };
    let mut heard = Vec::new();
    let run = judge_in_context(&model, exam, &mut |event| match event {
        Event::Case { method, done, of } => heard.push((method.to_owned(), done, of)),
        event => panic!("{event:?}"),
    });
    assert_eq!(heard, [("in-context".to_owned(), 1, 2), ("in-context".to_owned(), 2, 2)]);

    let asked = |prompt: &str, target: &str| {
        let probe = Probe {
            prompt: format!("the sea is cold.\n{prompt}"),
            target: target.to_owned(),
            literal: false,
        };
        score_probes(&model, std::slice::from_ref(&probe)).unwrap()[&probe].probability()
    };
    for told in &run.results[0].prompts {
        for (target, found) in [("cold", Some(told.after.p_new)), ("old", told.after.p_true)] {
            let wanted = asked(&told.prompt, target);
            assert!((found.unwrap() - wanted).abs() <= 1e-6 * wanted, "{}", told.prompt);
        }
        assert!(told.before.p_new != told.after.p_new);
    }
    let mut behind = cases[0].clone();
    behind.fact = Fact::new("sea", "the sea is cold.\nthe {} is", "cold").unwrap();
    let free = free_scores(&model, &[behind]).unwrap()[0].rewrite;
    let scores = &run.results[0].scores;
    assert_eq!(scores.get(&recant_eval::scores::FREE_REWRITE), free);
    let higher = |at: usize, new: bool| {
        let after = &run.results[0].prompts[at].after;
        f64::from((after.p_new > after.p_true.unwrap()) == new)
    };
    assert_eq!(
        [ES, PS, NS].map(|score| scores.get(&score)),
        [Some(higher(0, true)), Some(higher(1, true)), Some(higher(2, false))]
    );

    assert_eq!(run.failures.len(), 1);
    assert!(run.failures[0].case_id == 1 && run.failures[0].error.contains("tokens"), "{:?}", run.failures);
    let unwritten = &run.results[1].prompts[0];
    assert_eq!(unwritten.before, unwritten.after);
}
