//! Editing methods, one folder per paper.
//!
//! * [`rome`]: ROME and R-ROME, a rank-one rewrite of one MLP's down-projection.
//! * [`memit`], [`emmet`], [`alphaedit`]: many facts at once, by one family of closed forms ([`batch`]).
//! * [`ledger`]: many facts as a set, which can be changed at any time.
//! * [`ultraedit`]: many facts by one gradient each.
//! * [`ft`]: FT-L and FT-M, the fine-tuning baselines; [`locft`]: the same breadth first.
//! * [`wise`], [`grace`], [`mod@retrieval`]: memories beside the weights that are stored and forget one edit at a
//!   time ([`mod@lifelong`]).
//! * [`transfer`]: one fact's edit moved between a memory, a ledger and a patch.
//!
//! What they share: where a fact is looked up ([`lookup`]), the search for the value that a layer should
//! answer ([`search`]), and the second moments of keys ([`moments`]). [`causal`] measures where a model recalls a fact. [`method`] makes an editor from its
//! name.

pub mod alphaedit;
pub mod batch;
pub mod causal;
mod descent;
pub mod emmet;
pub mod ft;
pub mod grace;
mod inputs;
mod kind;
pub mod ledger;
mod lesson;
pub mod lifelong;
pub mod locft;
pub mod lookup;
mod mean;
pub mod memit;
pub mod moments;
pub mod names;
pub mod region;
mod registry;
pub mod retrieval;
pub mod rome;
pub mod search;
mod settings;
mod spec;
pub mod transfer;
pub mod ultraedit;
pub mod wise;
mod wishes;

pub use inputs::MethodInputs;
pub use kind::Kind;
pub use ledger::make_ledger;
pub use registry::{
    DEFAULT_MEMORY, DEFAULT_METHOD, MEMORIES, METHODS, lifelong, memory, method, open_memory,
};
pub use retrieval::make_retrieval;
pub use settings::{ParamInfo, Setting, parse_layers};
pub use spec::{LayerRule, MethodSpec};
pub use wishes::{Asked, Wishes};
