//! What an evaluation found: one value, three forms (JSON for programs, a table and HTML for people).

mod chart;
mod compared;
mod confidence;
mod csv;
mod html;
mod shard;
pub use confidence::RunDifference;
pub use html::grouped;
pub use shard::{MergeError, Part, PartError, Shard, merge};
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputError, OutputFile, Outputs};
use serde::{Deserialize, Deserializer, Serialize};

use crate::scores::{CaseScores, Column, Metrics, NotApplicable};
use crate::uncertainty::{Bootstrap, ByScore, Interval};

/// Version of `report.json`'s layout; `docs/report.md` describes it.
pub const SCHEMA: u32 = 3;

/// The name of the base model's run.
pub const UNEDITED: &str = "unedited";
/// The name of the row of the unedited model that is told each fact in the prompt.
pub const IN_CONTEXT: &str = "in-context";

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of recant.
    pub version: String,
    /// The model.
    pub model: ModelInfo,
    /// The data set.
    pub data: DataInfo,
    /// Device that computed.
    pub device: String,
    /// Seed of everything that was drawn.
    pub seed: u64,
    /// Second moments that the methods used.
    pub statistics: Option<StatisticsInfo>,
    /// Which part of an evaluation this is; `None` of a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// How intervals were made; `None` in a report of a version that made none.
    #[serde(default)]
    pub bootstrap: Option<Bootstrap>,
    /// What one method scores more than another on the same cases, for every two of them.
    #[serde(default)]
    pub differences: Vec<RunDifference>,
    /// What the cases are too few for.
    #[serde(default)]
    pub cautions: Vec<String>,
    /// One run a method, in the order asked for; the unedited model first.
    pub runs: Vec<Run>,
}

/// Which model was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The directory as given.
    pub path: String,
    /// `model_type`.
    pub architecture: String,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Length of a key.
    pub d_mlp: usize,
    /// Content id of the weights.
    pub digest: String,
    /// Bytes of all weights.
    pub bytes: usize,
}

/// Which cases were used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInfo {
    /// The file as given.
    pub path: String,
    /// Cases used.
    pub cases: usize,
    /// Entries in the file.
    pub available: usize,
    /// Entries that were to be used and cannot be, each with its place and what is wrong.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Keys that no form reads, with the number of entries that have them.
    #[serde(default)]
    pub unread: BTreeMap<String, usize>,
    /// Scores that do not apply to some cases.
    #[serde(default)]
    pub not_applicable: Vec<NotApplicable>,
}

/// Which second moments were used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsInfo {
    /// Where they came from, in words.
    pub source: String,
    /// Tokens averaged over.
    pub tokens: u64,
    /// Digest of the corpus.
    pub corpus: String,
}

/// One method over all cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The method's name; `unedited` for the base model.
    pub method: String,
    /// `single`: each case is edited alone, scored and taken back. `batch`: all cases in one step.
    /// `sequential`: one step after the other, everything scored at the end. `given`: nothing is edited, and another model
    /// is scored as it is.
    pub scenario: String,
    /// Device that computed.
    pub device: String,
    /// Number of cases scored.
    pub cases: usize,
    /// Hyper-parameters.
    pub settings: BTreeMap<String, String>,
    /// Things to know, such as a covariance that was left out.
    pub notes: Vec<String>,
    /// The scores.
    pub metrics: Metrics,
    /// Where each of them lies, by the cases that were scored.
    #[serde(default)]
    pub intervals: ByScore<Interval>,
    /// Mean seconds to plan and apply one edit; `None` for the unedited model.
    pub seconds_per_edit: Option<f64>,
    /// Peak resident set during the run in bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// Whether the digest of all weights, on the host and on the device, was the former one after every
    /// case; `None` for the unedited model.
    pub rollback_exact: Option<bool>,
    /// Cases that could not be edited or scored.
    pub failures: Vec<Failure>,
    /// Context templates that the method used; none where it reads only the prompt itself.
    #[serde(default)]
    pub contexts: Vec<String>,
    /// Facts a step; `None` for `single` and the unedited model.
    #[serde(default)]
    pub step: Option<usize>,
    /// Share of facts that no edit is about and that are still answered, where a file of them was given.
    #[serde(default)]
    pub retained: Option<f64>,
    /// Scores of every case right after its own step, where there was more than one step.
    #[serde(default)]
    pub immediate: Option<Metrics>,
    /// How scores change along the sequence, where there was more than one step.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    /// Bytes of what was learned, without the base model.
    #[serde(default)]
    pub state_bytes: Option<u64>,
    /// Every case.
    pub results: Vec<CaseResult>,
}

impl Run {
    /// Whether this is the base model.
    #[must_use]
    pub fn is_unedited(&self) -> bool {
        self.method == UNEDITED
    }

    /// Where a score lies, where that is known.
    #[must_use]
    pub fn interval(&self, column: &Column) -> Option<Interval> {
        self.intervals.get(column.key).copied().flatten()
    }

    /// The method, and how facts were put in where it is not one by one.
    #[must_use]
    pub fn label(&self) -> String {
        match (self.step, self.scenario.as_str()) {
            (None, _) => self.method.clone(),
            (Some(_), "batch") => format!("{} batch {}", self.method, self.cases),
            (Some(step), scenario) => format!("{} {scenario} {}/{step}", self.method, self.cases),
        }
    }
}

/// A point of a sequence's retention curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Facts learned so far.
    pub edits: usize,
    /// Scores of all of them.
    pub all: Metrics,
    /// Scores of the earliest ones.
    pub earliest: Metrics,
    /// How many those are.
    pub earliest_count: usize,
    /// As [`Run::retained`], at this point.
    pub retained: Option<f64>,
}

/// A case that could not be edited or scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The data set's number.
    pub case_id: u64,
    /// Why.
    pub error: String,
}

/// One case of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// The data set's number.
    pub case_id: u64,
    /// The subject.
    pub subject: String,
    /// What was written.
    pub target_new: String,
    /// What was true before, where the data set tells.
    pub target_true: Option<String>,
    /// The scores.
    pub scores: CaseScores,
    /// Seconds to plan and apply; `None` for the unedited model.
    pub seconds: Option<f64>,
    /// Whether every byte was back after the case; `None` for the unedited model.
    pub rollback_exact: Option<bool>,
    /// Every prompt before and after: the rewrite prompt first, then paraphrases, the neighbourhood, and what follows
    /// from the fact.
    pub prompts: Vec<PromptResult>,
}

/// Which part of a case a prompt belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PromptKind {
    /// The prompt that was rewritten.
    Rewrite,
    /// Another way to ask.
    Paraphrase,
    /// Another subject.
    Neighbour,
    /// A prompt whose answer follows from the fact; that answer stands for the new target.
    Consequence,
}

/// One prompt before and after an edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptResult {
    /// Which part of the case.
    pub kind: PromptKind,
    /// The prompt.
    pub prompt: String,
    /// On the unedited model.
    pub before: Outcome,
    /// On the edited model.
    pub after: Outcome,
}

/// What a model answers to a prompt. A probability of a model that an edit broke may be no number, which is null in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Probability of the new target.
    #[serde(deserialize_with = "number")]
    pub p_new: f64,
    /// Probability of the true target, where the data set tells it and it is not the new one.
    pub p_true: Option<f64>,
    /// The most probable next tokens with their probabilities.
    #[serde(deserialize_with = "tokens")]
    pub top: Vec<(String, f64)>,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn tokens<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f64)>, D::Error> {
    let tokens: Vec<(String, Option<f64>)> = Deserialize::deserialize(from)?;
    Ok(tokens.into_iter().map(|(token, probability)| (token, probability.unwrap_or(f64::NAN))).collect())
}

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The page cannot be laid out.
    #[error("cannot lay out the HTML report: {reason}")]
    Html {
        /// What is wrong.
        reason: String,
    },
    /// The report cannot be serialised.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The table of cases cannot be made.
    #[error(transparent)]
    Csv(#[from] ::csv::Error),
}

/// A report cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadReportError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no report, or is damaged.
    #[error("{path} is no report.json, or it is damaged: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A report is of a later version.
    #[error("{path} has layout {schema}, and this version reads up to {SCHEMA}")]
    Later {
        /// The file.
        path: PathBuf,
        /// Its layout.
        schema: u32,
    },
}

const JSON: FileKind = FileKind {
    name: "report",
    recognises: |head| {
        let bytes = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        bytes.take(10).eq(*br#"{"schema":"#)
    },
};
const HTML: FileKind = FileKind {
    name: "report",
    recognises: |head| String::from_utf8_lossy(head).contains("<title>recant: edits of "),
};

const CSV: FileKind =
    FileKind { name: "table of cases", recognises: |head| head.starts_with(csv::BEGINS.as_bytes()) };

/// The files of a report, which may be written.
#[derive(Debug, Clone)]
pub struct ReportFiles {
    /// For programs.
    pub json: OutputFile,
    /// For people.
    pub html: OutputFile,
    /// The cases, for spreadsheets and statistics.
    pub csv: OutputFile,
}

impl ReportFiles {
    /// Decides for `report.json`, `report.html` and `report.csv` in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn decide(outputs: &mut Outputs, dir: &Path) -> Result<Self, OutputError> {
        outputs.folder(dir)?;
        let json = outputs.file(&dir.join("report.json"), JSON)?;
        let html = outputs.file(&dir.join("report.html"), HTML)?;
        Ok(Self { json, html, csv: outputs.file(&dir.join("report.csv"), CSV)? })
    }
}

impl Report {
    /// Reads a `report.json`, also one of an earlier version.
    ///
    /// # Errors
    /// [`ReadReportError`].
    pub fn read(path: &Path) -> Result<Self, ReadReportError> {
        let bytes =
            std::fs::read(path).map_err(|source| ReadReportError::File { path: path.to_owned(), source })?;
        let report: Self = serde_json::from_slice(&bytes)
            .map_err(|source| ReadReportError::Json { path: path.to_owned(), source })?;
        match report.schema {
            ..=SCHEMA => Ok(report),
            schema => Err(ReadReportError::Later { path: path.to_owned(), schema }),
        }
    }

    /// Writes the report in all forms, each whole or not at all.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, files: &ReportFiles) -> Result<(), ReportError> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let (page, cases) = (self.html()?, self.csv()?);
        files.json.write(text.as_bytes())?;
        files.csv.write(&cases)?;
        Ok(files.html.write(page.as_bytes())?)
    }
}
