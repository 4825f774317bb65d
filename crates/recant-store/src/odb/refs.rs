//! What an object needs, without reading what is large.

use std::io::Read;
use std::path::Path;

use recant_core::ObjectId;

use super::frame::Frame;
use super::{Odb, ReadError};
use crate::object::{Kind, references};

impl Odb {
    /// An object's kind, from its first bytes; `None` when they name none. Unverified.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn kind(&self, id: impl Into<ObjectId>) -> Result<Option<Kind>, ReadError> {
        self.kind_of(self.source(id)?)
    }

    fn kind_of(&self, mut source: super::Source) -> Result<Option<Kind>, ReadError> {
        Ok(match source.frame {
            Frame::Link(_) | Frame::Tensor { .. } => Some(Kind::Tensor),
            Frame::Manifest { .. } => Some(Kind::Manifest),
            // Only tensors are packed.
            Frame::Packed { .. } => Some(Kind::Tensor),
            Frame::Plain => {
                let mut first = Vec::new();
                let id = source.id;
                let io = |source| ReadError::Io { path: Self::path(id), source };
                (&mut source.reader).take(16).read_to_end(&mut first).map_err(io)?;
                Kind::of(&first)
            }
        })
    }

    /// Whether everything that an object's file is made from is there, down to what is stored as bytes.
    pub(crate) fn is_founded(&self, id: ObjectId) -> Result<bool, ReadError> {
        let (mut at, mut above) = (id, u32::MAX);
        loop {
            let (base, patches, steps) = match self.source(at) {
                Ok(source) => match source.frame {
                    Frame::Tensor { base, patches, steps, .. } => (ObjectId::from(base), patches, steps),
                    Frame::Manifest { base, steps, .. } => (base.into(), Vec::new(), steps),
                    _ => return Ok(true),
                },
                // What is damaged is written anew.
                Err(ReadError::Missing { .. } | ReadError::Frame { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            if steps >= above {
                return Ok(false);
            }
            above = steps;
            for patch in patches {
                if !self.contains(patch)? {
                    return Ok(false);
                }
            }
            at = base;
        }
    }

    /// Everything that an object refers to, and everything that its file is made from.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn needs(&self, id: ObjectId) -> Result<Vec<ObjectId>, ReadError> {
        let mut needs = self.founds(id, &Self::path(id))?;
        if self.kind(id)? != Some(Kind::Tensor) {
            let payload = self.load(id)?;
            let (_, referred) = references(&payload).map_err(|source| ReadError::Decode { id, source })?;
            needs.extend(referred);
        }
        Ok(needs)
    }

    /// What a file, in its place or not, is made from.
    pub(super) fn founds(&self, id: ObjectId, path: &Path) -> Result<Vec<ObjectId>, ReadError> {
        Ok(match self.source_at(id, path)?.frame {
            Frame::Tensor { base, patches, .. } => {
                patches.into_iter().map(ObjectId::from).chain([base.into()]).collect()
            }
            Frame::Manifest { base, .. } => vec![base.into()],
            Frame::Link(_) | Frame::Packed { .. } | Frame::Plain => Vec::new(),
        })
    }

    /// What the object in a file that is not in its place refers to, once what it is made from is there.
    pub(super) fn referred(&self, id: ObjectId, path: &Path) -> Result<Vec<ObjectId>, ReadError> {
        if self.kind_of(self.source_at(id, path)?)? == Some(Kind::Tensor) {
            return Ok(Vec::new());
        }
        let mut payload = Vec::new();
        let copied = self.copy_from(self.source_at(id, path)?, &mut payload)?;
        copied.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let (_, referred) = references(&payload).map_err(|source| ReadError::Decode { id, source })?;
        Ok(referred)
    }
}
