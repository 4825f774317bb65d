//! Reading objects: whatever the form, the bytes are hashed before they are believed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use recant_core::{CommitId, HostTensor, ManifestId, ObjectId, OperationId, PatchId, TensorId, WeightPatch};

use super::frame::{Form, Frame, LinkFrame};
use super::memory::Kept;
use super::{Odb, ReadError, pack};
use crate::codec::DecodeError;
use crate::damage::Damage;
use crate::object::{
    Blob, Commit, FactSet, Kind, Manifest, Operation, TensorHead, decode_tensor, encode_tensor,
};

/// Heads of the small forms fit here by far; a list of patches may be long.
pub(super) const MAX_SMALL: u64 = 64 << 20;

/// Where an object's bytes come from, opened and not yet read.
pub struct Source {
    pub(super) id: ObjectId,
    pub(crate) frame: Frame,
    pub(crate) len: u64,
    pub(super) reader: Box<dyn Read + Send>,
}

impl Source {
    /// How the object is stored.
    #[must_use]
    pub fn form(&self) -> Form {
        self.frame.form()
    }

    /// Gives bytes that were read back to be read again.
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = Box::new(io::Cursor::new(bytes).chain(rest));
    }
}

impl Odb {
    /// Opens an object and reads how it is stored.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn source(&self, id: impl Into<ObjectId>) -> Result<Source, ReadError> {
        let id = id.into();
        source_of(id, &Self::path(id), self.open_file(id)?)
    }

    /// As [`Odb::source`], from a file that is not in its place yet.
    pub(super) fn source_at(&self, id: ObjectId, path: &Path) -> Result<Source, ReadError> {
        source_of(id, path, self.open_at(id, path)?)
    }

    /// As [`Odb::source`], from the bytes of a file.
    pub(super) fn source_in(id: ObjectId, file: Bytes) -> Result<Source, ReadError> {
        source_of(id, &Self::path(id), (file.len() as u64, Box::new(io::Cursor::new(file))))
    }
}

/// Reads how the object in an opened file is stored; `path` names it in errors.
fn source_of(
    id: ObjectId,
    path: &Path,
    (len, mut reader): (u64, Box<dyn Read + Send>),
) -> Result<Source, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    (&mut reader).take(Frame::PLAIN_LEN as u64).read_to_end(&mut head).map_err(io)?;
    match head.last() {
        Some(0) => {}
        Some(1) => {
            let rest = (Frame::PACKED_LEN - Frame::PLAIN_LEN) as u64;
            (&mut reader).take(rest).read_to_end(&mut head).map_err(io)?;
        }
        _ if len <= MAX_SMALL => {
            (&mut reader).take(MAX_SMALL).read_to_end(&mut head).map_err(io)?;
        }
        _ => {
            let reason = format!("{len} bytes are too many for its form");
            return Err(ReadError::frame(id, reason));
        }
    }
    let frame = Frame::decode(&head).map_err(|source| ReadError::frame(id, source))?;
    Ok(Source { id, frame, len, reader })
}

impl Odb {
    /// The file outside the store that holds an object's bytes, if they are not in the store.
    pub(crate) fn link(&self, id: ObjectId) -> Result<Option<PathBuf>, ReadError> {
        let (len, mut reader) = self.open_file(id)?;
        let mut head = Vec::new();
        let io = |source| ReadError::Io { path: Self::path(id), source };
        (&mut reader).take(Frame::PLAIN_LEN as u64).read_to_end(&mut head).map_err(io)?;
        if head.last() != Some(&Frame::LINK) || len > MAX_SMALL {
            return Ok(None);
        }
        (&mut reader).take(MAX_SMALL).read_to_end(&mut head).map_err(io)?;
        match Frame::decode(&head) {
            Ok(Frame::Link(link)) => Ok(Some(link.path)),
            _ => Ok(None),
        }
    }

    /// How an object is stored.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn form(&self, id: impl Into<ObjectId>) -> Result<Form, ReadError> {
        self.source(id).map(|source| source.form())
    }

    /// An object's bytes, verified.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(&self, id: impl Into<ObjectId>) -> Result<Vec<u8>, ReadError> {
        self.load_from(self.source(id)?)
    }

    pub(super) fn load_from(&self, source: Source) -> Result<Vec<u8>, ReadError> {
        let mut payload = Vec::new();
        self.copy_from(source, &mut payload)?
            .map_err(|source| ReadError::Io { path: OBJECT_BUFFER.into(), source })?;
        Ok(payload)
    }

    /// Streams an object's bytes into `sink`. The outer result says whether the object could be read and was
    /// the right one (if not, what went into the sink is worth nothing); the inner one is the sink's.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn copy(&self, id: impl Into<ObjectId>, sink: &mut dyn Write) -> Result<io::Result<()>, ReadError> {
        self.copy_from(self.source(id)?, sink)
    }

    pub(super) fn copy_from(
        &self,
        source: Source,
        sink: &mut dyn Write,
    ) -> Result<io::Result<()>, ReadError> {
        let id = source.id;
        let mut hasher = blake3::Hasher::new();
        let mut failed = None;
        let mut take = |bytes: &[u8]| {
            hasher.update(bytes);
            if failed.is_none() {
                failed = sink.write_all(bytes).err();
            }
        };
        self.feed(source, &mut take)?;
        let found = ObjectId::from_bytes(*hasher.finalize().as_bytes());
        if found != id {
            return Err(ReadError::digest(id, found));
        }
        Ok(failed.map_or(Ok(()), Err))
    }

    fn feed(&self, source: Source, take: &mut dyn FnMut(&[u8])) -> Result<(), ReadError> {
        let Source { id, frame, len, mut reader } = source;
        let io = |source| ReadError::Io { path: Self::path(id), source };
        match frame {
            Frame::Plain => chunks(&mut reader, len, take).map_err(io),
            Frame::Packed { len: unpacked, width, packed } => {
                let damaged = |reason: String| ReadError::frame(id, reason);
                if packed != len.saturating_sub(Frame::PACKED_LEN as u64) {
                    return Err(damaged("it is cut short".to_owned()));
                }
                if unpacked / pack::MAX_GAIN > packed {
                    return Err(damaged(format!("{packed} packed bytes claim to be {unpacked}")));
                }
                pack::unpack(&mut reader, unpacked, width, |bytes| {
                    take(bytes);
                    Ok(())
                })
                .map_err(|source| match source.kind() {
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(source.to_string()),
                    _ => io(source),
                })
            }
            Frame::Link(link) => {
                take(&link.head.encode());
                let mut file = open_link(id, &link)?;
                chunks(&mut file, u64::MAX, take)
                    .map_err(|source| link_error(id, &link.path, source.to_string()))
            }
            Frame::Tensor { .. } => {
                take(&encode_tensor(&self.derive_tensor(id, frame)?));
                Ok(())
            }
            Frame::Manifest { .. } => {
                take(&self.derive_manifest(id, frame)?.encode());
                Ok(())
            }
        }
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tensor(&self, id: TensorId) -> Result<HostTensor, ReadError> {
        if let Some(tensor) = self.recall_tensor(id.into()) {
            return Ok(tensor);
        }
        let source = self.source(id)?;
        if !matches!(source.frame, Frame::Tensor { .. }) {
            return self.decoded_from(source, Kind::Tensor, |payload| decode_tensor(Bytes::from(payload)));
        }
        self.made_tensor(id.into(), source.frame)
    }

    /// A tensor that follows from others, verified.
    fn made_tensor(&self, id: ObjectId, frame: Frame) -> Result<HostTensor, ReadError> {
        let tensor = self.derive_tensor(id, frame)?;
        let found = tensor.id().into();
        if found != id {
            return Err(ReadError::digest(id, found));
        }
        self.keep(id, Kept::Tensor(tensor.clone()), tensor.bytes().len());
        Ok(tensor)
    }

    /// A manifest that follows from others, verified.
    fn made_manifest(&self, id: ObjectId, frame: Frame) -> Result<Arc<Manifest>, ReadError> {
        let manifest = self.derive_manifest(id, frame)?;
        let found = manifest.id().into();
        if found != id {
            return Err(ReadError::digest(id, found));
        }
        Ok(self.keep_manifest(id, manifest))
    }

    fn keep_manifest(&self, id: ObjectId, manifest: Manifest) -> Arc<Manifest> {
        // A path, an id and what a map needs for them.
        let bytes = 160 * (manifest.tensors.len() + manifest.ties.len() + manifest.files.len() + 1);
        let manifest = Arc::new(manifest);
        self.keep(id, Kept::Manifest(manifest.clone()), bytes);
        manifest
    }

    /// Whether an object's bytes are those that its id promises, and a tensor's head tells its length.
    pub(super) fn check(&self, source: Source) -> Result<(), ReadError> {
        let id = source.id;
        match source.frame {
            Frame::Tensor { .. } => self.made_tensor(id, source.frame).map(drop),
            Frame::Manifest { .. } => self.made_manifest(id, source.frame).map(drop),
            _ => {
                let mut head = FirstBytes::default();
                let copied = self.copy_from(source, &mut head)?;
                copied.map_err(|source| ReadError::Io { path: Self::path(id), source })?;
                if head.is_tensor() { head.tensor_head(id).map(drop) } else { Ok(()) }
            }
        }
    }

    /// A tensor's type and sides, from as few bytes as have them. Unverified.
    pub(crate) fn tensor_head(&self, id: TensorId) -> Result<TensorHead, ReadError> {
        let source = self.source(id)?;
        let bottom = self.chain(id.into(), source.frame, &|_| false)?.bottom;
        let source = self.source(bottom)?;
        let mut first = FirstBytes::default();
        match source.frame {
            Frame::Link(link) => return Ok(link.head),
            Frame::Plain => {
                let read = source.reader.take(FirstBytes::ROOM as u64).read_to_end(&mut first.0);
                read.map_err(|source| ReadError::Io { path: Self::path(bottom), source })?;
            }
            _ => {
                self.feed(source, &mut |bytes| first.take(bytes))?;
            }
        }
        first.tensor_head(bottom)
    }

    /// A manifest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn manifest(&self, id: ManifestId) -> Result<Manifest, ReadError> {
        self.shared_manifest(id).map(Arc::unwrap_or_clone)
    }

    pub(crate) fn shared_manifest(&self, id: ManifestId) -> Result<Arc<Manifest>, ReadError> {
        if let Some(manifest) = self.recall_manifest(id.into()) {
            return Ok(manifest);
        }
        let source = self.source(id)?;
        if matches!(source.frame, Frame::Manifest { .. }) {
            return self.made_manifest(id.into(), source.frame);
        }
        let manifest = self.decoded_from(source, Kind::Manifest, |payload| Manifest::decode(&payload))?;
        Ok(self.keep_manifest(id.into(), manifest))
    }

    /// A patch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn patch(&self, id: PatchId) -> Result<WeightPatch, ReadError> {
        self.shared_patch(id).map(Arc::unwrap_or_clone)
    }

    pub(crate) fn shared_patch(&self, id: PatchId) -> Result<Arc<WeightPatch>, ReadError> {
        if let Some(Kept::Patch(patch)) = self.recall(id.into()) {
            return Ok(patch);
        }
        let mut bytes = 0;
        let patch = self.decoded(id, Kind::Patch, |payload| {
            bytes = payload.len();
            Ok(WeightPatch::decode(&payload)?)
        })?;
        let patch = Arc::new(patch);
        self.keep(id.into(), Kept::Patch(patch.clone()), bytes);
        Ok(patch)
    }

    /// A commit.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn commit(&self, id: CommitId) -> Result<Arc<Commit>, ReadError> {
        self.decoded(id, Kind::Commit, |payload| Commit::decode(&payload).map(Arc::new))
    }

    /// An operation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn operation(&self, id: OperationId) -> Result<Operation, ReadError> {
        self.decoded(id, Kind::Operation, |payload| Operation::decode(&payload))
    }

    /// A set of facts.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn facts(&self, id: ObjectId) -> Result<FactSet, ReadError> {
        self.decoded(id, Kind::Facts, |payload| FactSet::decode(&payload))
    }

    /// A blob.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn blob(&self, id: ObjectId) -> Result<Blob, ReadError> {
        self.decoded(id, Kind::Blob, |payload| Blob::decode(&payload))
    }

    fn decoded<T>(
        &self,
        id: impl Into<ObjectId>,
        expected: Kind,
        decode: impl FnOnce(Vec<u8>) -> Result<T, DecodeError>,
    ) -> Result<T, ReadError> {
        self.decoded_from(self.source(id)?, expected, decode)
    }

    fn decoded_from<T>(
        &self,
        source: Source,
        expected: Kind,
        decode: impl FnOnce(Vec<u8>) -> Result<T, DecodeError>,
    ) -> Result<T, ReadError> {
        let id = source.id;
        let payload = self.load_from(source)?;
        match Kind::of(&payload) {
            Some(found) if found != expected => Err(ReadError::Kind { id, found, expected }),
            _ => decode(payload).map_err(|source| ReadError::Decode { id, source }),
        }
    }
}

/// Keeps the first bytes: enough for a tensor's head.
#[derive(Default)]
pub(crate) struct FirstBytes(Vec<u8>);

impl FirstBytes {
    const ROOM: usize = 256;

    fn take(&mut self, bytes: &[u8]) {
        let room = Self::ROOM.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whether they begin a tensor.
    pub(super) fn is_tensor(&self) -> bool {
        self.0.starts_with(crate::object::TENSOR_MAGIC)
    }

    /// The head that they are.
    pub(crate) fn tensor_head(&self, id: ObjectId) -> Result<TensorHead, ReadError> {
        let head = TensorHead::decode(&self.0).map_err(|source| ReadError::Decode { id, source })?;
        Ok(head.0)
    }
}

impl Write for FirstBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Named where a vector is the sink: it does not fail.
const OBJECT_BUFFER: &str = "(memory)";

/// Passes on all bytes; about as many as `len`, for which room is made.
fn chunks(reader: &mut dyn Read, len: u64, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; len.clamp(64, 1 << 18) as usize];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => take(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn link_error(id: ObjectId, path: &Path, reason: impl Into<String>) -> ReadError {
    ReadError::Link { id, path: path.to_owned(), reason: reason.into() }
}

pub(super) fn open_link(id: ObjectId, link: &LinkFrame) -> Result<io::Take<File>, ReadError> {
    let refuse = |reason: String| link_error(id, &link.path, reason);
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => refuse("is gone".to_owned()),
        _ => refuse(format!("cannot be read ({error})")),
    };
    let len = link.head.byte_len().ok_or_else(|| refuse("is said to hold more than can be".to_owned()))?;
    let mut file = File::open(&link.path).map_err(cannot)?;
    let held = file.metadata().map_err(cannot)?.len();
    if link.offset.checked_add(len as u64).is_none_or(|end| end > held) {
        return Err(refuse("is shorter than it was".to_owned()));
    }
    file.seek(SeekFrom::Start(link.offset)).map_err(cannot)?;
    Ok(file.take(len as u64))
}

impl Odb {
    /// As [`Odb::copy`]'s digest error, for a link: the file it points to was changed.
    pub(crate) fn explain(&self, error: ReadError) -> ReadError {
        let ReadError::Object { id, source: Damage::Digest { .. } } = error else { return error };
        match self.source(id).map(|source| source.frame) {
            Ok(Frame::Link(link)) => link_error(id, &link.path, "was changed since"),
            _ => error,
        }
    }
}
