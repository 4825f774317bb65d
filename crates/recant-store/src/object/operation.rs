//! One line of the store's own history: every change of a branch, a tag or the head.
//!
//! ```text
//! magic    8   "RCNTOPR1"
//! parent   u8 0, or 1 and 32: the operation before
//! time     i64 seconds since 1970-01-01 UTC
//! author   u32 length, bytes
//! what     u32 length, bytes: one line for a person
//! step     u8  0 forward; 1 undo, 2 redo, each then 32: the operation whose view this one restores
//! head     u8  0 a branch, then its name (u32 length, bytes); 1 a commit, then 32; 2 a branch without commits
//! count    u32 branches, names strictly ascending: name (u32 length, bytes), commit id 32
//! count    u32 tags, the same
//! ```

use std::collections::BTreeMap;

use recant_core::{CommitId, OperationId};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::Name;
use crate::object::{Kind, Reference};

pub(super) const MAGIC: &[u8] = b"RCNTOPR1";

/// Where the next commit goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// Onto this branch.
    Branch(Name),
    /// Behind this commit, on no branch.
    Detached(CommitId),
    /// Onto this branch, which has no commit yet.
    Unborn(Name),
}

/// Every name of the store at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Where the next commit goes.
    pub head: Head,
    /// Branches: they move with commits.
    pub branches: BTreeMap<Name, CommitId>,
    /// Tags: they stay.
    pub tags: BTreeMap<Name, CommitId>,
}

/// Which way an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It did something new.
    Forward,
    /// It took something back: its view is that of this earlier operation.
    Undo(OperationId),
    /// It did something again: its view is that of this earlier operation.
    Redo(OperationId),
}

/// One change of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The operation before; `None` for the first.
    pub parent: Option<OperationId>,
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who did it.
    pub author: String,
    /// One line for a person.
    pub what: String,
    /// Which way it went.
    pub step: Step,
    /// The names after it.
    pub view: View,
}

impl View {
    /// A view without commits, its head on `branch`.
    #[must_use]
    pub fn unborn(branch: Name) -> Self {
        Self { head: Head::Unborn(branch), branches: BTreeMap::new(), tags: BTreeMap::new() }
    }

    /// The commit that the head stands on; `None` before the first.
    #[must_use]
    pub fn head_commit(&self) -> Option<CommitId> {
        match &self.head {
            Head::Branch(name) => self.branches.get(name).copied(),
            Head::Detached(id) => Some(*id),
            Head::Unborn(_) => None,
        }
    }

    /// The branch that the head stands on.
    #[must_use]
    pub fn head_branch(&self) -> Option<&Name> {
        match &self.head {
            Head::Branch(name) | Head::Unborn(name) => Some(name),
            Head::Detached(_) => None,
        }
    }

    /// Every commit that a name stands on.
    pub fn commits(&self) -> impl Iterator<Item = CommitId> {
        self.branches.values().chain(self.tags.values()).copied().chain(self.head_commit())
    }
}

impl Operation {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.maybe_id(self.parent);
        out.i64(self.time);
        out.text(&self.author);
        out.text(&self.what);
        match self.step {
            Step::Forward => out.u8(0),
            Step::Undo(id) => {
                out.u8(1);
                out.id(id);
            }
            Step::Redo(id) => {
                out.u8(2);
                out.id(id);
            }
        }
        match &self.view.head {
            Head::Branch(name) => {
                out.u8(0);
                out.text(name.as_str());
            }
            Head::Detached(id) => {
                out.u8(1);
                out.id(*id);
            }
            Head::Unborn(name) => {
                out.u8(2);
                out.text(name.as_str());
            }
        }
        for names in [&self.view.branches, &self.view.tags] {
            out.count(names.len());
            for (name, &id) in names {
                out.text(name.as_str());
                out.id(id);
            }
        }
        out.finish()
    }

    /// Content id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        OperationId::from_bytes(*super::object_id(&self.encode()).as_bytes())
    }

    /// Reads an operation back.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`Operation::encode`] would not have written, and on a head on a
    /// branch that does not exist.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new("operation", MAGIC, payload)?;
        let parent = input.maybe_digest("the parent")?.map(OperationId::from_bytes);
        let time = input.i64()?;
        let author = input.text()?.to_owned();
        let what = input.text()?.to_owned();
        let step = match input.u8()? {
            0 => Step::Forward,
            1 => Step::Undo(OperationId::from_bytes(input.digest()?)),
            2 => Step::Redo(OperationId::from_bytes(input.digest()?)),
            tag => return Err(input.tag("the step", tag)),
        };
        let head = match input.u8()? {
            0 => Head::Branch(Name::new(input.text()?)?),
            1 => Head::Detached(CommitId::from_bytes(input.digest()?)),
            2 => Head::Unborn(Name::new(input.text()?)?),
            tag => return Err(input.tag("the head", tag)),
        };
        let branches = names(&mut input)?;
        let tags = names(&mut input)?;
        let fits = match &head {
            Head::Branch(name) => branches.contains_key(name),
            Head::Unborn(name) => !branches.contains_key(name),
            Head::Detached(_) => true,
        };
        if !fits {
            return Err(input.inconsistent("its head and its branches do not fit"));
        }
        input.finish()?;
        Ok(Self { parent, time, author, what, step, view: View { head, branches, tags } })
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        // What an undo restores is an ancestor, so the parent keeps it.
        let commits = self.view.commits().map(|id| Kind::Commit.at(id));
        commits.chain(self.parent.map(|id| Kind::Operation.at(id))).collect()
    }
}

fn names(input: &mut Decoder<'_>) -> Result<BTreeMap<Name, CommitId>, DecodeError> {
    let mut names = BTreeMap::new();
    for _ in 0..input.count()? {
        let name = Name::new(input.text()?)?;
        input.ascends(names.last_key_value().map(|(last, _)| last), &name, &name)?;
        names.insert(name, CommitId::from_bytes(input.digest()?));
    }
    Ok(names)
}
