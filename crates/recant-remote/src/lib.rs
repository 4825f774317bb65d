//! Stores shared through object storage: push, pull, clone.
//!
//! A remote is a place with four kinds of objects:
//!
//! ```text
//! FORMAT                     "recant remote 1\n", or "recant remote 2\n" where there may be bundles
//! objects/ab/cdef…           object files as a local store has them, never links
//! bundles/0123…              many small object files in one, by the digest of all of it, as a local store has them
//! refs/heads/main/00000007   the eighth commit that branch main stood on: 64 hexadecimal digits and a newline
//! refs/tags/v1/00000000      the same for tags
//! ```
//!
//! A branch stands on what its highest number says. Moving it means *creating* the next number, which exactly
//! one of several pushers can do: compare-and-swap from create-if-absent, the one conditional write that a
//! folder, S3, GCS and Azure all have. Who comes second is refused and loses nothing. As a by-product a remote
//! remembers where each branch stood, so a branch that was put back shows.
//!
//! Objects go first and the name last, so a cut leaves objects that nothing leads to, and the next push finds
//! them. Whatever arrives is hashed before it is put in place.
//!
//! Calls block: they run their own small runtime, and must not be made from inside an asynchronous one.

mod bundles;
mod error;
mod place;
mod pull;
mod push;
mod refs;

pub use error::RemoteError;
pub use place::Remote;
pub use pull::{Pulled, Update};
pub use push::Pushed;
pub use refs::{RefKind, Refs, RemoteRef};

/// What is reported while objects move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Objects that moved.
    pub objects: u64,
    /// Bytes that moved.
    pub bytes: u64,
}

impl Progress {
    fn add(&mut self, objects: u64, bytes: u64, report: &mut dyn FnMut(Self)) {
        self.objects += objects;
        self.bytes += bytes;
        report(*self);
    }
}
