//! Models by their names on a hub: `org/name`, `org/name@revision`, `org/name/file.gguf`.
//!
//! A model that is in the cache which the hub's own tools use is found there by every build ([`Hub::find`]). With the
//! feature `download` what is not there is fetched into it: a broken connection is resumed, also by a later run, and a
//! file counts only when its digest is the one that the hub says.

mod cache;
#[cfg(feature = "download")]
mod download;
mod error;
mod name;

use std::fmt;
use std::path::PathBuf;

pub use cache::Cache;
pub use error::HubError;
pub use name::HubName;

/// Where models are looked for.
#[derive(Debug, Clone)]
pub struct Hub {
    /// What is on this machine.
    pub cache: Cache,
    /// The address of the hub; the public one where it is not said.
    pub endpoint: String,
    /// Who asks, where a model is not open to everybody.
    pub token: Option<Token>,
    /// Nothing is asked of the network.
    pub offline: bool,
}

/// A secret; never shown.
#[derive(Clone)]
#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "nobody is asked without a client"))]
pub struct Token(String);

impl Token {
    /// A secret that the hub gave.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Hub {
    /// As the environment says it, in the words of the hub's own tools: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN` (or what a login left in `$HF_HOME/token`), `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn of_environment() -> Self {
        let said = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
        let stored = || {
            std::fs::read_to_string(
                said("HF_TOKEN_PATH").map_or_else(|| cache::home().join("token"), Into::into),
            )
        };
        let token = said("HF_TOKEN").or_else(|| match said("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            Some(_) => None,
            None => stored().ok(),
        });
        let offline = said("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
        Self {
            cache: Cache::of_environment(),
            endpoint: said("HF_ENDPOINT")
                .unwrap_or_else(|| PUBLIC.to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty())
                .map(Token::new),
            offline: ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()),
        }
    }

    /// The directory or the file of a model. What the cache does not have is fetched, and of a branch the newest
    /// state, where this build can and the network may be asked.
    ///
    /// # Errors
    /// [`HubError`]. What was fetched before stays, and the next call goes on from there.
    pub fn find(&self, name: &HubName, watch: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, HubError> {
        let cached = self.cache.find(name);
        if self.offline {
            return cached.ok_or_else(|| HubError::Offline {
                name: name.clone(),
                cache: self.cache.root().to_owned(),
            });
        }
        #[cfg(feature = "download")]
        {
            // What a commit's own name says never changes.
            if let Some(path) = cached.as_ref().filter(|_| name.is_pinned()) {
                return Ok(path.clone());
            }
            match (download::fetch(self, name, watch), cached) {
                (Err(error @ HubError::Unreachable { .. }), Some(path)) => {
                    watch(Step::Unreachable(&error));
                    Ok(path)
                }
                (outcome, _) => outcome,
            }
        }
        #[cfg(not(feature = "download"))]
        {
            let _ = watch;
            cached.ok_or_else(|| HubError::Absent { name: name.clone(), cache: self.cache.root().to_owned() })
        }
    }
}

const PUBLIC: &str = "https://huggingface.co";

/// How far a download has come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// What is to be fetched is known.
    Begin {
        /// Files that are not there.
        missing: usize,
        /// Bytes of them.
        bytes: u64,
    },
    /// A file is being fetched.
    File(&'a str),
    /// So many bytes of them are there.
    Bytes(u64),
    /// The connection broke; the file is gone on with.
    Again {
        /// The file.
        file: &'a str,
        /// What broke.
        reason: &'a str,
    },
    /// The hub cannot be reached, and what the cache has is used.
    Unreachable(&'a HubError),
}
