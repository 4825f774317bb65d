//! Fetching what is lacking, verifying it, then moving local names.

use std::collections::BTreeSet;
use std::path::Path;

use recant_core::{CommitId, ObjectId};
use recant_store::object::Head;
use recant_store::{History, Name, OpenError, Received, Stamp, Store, Transaction};

use crate::Progress;
use crate::bundles::Bundles;
use crate::error::RemoteError;
use crate::place::Remote;
use crate::refs::{RefKind, Refs};

/// What a pull did to one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It was new, and is there now.
    New,
    /// It moved forward from here.
    Forward(CommitId),
    /// It stands where the remote's stands, or ahead of it.
    Current,
    /// Both sides have commits of their own: the remote's stands under this name, to be merged.
    Apart(Name),
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulled {
    /// Each branch, where the remote's stands, and what happened.
    pub branches: Vec<(Name, CommitId, Update)>,
    /// Tags that came.
    pub tags: Vec<(Name, CommitId)>,
    /// What was fetched.
    pub fetched: Progress,
    /// What stands among the remote's names and is none; it was passed over.
    pub stray: Vec<String>,
}

impl Remote {
    /// Fetches branches (all of them, if none is named) and tags. Local branches only move forward; where both
    /// sides went on, the remote's is kept as `NAME@remote`.
    ///
    /// # Errors
    /// [`RemoteError`]; local names are as they were, and what was fetched is found by the next attempt.
    pub fn pull(
        &self,
        store: &Store,
        branches: &[Name],
        stamp: &Stamp,
        progress: impl FnMut(Progress),
    ) -> Result<Pulled, RemoteError> {
        let heads = self.refs(RefKind::Branch)?;
        self.pull_heads(store, branches, heads, stamp, progress)
    }

    fn pull_heads(
        &self,
        store: &Store,
        branches: &[Name],
        Refs { names: mut heads, mut stray, .. }: Refs,
        stamp: &Stamp,
        mut progress: impl FnMut(Progress),
    ) -> Result<Pulled, RemoteError> {
        if let Some(name) = branches.iter().find(|name| !heads.contains_key(name)) {
            return Err(RemoteError::NoBranch { place: "remote", name: name.clone() });
        }
        heads.retain(|name, _| branches.is_empty() || branches.contains(name));
        let Refs { names: tags, stray: among_tags, .. } = self.refs(RefKind::Tag)?;
        stray.extend(among_tags);
        let mut tx = store.begin(stamp)?;
        tx.writer.remember();
        let mut bundles = Bundles::list(self)?;
        stray.append(&mut bundles.stray);
        let mut pulled = Pulled { stray, ..Pulled::default() };
        let mut fetched = heads.values().chain(tags.values());
        let fetched = fetched.try_for_each(|there| {
            self.fetch(&mut tx, &mut bundles, there.commit.into(), &mut pulled.fetched, &mut progress)
        });
        // What came before an error is whole, and is not fetched again.
        tx.writer.flush()?;
        fetched?;
        let before = tx.view.clone();
        let mut history = History::new(store.odb());
        for (name, there) in heads {
            let theirs = there.commit;
            // A commit and nothing else may stand under a branch.
            history.commit(theirs)?;
            let update = match tx.view.branches.get(&name).copied() {
                None => {
                    tx.view.branches.insert(name.clone(), theirs);
                    if tx.view.head == Head::Unborn(name.clone()) {
                        tx.view.head = Head::Branch(name.clone());
                    }
                    Update::New
                }
                Some(ours) if history.is_ancestor(theirs, ours)? => Update::Current,
                Some(ours) if history.is_ancestor(ours, theirs)? => {
                    tx.view.branches.insert(name.clone(), theirs);
                    Update::Forward(ours)
                }
                Some(_) => {
                    let beside = Name::new(format!("{name}@remote"))
                        .map_err(|_| RemoteError::Key { key: name.to_string() })?;
                    tx.view.branches.insert(beside.clone(), theirs);
                    Update::Apart(beside)
                }
            };
            pulled.branches.push((name, theirs, update));
        }
        for (name, there) in tags {
            history.commit(there.commit)?;
            if !tx.view.tags.contains_key(&name) {
                tx.view.tags.insert(name.clone(), there.commit);
                pulled.tags.push((name, there.commit));
            }
        }
        if tx.view != before {
            tx.publish("pull")?;
        }
        Ok(pulled)
    }

    /// Makes a new store in `dir` with everything that the remote has. Its head stands on `main`, or on the
    /// first branch. A store in which nothing was done yet is taken for what a cut left.
    ///
    /// # Errors
    /// [`RemoteError`]; what was fetched before a cut stays, and the next call goes on from there.
    pub fn clone_to(
        &self,
        dir: &Path,
        stamp: &Stamp,
        progress: impl FnMut(Progress),
    ) -> Result<(Store, Pulled), RemoteError> {
        let heads = self.refs(RefKind::Branch)?;
        let names = &heads.names;
        let first = names.keys().find(|name| name.as_str() == "main").or_else(|| names.keys().next());
        let main = Name::new("main").map_err(|error| RemoteError::Key { key: error.name })?;
        let first = first.cloned().unwrap_or(main);
        let store = match Store::open(dir) {
            Ok(begun) if begun.is_untouched()? && begun.view()?.head == Head::Unborn(first.clone()) => begun,
            Ok(_) => return Err(OpenError::Occupied { dir: dir.to_owned() }.into()),
            Err(_) => Store::init(dir, first, stamp)?,
        };
        let pulled = self.pull_heads(&store, &[], heads, stamp, progress)?;
        Ok((store, pulled))
    }

    /// Fetches an object and everything that it leads to: what something needs is put in place before it, so
    /// that whatever is in place is whole.
    fn fetch(
        &self,
        tx: &mut Transaction,
        bundles: &mut Bundles,
        id: ObjectId,
        fetched: &mut Progress,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RemoteError> {
        let mut open: Vec<(ObjectId, Option<Received>)> = vec![(id, None)];
        let mut waiting = BTreeSet::new();
        while let Some((id, received)) = open.pop() {
            let mut received = match received {
                Some(received) => received,
                None if tx.writer.has(id)? => continue,
                // Something that waits for itself.
                None if waiting.contains(&id) => return Err(RemoteError::Circle { id }),
                None => match self.receive(tx, bundles, id, fetched, progress) {
                    Err(RemoteError::Missing { id, .. }) => {
                        let by = open.iter().rev().find_map(|(id, received)| received.as_ref().map(|_| *id));
                        return Err(RemoteError::Missing { id, by });
                    }
                    received => received?,
                },
            };
            let wants = tx.writer.wants(&mut received)?;
            if wants.is_empty() {
                waiting.remove(&id);
                tx.writer.accept(received)?;
            } else {
                waiting.insert(id);
                open.push((id, Some(received)));
                open.extend(wants.into_iter().map(|id| (id, None)));
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        tx: &mut Transaction,
        bundles: &mut Bundles,
        id: ObjectId,
        fetched: &mut Progress,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Received, RemoteError> {
        if let Some(file) = bundles.read(self, &mut tx.writer, id)? {
            let received = tx.writer.receive(id, file.len() as u64, &mut &file[..])?;
            fetched.add(1, file.len() as u64, progress);
            return Ok(received);
        }
        let mut arriving = match self.stream(&self.object_key(id)) {
            Ok(arriving) => arriving,
            Err(RemoteError::Place { source: object_store::Error::NotFound { .. } }) => {
                return Err(RemoteError::Missing { id, by: None });
            }
            Err(error) => return Err(error),
        };
        let received = tx.writer.receive(id, arriving.len, &mut arriving)?;
        fetched.add(1, arriving.total, progress);
        Ok(received)
    }
}
