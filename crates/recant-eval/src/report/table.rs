//! The summary as a terminal table, and the cells that the HTML page shares with it.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::{DataInfo, Report, Run, RunDifference};
use crate::scores::{
    COLUMNS, Column, END_REPHRASE, END_REWRITE, FREE_REPHRASE, FREE_REWRITE, Metrics, Need, NotApplicable,
    REPHRASE_ACC, REWRITE_ACC,
};
use crate::uncertainty::Interval;

/// What a terminal is sure to have room for, in characters.
const WIDTH: usize = 100;

/// Blanks between two columns.
const GAP: usize = 2;

/// Head of the column that is shown only where something failed.
const FAILURES: &str = "failures";

/// Head of the column that is shown only where facts to be retained were given.
const RETAINED: &str = "retained";

/// Shown for an edit that left a byte behind: the one finding that must not be overlooked.
pub(super) const NOT_EXACT: &str = "NOT EXACT";

/// Shown where there is no number.
pub(super) const NONE: &str = "-";

impl Report {
    /// The summary as plain text: a row for every run, and the notes of the runs below.
    ///
    /// Neither the width of the terminal nor its colours matter, so a log holds what a screen shows.
    #[must_use]
    pub fn table(&self) -> String {
        let (shown, narrowed) = fitting(fields(self));
        let rows =
            (0..self.runs.len()).map(|row| shown.iter().map(|field| field.cells[row].clone()).collect());
        let table = plain(shown.iter().map(|field| field.head), rows);
        let mut more: String = intervals(self).into_iter().chain(differences(self)).collect();
        more.extend(self.runs.iter().filter_map(curve));
        more.extend(free(self));
        let noted = self.runs.iter().flat_map(|run| run.notes.iter().map(move |note| (&run.method, note)));
        let noted = noted.map(|(method, note)| format!("{method}: {note}"));
        let cautions = self.cautions.iter().cloned();
        let notes = narrowed.into_iter().chain(cautions).chain(data_notes(self)).chain(noted);
        let notes: String = notes.map(|note| one_line(&note) + "\n").collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!("{table}\n{more}{gap}{notes}")
    }
}

/// A table for a terminal: the first column to the left, the others to the right.
pub(super) fn plain<'a>(
    heads: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    // Rules between a handful of rows would only hide the numbers; one below the heads is enough.
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads);
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        let side = if at == 0 { CellAlignment::Left } else { CellAlignment::Right };
        column.set_padding((0, 1)).set_cell_alignment(side);
    }
    table.trim_fmt()
}

/// A column of the summary.
pub(super) struct Field {
    pub(super) head: &'static str,
    /// Which columns go first where the table is too wide: those with the lowest number.
    rank: u8,
    /// The score that it shows, if it is one's.
    pub(super) score: Option<&'static Column>,
    /// A cell for each run.
    pub(super) cells: Vec<String>,
}

impl Field {
    /// Width with the space to the next one.
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(String::as_str).chain([self.head]);
        cells.map(|text| text.chars().count()).max().unwrap_or(0) + GAP
    }
}

/// What never goes.
const STAYS: u8 = u8::MAX;

/// The columns of the summary, all of them.
pub(super) fn fields(report: &Report) -> Vec<Field> {
    let runs = &report.runs;
    let field = |head, rank, cell: &dyn Fn(&Run) -> String| Field {
        head,
        rank,
        score: None,
        cells: runs.iter().map(cell).collect(),
    };
    let score = |column: &'static Column| {
        let field = field(column.title, column.shown.rank, &|run| number(run.metrics.get(column)));
        Field { score: Some(column), ..field }
    };
    let mut fields = vec![field("method", STAYS, &Run::label)];
    fields.extend(COLUMNS.iter().filter(|column| column.shown.rank > 0).map(score));
    let seconds =
        |run: &Run| run.seconds_per_edit.map_or_else(|| NONE.to_owned(), |time| format!("{time:.2}"));
    fields.push(field("s/edit", 9, &seconds));
    let peak = |run: &Run| run.peak_rss_bytes.map_or_else(|| NONE.to_owned(), megabytes);
    fields.push(field("peak MB", 3, &peak));
    fields.push(field("rollback", STAYS, &|run| rollback(run.rollback_exact).to_owned()));
    if runs.iter().any(|run| run.retained.is_some()) {
        fields.push(field(RETAINED, 8, &|run| number(run.retained)));
    }
    if runs.iter().any(|run| !run.failures.is_empty()) {
        fields.push(field(FAILURES, STAYS, &|run| run.failures.len().to_string()));
    }
    fields
}

/// The columns that a terminal has room for, and a note about the others.
fn fitting(mut fields: Vec<Field>) -> (Vec<Field>, Option<String>) {
    // What applies nowhere is not missed.
    let says = |field: &&Field| field.cells.iter().any(|cell| cell != NONE);
    let all: Vec<&str> = fields.iter().filter(says).map(|field| field.head).collect();
    while fields.iter().map(Field::width).sum::<usize>() > WIDTH + GAP {
        let ranks = fields.iter().map(|field| field.rank).filter(|&rank| rank != STAYS);
        let Some(lowest) = ranks.min() else { break };
        fields.retain(|field| field.rank != lowest);
    }
    let gone = |head: &&&str| fields.iter().all(|field| field.head != **head);
    let gone: Vec<&str> = all.iter().filter(gone).copied().collect();
    let note = format!("not shown here, for want of room: {}; the report has them", gone.join(", "));
    let note = (!gone.is_empty()).then_some(note);
    (fields, note)
}

/// The intervals of the charted scores, a row for every run of an edit.
fn intervals(report: &Report) -> Option<String> {
    let bootstrap = report.bootstrap?;
    let edited = report.runs.iter().filter(|run| !run.is_unedited());
    let row = |run: &Run| {
        let cells =
            Column::charted().map(|column| run.interval(column).map_or_else(|| NONE.to_owned(), between));
        [run.label()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = edited.map(row).collect();
    let heads = ["method"].into_iter().chain(Column::charted().map(|column| column.title));
    let table = plain(heads, rows.iter().cloned());
    let title =
        format!("{} intervals ({} resamples of the cases)", percent(bootstrap.level), bootstrap.resamples);
    (!rows.is_empty()).then(|| format!("\n{title}\n{table}\n"))
}

/// The differences between methods, as long as they are few enough to be read.
fn differences(report: &Report) -> Option<String> {
    let (bootstrap, pairs) = (report.bootstrap?, &report.differences);
    if pairs.is_empty() {
        return None;
    }
    if pairs.len() > MOST_PAIRS {
        return Some(format!("\ndifferences of {} pairs of runs: the report has them\n", pairs.len()));
    }
    let row = |pair: &RunDifference| {
        let cells = Column::charted().map(|column| {
            pair.of(column).map_or_else(
                || NONE.to_owned(),
                |found| {
                    format!("{}{}", signed(found.difference), if found.is_beyond_noise() { "*" } else { " " })
                },
            )
        });
        [format!("{} - {}", pair.run, pair.minus)].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let heads = ["difference"].into_iter().chain(Column::charted().map(|column| column.title));
    let table = plain(heads, pairs.iter().map(row));
    let level = percent(bootstrap.level);
    Some(format!(
        "\npaired case by case; * where the {level} interval of the difference does not hold 0\n{table}\n"
    ))
}

/// Pairs of runs that a terminal shows.
const MOST_PAIRS: usize = 15;

/// The two ends of an interval.
pub(super) fn between(interval: Interval) -> String {
    format!("{} to {}", share(interval.low), share(interval.high))
}

/// A difference, with its sign.
pub(super) fn signed(difference: f64) -> String {
    let text = share(difference);
    if text.starts_with('-') || text == "0.000" { text } else { format!("+{text}") }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

/// A score as a cell.
pub(super) fn number(score: Option<f64>) -> String {
    score.map_or_else(|| NONE.to_owned(), share)
}

/// What to know about the data: what of it was not used, and which scores do not apply.
pub(super) fn data_notes(report: &Report) -> Vec<String> {
    let DataInfo { left_out, unread, not_applicable, cases, .. } = &report.data;
    let left_out = left_out.iter().map(|what| format!("left out: {what}"));
    let unread = unread.iter().map(|(key, entries)| format!("not read: `{key}` of {entries} entries"));
    // That a data set asks for nothing which follows from its facts is the rule.
    let told = |what: &&NotApplicable| what.cases.len() < *cases || what.reason != Need::Consequence.reason();
    let without = not_applicable.iter().filter(told).map(|what| {
        let (scores, concerned) = (what.scores.join(", "), what.cases.len());
        format!("not applicable to {concerned} of {cases} cases: {scores} ({})", what.reason)
    });
    left_out.chain(unread).chain(without).collect()
}

/// A note is one line, whatever it quotes.
pub(super) fn one_line(note: &str) -> String {
    note.replace('\n', "\\n")
}

/// The scores that are told of the earliest facts of a sequence: those of the facts themselves.
fn of_earliest() -> impl Iterator<Item = &'static Column> {
    Column::followed().filter(|column| !column.needs.contains(&Need::Neighbour))
}

/// Heads of a retention curve; [`curve_rows`] fills them.
pub(super) fn curve_heads() -> Vec<String> {
    let all = Column::followed().map(|column| column.title.to_owned());
    let earliest = of_earliest().map(|column| format!("earliest {}", column.title));
    ["edits".to_owned()].into_iter().chain(all).chain(earliest).chain([RETAINED.to_owned()]).collect()
}

/// The rows of a sequence's retention curve, after what every case scored right after its step.
pub(super) fn curve_rows(run: &Run) -> Vec<Vec<String>> {
    let all =
        |metrics: &Metrics| Column::followed().map(|column| number(metrics.get(column))).collect::<Vec<_>>();
    let immediate = run.immediate.iter().map(|metrics| {
        let mut row = vec!["immediate".to_owned()];
        row.extend(all(metrics));
        row.resize(curve_heads().len(), NONE.to_owned());
        row
    });
    let points = run.curve.iter().map(|point| {
        let mut row = vec![point.edits.to_string()];
        row.extend(all(&point.all));
        row.extend(of_earliest().map(|column| number(point.earliest.get(column))));
        row.push(number(point.retained));
        row
    });
    immediate.chain(points).collect()
}

/// Heads of the table of free generation; [`free_cells`] fills them.
pub(super) const FREE_HEADS: [&str; 7] = [
    "method",
    "rewrite, dictated",
    "rewrite, free",
    "rewrite, to its end",
    "rephrase, dictated",
    "rephrase, free",
    "rephrase, to its end",
];

/// The scores under [`FREE_HEADS`].
const FREE_SCORES: [Column; 6] =
    [REWRITE_ACC, FREE_REWRITE, END_REWRITE, REPHRASE_ACC, FREE_REPHRASE, END_REPHRASE];

/// A run's row under [`FREE_HEADS`]; `None` of a run that was not asked to write.
pub(super) fn free_cells(run: &Run) -> Option<Vec<String>> {
    run.metrics.get(&FREE_REWRITE)?;
    let scores = FREE_SCORES.iter().map(|column| number(run.metrics.get(column)));
    Some(std::iter::once(run.label()).chain(scores).collect())
}

/// What the models write by themselves, beside what they would say if the answer were dictated, as plain text.
fn free(report: &Report) -> Option<String> {
    let rows: Vec<Vec<String>> = report.runs.iter().filter_map(free_cells).collect();
    // The heads of the page are too long for a terminal.
    let heads = ["method"].into_iter().chain(FREE_SCORES.iter().map(|column| column.title));
    (!rows.is_empty()).then(|| format!("\nDictated and free\n{}\n", plain(heads, rows.into_iter())))
}

/// A sequence's retention curve as plain text.
fn curve(run: &Run) -> Option<String> {
    let rows = curve_rows(run);
    if rows.is_empty() {
        return None;
    }
    let heads = curve_heads();
    let table = plain(heads.iter().map(String::as_str), rows.into_iter());
    Some(format!("\n{}, along the sequence\n{table}\n", run.label()))
}

/// Three decimals. A loss too small to see is written as zero, not as a minus zero that asks for a reason.
pub(super) fn share(number: f64) -> String {
    let text = format!("{number:.3}");
    if text == "-0.000" { "0.000".to_owned() } else { text }
}

/// Bytes in millions, as disks and downloads are counted.
fn megabytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}

/// What became of the weights after a rollback.
pub(super) fn rollback(exact: Option<bool>) -> &'static str {
    match exact {
        Some(true) => "exact",
        Some(false) => NOT_EXACT,
        None => NONE,
    }
}
