//! Names of parameters inside a checkpoint.

use std::fmt;
use std::str::FromStr;

/// The name of one parameter as the checkpoint spells it, such as `transformer.h.0.mlp.c_proj.weight`.
///
/// Names come from untrusted files and end up in file names and messages, so only printable ASCII
/// without separators of any file system is accepted, at most [`ParamPath::MAX_LEN`] bytes of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamPath(Box<str>);

/// A string cannot be a parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamPathError {
    /// The name is empty.
    #[error("a parameter name is empty")]
    Empty,
    /// The name is longer than [`ParamPath::MAX_LEN`].
    #[error("a parameter name of {len} bytes is longer than {max}", max = ParamPath::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name holds a character that is refused.
    #[error(
        "parameter name {name:?} holds {character:?}: only printable ASCII without space, slash, backslash or colon is allowed"
    )]
    Character {
        /// The name.
        name: String,
        /// The first refused character.
        character: char,
    },
    /// The name could walk out of a folder.
    #[error("parameter name {name:?} holds `..`")]
    Traversal {
        /// The name.
        name: String,
    },
}

impl ParamPath {
    /// Longest accepted name in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks a name and takes it.
    ///
    /// # Errors
    /// [`ParamPathError`] says which rule the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, ParamPathError> {
        let name = name.into();
        if name.is_empty() {
            return Err(ParamPathError::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(ParamPathError::TooLong { len: name.len() });
        }
        let refused = |c: &char| !c.is_ascii_graphic() || matches!(c, '/' | '\\' | ':');
        if let Some(character) = name.chars().find(refused) {
            return Err(ParamPathError::Character { name, character });
        }
        if name.contains("..") {
            return Err(ParamPathError::Traversal { name });
        }
        Ok(Self(name.into_boxed_str()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParamPath({})", self.0)
    }
}

impl FromStr for ParamPath {
    type Err = ParamPathError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_names_pass_and_hostile_ones_do_not() {
        assert!(ParamPath::new("transformer.h.0.mlp.c_proj.weight").is_ok());
        for name in ["", "a/b", "a\\b", "..", "a..b", "C:x", "a b", "a\nb", "ü", &"x".repeat(256)] {
            assert!(ParamPath::new(name).is_err(), "{name:?}");
        }
    }
}
