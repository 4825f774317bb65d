//! Sending what the remote lacks, then moving its names.

use std::collections::BTreeSet;
use std::io::{self, Read};

use recant_core::{CommitId, ObjectId};
use recant_store::bundle::{BUNDLE_BYTES, BUNDLE_FROM, BundleWriter, MAX_FILE};
use recant_store::{History, Name, Store, WriteError};

use crate::Progress;
use crate::bundles::{BUNDLES, Bundles};
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
        self.send(store, &tips, &mut pushed, &mut progress)?;
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
        Pushed { sent, stray, .. }: &mut Pushed,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RemoteError> {
        if tips.is_empty() {
            return Ok(());
        }
        let there: BTreeSet<String> =
            self.list(&self.key(&["objects"]))?.0.into_iter().map(|meta| meta.location.to_string()).collect();
        let bundles = Bundles::list(self)?;
        stray.extend_from_slice(&bundles.stray);
        // What follows from others is made to be verified, one from the other.
        let odb = store.odb().remembering();
        let mut lacking = odb.reachable(tips.iter().copied())?;
        lacking.retain(|&id| !there.contains(self.object_key(id).as_ref()) && !bundles.have(id));
        let mut small = Small::default();
        for id in odb.by_steps(lacking)? {
            let (len, mut file) = odb.outgoing(id)?;
            if len <= MAX_FILE {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(|source| WriteError::Input { source })?;
                small.add(id, bytes);
                if small.bytes >= BUNDLE_BYTES {
                    self.put_small(&mut small, sent, progress)?;
                }
            } else {
                self.put(&self.object_key(id), len, &mut file)?;
                sent.add(1, len, progress);
            }
        }
        self.put_small(&mut small, sent, progress)
    }

    /// Sends small files: as a bundle, if there are enough of them.
    fn put_small(
        &self,
        small: &mut Small,
        sent: &mut Progress,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RemoteError> {
        let Small { files, bytes } = std::mem::take(small);
        if files.len() < BUNDLE_FROM {
            for (id, file) in files {
                self.put(&self.object_key(id), file.len() as u64, &mut &file[..])?;
                sent.add(1, file.len() as u64, progress);
            }
            return Ok(());
        }
        self.allow_bundles()?;
        let n_files = files.len() as u64;
        let (name, bundle) = bundle_of(files).map_err(|source| WriteError::Input { source })?;
        self.put(&self.key(&[BUNDLES, &name]), bundle.len() as u64, &mut &bundle[..])?;
        sent.add(n_files, bytes, progress);
        Ok(())
    }
}

/// Small files that are on their way.
#[derive(Default)]
struct Small {
    files: Vec<(ObjectId, Vec<u8>)>,
    bytes: u64,
}

impl Small {
    fn add(&mut self, id: ObjectId, file: Vec<u8>) {
        self.bytes += file.len() as u64;
        self.files.push((id, file));
    }
}

/// A bundle's name and its bytes.
fn bundle_of(files: Vec<(ObjectId, Vec<u8>)>) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut writer = BundleWriter::begin(&mut bytes)?;
    for (id, file) in files {
        writer.add(id, &file)?;
    }
    let name = writer.finish()?;
    Ok((name, bytes))
}
