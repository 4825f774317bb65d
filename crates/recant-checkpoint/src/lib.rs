//! The bytes of a checkpoint file, without tensors on a device and without a configuration: which tensor is where in
//! a safetensors file ([`Header`]), and what a file is that was stored in place of another ([`Foreign`]).
//!
//! Everything here reads bytes that somebody else wrote. Sizes are checked before memory is reserved for them.

mod foreign;
mod header;
mod order;

pub use foreign::{Foreign, ForeignFile, read_file};
pub use header::{Header, HeaderError, MAX_HEADER, TensorEntry};
pub use order::{order_metadata, order_metadata_of};
