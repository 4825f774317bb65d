//! An edit is a value: facts, editors, plans, and the ways to hold an edited model.
//!
//! An [`Editor`] plans an edit against a model without touching it. The [`Plan`] is a value; applying it
//! is a separate, visible choice:
//!
//! * **scoped** ([`scoped`]): the model behind a `&mut` is the edited one for the length of a closure, and
//!   the former one again afterwards, whatever happens inside. The edited model cannot leave the scope.
//! * **forked** ([`recant_model::Model::apply`]): an independent edited model that shares every untouched
//!   tensor with its parent;
//! * **lifelong** ([`Lifelong`]): a model that goes on learning. What it learned is a value beside the base
//!   model, and any step can be taken back.
//!
//! No handle can be "edited" while its model is not: an edited model *is* its weights and its adapters.

mod contexts;
mod editor;
mod error;
mod fact;
mod fact_file;
mod lifelong;
mod scope;
mod text;
mod watch;

pub use contexts::{ContextError, Contexts};
pub use editor::{Editor, LossStep, Plan, Trace, refuse_adapters};
pub use error::{BoxError, EditError, StatisticsError, StoredStateError};
pub use fact::{Request, RequestError};
pub use fact_file::{FactFile, FactFileError, facts_of, read_facts};
pub use lifelong::{Lifelong, Memory, WeightSequence};
pub use recant_records::{Carry, Fact, FactError};
pub use scope::scoped;
pub use text::{
    LooksLike, TextError, TextLines, TextRecord, is_standard_input, read_records, read_text, text_lines,
};
pub use watch::{Watch, Work};
