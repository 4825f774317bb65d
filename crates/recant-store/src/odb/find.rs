//! Where an object's file stands: alone in its folder, or in a bundle. One that stands alone comes first: it
//! may have been written anew where the bundle is damaged.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use recant_core::ObjectId;

use super::bundle::{BUNDLES, Bundle, Entry, unreadable};
use super::{OBJECTS, Odb, ReadError};
use crate::damage::Damage;

/// The bundles that a handle has seen.
#[derive(Default)]
pub(super) struct Bundles {
    /// The folder's names, sorted, as they were listed last.
    names: Option<Vec<String>>,
    open: Vec<Arc<Bundle>>,
    /// Those that cannot be opened.
    damaged: Vec<(String, String)>,
}

impl Odb {
    /// Where the file of an object that stands alone is.
    pub(crate) fn path(id: ObjectId) -> PathBuf {
        // Spelled here, because every look at an object begins with it.
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let mut path = String::with_capacity(OBJECTS.len() + 66);
        path.push_str(OBJECTS);
        for (i, byte) in id.as_bytes().iter().enumerate() {
            if i < 2 {
                path.push(std::path::MAIN_SEPARATOR);
            }
            path.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        path.into()
    }

    /// Whether there is a file for an object.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn contains(&self, id: impl Into<ObjectId>) -> Result<bool, ReadError> {
        let id = id.into();
        Ok(self.pending(id).is_some() || self.stands_alone(id)? || self.in_bundle(id)?.is_some())
    }

    pub(crate) fn stands_alone(&self, id: ObjectId) -> Result<bool, ReadError> {
        let path = Self::path(id);
        self.disk.exists(&path).map_err(|source| ReadError::Io { path, source })
    }

    /// The ids of all objects, ascending. Files with other names are left out; fsck reports them.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn ids(&self) -> Result<Vec<ObjectId>, ReadError> {
        let alone = self.files()?.into_iter().filter_map(|(_, id)| id);
        let mut ids: BTreeSet<ObjectId> = alone.collect();
        for bundle in self.bundles()? {
            ids.extend(bundle.entries.iter().map(|entry| entry.id));
        }
        Ok(ids.into_iter().collect())
    }

    /// The ids that begin with these digits, two at least.
    pub(crate) fn ids_from(&self, digits: &str) -> Result<BTreeSet<ObjectId>, ReadError> {
        let dir = Path::new(OBJECTS).join(&digits[..2]);
        let names = self.disk.list(&dir).map_err(|source| ReadError::Io { path: dir.clone(), source })?;
        let alone = names.iter().filter_map(|name| format!("{}{name}", &digits[..2]).parse().ok());
        let mut ids: BTreeSet<ObjectId> = alone.collect();
        for bundle in self.bundles()? {
            let begins = bundle.entries.partition_point(|entry| entry.id.to_string().as_str() < digits);
            let from = bundle.entries[begins..].iter().map(|entry| entry.id);
            ids.extend(from.take_while(|id| id.to_string().starts_with(digits)));
        }
        ids.retain(|id| id.to_string().starts_with(digits));
        Ok(ids)
    }

    /// The folders of object files and bundles.
    pub(crate) fn folders(&self) -> Result<BTreeSet<PathBuf>, ReadError> {
        let (root, bundles) = (PathBuf::from(OBJECTS), PathBuf::from(BUNDLES));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ReadError::Io { path, source }
        };
        let shards = self.disk.list(&root).map_err(failed(&root))?;
        let mut folders: BTreeSet<PathBuf> =
            shards.iter().filter(|shard| shard.len() == 2).map(|shard| root.join(shard)).collect();
        if self.disk.exists(&bundles).map_err(failed(&bundles))? {
            folders.insert(bundles);
        }
        Ok(folders)
    }

    /// Every file under the objects' folder, and the id that its name spells.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, Option<ObjectId>)>, ReadError> {
        let mut files = Vec::new();
        let root = PathBuf::from(OBJECTS);
        let shards = self.disk.list(&root);
        for shard in shards.map_err(|source| ReadError::Io { path: root.clone(), source })? {
            let dir = root.join(&shard);
            let names = match self.disk.list(&dir) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    files.push((dir, None));
                    continue;
                }
                Err(source) => return Err(ReadError::Io { path: dir, source }),
            };
            for name in names {
                let path = dir.join(&name);
                let id = format!("{shard}{name}").parse().ok().filter(|&id| Self::path(id) == path);
                files.push((path, id));
            }
        }
        Ok(files)
    }

    /// Bytes that an object takes on disk.
    ///
    /// # Errors
    /// [`ReadError`] when it is missing or cannot be looked at.
    pub fn file_len(&self, id: impl Into<ObjectId>) -> Result<u64, ReadError> {
        let id = id.into();
        match self.open_at(id, &Self::path(id)) {
            Err(ReadError::Object { source: Damage::Missing, .. }) => {
                let found = self.in_bundle(id)?.ok_or(ReadError::missing(id))?;
                Ok(found.1.len)
            }
            opened => opened.map(|(len, _)| len),
        }
    }

    pub(crate) fn open_file(&self, id: ObjectId) -> Result<(u64, Box<dyn io::Read + Send>), ReadError> {
        if let Some(file) = self.pending(id) {
            return Ok((file.len() as u64, Box::new(io::Cursor::new(file))));
        }
        match self.open_at(id, &Self::path(id)) {
            Err(ReadError::Object { source: Damage::Missing, .. }) => {}
            opened => return opened,
        }
        let (bundle, entry) = self.in_bundle(id)?.ok_or(ReadError::missing(id))?;
        let bytes = bundle.read(entry).map_err(|source| unreadable(&bundle.name, source))?;
        Ok((entry.len, Box::new(io::Cursor::new(bytes))))
    }

    pub(super) fn open_at(
        &self,
        id: ObjectId,
        path: &Path,
    ) -> Result<(u64, Box<dyn io::Read + Send>), ReadError> {
        self.disk.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ReadError::missing(id),
            io::ErrorKind::InvalidData => ReadError::frame(id, source),
            _ => ReadError::Io { path: path.to_owned(), source },
        })
    }

    /// The bundle that holds an object. Bundles are listed again when none of those that were seen has it:
    /// another process may have gathered it.
    fn in_bundle(&self, id: ObjectId) -> Result<Option<(Arc<Bundle>, Entry)>, ReadError> {
        let mut seen = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |seen: &Bundles| {
            seen.open.iter().find_map(|bundle| bundle.find(id).map(|entry| (bundle.clone(), entry)))
        };
        if let Some(found) = find(&seen) {
            return Ok(Some(found));
        }
        if !self.list_bundles(&mut seen)? {
            return seen.lost();
        }
        match find(&seen) {
            None => seen.lost(),
            found => Ok(found),
        }
    }

    /// All bundles that can be opened, as they are now.
    pub(crate) fn bundles(&self) -> Result<Vec<Arc<Bundle>>, ReadError> {
        let mut seen = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        self.list_bundles(&mut seen)?;
        Ok(seen.open.clone())
    }

    /// Names of bundles that cannot be opened, and why.
    pub(crate) fn damaged_bundles(&self) -> Result<Vec<(String, String)>, ReadError> {
        let mut seen = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        self.list_bundles(&mut seen)?;
        Ok(seen.damaged.clone())
    }

    /// Lists the folder, and opens what is new in it; whether there was something new.
    fn list_bundles(&self, seen: &mut Bundles) -> Result<bool, ReadError> {
        let dir = Path::new(BUNDLES);
        loop {
            let names =
                self.disk.list(dir).map_err(|source| ReadError::Io { path: dir.to_owned(), source })?;
            if seen.names.as_ref() == Some(&names) {
                return Ok(false);
            }
            let mut now = Bundles::default();
            let mut gone = false;
            for name in &names {
                if let Some(known) = seen.open.iter().find(|bundle| bundle.name == *name) {
                    now.open.push(known.clone());
                    continue;
                }
                match Bundle::open(&*self.disk, name) {
                    Ok(bundle) => now.open.push(Arc::new(bundle)),
                    // Gathered into another one since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => gone = true,
                    Err(error) => match unreadable(name, error) {
                        ReadError::Bundle { reason, .. } => now.damaged.push((name.clone(), reason)),
                        error => return Err(error),
                    },
                }
            }
            if !gone {
                now.names = Some(names);
                *seen = now;
                return Ok(true);
            }
        }
    }
}

impl Bundles {
    /// Nothing, or the bundle that may have held it.
    fn lost<T>(&self) -> Result<Option<T>, ReadError> {
        match self.damaged.first() {
            Some((name, reason)) => {
                Err(ReadError::Bundle { path: Path::new(BUNDLES).join(name), reason: reason.clone() })
            }
            None => Ok(None),
        }
    }
}
