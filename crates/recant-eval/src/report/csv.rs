//! The cases as a table for other programs: a line for every case of every run.

use super::{CaseResult, Report, ReportError, Run};
use crate::scores::{COLUMNS, Column};

/// How the file begins.
pub(super) const BEGINS: &str = "method,scenario,step,case_id,";
const NAMES: [&str; 7] = ["method", "scenario", "step", "case_id", "subject", "target_new", "target_true"];
const MORE: [&str; 3] = ["seconds", "rollback_exact", "failed"];

fn scores() -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(|column| column.is_of_case())
}

impl Report {
    /// A line for every case of every run, after a line of names: what it is, every score by its key (empty where it does
    /// not apply), `seconds`, `rollback_exact`, `failed`.
    ///
    /// # Errors
    /// [`ReportError::Csv`], which memory running out alone could be.
    pub fn csv(&self) -> Result<Vec<u8>, ReportError> {
        let mut to = ::csv::Writer::from_writer(Vec::new());
        to.write_record(NAMES.into_iter().chain(scores().map(|column| column.key)).chain(MORE))?;
        for run in &self.runs {
            for case in &run.results {
                to.write_record(line(run, case))?;
            }
        }
        to.into_inner().map_err(|error| ReportError::Csv(error.into_error().into()))
    }
}

fn line(run: &Run, case: &CaseResult) -> Vec<String> {
    let mut cells = vec![
        run.method.clone(),
        run.scenario.clone(),
        or_empty(run.step),
        case.case_id.to_string(),
        case.subject.clone(),
        case.target_new.clone(),
        case.target_true.clone().unwrap_or_default(),
    ];
    cells.extend(scores().map(|column| or_empty(case.scores.get(column))));
    cells.extend([or_empty(case.seconds), or_empty(case.rollback_exact)]);
    cells.push(run.failures.iter().any(|failure| failure.case_id == case.case_id).to_string());
    cells
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
