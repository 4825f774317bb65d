//! Make a language model take back what it said: the facade of the recant crates.

pub use recant_backend as backend;
pub use recant_core as core;
pub use recant_model as model;
