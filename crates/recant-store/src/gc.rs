//! Removing what nothing leads to.
//!
//! Roots are all operations from the newest back: whatever an undo could bring back stays. gc holds the
//! writer's lock, so nothing is being written meanwhile, and readers are not stopped: what they can reach
//! from the head is what stays. A reader that began before operations were forgotten may find an object
//! gone and is told so.

use std::collections::BTreeSet;
use std::path::Path;

use recant_core::ObjectId;

use crate::object::Step;
use crate::odb::{Odb, ReadError, WriteError, sync_all};
use crate::store::{HeadError, Stamp, Store, TransactionError};

/// How to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcOptions {
    /// Forget the operation log first: nothing before now can be undone afterwards.
    pub forget: bool,
    /// Say what would go, and remove nothing.
    pub dry_run: bool,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gc {
    /// Objects that stay.
    pub kept: usize,
    /// Objects that went.
    pub removed: Vec<ObjectId>,
    /// Bytes of their files.
    pub bytes: u64,
}

/// Garbage cannot be collected. What could be reached is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// Something that must stay cannot be read, so what it leads to is not known.
    #[error("nothing was removed, because the store is damaged: {source}")]
    Damaged {
        /// What is wrong.
        source: ReadError,
    },
    /// A file cannot be removed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<ReadError> for GcError {
    fn from(source: ReadError) -> Self {
        Self::Damaged { source }
    }
}

impl From<HeadError> for GcError {
    fn from(error: HeadError) -> Self {
        Self::Transaction(error.into())
    }
}

impl Odb {
    /// Everything that some objects lead to, themselves included.
    ///
    /// # Errors
    /// [`ReadError`] when one of them cannot be read.
    pub fn reachable(
        &self,
        roots: impl IntoIterator<Item = ObjectId>,
    ) -> Result<BTreeSet<ObjectId>, ReadError> {
        let mut open: Vec<ObjectId> = roots.into_iter().collect();
        let mut seen: BTreeSet<ObjectId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for next in self.needs(id)? {
                if seen.insert(next.id) {
                    open.push(next.id);
                }
            }
        }
        Ok(seen)
    }
}

impl Store {
    /// Removes objects that no operation leads to, and what interrupted writers left.
    ///
    /// # Errors
    /// [`GcError`].
    pub fn gc(&self, options: GcOptions, stamp: &Stamp) -> Result<Gc, GcError> {
        if options.forget && !options.dry_run {
            let tx = self.begin(stamp)?;
            tx.publish_behind(None, "forget earlier operations", Step::Forward)?;
        }
        let _lock = self.lock()?;
        let odb = self.odb();
        let head = self.head_operation()?;
        let root: ObjectId = match options.forget {
            // As if it had been forgotten: everything but the log.
            true => {
                let view = odb.operation(head)?.view;
                let mut kept = odb.reachable(view.commits().map(ObjectId::from))?;
                kept.insert(head.into());
                return self.remove(&kept, options);
            }
            false => head.into(),
        };
        let kept = odb.reachable([root])?;
        self.remove(&kept, options)
    }

    fn remove(&self, kept: &BTreeSet<ObjectId>, options: GcOptions) -> Result<Gc, GcError> {
        let odb = self.odb();
        let mut gc = Gc { kept: kept.len(), ..Gc::default() };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| GcError::Write(WriteError::Io { path, source })
        };
        for id in odb.ids()?.into_iter().filter(|id| !kept.contains(id)) {
            gc.bytes += odb.file_len(id).unwrap_or_default();
            gc.removed.push(id);
        }
        if options.dry_run {
            return Ok(gc);
        }
        let mut alone = Vec::new();
        for &id in &gc.removed {
            if odb.stands_alone(id)? {
                alone.push(Odb::path(id));
            }
        }
        for path in &alone {
            odb.disk.remove(path).map_err(failed(path))?;
        }
        self.sweep()?;
        self.gather_kept(kept)?;
        // What was removed must not come back in a crash beside what is written from here on: it may be another form
        // of it, and each may be derived from what the other is the base of.
        let mut dirs = odb.folders()?;
        dirs.extend(alone.iter().filter_map(|path| path.parent().map(Path::to_owned)));
        sync_all(&*odb.disk, &dirs)?;
        Ok(gc)
    }
}
