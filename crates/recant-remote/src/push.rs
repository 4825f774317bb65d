//! Sending what the remote lacks, then moving its names.

use std::collections::BTreeSet;

use recant_core::{CommitId, ObjectId};
use recant_store::{History, Name, Store};

use crate::Progress;
use crate::error::RemoteError;
use crate::place::Remote;
use crate::refs::RefKind;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Names that moved, and where they stand now.
    pub moved: Vec<(RefKind, Name, CommitId)>,
    /// What was sent.
    pub sent: Progress,
    /// What stands among the remote's names and is none; it was passed over.
    pub stray: Vec<String>,
}

impl Remote {
    /// Sends branches (and all tags, if asked) with everything that they lead to. A branch of the remote moves
    /// forward only: what stands there must be part of the local branch.
    ///
    /// # Errors
    /// [`RemoteError`]; names that were moved before the error stay moved.
    pub fn push(
        &self,
        store: &Store,
        branches: &[Name],
        tags: bool,
        mut progress: impl FnMut(Progress),
    ) -> Result<Pushed, RemoteError> {
        self.begin()?;
        let view = store.view()?;
        let mut wanted = Vec::new();
        for name in branches {
            let commit = view.branches.get(name).copied();
            let commit =
                commit.ok_or_else(|| RemoteError::NoBranch { place: "store", name: name.clone() })?;
            wanted.push((RefKind::Branch, name.clone(), commit));
        }
        if tags {
            wanted.extend(view.tags.iter().map(|(name, &id)| (RefKind::Tag, name.clone(), id)));
        }
        let (heads, their_tags) = (self.refs(RefKind::Branch)?, self.refs(RefKind::Tag)?);
        let mut history = History::new(store.odb());
        let mut moves = Vec::new();
        for (kind, name, ours) in wanted {
            let refs = match kind {
                RefKind::Branch => &heads,
                RefKind::Tag => &their_tags,
            };
            let there = refs.names.get(&name).copied();
            if there.is_some_and(|there| there.commit == ours) {
                continue;
            }
            if let Some(there) = there {
                let known = store.odb().contains(there.commit)?;
                if kind == RefKind::Tag || !known || !history.is_ancestor(there.commit, ours)? {
                    return Err(RemoteError::NotAhead { name, theirs: there.commit, ours });
                }
            }
            let number = refs.next(&name);
            moves.push((kind, name, number, ours));
        }
        let stray = [heads.stray, their_tags.stray].concat();
        let mut pushed = Pushed { stray, ..Pushed::default() };
        let tips: Vec<ObjectId> = moves.iter().map(|(.., commit)| (*commit).into()).collect();
        self.send(store, &tips, &mut pushed.sent, &mut progress)?;
        for (kind, name, number, ours) in moves {
            self.move_ref(kind, &name, number, ours)?;
            pushed.moved.push((kind, name, ours));
        }
        Ok(pushed)
    }

    fn send(
        &self,
        store: &Store,
        tips: &[ObjectId],
        sent: &mut Progress,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RemoteError> {
        if tips.is_empty() {
            return Ok(());
        }
        let there: BTreeSet<String> =
            self.list(&self.key(&["objects"]))?.0.into_iter().map(|key| key.to_string()).collect();
        for id in store.odb().reachable(tips.iter().copied())? {
            let key = self.object_key(id);
            if there.contains(key.as_ref()) {
                continue;
            }
            let (len, mut file) = store.odb().outgoing(id)?;
            self.put(&key, len, &mut file)?;
            sent.objects += 1;
            sent.bytes += len;
            progress(*sent);
        }
        Ok(())
    }
}
