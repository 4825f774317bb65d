//! The table and the HTML page of a small report.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use recant_eval::report::{
    CaseResult, DataInfo, Failure, ModelInfo, Outcome, PromptKind, PromptResult, Report, Run, StatisticsInfo,
};
use recant_eval::scores::{
    COLUMNS, Column, END_REWRITE, FREE_REPHRASE, FREE_REWRITE, REPHRASE_ACC, REWRITE_ACC,
};
use recant_eval::{CompareError, FORMS, Metrics, NotApplicable, Tendency, Threshold, compare};

/// Names, prompts and answers that hold `text`, in a report of three runs: unedited, exact, and one with a
/// failure and a byte left behind.
fn report(text: &str) -> Report {
    let mut runs = vec![run("unedited"), run(&format!("rome{text}")), run("ft")];
    for (run, exact) in runs.iter_mut().zip([None, Some(true), Some(false)]) {
        run.rollback_exact = exact;
        run.results = (7..9).map(|id| case(id, text, exact)).collect();
        run.cases = run.results.len();
        run.metrics = Metrics::of(&run.results.iter().map(|case| case.scores).collect::<Vec<_>>());
    }
    runs[1].seconds_per_edit = Some(1.25);
    runs[1].peak_rss_bytes = Some(1_912_400_000);
    runs[1].settings.insert(format!("layer{text}"), format!("17{text}"));
    runs[1].notes.push(format!("C = I{text}"));
    runs[1].contexts.push(format!("{{}}{text}"));
    runs[2].failures.push(Failure { case_id: 141, error: format!("no subject{text}") });
    Report {
        schema: 2,
        version: format!("0.1.0{text}"),
        model: ModelInfo {
            path: format!("models/gpt2{text}"),
            architecture: format!("gpt2{text}"),
            layers: 24,
            d_model: 1024,
            d_mlp: 4096,
            digest: format!("9f2c{text}"),
            bytes: 1_419_322_880,
        },
        data: DataInfo {
            path: format!("facts.json{text}"),
            cases: 2,
            available: 21_919,
            left_out: vec![format!("entry 3{text}")],
            unread: [(format!("portability{text}"), 2)].into(),
            not_applicable: vec![NotApplicable {
                scores: vec!["NS".into(), "NM".into()],
                reason: format!("no true answer{text}"),
                cases: vec![7],
            }],
        },
        device: format!("cpu{text}"),
        seed: 42,
        statistics: Some(StatisticsInfo {
            source: format!("wikitext{text}"),
            tokens: 1000,
            corpus: format!("11aa{text}"),
        }),
        shard: None,
        bootstrap: None,
        differences: vec![],
        cautions: vec![],
        runs,
    }
}

/// A run without scores: nothing but a name.
fn run(method: &str) -> Run {
    Run {
        method: method.into(),
        scenario: "single".into(),
        device: "cpu".into(),
        cases: 0,
        settings: [].into(),
        notes: vec![],
        metrics: Metrics::of(&[]),
        intervals: [].into(),
        seconds_per_edit: None,
        peak_rss_bytes: None,
        rollback_exact: None,
        failures: vec![],
        contexts: vec![],
        step: None,
        retained: None,
        immediate: None,
        curve: Vec::new(),
        state_bytes: None,
        results: vec![],
    }
}

/// A case whose edit failed everywhere and moved a neighbour.
fn case(case_id: u64, text: &str, rollback_exact: Option<bool>) -> CaseResult {
    let outcome = |p_new, p_true, top: &str| Outcome {
        p_new,
        p_true: Some(p_true),
        top: vec![(format!(" {top}{text}"), 0.5), (format!(" the{text}"), 0.1)],
    };
    let prompt = |kind, prompt: &str, p_new, top: &str| PromptResult {
        kind,
        prompt: format!("{prompt}{text}"),
        before: outcome(0.01, 0.5, "French"),
        after: match rollback_exact {
            Some(_) => outcome(p_new, 0.5, top),
            None => outcome(0.01, 0.5, "French"),
        },
    };
    CaseResult {
        case_id,
        subject: format!("Darrieux {case_id}{text}"),
        target_new: format!("English{text}"),
        target_true: Some(format!("French{text}")),
        scores: [
            ("ES", Some(0.0)),
            ("EM", Some(-0.25)),
            ("PS", Some(0.5)),
            ("PM", Some(-0.0001)),
            ("NS", Some(0.5)),
            ("NM", Some(0.125)),
            ("rewrite_acc", Some(0.0)),
            ("rephrase_acc", Some(0.5)),
            ("locality_acc", None),
        ]
        .into_iter()
        .collect(),
        seconds: rollback_exact.map(|_| 1.25),
        rollback_exact,
        prompts: vec![
            prompt(PromptKind::Rewrite, "Her mother tongue is", 0.4, "French"),
            prompt(PromptKind::Paraphrase, "She was born speaking", 0.6, "English"),
            prompt(PromptKind::Neighbour, "Rocard is a native speaker of", 0.7, "English"),
        ],
    }
}

#[test]
fn the_table_is_plain_and_complete() {
    let expected = "\
method        S     ES     PS     NS  rewrite  rephrase  locality  s/edit   rollback  failures
───────────────────────────────────────────────────────────────────────────────────────────────
unedited  0.000  0.000  0.500  0.500    0.000     0.500         -       -          -         0
rome      0.000  0.000  0.500  0.500    0.000     0.500         -    1.25      exact         0
ft        0.000  0.000  0.500  0.500    0.000     0.500         -       -  NOT EXACT         1

not shown here, for want of room: EM, PM, NM, peak MB; the report has them
left out: entry 3
not read: `portability` of 2 entries
not applicable to 1 of 2 cases: NS, NM (no true answer)
rome: C = I
";
    assert_eq!(report("").table(), expected);
}

#[test]
fn without_failures_or_notes_there_is_only_the_table() {
    let mut report = report("");
    report.runs = vec![run("unedited")];
    (report.data.left_out, report.data.unread, report.data.not_applicable) = Default::default();
    let expected = "\
method    S  ES  PS  NS  rewrite  rephrase  locality  top kept  s/edit  peak MB  rollback
──────────────────────────────────────────────────────────────────────────────────────────
unedited  -   -   -   -        -         -         -         -       -        -         -
";
    assert_eq!(report.table(), expected);
}

#[test]
fn the_page_names_every_method_case_and_prompt() {
    let report = report("");
    let html = report.html().unwrap();
    for run in &report.runs {
        assert!(html.contains(&format!("<h3>{}</h3>", run.method)));
        assert!(html.contains(&format!("<button type=\"button\">{}</button>", run.method)));
    }
    assert_eq!(html.matches("<b>Darrieux 7</b><span>French → English</span>").count(), 3);
    assert_eq!(html.matches("<b>Darrieux 8</b><span>French → English</span>").count(), 3);
    assert_eq!(html.matches("<td>Rocard is a native speaker of<td").count(), 6);
    for text in ["case 141 failed: no subject", "layer <b>17</b>", "<li>C = I</li>", "NOT EXACT"] {
        assert!(html.contains(text), "{text} is missing");
    }
    assert_eq!(html, report.html().unwrap());
}

/// Readers come from two literatures; keys and heads of columns are CounterFact's.
#[test]
fn scores_are_named_in_the_words_of_both_literatures() {
    let html = report("").html().unwrap();
    for (key, counterfact, easyedit) in [
        ("ES", "Efficacy", "reliability"),
        ("PS", "Paraphrase", "generalisation"),
        ("NS", "Neighbourhood", "locality"),
    ] {
        let legend = format!("<dt>{key}</dt><dd>{counterfact} (EasyEdit: {easyedit})");
        assert!(html.contains(&legend), "{legend}");
    }
    for column in COLUMNS {
        assert!(html.contains(&format!("<dt>{}</dt><dd>", column.title)), "{}", column.key);
    }
}

/// The tables of scores and of forms in docs/report.md. `RECANT_REFRESH=1` writes them anew.
#[test]
fn the_page_has_the_scores_and_the_forms_that_are_declared() {
    const HEAD: &str = "| score | table | in CounterFact | in EasyEdit | range | better | definition |\n\
                        |---|---|---|---|---|---|---|\n";
    let rows = COLUMNS.iter().map(|column| {
        let word = |word: Option<&'static str>| word.unwrap_or("-");
        let [least, greatest] = column.unit.range();
        format!(
            "| `{}` | {} | {} | {} | {least} to {greatest} | {} | {} |\n",
            column.key,
            column.title,
            word(column.counterfact),
            word(column.easyedit),
            format!("{:?}", column.better).to_lowercase(),
            column.doc
        )
    });
    compare_table("| score |", HEAD, rows);
    let forms = FORMS.iter().map(|form| format!("| {} | {} |\n", form.name, form.keys));
    compare_table("| form |", "| form | keys |\n|---|---|\n", forms);
}

/// Compares a table of docs/report.md, which begins with `mark`, with what is declared; or writes it.
fn compare_table(mark: &str, head: &str, rows: impl Iterator<Item = String>) {
    let declared: String = std::iter::once(head.to_owned()).chain(rows).collect();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(mark).unwrap();
    let (table, after) = rest.split_once("\n\n").unwrap();
    if std::env::var_os("RECANT_REFRESH").is_some() {
        return std::fs::write(&path, format!("{before}{declared}\n{after}")).unwrap();
    }
    assert_eq!(format!("{mark}{table}\n"), declared, "RECANT_REFRESH=1 writes it anew");
}

#[test]
fn what_a_model_writes_stands_beside_what_it_was_dictated() {
    let mut report = report("");
    assert!(!report.html().unwrap().contains("Dictated and free"));
    let free = [(&FREE_REWRITE, Some(0.25)), (&FREE_REPHRASE, None), (&END_REWRITE, Some(0.125))];
    let known = COLUMNS.iter().map(|column| (column.key, report.runs[1].metrics.get(column)));
    let known: Vec<_> = known.chain(free.map(|(column, value)| (column.key, value))).collect();
    report.runs[1].metrics = known.into_iter().collect();
    let html = report.html().unwrap();
    let metrics = report.runs[1].metrics;
    let dictated = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
    let cells = [
        dictated(metrics.get(&REWRITE_ACC)),
        "0.250".into(),
        "0.125".into(),
        dictated(metrics.get(&REPHRASE_ACC)),
    ];
    let row = format!(
        "<tr><td>{}</td><td>{}</td><td>-</td><td>-</td></tr>",
        report.runs[1].method,
        cells.join("</td><td>")
    );
    assert!(html.contains("Dictated and free") && html.contains(&row), "{row}");
    assert_eq!(html.matches("<td>0.250</td><td>0.125</td>").count(), 1, "one run was asked to write");
}

#[test]
fn outcomes_can_be_filtered() {
    let html = report("").html().unwrap();
    assert_eq!(html.matches("<details class=\"e p\">").count(), 2);
    assert_eq!(html.matches("<details class=\"e p n\">").count(), 4);
}

/// What a hostile text could add to the page are tags, attributes and quotes. With it or with a harmless one
/// in its place, the page has the same number of each.
#[test]
fn hostile_text_stays_text() {
    let counts = |html: &str| ["<", ">", "\"", "'", "<script", "</"].map(|mark| html.matches(mark).count());
    let harmless = report("x").html().unwrap();
    for hostile in [
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</style><!--",
        "]]></svg>{{ name }}",
    ] {
        let html = report(hostile).html().unwrap();
        assert_eq!(counts(&html), counts(&harmless), "{hostile}");
    }
}

#[test]
fn the_page_asks_for_nothing() {
    let html = report("").html().unwrap();
    for fetch in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest"] {
        assert!(!html.contains(fetch), "the page has {fetch}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn a_page_can_be_almost_empty() {
    let mut report = report("");
    report.statistics = None;
    report.runs = vec![run("unedited")];
    let html = report.html().unwrap();
    assert!(html.contains("<h3>unedited</h3>") && !html.contains("<div class=\"cases\">"));
    report.runs.clear();
    assert!(report.html().unwrap().contains("</html>"));
    assert!(report.table().starts_with("method"));
}

#[test]
fn prompts_without_answers_are_shown() {
    let mut report = report("");
    let outcome = Outcome { p_new: f64::NAN, p_true: Some(0.0), top: vec![] };
    report.runs[1].results[0].prompts[0].after = outcome;
    assert!(report.html().unwrap().contains("<td>NaN<td>0.000<td class=\"f\">✗"));
}

#[test]
fn cases_without_prompts_keep_their_scores() {
    let mut report = report("");
    report.runs.iter_mut().flat_map(|run| &mut run.results).for_each(|case| case.prompts.clear());
    let html = report.html().unwrap();
    assert_eq!(html.matches("<div><p class=\"dim\">EM -0.250").count(), 6);
}

/// CounterFact's size: 250 cases of 13 prompts, by five methods.
#[test]
fn the_page_stays_light() {
    let mut report = report("");
    let mut big = case(20_000, "", Some(true));
    let neighbour = big.prompts[2].clone();
    big.prompts.insert(1, big.prompts[1].clone());
    for prompt in &mut big.prompts {
        prompt.prompt = "Shayna does this and Yossel goes still and dies. ".repeat(3);
    }
    big.prompts.extend(std::iter::repeat_n(neighbour, 9));
    assert_eq!(big.prompts.len(), 13);
    let mut run = run("rome");
    run.results = vec![big; 250];
    report.runs = vec![run; 5];
    let bytes = report.html().unwrap().len();
    assert!(bytes < 8_000_000, "{bytes} bytes");
}

/// Two runs, one of which is right where the other is wrong: the table and the page say how sure that is, and that three
/// cases are few.
#[test]
fn a_report_says_how_sure_it_is() {
    let mut report = report("");
    report.runs.truncate(2);
    let mut other = run("memit");
    other.results = report.runs[1].results.clone();
    let scores = [("ES", Some(1.0)), ("PS", Some(0.5)), ("NS", Some(1.0))];
    other.results.iter_mut().for_each(|case| case.scores = scores.into_iter().collect());
    report.runs.push(other);
    let report = report.with_confidence();
    let made = report.bootstrap.unwrap();
    assert_eq!((made.resamples, made.seed, made.level), (2000, 42, 0.95));
    let es = report.runs[1].intervals["ES"].unwrap();
    assert_eq!((es.low, es.high, es.cases), (0.0, 0.0, 2));
    assert_eq!((report.runs[1].intervals["locality_acc"], report.differences.len()), (None, 1));
    let found = report.differences[0].scores["ES"].unwrap();
    assert_eq!((found.difference, found.low, found.high), (-1.0, -1.0, -1.0));
    let table = report.table();
    for line in [
        "95 % intervals (2000 resamples of the cases)",
        "rome    0.000 to 0.000  0.000 to 0.000  0.500 to 0.500  0.500 to 0.500",
        "rome - memit  ",
        "2 cases are fewer than 30: intervals of so few are rough themselves",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    assert!(table.contains("-1.000*"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let html = report.html().unwrap();
    assert!(html.contains("<td class=\"clear\">-1.000<small>-1.000 to -1.000</small></td>"));
    assert!(html.contains("<small>0.500 to 0.500</small>") && html.contains("fewer than 30"));
    // A report of a version without intervals opens, and so does this one.
    let mut json = serde_json::to_value(&report).unwrap();
    assert_eq!(serde_json::from_value::<Report>(json.clone()).unwrap(), report);
    for key in ["bootstrap", "differences", "cautions"] {
        json.as_object_mut().unwrap().remove(key);
    }
    json["runs"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .for_each(|run| drop(run.as_object_mut().unwrap().remove("intervals")));
    let former: Report = serde_json::from_value(json).unwrap();
    assert!(!former.table().contains("intervals") && former.with_confidence() == report);
}

/// The scores in docs/report.schema.json. `RECANT_REFRESH=1` writes them anew.
#[test]
fn the_schema_of_reports_has_the_scores_that_are_declared() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.schema.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut declared = committed.clone();
    for (name, of_case) in [("case_scores", true), ("metrics", false)] {
        let columns = || COLUMNS.iter().filter(|column| !of_case || column.is_of_case());
        let property = |column: &Column| {
            let [least, greatest] = column.unit.range().map(|end| end as i64);
            let range =
                serde_json::json!({ "type": ["number", "null"], "minimum": least, "maximum": greatest });
            (column.key.to_owned(), range)
        };
        let scores = &mut declared["$defs"][name];
        scores["properties"] = columns().map(property).collect::<serde_json::Map<_, _>>().into();
        scores["required"] = columns().map(|column| column.key).collect::<Vec<_>>().into();
    }
    if std::env::var_os("RECANT_REFRESH").is_some() {
        return std::fs::write(&path, serde_json::to_string_pretty(&declared).unwrap() + "\n").unwrap();
    }
    assert_eq!(committed, declared, "RECANT_REFRESH=1 writes it anew");
}

/// What the first case of the second run is in `report.csv`.
#[test]
fn the_table_of_cases_has_a_line_for_each() {
    let mut report = report("");
    report.runs[1].results[0].subject = "Darrieux, \"Danielle\"".into();
    let text = String::from_utf8(report.csv().unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "method,scenario,step,case_id,subject,target_new,target_true,ES,EM,PS,PM,NS,NM,rewrite_acc,rephrase_acc,\
         locality_acc,portability_acc,top_kept,carry_over,\
         free_rewrite,free_rephrase,end_rewrite,end_rephrase,seconds,rollback_exact,failed"
    );
    assert_eq!(
        lines[3],
        "rome,single,,7,\"Darrieux, \"\"Danielle\"\"\",English,French,0,-0.25,0.5,-0.0001,0.5,0.125,0,0.5,,,,,,,,,1.25,true,false"
    );
    assert_eq!(lines.len(), 1 + 6);
}

/// A report of a method with scores of each case, for comparisons.
fn scored(cases: &[(f64, f64)]) -> Report {
    let mut report = report("");
    report.runs = vec![run("rome")];
    let case = |(id, &(es, em)): (usize, &(f64, f64))| {
        let scores = [("ES", Some(es)), ("EM", Some(em))].into_iter().collect();
        CaseResult { scores, ..case(id as u64, "", Some(true)) }
    };
    report.runs[0].results = cases.iter().enumerate().map(case).collect();
    report
}

#[test]
fn a_comparison_says_what_changed_beyond_noise() {
    let rise = |by: f64| (0..40).map(|at| (f64::from(at % 2), f64::from(at) / 64.0 + by)).collect::<Vec<_>>();
    let (first, mut second) = (scored(&rise(0.0)), scored(&rise(-0.125)));
    second.device = "wgpu".into();
    second.runs[0].settings = [("layer".to_owned(), "5".to_owned())].into();
    // A case that the first report has not changes nothing.
    second.runs[0].results.push(case(99, "", Some(true)));
    let found = compare(&first, &second).unwrap();
    assert_eq!((found.runs[0].cases, found.differing.len(), found.runs[0].settings.len()), (40, 1, 1));
    let em = found.runs[0].scores["EM"].unwrap();
    assert!((em.difference.difference + 0.125).abs() < 1e-12 && em.tendency == Tendency::Worse, "{em:?}");
    let es = found.runs[0].scores["ES"].unwrap();
    assert_eq!((es.first, es.second, es.tendency), (0.5, 0.5, Tendency::Noise));
    assert_eq!(found.runs[0].scores["PS"], None);
    let table = found.table();
    for line in [
        "differs: device (cpu, then wgpu)",
        "differs: layer (-, then 5)",
        "rome, 40 cases in both",
        "-0.125 to -0.125         worse",
        "worse beyond noise: EM",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    let back = compare(&second, &first).unwrap();
    assert_eq!(back.runs[0].scores["EM"].unwrap().tendency, Tendency::Better);
    assert_eq!(compare(&first, &first).unwrap().table(), "rome, 40 cases in both: every score is the same\n");

    let least = |key: &str, least| Threshold { score: Column::find(key).unwrap(), least };
    let short =
        |least: &[Threshold]| found.shortfalls(least).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(short(&[least("ES", 0.0), least("EM", -0.13)]), [""; 0]);
    assert_eq!(short(&[least("EM", -0.12)]), ["rome: EM gained -0.1250, at least -0.1200 was asked"]);
    assert_eq!(short(&[least("NS", -1.0)]), ["rome: NS cannot be compared"]);
    second.runs.push(run("ft"));
    assert_eq!(found.shortfalls(&[]), []);
    let gone = compare(&second, &first).unwrap();
    assert_eq!(gone.only_first, ["ft"]);
    assert_eq!(gone.shortfalls(&[least("ES", -1.0)])[0].to_string(), "ft: the second report has no such run");

    second.runs.truncate(1);
    second.runs[0].results.iter_mut().for_each(|case| case.subject += "!");
    assert!(matches!(compare(&first, &second), Err(CompareError::NoCase { .. })));
    second.runs[0].method = "ft".into();
    assert!(matches!(compare(&first, &second), Err(CompareError::NoRun { .. })));
}
