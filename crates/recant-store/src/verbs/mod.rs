//! What a user does with a store. Each verb reads the view under the writer's lock, writes objects, and
//! publishes one operation.

pub(crate) mod commit;
mod diff;
mod merge;
mod names;
mod revert;
mod sign;
mod undo;

pub use commit::{CommitError, Draft, EditKind, Rebuild, Rebuilt};
pub use diff::{Diff, MatrixDiff};
pub use merge::{Conflict, MergeOptions, Merged};
pub use names::NamesError;
pub use revert::{How, Reverted};
pub use sign::{KeyError, PublicKey, SecretKey, SignatureState};
pub use undo::UndoError;
