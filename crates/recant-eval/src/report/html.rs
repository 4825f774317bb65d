//! The report as one HTML file: no network, no fonts, and readable without scripts.
//!
//! Every text of the report reaches the page through askama's escaping. Scripts get no data at all, they
//! only hide and show what stands in the page, so that no prompt can become code.

use askama::Template;

use super::table::{self, FREE_HEADS, Field, NONE, NOT_EXACT, number, share};
use super::{CaseResult, Outcome, PromptKind, PromptResult, Report, ReportError, Run, RunDifference, chart};
use crate::scores::{COLUMNS, Column, ES, PS};

impl Report {
    /// The report as a self-contained HTML page.
    ///
    /// # Errors
    /// [`ReportError::Html`] where the page cannot be laid out.
    pub fn html(&self) -> Result<String, ReportError> {
        let fields = table::fields(self);
        let page = Page {
            report: self,
            given: self.runs.iter().any(|run| run.scenario == "given"),
            facts: facts(self),
            data_notes: self.cautions.iter().cloned().chain(table::data_notes(self)).collect(),
            scores: COLUMNS.iter().map(definition).collect(),
            charted: Column::charted().map(|column| column.title).collect::<Vec<_>>().join(", "),
            heads: fields.iter().map(|field| field.head).collect(),
            curve_heads: table::curve_heads(),
            pairs: self.differences.iter().map(PairView::of).collect(),
            pair_heads: Column::charted().map(|column| column.title).collect(),
            resampling: resampling(self),
            chart: chart::score_bars(&self.runs)?,
            free: self.runs.iter().filter_map(table::free_cells).collect(),
            runs: self
                .runs
                .iter()
                .enumerate()
                .map(|(at, run)| RunView::of(run, cells(&fields, run, at)))
                .collect(),
        };
        page.render().map_err(|error| ReportError::Html { reason: error.to_string() })
    }
}

/// The page.
#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page<'a> {
    report: &'a Report,
    /// Whether there is a model that something else edited.
    given: bool,
    facts: Vec<(&'static str, String)>,
    data_notes: Vec<String>,
    /// Titles of the scores with their definitions.
    scores: Vec<(&'static str, String)>,
    /// Titles of the scores in the chart.
    charted: String,
    heads: Vec<&'static str>,
    curve_heads: Vec<String>,
    /// Differences between methods.
    pairs: Vec<PairView>,
    pair_heads: Vec<&'static str>,
    /// How intervals were made.
    resampling: Option<String>,
    chart: String,
    /// Rows of the table of free generation: the runs that were asked to write.
    free: Vec<Vec<String>>,
    runs: Vec<RunView<'a>>,
}

/// A score's title, and its definition in the words of both literatures.
fn definition(column: &Column) -> (&'static str, String) {
    let named = match (column.counterfact, column.easyedit) {
        (Some(name), Some(other)) => format!("{} (EasyEdit: {other}): ", capitalised(name)),
        (Some(name), None) => format!("{}: ", capitalised(name)),
        (None, Some(other)) => format!("EasyEdit's {other}, by its own measure: "),
        (None, None) => String::new(),
    };
    let doc = if named.is_empty() { capitalised(column.doc) } else { column.doc.to_owned() };
    (column.title, format!("{named}{doc}."))
}

/// A text that begins a sentence.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A cell of the summary: a number, below it where it lies, and that again for those who point at it.
struct Cell {
    text: String,
    below: String,
    title: String,
}

/// A run's row of the summary.
fn cells(fields: &[Field], run: &Run, at: usize) -> Vec<Cell> {
    let cell = |field: &Field| {
        let interval = field.score.and_then(|column| run.interval(column));
        let between = interval.map_or_else(String::new, table::between);
        let title =
            interval.map_or_else(String::new, |found| format!("{between}, over {} cases", found.cases));
        // There is no room for all of them.
        let charted = field.score.is_some_and(|column| column.shown.bar.is_some());
        let below = if charted { between } else { String::new() };
        Cell { text: field.cells[at].clone(), below, title }
    };
    fields.iter().map(cell).collect()
}

/// A pair of runs with the differences of their charted scores: text, interval, whether it is beyond noise.
struct PairView {
    name: String,
    cells: Vec<(String, String, bool)>,
}

impl PairView {
    fn of(pair: &RunDifference) -> Self {
        let cell = |column: &Column| match pair.of(column) {
            None => (NONE.to_owned(), String::new(), false),
            Some(found) => {
                let interval = format!("{} to {}", table::signed(found.low), table::signed(found.high));
                (table::signed(found.difference), interval, found.is_beyond_noise())
            }
        };
        Self { name: format!("{} - {}", pair.run, pair.minus), cells: Column::charted().map(cell).collect() }
    }
}

/// How intervals were made, in words.
fn resampling(report: &Report) -> Option<String> {
    let made = report.bootstrap?;
    let (level, times) = (table::percent(made.level), grouped(made.resamples as u64));
    Some(format!("{level} of {times} resamples of the cases (seed {})", made.seed))
}

/// What was measured, by name.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let (model, data) = (&report.model, &report.data);
    let statistics = report.statistics.as_ref().map_or_else(
        || "none".to_owned(),
        |from| format!("{}, {} tokens, corpus {}", from.source, grouped(from.tokens), short(&from.corpus)),
    );
    let shape = format!(
        "{}, {} blocks, d_model {}, d_mlp {}, {} MB",
        model.architecture,
        model.layers,
        model.d_model,
        model.d_mlp,
        grouped(model.bytes as u64 / 1_000_000)
    );
    vec![
        ("Model", model.path.clone()),
        ("Architecture", shape),
        ("Weights", short(&model.digest)),
        ("Data", data.path.clone()),
        ("Cases", format!("{} of {}", grouped(data.cases as u64), grouped(data.available as u64))),
        ("Device", report.device.clone()),
        ("Seed", report.seed.to_string()),
        ("Statistics", statistics),
        ("Version", format!("recant {}, report schema {}", report.version, report.schema)),
    ]
}

/// The beginning of a digest; `report.json` has all of it.
fn short(digest: &str) -> String {
    let (name, value) = digest.rsplit_once(':').map_or(("", digest), |(name, value)| (name, value));
    let mut short = if name.is_empty() { String::new() } else { format!("{name}:") };
    short.extend(value.chars().take(16));
    if value.chars().count() > 16 {
        short.push('…');
    }
    short
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A run with its cases.
struct RunView<'a> {
    run: &'a Run,
    cells: Vec<Cell>,
    /// Rows of its retention curve.
    curve: Vec<Vec<String>>,
    cases: Vec<CaseView<'a>>,
}

impl<'a> RunView<'a> {
    fn of(run: &'a Run, cells: Vec<Cell>) -> Self {
        let cases = run.results.iter().map(CaseView::of).collect();
        Self { run, cells, curve: table::curve_rows(run), cases }
    }
}

/// A case: a row to scan, and its prompts to open.
struct CaseView<'a> {
    case: &'a CaseResult,
    /// What the filter of outcomes goes by: `e` efficacy failed, `p` a paraphrase failed, `n` a neighbour
    /// moved.
    classes: String,
    marks: Vec<Mark>,
    seconds: String,
    rollback: &'static str,
    /// The scores that the row has no room for.
    more: String,
    edited: bool,
    groups: Vec<Group<'a>>,
}

impl<'a> CaseView<'a> {
    fn of(case: &'a CaseResult) -> Self {
        let scores = &case.scores;
        // The unedited model has one answer to a prompt, not two that happen to be equal.
        let edited = case.rollback_exact.is_some() || case.seconds.is_some();
        let marks = marked().map(|column| Mark::of(column.title, scores.get(column)));
        let groups = case.prompts.chunk_by(|a, b| a.kind == b.kind);
        Self {
            case,
            classes: classes(case),
            marks: marks.collect(),
            seconds: case.seconds.map_or_else(String::new, |seconds| format!("{seconds:.2} s")),
            rollback: if edited { table::rollback(case.rollback_exact) } else { "" },
            more: more(case),
            edited,
            groups: groups.map(|prompts| Group::of(prompts, edited)).collect(),
        }
    }

    /// Columns of the table of prompts.
    fn columns(&self) -> usize {
        if self.edited { 8 } else { 5 }
    }
}

fn classes(case: &CaseResult) -> String {
    let failed = |score: Option<f64>| score.is_some_and(|score| score < 1.0);
    let marks = [
        ("e", failed(case.scores.get(&ES))),
        ("p", failed(case.scores.get(&PS))),
        ("n", case.prompts.iter().any(moved_neighbour)),
    ];
    marks.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// The scores that stand in a case's row, with a mark each.
fn marked() -> impl Iterator<Item = &'static Column> {
    Column::charted().filter(|column| column.is_of_case())
}

fn more(case: &CaseResult) -> String {
    let others = COLUMNS.iter().filter(|column| column.is_of_case() && column.shown.bar.is_none());
    let shown = others.map(|column| format!("{} {}", column.title, number(case.scores.get(column))));
    shown.collect::<Vec<_>>().join(" · ")
}

/// Whether an edit reached a neighbour: another top answer, or the true target no longer ahead.
fn moved_neighbour(result: &PromptResult) -> bool {
    let lost = prefers_truth(&result.before) && !prefers_truth(&result.after);
    result.kind == PromptKind::Neighbour && (lost || answer_changed(result))
}

fn prefers_truth(outcome: &Outcome) -> bool {
    outcome.p_true.is_some_and(|p_true| p_true > outcome.p_new)
}

fn answer_changed(result: &PromptResult) -> bool {
    let top = |outcome: &Outcome| outcome.top.first().map(|(token, _)| token.clone());
    top(&result.before) != top(&result.after)
}

/// A share of a case, with a class that colours it.
struct Mark {
    text: String,
    class: &'static str,
}

impl Mark {
    /// One prompt passes or not; several have a share.
    fn of(name: &str, score: Option<f64>) -> Self {
        let (value, class) = match score {
            None => (NONE.to_owned(), "none"),
            Some(score) if score >= 1.0 => ("✓".to_owned(), "good"),
            Some(score) if score <= 0.0 => ("✗".to_owned(), "bad"),
            Some(score) => (format!("{score:.2}"), "part"),
        };
        Self { text: format!("{name} {value}"), class }
    }
}

/// Prompts of one kind.
struct Group<'a> {
    name: &'static str,
    prompts: Vec<PromptView<'a>>,
}

impl<'a> Group<'a> {
    fn of(prompts: &'a [PromptResult], edited: bool) -> Self {
        let name = match prompts.first().map(|prompt| prompt.kind) {
            Some(PromptKind::Rewrite) => "Rewrite: the new target should win",
            Some(PromptKind::Paraphrase) => "Paraphrases: the new target should win",
            Some(PromptKind::Neighbour) => "Neighbours: the true target should stay ahead",
            Some(PromptKind::Consequence) => "Consequences: the answer that follows should be given",
            None => "",
        };
        Self { name, prompts: prompts.iter().map(|prompt| PromptView::of(prompt, edited)).collect() }
    }
}

/// A prompt and what is answered to it: before and after, or once for the unedited model.
struct PromptView<'a> {
    prompt: &'a str,
    answers: Vec<AnswerView>,
    /// Whether the right answer leads; nothing where there is no other one.
    passed: &'static str,
}

impl<'a> PromptView<'a> {
    fn of(result: &'a PromptResult, edited: bool) -> Self {
        let mut answers = vec![AnswerView::of(&result.before, "")];
        if edited {
            answers.push(AnswerView::of(&result.after, change(result)));
        }
        let after = &result.after;
        let leads = after.p_true.map(|p_true| match result.kind {
            PromptKind::Neighbour => p_true > after.p_new,
            _ => after.p_new > p_true,
        });
        let passed = match leads {
            Some(true) => "✓",
            Some(false) => "✗",
            None => NONE,
        };
        Self { prompt: &result.prompt, answers, passed }
    }
}

/// Class of an answer that is new: wanted (`m`), or on a neighbour not (`w`).
fn change(result: &PromptResult) -> &'static str {
    match (answer_changed(result), result.kind) {
        (false, _) => "",
        (true, PromptKind::Neighbour) => "w",
        (true, _) => "m",
    }
}

/// The top answer and the two targets.
struct AnswerView {
    class: &'static str,
    top: String,
    p: String,
    /// The answers behind the top one, for those who point at it.
    next: String,
    targets: [Bar; 2],
}

impl AnswerView {
    fn of(outcome: &Outcome, class: &'static str) -> Self {
        let top = outcome.top.first();
        let next = outcome.top.iter().skip(1);
        let next = next.map(|(token, p)| format!("{} {}", visible(token), share(*p)));
        Self {
            class,
            next: next.collect::<Vec<_>>().join(", "),
            top: top.map_or_else(|| NONE.to_owned(), |(token, _)| visible(token)),
            p: top.map_or_else(String::new, |(_, p)| share(*p)),
            targets: [Bar::of(Some(outcome.p_new)), Bar::of(outcome.p_true)],
        }
    }
}

/// A token as a person can read it: line breaks and blanks alone would leave an empty cell.
fn visible(token: &str) -> String {
    let trimmed = token.trim();
    if trimmed.is_empty() { format!("{token:?}") } else { trimmed.to_owned() }
}

/// A probability with the length of its bar in percent.
struct Bar {
    text: String,
    percent: u32,
}

impl Bar {
    fn of(p: Option<f64>) -> Self {
        let percent = (p.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0).round() as u32;
        Self { text: p.map_or_else(|| NONE.to_owned(), share), percent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_digests_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(short("blake3:0123456789abcdef0"), "blake3:0123456789abcdef…");
        assert_eq!(short("0123"), "0123");
    }

    #[test]
    fn a_blank_answer_is_visible() {
        assert_eq!(visible(" Paris"), "Paris");
        assert_eq!(visible("\n"), "\"\\n\"");
    }

    #[test]
    fn a_neighbour_moves_by_its_answer_or_by_its_order() {
        let outcome =
            |p_new, top: &str| Outcome { p_new, p_true: Some(0.5), top: vec![(top.to_owned(), 0.6)] };
        let moved = |kind, p_new, top| {
            let (before, after) = (outcome(0.1, "a"), outcome(p_new, top));
            moved_neighbour(&PromptResult { kind, prompt: String::new(), before, after })
        };
        assert!(!moved(PromptKind::Neighbour, 0.4, "a"));
        assert!(moved(PromptKind::Neighbour, 0.6, "a"));
        assert!(moved(PromptKind::Neighbour, 0.1, "b"));
        assert!(!moved(PromptKind::Rewrite, 0.6, "b"));
    }
}
