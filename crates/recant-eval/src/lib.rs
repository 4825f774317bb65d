//! Datasets, scorers, the evaluation runner and its reports.
//!
//! This crate sees models and editors only through their traits, and scores only as numbers: it knows no
//! method and no tensor. Definitions of the scores stand at [`Metrics`].

mod compare;
mod dataset;
mod free;
mod given;
mod locality;
pub mod memory;
pub mod report;
mod runner;
mod scenario;
mod score;
mod verdict;

pub use compare::{Contest, Difference, Interval, Standing, contest, score_of};
pub use dataset::{
    Case, Dataset, DatasetError, EntryError, Neighbour, Retained, Unusable, check_retained, read_retained,
};
pub use free::{FreeScores, free_scores};
pub use given::judge_given;
pub use locality::attach_locality;
pub use report::{Metrics, Report, Run};
pub use runner::{Event, RunOptions, Single, Unedited, evaluate, evaluate_rest, unedited};
pub use scenario::{Exam, Progress, Scenario, evaluate_lifelong, go_on, share_answered, teach_alone};
pub use score::{CaseScores, NotApplicable, Probe, ProbeScore, ScoreError, not_applicable, score_probes};
pub use verdict::{Asked, Rival, Verdict, verdicts};
