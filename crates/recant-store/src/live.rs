//! How much is live at a commit, without walking the whole history.
//!
//! ```text
//! magic    8   "RCNTLIV1"
//! commit   32
//! count    u32 edits that are live there, ids strictly ascending: commit id 32, u32 facts
//! digest   32  BLAKE3 of everything before
//! ```
//!
//! The file `live` says it for one commit, from which the walk goes on. It is written again whenever objects are
//! gathered, it may be missing, and no weights come from it: only `status` counts with it. fsck counts again.

use std::collections::BTreeMap;
use std::path::Path;

use recant_core::CommitId;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::disk::read_small;
use crate::history::{History, HistoryError};
use crate::object::FactRecord;
use crate::odb::WriteError;
use crate::store::Store;

const MAGIC: &[u8] = b"RCNTLIV1";
pub(crate) const FILE: &str = "live";
/// A file for a million edits is smaller.
const MAX: u64 = 64 << 20;

/// How much is live at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Edits.
    pub edits: usize,
    /// Facts that they wrote.
    pub facts: usize,
}

/// The live edits at a commit, each with the number of its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) commit: CommitId,
    edits: BTreeMap<CommitId, u32>,
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.id(self.commit);
        out.count(self.edits.len());
        for (&id, &facts) in &self.edits {
            out.id(id);
            out.count(facts as usize);
        }
        out.sealed()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::sealed("live file", MAGIC, bytes)?;
        let commit = CommitId::from_bytes(input.digest()?);
        let mut edits = BTreeMap::new();
        for _ in 0..input.count()? {
            let id = CommitId::from_bytes(input.digest()?);
            input.ascends(edits.last_key_value().map(|(last, _)| last), &id, id.short())?;
            edits.insert(id, u32::try_from(input.count()?).unwrap_or(u32::MAX));
        }
        input.finish()?;
        Ok(Self { commit, edits })
    }

    fn counts(&self) -> Counts {
        Counts { edits: self.edits.len(), facts: self.edits.values().map(|&facts| facts as usize).sum() }
    }
}

impl Store {
    /// How many edits and facts are live at a commit.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn counts(&self, id: CommitId) -> Result<Counts, HistoryError> {
        Ok(self.snapshot(id, self.stored_snapshot().ok().flatten())?.counts())
    }

    /// The snapshot of a commit, from a known one if that is met on the way back.
    fn snapshot(&self, id: CommitId, known: Option<Snapshot>) -> Result<Snapshot, HistoryError> {
        let mut history = History::new(self.odb());
        let mut line = Vec::new();
        let mut at = Some(id);
        let mut edits = BTreeMap::new();
        while let Some(id) = at {
            if let Some(known) = known.as_ref().filter(|known| known.commit == id) {
                edits.clone_from(&known.edits);
                break;
            }
            line.push(id);
            at = history.commit(id)?.parents.first().copied();
        }
        for &id in line.iter().rev() {
            let commit = history.commit(id)?;
            edits.retain(|edit, _| !commit.drops.contains(edit));
            for edit in commit.takes.iter().copied().chain(commit.patch.map(|_| id)) {
                edits.insert(edit, n_facts(&mut history, edit)?);
            }
        }
        Ok(Snapshot { commit: id, edits })
    }

    /// What the file says; `None` when there is none.
    fn stored_snapshot(&self) -> Result<Option<Snapshot>, DecodeError> {
        match read_small(&*self.odb().disk, Path::new(FILE), MAX) {
            Ok(bytes) => Snapshot::decode(&bytes).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Writes the file for the head, under the lock.
    pub(crate) fn store_snapshot(&self) -> Result<(), WriteError> {
        let Ok(Some(head)) = self.view().map(|view| view.head_commit()) else { return Ok(()) };
        let known = self.stored_snapshot().ok().flatten();
        if known.as_ref().is_some_and(|known| known.commit == head) {
            return Ok(());
        }
        // A history that cannot be walked is told by those who need it.
        let Ok(snapshot) = self.snapshot(head, known) else { return Ok(()) };
        self.odb().replace(FILE, &snapshot.encode())
    }

    /// Why the file does not say what is; `None` when it does or is not there.
    pub(crate) fn wrong_snapshot(&self) -> Option<String> {
        let stored = match self.stored_snapshot() {
            Ok(stored) => stored?,
            Err(error) => return Some(error.to_string()),
        };
        match self.snapshot(stored.commit, None) {
            Ok(counted) if counted == stored => None,
            Ok(_) => Some(format!("it does not say what is live at commit {}", stored.commit.short())),
            // A history that cannot be read is told where it is; a commit that is gone is not asked for again.
            Err(_) => None,
        }
    }
}

fn n_facts(history: &mut History<'_>, id: CommitId) -> Result<u32, HistoryError> {
    let commit = history.commit(id)?;
    let count = match commit.ledger {
        Some(ledger) => {
            let set = history.odb().facts(ledger.set)?;
            set.entries.keys().filter(|key| FactRecord::from_key(key).is_some()).count()
        }
        None => commit.record.facts.len(),
    };
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
