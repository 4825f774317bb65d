//! The summary as a terminal table, and the cells that the HTML page shares with it.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::{Metrics, Report, Run};

/// Heads of the summary's columns; [`cells`] fills them.
const HEADS: [&str; 14] = [
    "method", "S", "ES", "EM", "PS", "PM", "NS", "NM", "rewrite", "rephrase", "locality", "s/edit",
    "peak MB", "rollback",
];

/// Head of the column that is shown only where something failed.
const FAILURES: &str = "failures";

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
        let noted = self.runs.iter().flat_map(|run| run.notes.iter().map(move |note| (&run.method, note)));
        let notes: String = noted.map(|(method, note)| format!("{method}: {note}\n")).collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!("{}\n{gap}{notes}", table.trim_fmt())
    }
}

/// Heads of a report's summary.
pub(super) fn heads(report: &Report) -> Vec<&'static str> {
    let failures = any_failed(report).then_some(FAILURES);
    HEADS.into_iter().chain(failures).collect()
}

/// A run's row under [`heads`].
pub(super) fn cells(report: &Report, run: &Run) -> Vec<String> {
    let Metrics { S, ES, EM, PS, PM, NS, NM, rewrite_acc, rephrase_acc, locality_acc } = run.metrics;
    let scores = [S, Some(ES), Some(EM), PS, PM, NS, NM, Some(rewrite_acc), rephrase_acc, locality_acc];
    let mut cells = vec![run.method.clone()];
    cells.extend(scores.map(|score| score.map_or_else(|| NONE.to_owned(), share)));
    cells.push(run.seconds_per_edit.map_or_else(|| NONE.to_owned(), |seconds| format!("{seconds:.2}")));
    cells.push(run.peak_rss_bytes.map_or_else(|| NONE.to_owned(), megabytes));
    cells.push(rollback(run.rollback_exact).to_owned());
    cells.extend(any_failed(report).then(|| run.failures.len().to_string()));
    cells
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
