//! Gathering small object files into bundles. Only the writer does it, who holds the lock.
//!
//! A bundle is durable before a file that it holds is removed, so whatever stops in between, every object is
//! there, once or twice. Readers that looked before find the new bundle when they miss something.
//!
//! An object may be written again in another form: derived from another base. Two forms of it must not stand side by
//! side, because each may be what the other's base is derived from. A file that stands alone is read before one in a
//! bundle; a bundle that holds an older form of it goes into the new one, and is durably gone before the file is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recant_core::ObjectId;

use super::Store;
use crate::odb::bundle::{BUNDLES, Bundle, Entry, MAX_FILE, salvage, unreadable};
use crate::odb::{Form, OBJECTS, Odb, ReadError, WriteError, Writer};

/// Object files that stand alone before a commit gathers them.
pub(super) const GATHER_FROM: usize = 1024;
/// Bundles before a commit gathers them.
const MAX_BUNDLES: usize = 32;
/// Folders of object files, one for each first byte.
const SHARDS: usize = 256;

/// What goes into a bundle.
#[derive(Default)]
struct Gathered {
    /// Files that stand alone.
    alone: Vec<ObjectId>,
    /// Bundles that go into the new one.
    bundles: Vec<Arc<Bundle>>,
}

impl Store {
    /// The same store, whose commits gather object files from so many on.
    #[must_use]
    pub fn with_gathering(mut self, from: usize) -> Self {
        self.gather_from = from;
        self
    }

    /// Gathers small object files if there are many. Bundles that are not larger than what is gathered go
    /// into the new one, so there are few of them, of very different sizes.
    pub(super) fn gather_many(&self) -> Result<(), WriteError> {
        let mut bundles = self.odb().bundles()?;
        // Each pull may bring one.
        let many_bundles = bundles.len() > MAX_BUNDLES;
        if !many_bundles && !self.are_many()? {
            return Ok(());
        }
        let mut gathered = Gathered { alone: self.small()?, bundles: Vec::new() };
        if !many_bundles && gathered.alone.len() < self.gather_from {
            return Ok(());
        }
        bundles.sort_by_key(|bundle| bundle.entries.len());
        let mut count = gathered.alone.len();
        for bundle in bundles {
            let too_many = many_bundles && gathered.bundles.len() < MAX_BUNDLES / 2;
            let holds_a_form = || gathered.alone.iter().any(|&id| bundle.find(id).is_some());
            if bundle.entries.len() <= count || too_many || holds_a_form() {
                count += bundle.entries.len();
                gathered.bundles.push(bundle);
            }
        }
        self.bundle(gathered, None)?;
        self.store_snapshot()
    }

    /// Gathers everything small that is kept into one bundle, where there is garbage in bundles, more than one
    /// of them, or many files that stand alone.
    pub(crate) fn gather_kept(&self, kept: &BTreeSet<ObjectId>) -> Result<(), WriteError> {
        let bundles = self.odb().bundles()?;
        let garbage = |bundle: &Arc<Bundle>| bundle.entries.iter().any(|entry| !kept.contains(&entry.id));
        let alone = self.small()?;
        if bundles.len() > 1 || bundles.iter().any(garbage) || alone.len() > self.gather_from / 8 {
            self.bundle(Gathered { alone, bundles }, Some(kept))?;
            self.store_snapshot()?;
        }
        Ok(())
    }

    /// Whether about as many files stand alone as are gathered, from one folder of 256 where that tells enough.
    fn are_many(&self) -> Result<bool, WriteError> {
        if self.gather_from < 2 * SHARDS {
            return Ok(true);
        }
        let dir = Path::new(OBJECTS).join("7f");
        let names = self.odb().disk.list(&dir).map_err(|source| ReadError::Io { path: dir, source })?;
        Ok(names.len() * SHARDS > self.gather_from)
    }

    /// Files that stand alone and may go into a bundle: small ones that stand for themselves. A link names a
    /// file outside the store and stays, so that it is found without reading bundles.
    fn small(&self) -> Result<Vec<ObjectId>, WriteError> {
        let odb = self.odb();
        let mut small = Vec::new();
        for id in odb.files()?.into_iter().filter_map(|(_, id)| id) {
            // What cannot be read stays where it is, for fsck to tell.
            let Ok(source) = odb.source(id) else { continue };
            if source.len <= MAX_FILE && source.form() != Form::Linked {
                small.push(id);
            }
        }
        Ok(small)
    }

    fn bundle(&self, gathered: Gathered, kept: Option<&BTreeSet<ObjectId>>) -> Result<(), WriteError> {
        let odb = self.odb();
        let disk = &*odb.disk;
        let keep = |id: &ObjectId| kept.is_none_or(|kept| kept.contains(id));
        let alone: Vec<ObjectId> = gathered.alone.into_iter().filter(keep).collect();
        let bundled = gathered.bundles.iter().flat_map(|bundle| bundle.entries.iter().map(|entry| entry.id));
        let ids: BTreeSet<ObjectId> = alone.iter().copied().chain(bundled.filter(keep)).collect();
        let mut name = None;
        if !ids.is_empty() {
            let mut writer = Writer::new(odb.clone());
            name = Some(writer.put_bundle(ids.iter().map(|&id| Ok((id, odb.whole_file(id)?))))?);
            writer.sync()?;
        }
        // What is in the new bundle now. A file that cannot be removed is there twice until it can; while an old
        // bundle may come back, what stands alone stays before it.
        let dir = Path::new(BUNDLES);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| WriteError::Io { path, source }
        };
        let old = gathered.bundles.iter().filter(|bundle| Some(&bundle.name) != name.as_ref());
        let old: Vec<_> = old.map(|bundle| dir.join(&bundle.name)).collect();
        for path in &old {
            disk.remove(path).map_err(io(path))?;
        }
        if !old.is_empty() {
            disk.sync_dir(dir).map_err(io(dir))?;
        }
        for id in alone {
            let _ = disk.remove(&Odb::path(id));
        }
        Ok(())
    }

    /// Puts what is in a bundle into files of their own, as far as it can be read, and the bundle aside; returns
    /// how many there were. What is damaged among them is then told and mended as any object is.
    pub(crate) fn unbundle(&self, name: &str, quarantine: &Path) -> Result<usize, WriteError> {
        let odb = self.odb();
        let path = Path::new(BUNDLES).join(name);
        let io = |source| WriteError::Io { path: path.clone(), source };
        let records = match Bundle::open(&*odb.disk, name) {
            Ok(bundle) => {
                let read = |entry: &Entry| Ok((entry.id, bundle.read(*entry)?));
                let files = bundle.entries.iter().map(read).collect::<std::io::Result<Vec<_>>>();
                files.map_err(|source| unreadable(name, source))?
            }
            Err(_) => {
                let (_, mut file) = odb.disk.open(&path).map_err(io)?;
                salvage(&mut file).map_err(io)?
            }
        };
        let mut writer = Writer::new(odb.clone());
        let mut count = 0;
        for (id, file) in records {
            // One that stands alone is read before the one in the bundle.
            if !odb.stands_alone(id)? {
                writer.put_file(id, &file)?;
                count += 1;
            }
        }
        writer.sync()?;
        odb.disk.rename(&path, quarantine).map_err(io)?;
        Ok(count)
    }
}

impl Odb {
    /// The file of an object as it stands.
    fn whole_file(&self, id: ObjectId) -> Result<Bytes, ReadError> {
        let (_, mut reader) = self.open_file(id)?;
        let mut file = Vec::new();
        let read = std::io::Read::read_to_end(&mut reader, &mut file);
        read.map_err(|source| ReadError::Io { path: Self::path(id), source })?;
        Ok(file.into())
    }
}
