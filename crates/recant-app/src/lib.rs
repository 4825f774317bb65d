//! What every face of recant does, without a face.
//!
//! Nothing here prints, and nothing knows a flag of the command line: what goes on is told to an [`Observer`], and
//! what came of it is a value.
//!
//! - [`ModelName`] and [`ModelRef`]: a model by its directory, GGUF file, revision of a store, or name on the hub.
//! - [`MethodSources`] and [`Resources`]: what methods are made from, gathered once.
//! - [`Dialogue`]: a model that is asked, edited, compared with its base and taken back.

mod dialogue;
mod model_ref;
mod observer;
mod resources;

pub use dialogue::{Dialogue, DialogueError, Held, Reply};
pub use model_ref::{ModelName, ModelRef, ModelRefError, commit_at};
pub use observer::{Observer, Progress, Silent, Unit};
pub use resources::{MethodSources, ResourceError, Resources};
