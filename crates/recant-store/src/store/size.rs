//! What a store weighs.

use super::Store;
use crate::object::Manifest;
use crate::odb::{Form, ReadError};

/// What a store weighs on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Objects.
    pub objects: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Store {
    /// Counts objects and bytes. Bundles count as a whole, so this looks at as many files as stand alone.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn size(&self) -> Result<Size, ReadError> {
        let odb = self.odb();
        let mut size = Size::default();
        for bundle in odb.bundles()? {
            size.objects += bundle.entries.len();
            size.bytes += bundle.len;
        }
        for id in odb.files()?.into_iter().filter_map(|(_, id)| id) {
            size.objects += 1;
            size.bytes += odb.file_len(id)?;
        }
        Ok(size)
    }

    /// How many tensors of a manifest are linked in place.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn linked(&self, manifest: &Manifest) -> Result<usize, ReadError> {
        let mut linked = 0;
        for &id in manifest.tensors.values() {
            linked += usize::from(self.odb().form(id)? == Form::Linked);
        }
        Ok(linked)
    }
}
