//! What every face of recant does, without a face.
//!
//! Nothing here prints, and nothing knows a flag of the command line: what goes on is told to an [`Observer`], and
//! what came of it is a value.
//!
//! - [`ModelName`] and [`ModelRef`]: a model by its directory, GGUF file, revision of a store, or name on the hub.
//! - [`MethodSources`] and [`Resources`]: what methods are made from, gathered once.
//! - [`edit()`]: from an [`EditRequest`] to an [`EditOutcome`], of a model or at the [`Head`] of a store.
//! - [`evaluate`]: from an [`EvalRequest`] to a report.
//! - [`trace_fact`], [`trace_cases`]: where a model recalls facts; [`compare_layers`]: where it is edited best.
//! - [`learn`], [`open_held`], [`move_edits`]: memories and ledgers in files.
//! - [`Measurement`], [`export_lora`]: second moments that are kept, and an edit as an adapter.
//! - [`blame`] and [`bisect`]: which commit moved an answer, or from which on all is not well.
//! - [`Dialogue`]: a model that is asked, edited, compared with its base and taken back.

mod bar;
mod dialogue;
mod edit;
mod eval;
mod export;
mod facts;
mod judged;
mod kinds;
mod layers;
mod memory;
mod model_ref;
mod observer;
mod records;
mod resources;
mod sheet;
mod stats;
mod store;
mod trace;
mod transfer;

pub use dialogue::{Dialogue, DialogueError, Held, Reply};
pub use edit::{
    Bound, Breach, EditFailure, EditFiles, EditFilesError, EditOutcome, EditPaths, EditPlace, EditRequest,
    EditSource, Gate, GateError, Gated, edit,
};
pub use eval::{EvalData, EvalFailure, EvalRequest, JournalError, JournalFiles, Steps, evaluate};
pub use export::{Base, ExportFailure, Exported, ExportedModule, export_lora};
pub use facts::{FactsError, FactsRead, read_facts};
pub use judged::Judged;
pub use kinds::VERDICTS;
pub use layers::{LayerOutcome, LayersFailure, LayersOutcome, LayersRequest, compare_layers};
pub use memory::{
    FactsHeld, FactsHeldError, LearnFailure, Learned, Removal, learn, open_held, remove_from_ledger,
    remove_from_memory,
};
pub use model_ref::{ModelName, ModelRef, ModelRefError};
pub use observer::{Observer, Progress, Silent, Unit, phase};
pub use records::{RecordFileError, open_record};
pub use resources::{MethodSources, ResourceError, Resources};
pub use stats::{Measurement, StatsFailure};
pub use store::{
    Bisected, Blame, CommitNote, Head, Ledgers, Probe, Shift, StoreError, bisect, blame, ledger_facts, ties,
};
pub use trace::{TraceFailure, TraceRequest, TracedCase, TracedCases, trace_cases, trace_fact};
pub use transfer::{Form, MoveFailure, MoveRequest, Moved, Moving, move_edits};
