//! The summary as a terminal table, and the cells that the HTML page shares with it.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::{DataInfo, Metrics, Report, Run};

/// Heads of the summary's columns; [`cells`] fills them.
const HEADS: [&str; 14] = [
    "method", "S", "ES", "EM", "PS", "PM", "NS", "NM", "rewrite", "rephrase", "locality", "s/edit",
    "peak MB", "rollback",
];

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
        let mut table = Table::new();
        // Rules between a handful of rows would only hide the numbers; one below the heads is enough.
        table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heads(self));
        table.add_rows(self.runs.iter().map(|run| cells(self, run)));
        for (at, column) in table.column_iter_mut().enumerate() {
            let side = if at == 0 { CellAlignment::Left } else { CellAlignment::Right };
            column.set_padding((0, 1)).set_cell_alignment(side);
        }
        let mut curves: String = self.runs.iter().filter_map(curve).collect();
        curves.extend(self.runs.iter().filter_map(free));
        let noted = self.runs.iter().flat_map(|run| run.notes.iter().map(move |note| (&run.method, note)));
        let noted = noted.map(|(method, note)| format!("{method}: {note}"));
        let notes = data_notes(self).into_iter().chain(noted);
        let notes: String = notes.map(|note| one_line(&note) + "\n").collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!("{}\n{curves}{gap}{notes}", table.trim_fmt())
    }
}

/// What to know about the data: what of it was not used, and which scores do not apply.
pub(super) fn data_notes(report: &Report) -> Vec<String> {
    let DataInfo { left_out, unread, not_applicable, cases, .. } = &report.data;
    let left_out = left_out.iter().map(|what| format!("left out: {what}"));
    let unread = unread.iter().map(|(key, entries)| format!("not read: `{key}` of {entries} entries"));
    let without = not_applicable.iter().map(|what| {
        let (scores, concerned) = (what.scores.join(", "), what.cases.len());
        format!("not applicable to {concerned} of {cases} cases: {scores} ({})", what.reason)
    });
    left_out.chain(unread).chain(without).collect()
}

/// A note is one line, whatever it quotes.
fn one_line(note: &str) -> String {
    note.replace('\n', "\\n")
}

/// Heads of a retention curve; [`curve_rows`] fills them.
pub(super) const CURVE_HEADS: [&str; 9] =
    ["edits", "ES", "PS", "NS", "rewrite", "earliest ES", "earliest PS", "earliest rewrite", "retained"];

/// The rows of a sequence's retention curve, after what every case scored right after its step.
pub(super) fn curve_rows(run: &Run) -> Vec<Vec<String>> {
    let number = |score: Option<f64>| score.map_or_else(|| NONE.to_owned(), share);
    let scores = |m: &Metrics| [m.ES, m.PS, m.NS, m.rewrite_acc].map(number);
    let immediate = run.immediate.iter().map(|metrics| {
        let mut row = vec!["immediate".to_owned()];
        row.extend(scores(metrics));
        row.resize(CURVE_HEADS.len(), NONE.to_owned());
        row
    });
    let points = run.curve.iter().map(|point| {
        let mut row = vec![point.edits.to_string()];
        row.extend(scores(&point.all));
        let earliest = &point.earliest;
        row.extend([earliest.ES, earliest.PS, earliest.rewrite_acc, point.retained].map(number));
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

/// A run's row under [`FREE_HEADS`]; `None` of a run that was not asked to write.
pub(super) fn free_cells(run: &Run) -> Option<Vec<String>> {
    let free = run.free?;
    let Metrics { rewrite_acc, rephrase_acc, .. } = run.metrics;
    let rewrite = [rewrite_acc, free.rewrite, free.rewrite_natural];
    let scores = rewrite.into_iter().chain([rephrase_acc, free.rephrase, free.rephrase_natural]);
    let number = |score: Option<f64>| score.map_or_else(|| NONE.to_owned(), share);
    Some(std::iter::once(run.label()).chain(scores.map(number)).collect())
}

/// What a model writes by itself, as one line.
fn free(run: &Run) -> Option<String> {
    let scores = run.free?;
    let number = |score: Option<f64>| score.map_or_else(|| NONE.to_owned(), share);
    Some(format!(
        "\n{}, free generation: rewrite {}, rephrase {}; to its own end: rewrite {}, rephrase {}\n",
        run.label(),
        number(scores.rewrite),
        number(scores.rephrase),
        number(scores.rewrite_natural),
        number(scores.rephrase_natural)
    ))
}

/// A sequence's retention curve as plain text.
fn curve(run: &Run) -> Option<String> {
    let rows = curve_rows(run);
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(CURVE_HEADS);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Right);
    }
    Some(format!("\n{}, along the sequence\n{}\n", run.label(), table.trim_fmt()))
}

/// Heads of a report's summary.
pub(super) fn heads(report: &Report) -> Vec<&'static str> {
    let failures = any_failed(report).then_some(FAILURES);
    let retained = any_retained(report).then_some(RETAINED);
    HEADS.into_iter().chain(retained).chain(failures).collect()
}

/// A run's row under [`heads`].
pub(super) fn cells(report: &Report, run: &Run) -> Vec<String> {
    let Metrics { S, ES, EM, PS, PM, NS, NM, rewrite_acc, rephrase_acc, locality_acc } = run.metrics;
    let scores = [S, ES, EM, PS, PM, NS, NM, rewrite_acc, rephrase_acc, locality_acc];
    let mut cells = vec![run.label()];
    cells.extend(scores.map(|score| score.map_or_else(|| NONE.to_owned(), share)));
    cells.push(run.seconds_per_edit.map_or_else(|| NONE.to_owned(), |seconds| format!("{seconds:.2}")));
    cells.push(run.peak_rss_bytes.map_or_else(|| NONE.to_owned(), megabytes));
    cells.push(rollback(run.rollback_exact).to_owned());
    let retained = || run.retained.map_or_else(|| NONE.to_owned(), share);
    cells.extend(any_retained(report).then(retained));
    cells.extend(any_failed(report).then(|| run.failures.len().to_string()));
    cells
}

fn any_retained(report: &Report) -> bool {
    report.runs.iter().any(|run| run.retained.is_some())
}

fn any_failed(report: &Report) -> bool {
    report.runs.iter().any(|run| !run.failures.is_empty())
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
