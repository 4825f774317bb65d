//! Scores of a case small enough to score by hand.

use std::collections::BTreeMap;

use recant_edit::Fact;
use recant_model::Answer;

use super::*;
use crate::dataset::{Case, Consequence, Neighbour};
use crate::free::FreeScores;
use crate::probe::{Probe, ProbeScore};

type Scores = BTreeMap<Probe, ProbeScore>;

fn score(p: f64, best: &[u32], target: &[u32]) -> ProbeScore {
    ProbeScore {
        mean_log_prob: p.ln(),
        log_probs: vec![p.ln()],
        best: best.to_vec(),
        best_log_probs: vec![0.0],
        target: target.to_vec(),
        answers: vec![Answer { token: String::new(), id: best[0], logprob: 0.0 }],
    }
}

/// A case small enough to score by hand.
#[test]
fn scores_follow_their_definitions() {
    let case = Case {
        id: 1,
        fact: Fact::new("Ada", "{} speaks", "new").unwrap(),
        target_true: Some("old".into()),
        paraphrases: vec!["P1".into(), "P2".into()],
        neighbours: ["N1", "N2"]
            .map(|prompt| Neighbour { prompt: prompt.into(), truth: Some("old".into()) })
            .into(),
        consequences: ["C1", "C2"]
            .map(|prompt| Consequence { prompt: prompt.into(), answer: "then".into() })
            .into(),
    };
    let put = |rows: [(&str, f64, f64, u32); 5]| -> Scores {
        let both = |(prompt, new, old, best): (&str, f64, f64, u32)| {
            let probe = |target: &str| Probe { prompt: prompt.into(), target: target.into(), literal: false };
            [(probe("new"), score(new, &[best], &[1])), (probe("old"), score(old, &[best], &[2]))]
        };
        let consequence = |(prompt, best)| {
            let probe = Probe { prompt: String::from(prompt), target: "then".into(), literal: false };
            (probe, score(0.5, &[3, best], &[3, 4]))
        };
        rows.into_iter().flat_map(both).chain([("C1", 4), ("C2", 5)].map(consequence)).collect()
    };
    let before = put([
        ("Ada speaks", 0.1, 0.8, 2),
        ("P1", 0.1, 0.8, 2),
        ("P2", 0.1, 0.8, 2),
        ("N1", 0.1, 0.8, 2),
        ("N2", 0.1, 0.8, 2),
    ]);
    let after = put([
        ("Ada speaks", 0.7, 0.2, 1),
        ("P1", 0.6, 0.3, 1),
        ("P2", 0.2, 0.5, 2),
        ("N1", 0.1, 0.8, 2),
        ("N2", 0.5, 0.4, 1),
    ]);
    let scores = CaseScores::of(&Judged::of(&case, &before, &after, None));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(scores.get(&ES).unwrap(), 1.0) && close(scores.get(&EM).unwrap(), 0.5));
    assert!(close(scores.get(&PS).unwrap(), 0.5) && close(scores.get(&PM).unwrap(), 0.0));
    assert!(close(scores.get(&NS).unwrap(), 0.5) && close(scores.get(&NM).unwrap(), 0.3));
    assert!(close(scores.get(&REWRITE_ACC).unwrap(), 1.0) && close(scores.get(&REPHRASE_ACC).unwrap(), 0.5));
    assert!(close(scores.get(&LOCALITY_ACC).unwrap(), 0.5));
    // Of N1 and N2 the second has another top token now.
    assert_eq!(scores.get(&TOP_KEPT), Some(0.5));
    // On P1 and P2 the old answer was the top one; on P1 the new one is.
    assert_eq!(scores.get(&CARRY_OVER), Some(0.5));
    let unshown: Scores = before
        .iter()
        .map(|(probe, was)| {
            let best = if probe.prompt == "P2" { vec![9] } else { was.best.clone() };
            (probe.clone(), ProbeScore { best, ..was.clone() })
        })
        .collect();
    let of = |before: &Scores| CaseScores::of(&Judged::of(&case, before, &after, None)).get(&CARRY_OVER);
    assert_eq!(of(&unshown), Some(1.0), "P2 did not show the old answer");
    let none = before
        .iter()
        .map(|(probe, was)| (probe.clone(), ProbeScore { best: vec![9], ..was.clone() }))
        .collect();
    assert_eq!(of(&none), None);
    // Both tokens of the answer to C1, one of two to C2.
    assert_eq!(scores.get(&PORTABILITY_ACC), Some(0.75));
    let written = [FREE_REWRITE, FREE_REPHRASE, END_REWRITE, END_REPHRASE];
    assert_eq!(written.map(|column| scores.get(&column)), [None; 4], "it was not asked to write");
    let free = FreeScores {
        rewrite: Some(1.0),
        rephrase: Some(0.5),
        rewrite_natural: Some(0.0),
        rephrase_natural: Some(0.25),
    };
    let scores = CaseScores::of(&Judged::of(&case, &before, &after, Some(free)));
    let found = written.map(|column| scores.get(&column));
    assert_eq!(found, [Some(1.0), Some(0.5), Some(0.0), Some(0.25)]);
    assert_eq!(not_applicable(std::slice::from_ref(&case)), []);
    unknown_answers(&case, &before, &after);
}

/// The same case with answers that are not known, or are the new target: nothing is compared with itself or with
/// nothing.
fn unknown_answers(case: &Case, before: &Scores, after: &Scores) {
    let reasons = |case: &Case| -> Vec<String> {
        not_applicable(std::slice::from_ref(case)).into_iter().map(|found| found.reason).collect()
    };
    let with = |truth: Option<&str>| Case { target_true: truth.map(str::to_owned), ..case.clone() };
    for (truth, reason) in [(None, "no former answer"), (Some("new"), "is the former one")] {
        let case = with(truth);
        let scores = CaseScores::of(&Judged::of(&case, before, after, None));
        assert_eq!([ES, EM, PS, PM, CARRY_OVER].map(|column| scores.get(&column)), [None; 5]);
        assert_eq!(
            (scores.get(&REWRITE_ACC), scores.get(&REPHRASE_ACC), scores.get(&NS)),
            (Some(1.0), Some(0.5), Some(0.5))
        );
        assert!(reasons(&case).iter().any(|told| told.contains(reason)));
    }
    let about = |second: Option<&str>| {
        let mut neighbours = case.neighbours.clone();
        neighbours[1].truth = second.map(str::to_owned);
        Case { neighbours, ..case.clone() }
    };
    let scores = CaseScores::of(&Judged::of(&about(None), before, after, None));
    assert_eq!(
        (scores.get(&NS), scores.get(&LOCALITY_ACC)),
        (Some(1.0), Some(1.0)),
        "the other prompt alone counts"
    );
    assert_eq!(scores.get(&TOP_KEPT), Some(0.5), "both prompts count");
    assert_eq!(reasons(&about(None)), ["a neighbourhood prompt has no true answer"]);
    let scores = CaseScores::of(&Judged::of(&about(Some("new")), before, after, None));
    assert_eq!((scores.get(&NS), scores.get(&LOCALITY_ACC)), (Some(1.0), Some(0.5)));
    assert_eq!(reasons(&about(Some("new"))), ["a neighbourhood prompt's true answer is the new one"]);
    let bare = Case { paraphrases: vec![], neighbours: vec![], consequences: vec![], ..case.clone() };
    let missing = [
        "there is no paraphrase",
        "there is no neighbourhood prompt",
        "there is no prompt whose answer follows from the fact",
    ];
    assert_eq!(reasons(&bare), missing);
}

#[test]
fn every_score_has_a_name_of_its_own() {
    let distinct =
        |of: fn(&Column) -> &str| COLUMNS.iter().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!([distinct(|c| c.key), distinct(|c| c.title), distinct(|c| c.doc)], [COLUMNS.len(); 3]);
    assert!(Column::charted().all(|column| column.unit == Unit::Share), "the chart's axis is that of shares");
    assert_eq!(Column::find("ES").map(|column| column.title), Some("ES"));
    assert!(Column::find("es").is_none());
}

/// A report of another version has other scores, and opens.
#[test]
fn values_keep_their_names_and_those_of_other_versions_open() {
    let json = r#"{"ES": 1.0, "PS": 0.5, "NS": 0.25, "of_another_version": 3.0, "rewrite_acc": null}"#;
    let scores: CaseScores = serde_json::from_str(json).unwrap();
    assert_eq!(
        (scores.get(&ES), scores.get(&REWRITE_ACC), scores.get(&LOCALITY_ACC)),
        (Some(1.0), None, None)
    );
    let means = Metrics::of(&[scores]);
    // 3 / (1 + 2 + 4)
    assert!((means.get(&S).unwrap() - 3.0 / 7.0).abs() < 1e-12);
    let (of_case, of_run) = (serde_json::to_value(scores).unwrap(), serde_json::to_value(means).unwrap());
    assert_eq!(of_run.as_object().unwrap().len(), COLUMNS.len());
    assert!(of_case.get("S").is_none() && of_run["EM"].is_null() && of_case["EM"].is_null());
    assert_eq!(serde_json::from_value::<Metrics>(of_run).unwrap(), means);
    let none: [(&str, Option<f64>); 0] = [];
    assert_eq!(none.into_iter().collect::<CaseScores>(), CaseScores::default());
}
