//! Names that people choose: branches and tags, and files that a model carries along.

use std::fmt;

/// A name of a branch, a tag, a state or a carried file.
///
/// Names come from untrusted stores and end up in file names, keys of an object store and messages, so only
/// ASCII letters, digits and `-`, `_`, `.`, `+`, `@` are accepted, at most [`Name::MAX_LEN`] of them, not
/// beginning with `.` or `-` and without `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A string cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be a name: {reason}")]
pub struct NameError {
    /// The string.
    pub name: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

impl Name {
    /// Longest accepted name in bytes.
    pub const MAX_LEN: usize = 120;

    /// Checks a name and takes it.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@');
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > Self::MAX_LEN {
            "it is longer than 120 bytes"
        } else if !name.chars().all(known) {
            "only ASCII letters, digits and - _ . + @ are allowed"
        } else if name.starts_with(['.', '-']) {
            "it begins with a dot or a dash"
        } else if name.contains("..") {
            "it holds two dots in a row"
        } else {
            return Ok(Self(name.into_boxed_str()));
        };
        Err(NameError { name, reason })
    }

    /// Fewest digits of an abbreviated id.
    pub(crate) const MIN_DIGITS: usize = 4;

    /// Whether a branch or a tag may have this name: one that reads as the head or as an id, whole or its
    /// beginning, could hide the commit of that id. Names of files and states are free.
    ///
    /// # Errors
    /// [`NameError`] says what the name could be taken for.
    pub fn check_ref(&self) -> Result<(), NameError> {
        let digits = self.0.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let reason = if self.0.eq_ignore_ascii_case("HEAD") || &*self.0 == "@" {
            "as a branch or tag it would be taken for the head"
        } else if digits && self.0.len() >= Self::MIN_DIGITS {
            "as a branch or tag it would be taken for the id of a commit"
        } else {
            return Ok(());
        };
        Err(NameError { name: self.0.to_string(), reason })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

/// The path of a file inside a model directory: a [`Name`], or a folder's and a file's with `/` between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<str>);

impl FileName {
    /// Checks a path and takes it.
    ///
    /// # Errors
    /// [`NameError`] says which rule a part of it breaks.
    pub fn new(path: impl Into<String>) -> Result<Self, NameError> {
        let path = path.into();
        let (folder, file) =
            path.split_once('/').map_or((None, path.as_str()), |(folder, file)| (Some(folder), file));
        folder.map(Name::new).transpose()?;
        Name::new(file)?;
        Ok(Self(path.into_boxed_str()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_at_most_one_folder_deep() {
        for path in ["config.json", "additional_chat_templates/rag.jinja"] {
            assert_eq!(FileName::new(path).unwrap().as_str(), path);
        }
        for path in ["", "/", "/a", "a/", "a/b/c", "../a", "a/..", "./a", "a//b", "a\\b"] {
            assert!(FileName::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn plain_names_pass_and_hostile_ones_do_not() {
        for name in ["main", "v1.0", "tokenizer.json", "a-b_c+d@e"] {
            assert!(Name::new(name).is_ok(), "{name}");
        }
        let long = "x".repeat(121);
        for name in ["", "..", "a..b", ".git", "-f", "a/b", "a\\b", "C:x", "a b", "a\nb", "ü", "~", &long] {
            assert!(Name::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_branch_is_not_named_like_a_revision() {
        let refuse = |name: &str| Name::new(name).unwrap().check_ref().unwrap_err().to_string();
        let id = "0123456789abcdef".repeat(4);
        for name in ["dead", "2024", "deadbeef", &id, &id[..63]] {
            assert!(refuse(name).contains("the id of a commit"), "{name}");
        }
        for name in ["HEAD", "head", "@"] {
            assert!(refuse(name).contains("the head"), "{name}");
        }
        for name in ["bad", "v1", "HEAD-2", "main@remote", "Dead", "deadline", "config.json"] {
            Name::new(name).unwrap().check_ref().unwrap();
        }
        for name in ["HEAD~1", "a^", "@{1}", "tag/v1"] {
            assert!(Name::new(name).is_err(), "{name}");
        }
    }
}
