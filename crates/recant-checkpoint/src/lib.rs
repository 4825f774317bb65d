//! The bytes of a checkpoint, without tensors on a device and without a meaning of its configuration: where a model
//! comes from ([`Source`]), a directory of one file or of shards ([`Directory`]), a GGUF file ([`Gguf`]), which tensor is
//! where in a safetensors file ([`Header`]), and what a file is that was stored in place of another ([`Foreign`]).
//!
//! Everything here reads bytes that somebody else wrote. Sizes are checked before memory is reserved for them.

mod directory;
mod foreign;
mod gguf;
mod header;
mod order;
mod source;

pub use directory::{Directory, ShardList};
pub use foreign::{Foreign, ForeignFile, read_file};
pub use gguf::{Gguf, GgufError};
pub use header::{Header, HeaderError, MAX_HEADER, TensorEntry};
pub use order::order_metadata;
pub use source::{Layout, SHARD_LIST, ShardError, Source, SourceError, Twice, WEIGHTS, WeightFile};
