//! What goes wrong between a name and a model.

use std::path::PathBuf;

use crate::HubName;

/// A model of the hub that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The cache does not have it, and this build has no client.
    #[error("{name} is no file or directory here, and not (whole) in the hub's cache at {cache}", cache = cache.display())]
    Absent {
        /// The model.
        name: HubName,
        /// The cache.
        cache: PathBuf,
    },
    /// The cache does not have it, and the network is not to be asked.
    #[error("{name} is not (whole) in the hub's cache at {cache}, and the hub is not asked: HF_HUB_OFFLINE is set", cache = cache.display())]
    Offline {
        /// The model.
        name: HubName,
        /// The cache.
        cache: PathBuf,
    },
    /// No answer.
    #[error("{endpoint} cannot be reached for {name}: {reason}")]
    Unreachable {
        /// The model.
        name: HubName,
        /// The hub.
        endpoint: String,
        /// What the network says.
        reason: String,
    },
    /// There is no such model, or no such revision of it.
    #[error("{name}: {endpoint} has no such model, or no revision `{}` of it (404); nor is there a file or directory of that name here", name.revision())]
    Unknown {
        /// The model.
        name: HubName,
        /// The hub.
        endpoint: String,
    },
    /// The model has no such file.
    #[error("{name} has no file {file} (404)")]
    NoFile {
        /// The model.
        name: HubName,
        /// The file.
        file: String,
    },
    /// A login is asked for, or the one that is given does not suffice.
    #[error(
        "{name}: {endpoint} refuses ({status}): the model is private or gated, or there is none of that name{message}"
    )]
    Refused {
        /// The model.
        name: HubName,
        /// The hub.
        endpoint: String,
        /// 401 or 403.
        status: u16,
        /// What the hub says, behind a colon.
        message: String,
    },
    /// An answer that is none.
    #[error("{name}: {endpoint} answers what cannot be used: {reason}")]
    Answer {
        /// The model.
        name: HubName,
        /// The hub.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// What came is not what the hub says it is.
    #[error("{name}: {file} has the digest {found}, where the hub says {expected}; it was thrown away")]
    Digest {
        /// The model.
        name: HubName,
        /// The file.
        file: String,
        /// What the hub says.
        expected: String,
        /// What came.
        found: String,
    },
    /// There are no weights that recant reads.
    #[error("{name} has no {weights}{found}", weights = recant_checkpoint::WEIGHTS)]
    Form {
        /// The model.
        name: HubName,
        /// What it has, in words, behind a colon.
        found: String,
    },
    /// The cache cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
