//! The files beside a model, as values and as bytes: ledgers, statistics and their factors, interrupted
//! measurements, memories, patches, what an editor carries, and numpy's statistics, which are only read.
//!
//! Nothing here knows a tensor library or opens a file: bytes in, values out. Every format of ours ends with the
//! BLAKE3 of all bytes before it ([`seal`]), so that a flipped bit anywhere is refused; files of the versions before
//! that still open, and [`Opened::note`] says that they carry no checksum. `docs/format.md` has the layouts.

mod carry;
mod fact;
pub mod ledger;
pub mod moments;
mod npz;
mod record;
pub mod seal;
mod sheet;

pub use carry::Carry;
pub use fact::{Fact, FactError};
pub use npz::{Array, Npz, NpzError};
pub use record::{AnyRecord, Opened, Record, RecordError};
pub use sheet::SheetError;
