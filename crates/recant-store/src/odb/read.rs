//! Reading objects: whatever the form, the bytes are hashed before they are believed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use recant_core::{CommitId, HostTensor, ManifestId, ObjectId, OperationId, PatchId, TensorId, WeightPatch};

use super::frame::{Form, Frame, LinkFrame};
use super::{Odb, ReadError, pack};
use crate::codec::DecodeError;
use crate::object::{Blob, Commit, FactSet, Kind, Manifest, Operation, decode_tensor, encode_tensor};

/// Heads of the small forms fit here by far; a list of patches may be long.
const MAX_SMALL: u64 = 64 << 20;

/// Where an object's bytes come from, opened and not yet read.
pub struct Source {
    pub(super) id: ObjectId,
    pub(super) frame: Frame,
    pub(super) len: u64,
    pub(super) reader: Box<dyn Read + Send>,
}

impl Source {
    /// How the object is stored.
    #[must_use]
    pub fn form(&self) -> Form {
        self.frame.form()
    }
}

impl Odb {
    /// Opens an object and reads how it is stored.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn source(&self, id: impl Into<ObjectId>) -> Result<Source, ReadError> {
        let id = id.into();
        self.source_at(id, &Self::path(id))
    }

    /// As [`Odb::source`], from a file that is not in its place yet.
    pub(super) fn source_at(&self, id: ObjectId, path: &Path) -> Result<Source, ReadError> {
        let (len, mut reader) = self.open_at(id, path)?;
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
                return Err(ReadError::Frame { id, reason });
            }
        }
        let frame =
            Frame::decode(&head).map_err(|source| ReadError::Frame { id, reason: source.to_string() })?;
        Ok(Source { id, frame, len, reader })
    }

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
        let mut payload = Vec::new();
        self.copy(id, &mut payload)?
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
            return Err(ReadError::Digest { id, found });
        }
        Ok(failed.map_or(Ok(()), Err))
    }

    fn feed(&self, source: Source, take: &mut dyn FnMut(&[u8])) -> Result<(), ReadError> {
        let Source { id, frame, len, mut reader } = source;
        let io = |source| ReadError::Io { path: Self::path(id), source };
        match frame {
            Frame::Plain => chunks(&mut reader, take).map_err(io),
            Frame::Packed { len: unpacked, width, packed } => {
                let damaged = |reason: String| ReadError::Frame { id, reason };
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
                chunks(&mut file, take).map_err(|source| link_error(id, &link.path, source.to_string()))
            }
            Frame::Tensor { steps, base, path, patches } => {
                let tensor = self.derive_tensor(id, steps, base, &path, &patches)?;
                take(&encode_tensor(&tensor));
                Ok(())
            }
            Frame::Manifest { steps, base, changed } => {
                take(&self.derive_manifest(id, steps, base, &changed)?.encode());
                Ok(())
            }
        }
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tensor(&self, id: TensorId) -> Result<HostTensor, ReadError> {
        self.decoded(id, Kind::Tensor, |payload| decode_tensor(Bytes::from(payload)))
    }

    /// A manifest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn manifest(&self, id: ManifestId) -> Result<Manifest, ReadError> {
        self.decoded(id, Kind::Manifest, |payload| Manifest::decode(&payload))
    }

    /// A patch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn patch(&self, id: PatchId) -> Result<WeightPatch, ReadError> {
        self.decoded(id, Kind::Patch, |payload| Ok(WeightPatch::decode(&payload)?))
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
        let id = id.into();
        let payload = self.load(id)?;
        match Kind::of(&payload) {
            Some(found) if found != expected => Err(ReadError::Kind { id, found, expected }),
            _ => decode(payload).map_err(|source| ReadError::Decode { id, source }),
        }
    }
}

/// Named where a vector is the sink: it does not fail.
const OBJECT_BUFFER: &str = "(memory)";

fn chunks(reader: &mut dyn Read, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
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
        let ReadError::Digest { id, .. } = error else { return error };
        match self.source(id).map(|source| source.frame) {
            Ok(Frame::Link(link)) => link_error(id, &link.path, "was changed since"),
            _ => error,
        }
    }
}
