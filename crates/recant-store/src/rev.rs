//! Names of commits as people write them.

use std::path::Path;

use recant_core::{CommitId, ObjectId};

use crate::history::{History, HistoryError};
use crate::object::Kind;
use crate::odb::{OBJECTS, ReadError};
use crate::store::{HeadError, Store};

/// A text names no commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevError {
    /// There is no such thing.
    #[error("{text:?} is no branch, tag or commit; `recant log` lists commits, `recant branch` branches")]
    Unknown {
        /// The text.
        text: String,
    },
    /// Several commits begin so.
    #[error("{text:?} is the beginning of {count} commits, {first} and {second} among them; write more digits", first = first.short(), second = second.short())]
    Ambiguous {
        /// The text.
        text: String,
        /// How many.
        count: usize,
        /// One.
        first: CommitId,
        /// Another.
        second: CommitId,
    },
    /// The head has no commit.
    #[error("the store holds no model yet; `recant import` brings one in")]
    Empty,
    /// History does not go back so far.
    #[error("{text:?} goes back {steps} commits, behind the import")]
    Beginning {
        /// The text.
        text: String,
        /// How far.
        steps: usize,
    },
    /// The newest operation cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// History cannot be walked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Fewest digits of an abbreviated id.
const MIN_DIGITS: usize = 4;

impl Store {
    /// The commit that a text names: `HEAD` or `@`, a branch, a tag, an id or its first four or more digits;
    /// each of them with `~N` for the N-th first parent.
    ///
    /// # Errors
    /// [`RevError`].
    pub fn resolve(&self, text: &str) -> Result<CommitId, RevError> {
        let unknown = || RevError::Unknown { text: text.to_owned() };
        let (name, steps) = match text.split_once('~') {
            None => (text, 0),
            Some((name, "")) => (name, 1),
            Some((name, steps)) => (name, steps.parse::<usize>().map_err(|_| unknown())?),
        };
        let view = self.view()?;
        let named = |names: &std::collections::BTreeMap<crate::Name, CommitId>| {
            names.iter().find(|(known, _)| known.as_str() == name).map(|(_, &id)| id)
        };
        let id = if name == "HEAD" || name == "@" {
            view.head_commit().ok_or(RevError::Empty)?
        } else if let Some(id) = named(&view.branches).or_else(|| named(&view.tags)) {
            id
        } else {
            self.by_prefix(name)?.ok_or_else(unknown)?
        };
        let mut at = id;
        let mut history = History::new(self.odb());
        for _ in 0..steps {
            let parent = history.commit(at)?.parents.first().copied();
            at = parent.ok_or_else(|| RevError::Beginning { text: text.to_owned(), steps })?;
        }
        Ok(at)
    }

    fn by_prefix(&self, text: &str) -> Result<Option<CommitId>, RevError> {
        let digits = text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !(MIN_DIGITS..=64).contains(&text.len()) {
            return Ok(None);
        }
        let dir = Path::new(OBJECTS).join(&text[..2]);
        let names =
            self.odb().disk.list(&dir).map_err(|source| ReadError::Io { path: dir.clone(), source })?;
        let mut found = Vec::new();
        for name in names.iter().filter(|name| name.starts_with(&text[2..])) {
            let Ok(id) = format!("{}{name}", &text[..2]).parse::<ObjectId>() else { continue };
            if self.odb().kind(id)? == Some(Kind::Commit) {
                found.push(CommitId::from_bytes(*id.as_bytes()));
            }
        }
        match found[..] {
            [] => Ok(None),
            [id] => Ok(Some(id)),
            [first, second, ..] => {
                Err(RevError::Ambiguous { text: text.to_owned(), count: found.len(), first, second })
            }
        }
    }
}
