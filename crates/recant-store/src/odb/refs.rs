//! What an object needs, without reading what is large.

use std::io::Read;

use recant_core::ObjectId;

use super::frame::Frame;
use super::{Odb, ReadError, Source};
use crate::damage::Damage;
use crate::object::{Kind, Reference, references};

impl Odb {
    /// An object's kind, from its first bytes; `None` when they name none. Unverified.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn kind(&self, id: impl Into<ObjectId>) -> Result<Option<Kind>, ReadError> {
        self.kind_of(&mut self.source(id)?)
    }

    pub(crate) fn kind_of(&self, source: &mut Source) -> Result<Option<Kind>, ReadError> {
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
                let kind = Kind::of(&first);
                source.unread(first);
                kind
            }
        })
    }

    /// Whether everything that an object's file is made from is there, down to what is stored as bytes, in as many
    /// steps as the file claims. They are others where a crash brought back a file that had been collected, and what
    /// it is made from was written anew in the meantime.
    pub(crate) fn is_founded(&self, id: ObjectId) -> Result<bool, ReadError> {
        let chain = self.source(id).and_then(|source| {
            let claimed = source.frame.claimed();
            Ok((claimed, self.chain(id, source.frame, &|_| false)?))
        });
        let frames = match chain {
            Ok((claimed, chain)) if claimed.is_some_and(|claimed| claimed != chain.steps) => {
                return Ok(false);
            }
            Ok((_, chain)) => chain.frames,
            // What is damaged is written anew.
            Err(ReadError::Object { source: Damage::Missing | Damage::Frame { .. }, .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        for frame in frames {
            let Frame::Tensor { patches, .. } = frame else { continue };
            for patch in patches {
                if !self.contains(patch)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Everything that an object refers to, and everything that its file is made from. What a manifest shares
    /// with the one that it is made from is left to that one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn needs(&self, id: ObjectId) -> Result<Vec<Reference>, ReadError> {
        self.needs_of(self.source(id)?)
    }

    pub(crate) fn needs_of(&self, mut source: Source) -> Result<Vec<Reference>, ReadError> {
        let kind = self.kind_of(&mut source)?;
        let mut needs = founds(&source.frame);
        match (&source.frame, kind) {
            (Frame::Manifest { changed, .. }, _) => {
                needs.extend(changed.values().map(|&id| Kind::Tensor.at(id)));
            }
            (_, Some(Kind::Tensor | Kind::Blob | Kind::Facts)) => {}
            _ => {
                let id = source.id;
                let payload = self.load_from(source)?;
                let (_, referred) =
                    references(&payload).map_err(|source| ReadError::Decode { id, source })?;
                needs.extend(referred);
            }
        }
        Ok(needs)
    }
}

/// What a file is made from.
pub(super) fn founds(frame: &Frame) -> Vec<Reference> {
    match frame {
        Frame::Tensor { base, patches, .. } => {
            patches.iter().map(|&id| Kind::Patch.at(id)).chain([Kind::Tensor.at(*base)]).collect()
        }
        Frame::Manifest { base, .. } => vec![Kind::Manifest.at(*base)],
        Frame::Link(_) | Frame::Packed { .. } | Frame::Plain => Vec::new(),
    }
}
