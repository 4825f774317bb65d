//! Names of commits as people write them.

use std::collections::BTreeMap;

use recant_core::{CommitId, ObjectId};

use crate::history::{History, HistoryError};
use crate::name::Name;
use crate::object::Kind;
use crate::odb::ReadError;
use crate::store::{HeadError, Store};

/// A text names no commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevError {
    /// There is no such thing.
    #[error("{text:?} is no branch, tag or commit")]
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
    /// A branch or a tag has a name that reads as something else.
    #[error(
        "{text:?} could be {kind} {text} or an id: {kind}/{text} is the {kind}, 64 digits are a commit; give the {kind} another name"
    )]
    Unfit {
        /// The text.
        text: String,
        /// Branch or tag.
        kind: &'static str,
    },
    /// The head has no commit.
    #[error("the store holds no model yet")]
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

impl Store {
    /// The commit that a text names: `HEAD` or `@`, an id, a branch, a tag, the first four or more digits of an
    /// id, or `branch/NAME` and `tag/NAME`; each of them with `~N` for the N-th first parent. 64 digits are
    /// always an id, whatever names the store has.
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
        let id = self.resolve_name(name)?.ok_or_else(unknown)?;
        let mut at = id;
        let mut history = History::new(self.odb());
        for _ in 0..steps {
            let parent = history.commit(at)?.parents.first().copied();
            at = parent.ok_or_else(|| RevError::Beginning { text: text.to_owned(), steps })?;
        }
        Ok(at)
    }

    fn resolve_name(&self, text: &str) -> Result<Option<CommitId>, RevError> {
        let view = self.view()?;
        if text == "HEAD" || text == "@" {
            return view.head_commit().map(Some).ok_or(RevError::Empty);
        }
        if text.parse::<ObjectId>().is_ok() {
            return self.by_prefix(text);
        }
        let find = |names: &BTreeMap<Name, CommitId>, name: &str| {
            names.iter().find(|(known, _)| known.as_str() == name).map(|(name, &id)| (name.clone(), id))
        };
        for (kind, names) in [("branch", &view.branches), ("tag", &view.tags)] {
            let spelled = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
            if let Some((_, id)) = spelled.and_then(|name| find(names, name)) {
                return Ok(Some(id));
            }
            if let Some((name, id)) = find(names, text) {
                return match name.check_ref() {
                    Ok(()) => Ok(Some(id)),
                    Err(_) => Err(RevError::Unfit { text: text.to_owned(), kind }),
                };
            }
        }
        self.by_prefix(text)
    }

    fn by_prefix(&self, text: &str) -> Result<Option<CommitId>, RevError> {
        let digits = text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !(Name::MIN_DIGITS..=64).contains(&text.len()) {
            return Ok(None);
        }
        let mut found = Vec::new();
        for id in self.odb().ids_from(text)? {
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
