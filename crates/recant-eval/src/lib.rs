//! Datasets, scorers, the evaluation runner and its reports.
//!
//! This crate sees models and editors only through their traits, and scores only as numbers: it knows no
//! method and no tensor. Scores are declared in [`scores`].

mod compare;
mod contest;
mod dataset;
mod event;
mod free;
mod given;
mod in_context;
mod locality;
pub mod memory;
mod probe;
pub mod report;
mod runner;
mod scenario;
pub mod scores;
mod side_effects;
mod uncertainty;
mod verdict;

pub use compare::{
    Change, CompareError, Comparison, Differing, RunChange, Shortfall, Tendency, Threshold, compare,
};
pub use contest::{Contest, Standing, contest, score_of};
pub use dataset::{
    Case, Consequence, Dataset, DatasetError, EntryError, FORMS, Form, Neighbour, Retained, Unusable,
    check_retained, read_retained,
};
pub use event::{Event, Stage};
pub use free::{FreeScores, free_scores};
pub use given::judge_given;
pub use in_context::judge_in_context;
pub use locality::attach_locality;
pub use probe::{Probe, ProbeScore, ScoreError, score_probes};
pub use report::{Report, Run};
pub use runner::{RunOptions, Single, Unedited, evaluate, evaluate_rest, unedited};
pub use scenario::{Exam, Progress, Scenario, evaluate_lifelong, go_on, share_answered, teach_alone};
pub use scores::{CaseScores, Metrics, NotApplicable, not_applicable};
pub use side_effects::{Reach, SideChange, SideEffects, SideGroup, SideKind, SideProbes, side_effects};
pub use uncertainty::{Bootstrap, ByScore, Difference, Interval, Sample};
pub use verdict::{Asked, Rival, Verdict, verdicts};
