//! What is wrong inside a store, as the innermost cause of its errors.

use std::error::Error;

use recant_core::ObjectId;

/// What is wrong with something that is stored. It is the innermost cause of every error that is about it, so that
/// whoever tells people what to do finds it behind all of them: [`Damage::behind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// There is no such object.
    #[error("is not in the store")]
    Missing,
    /// The file of an object says nonsense.
    #[error("is damaged: {reason}")]
    Frame {
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those that the id promises.
    #[error("is damaged: its bytes have digest {found}")]
    Digest {
        /// What the bytes have.
        found: ObjectId,
    },
    /// A commit's generation does not follow from its parents'.
    #[error("claims generation {generation}, which its parents contradict")]
    Generation {
        /// What it claims.
        generation: u64,
    },
    /// The pointer to the newest operation is no id.
    #[error("is damaged: {text:?} is no id")]
    NoId {
        /// What it holds.
        text: String,
    },
}

impl Damage {
    /// The damage that an error tells of, however deep.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(damage) = error.downcast_ref() {
                return Some(damage);
            }
            at = error.source();
        }
        None
    }
}
