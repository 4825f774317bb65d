//! `recant eval compare`.

use std::path::PathBuf;

use clap::Args;
use recant_eval::scores::{COLUMNS, Column};
use recant_eval::{Report, Threshold, compare};
use serde_json::json;

use crate::cli::error::CliError;

/// Arguments of `recant eval compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The report.json from before.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The report.json from after.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// End with exit code 1 where a score of any run gained less than DELTA from A to B, in the direction in which it is
    /// good, or where B lacks a run of A: ES=0 forbids any loss of ES, NS=-0.02 allows one of 0.02 (repeatable).
    #[arg(long, value_name = "SCORE=DELTA")]
    fail_below: Vec<String>,
    /// Print JSON: `differing[]`, `bootstrap`, `runs[]` with `scores`, `only_first[]`, `only_second[]`, `shortfalls[]`.
    #[arg(long)]
    json: bool,
}

/// A threshold as it is typed.
fn threshold(text: &str) -> Result<Threshold, CliError> {
    let refuse = |reason: String| CliError::Option { option: "--fail-below", reason };
    let (key, delta) = text
        .split_once('=')
        .ok_or_else(|| refuse(format!("{text:?} is not SCORE=DELTA, such as ES=-0.02")))?;
    let score = Column::find(key.trim()).ok_or_else(|| {
        let known = COLUMNS.iter().map(|column| column.key).collect::<Vec<_>>().join(", ");
        refuse(format!("there is no score {:?}; there are {known}", key.trim()))
    })?;
    match delta.trim().parse::<f64>() {
        Ok(least) if least.is_finite() => Ok(Threshold { score, least }),
        _ => Err(refuse(format!("{:?} is no number", delta.trim()))),
    }
}

pub(super) fn run(args: &CompareArgs) -> Result<(), CliError> {
    let thresholds = args.fail_below.iter().map(|text| threshold(text)).collect::<Result<Vec<_>, _>>()?;
    let (first, second) = (Report::read(&args.first)?, Report::read(&args.second)?);
    let found = compare(&first, &second)?;
    let short: Vec<String> = found.shortfalls(&thresholds).iter().map(ToString::to_string).collect();
    if args.json {
        let mut value = serde_json::to_value(&found)?;
        value["shortfalls"] = json!(short);
        crate::cli::print_json(&value)?;
    } else {
        crate::cli::out::lines(found.table().trim_end());
    }
    if short.is_empty() { Ok(()) } else { Err(CliError::Shortfall { short }) }
}
