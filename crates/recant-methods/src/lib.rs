//! Editing methods, one folder per paper.
//!
//! * [`rome`]: ROME and R-ROME, a rank-one rewrite of one MLP's down-projection.
//! * [`memit`], [`emmet`], [`alphaedit`]: many facts at once, by one family of closed forms ([`batch`]).
//! * [`ft`]: FT-L and FT-M, the fine-tuning baselines.
//!
//! What they share: where a fact is looked up ([`lookup`]), the search for the value that a layer should
//! answer ([`search`]), and the second moments of keys ([`moments`]). [`method`] makes an editor from its
//! name.

pub mod alphaedit;
pub mod batch;
pub mod emmet;
pub mod ft;
pub mod grace;
pub mod lifelong;
pub mod lookup;
pub mod memit;
pub mod moments;
mod registry;
pub mod retrieval;
pub mod rome;
pub mod search;
mod settings;
pub mod upper;
pub mod wise;

pub use registry::{METHODS, MethodInfo, MethodInputs, lifelong, method};
pub use settings::{Setting, parse_layers};
