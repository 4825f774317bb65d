//! Files that are not what their name says: what a download left in place of the real one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in a file in place of what was expected, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// The pointer that Git LFS keeps in a repository until the file itself is fetched.
    LfsPointer,
    /// A web page: the address of a page was downloaded, or a server asked for a login.
    WebPage,
    /// What a server answered instead of the file, such as `Entry not found`.
    ServerAnswer,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfsPointer => "it is a Git LFS pointer, not the file itself",
            Self::WebPage => "it is an HTML page, not the file itself",
            Self::ServerAnswer => "it is the answer of a server that did not give the file",
        })
    }
}

/// A file holds something else than what its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be used: {kind}")]
pub struct ForeignFile {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    #[source]
    pub kind: Foreign,
}

impl std::error::Error for Foreign {}

impl From<Foreign> for io::Error {
    fn from(kind: Foreign) -> Self {
        Self::new(io::ErrorKind::InvalidData, kind)
    }
}

/// Reads a file whole that somebody else made.
///
/// # Errors
/// What the system says, and a [`Foreign`] for a file that is something else than its name says.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    match Foreign::of(&bytes) {
        Some(kind) => Err(kind.into()),
        None => Ok(bytes),
    }
}

/// What servers of model files answer in place of a file, as whole texts in lower case.
const ANSWERS: [&str; 6] = [
    "entry not found",
    "repository not found",
    "not found",
    "404: not found",
    "invalid username or password",
    "invalid credentials in authorization header",
];

/// How such answers of one line begin that say more.
const ANSWERS_BEGIN: [&str; 2] = ["access to model ", "{\"error\":"];

impl Foreign {
    /// How many bytes of a file are looked at.
    pub const LOOK: u64 = 256;

    /// What a file is, by its beginning; `None` when it is none of these. All of them are texts, so nothing is said
    /// about a file that begins with bytes that are no text.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let start = &bytes[..bytes.len().min(Self::LOOK as usize)];
        // A text may be cut in the middle of a character.
        let text = match std::str::from_utf8(start) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
            }
            Err(_) => return None,
        };
        let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
        let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
        if begins(&["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"]) {
            return Some(Self::LfsPointer);
        }
        if begins(&["<!doctype html", "<html"]) {
            return Some(Self::WebPage);
        }
        let whole = text.trim_end().trim_end_matches('.');
        let short = bytes.len() < Self::LOOK as usize && !whole.contains('\n');
        let answer = short && (ANSWERS.contains(&whole) || begins(&ANSWERS_BEGIN))
            || begins(&["<?xml"]) && text.contains("<error>");
        answer.then_some(Self::ServerAnswer)
    }

    /// The kind that an error is about, however deep it is: at the end of its chain of sources, or in what the system
    /// is said to have answered.
    #[must_use]
    pub fn behind(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            let told = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let told = told.and_then(|inner| inner.downcast_ref::<Self>());
            if let Some(kind) = error.downcast_ref::<Self>().or(told) {
                return Some(*kind);
            }
            at = error.source();
        }
        None
    }

    /// Refuses a file that begins like one of these.
    ///
    /// # Errors
    /// [`ForeignFile`] with the path.
    pub fn refuse(path: &Path, bytes: &[u8]) -> Result<(), ForeignFile> {
        match Self::of(bytes) {
            Some(kind) => Err(ForeignFile { path: path.to_owned(), kind }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn what_a_download_left_is_named() {
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 548105171\n";
        let cases: [(&[u8], Option<Foreign>); 14] = [
            (lfs.as_bytes(), Some(Foreign::LfsPointer)),
            (b"<!DOCTYPE html>\n<html lang=\"en\">", Some(Foreign::WebPage)),
            (b"\n  <HTML><head>", Some(Foreign::WebPage)),
            (b"Entry not found", Some(Foreign::ServerAnswer)),
            (b"Repository not found\n", Some(Foreign::ServerAnswer)),
            (b"{\"error\":\"Invalid credentials in Authorization header\"}", Some(Foreign::ServerAnswer)),
            (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>", Some(Foreign::ServerAnswer)),
            (b"", None),
            (b"{\"model_type\":\"gpt2\"}", None),
            (b"PK\x03\x04", None),
            (b"\x10\0\0\0\0\0\0\0{}", None),
            (b"version 2 of a text", None),
            (b"\xff\xfeversion https://git-lfs", None),
            (b"Not founders but settlers built it", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Foreign::of(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_error_says_what_it_is_about() {
        let path = Path::new("model.safetensors");
        let refused = Foreign::refuse(path, b"Entry not found").unwrap_err();
        assert_eq!(Foreign::behind(&refused), Some(Foreign::ServerAnswer));
        assert!(refused.to_string().starts_with("model.safetensors"));
        assert_eq!(Foreign::behind(&io::Error::from(Foreign::LfsPointer)), Some(Foreign::LfsPointer));
        assert_eq!(Foreign::behind(&io::Error::other("a full disk")), None);
    }
}
