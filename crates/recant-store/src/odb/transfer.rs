//! Object files on their way to and from another store.
//!
//! Files travel as they are, so an edit travels as its factors; only a link, which means nothing elsewhere, is
//! replaced by what it points to. What arrives is untrusted: it is put in place when its bytes have the
//! digest that its name promises, and everything that it refers to is in place.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use recant_core::ObjectId;

use super::bundle::{Bundle, MAX_FILE, unreadable};
use super::frame::Frame;
use super::read::{MAX_SMALL, Source, open_link};
use super::refs::founds;
use super::{Odb, ReadError, WriteError, Writer};
use crate::disk::Disk;
use crate::object::{Kind, Reference, TENSOR_MAGIC, TensorHead};

/// Bytes of an arrived object that is held in memory as a whole whenever it is used: a patch, facts, a blob.
const MAX_HELD: u64 = 2 << 30;
/// Bytes from which the form and the kind of an arriving file are told.
const FIRST: u64 = 1 << 10;

/// A file that has arrived and is not in its place. Dropped before it is accepted, it is removed.
pub struct Received {
    /// The object that it is said to be.
    pub id: ObjectId,
    file: Arrived,
    /// Whether its bytes have the digest that they should have.
    verified: bool,
}

/// Where a received file is.
enum Arrived {
    /// In memory: a small one.
    Held(Bytes),
    /// In a temporary file.
    Written(Temporary),
}

/// A temporary file, removed with this.
struct Temporary {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // One that was accepted is not there any more.
        let _ = self.disk.remove(&self.path);
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({})", self.id)
    }
}

/// A bundle that has arrived, in a temporary file that goes with this.
#[derive(Debug)]
pub struct ReceivedBundle {
    /// Its objects' files, unverified.
    pub bundle: Bundle,
    _tmp: Temporary,
}

impl fmt::Debug for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// What arrived cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It is not what it should be.
    #[error("object {id} arrived damaged or tampered with: {source}")]
    Refused {
        /// The object.
        id: ObjectId,
        /// What is wrong.
        source: Box<ReadError>,
    },
    /// It refers to a file outside the store.
    #[error("object {id} arrived as a link to a file, which is not taken from elsewhere")]
    Link {
        /// The object.
        id: ObjectId,
    },
}

impl Odb {
    /// The objects in an order in which those that follow from others come after them, as far as the steps that
    /// they claim tell: verified in that order by [`Odb::remembering`], each costs one step.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn by_steps(&self, ids: impl IntoIterator<Item = ObjectId>) -> Result<Vec<ObjectId>, ReadError> {
        let steps = |id| Ok((self.source(id)?.frame.claimed().unwrap_or(0), id));
        let mut ordered = ids.into_iter().map(steps).collect::<Result<Vec<_>, ReadError>>()?;
        ordered.sort_unstable();
        Ok(ordered.into_iter().map(|(_, id)| id).collect())
    }

    /// An object's file as it travels: its length and its bytes. The object is verified first, so that damage
    /// does not spread.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn outgoing(&self, id: ObjectId) -> Result<(u64, Box<dyn Read + Send>), ReadError> {
        self.source(id).and_then(|source| self.check(source)).map_err(|error| self.explain(error))?;
        let Frame::Link(link) = self.source(id)?.frame else { return self.open_file(id) };
        let file = open_link(id, &link)?;
        let head = [Frame::Plain.encode(), link.head.encode()].concat();
        let len = head.len() as u64 + link.head.byte_len().unwrap_or_default() as u64;
        Ok((len, Box::new(io::Cursor::new(head).chain(file))))
    }
}

impl Writer {
    /// Whether an object is there with everything that it is made from.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn has(&mut self, id: ObjectId) -> Result<bool, WriteError> {
        self.have(id)
    }

    /// Takes a file of `len` bytes in, without believing it. What cannot be an object of that length is refused
    /// by its first bytes, before the rest is read.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn receive(
        &mut self,
        id: ObjectId,
        len: u64,
        input: &mut dyn Read,
    ) -> Result<Received, TransferError> {
        let refused = |source: ReadError| TransferError::Refused { id, source: source.into() };
        let unread = |source| WriteError::Io { path: Odb::path(id), source };
        let mut first = Vec::new();
        (&mut *input).take(FIRST).read_to_end(&mut first).map_err(unread)?;
        possible(&first, len).map_err(|reason| refused(ReadError::frame(id, reason)))?;
        // One byte more than is said shows that there are more.
        let mut all = first.as_slice().chain(input).take(len.saturating_add(1));
        let (copied, file) = if len <= MAX_FILE {
            let mut held = Vec::new();
            let copied = all.read_to_end(&mut held).map_err(unread)?;
            (copied as u64, Arrived::Held(held.into()))
        } else {
            let tmp = Temporary { path: self.tmp(), disk: self.odb.disk.clone() };
            let mut copied = 0;
            self.write(&tmp.path, |file| {
                copied = io::copy(&mut all, file)?;
                Ok(())
            })?;
            (copied, Arrived::Written(tmp))
        };
        if copied != len {
            let reason = format!("its length was said to be {len} bytes, and is not");
            return Err(refused(ReadError::frame(id, reason)));
        }
        let received = Received { id, file, verified: false };
        match self.arrived(&received).map(|source| source.frame) {
            Ok(Frame::Link(_)) => Err(TransferError::Link { id }),
            Ok(_) => Ok(received),
            Err(source) => Err(refused(source)),
        }
    }

    /// Takes a bundle of `len` bytes in, whose objects' files are then received one by one.
    ///
    /// # Errors
    /// [`WriteError`] when it cannot be written; [`ReadError::Bundle`] in it when it is none.
    pub fn receive_bundle(
        &mut self,
        name: &str,
        len: u64,
        input: &mut dyn Read,
    ) -> Result<ReceivedBundle, WriteError> {
        let tmp = Temporary { path: self.tmp(), disk: self.odb.disk.clone() };
        let mut input = input.take(len);
        self.write(&tmp.path, |file| io::copy(&mut input, file).map(drop))?;
        let opened = self.odb.disk.open_at(&tmp.path);
        let bundle = opened.and_then(|(len, file)| Bundle::read_index(name, len, file));
        let bundle = bundle.map_err(|source| unreadable(name, source))?;
        Ok(ReceivedBundle { bundle, _tmp: tmp })
    }

    fn arrived(&self, received: &Received) -> Result<Source, ReadError> {
        match &received.file {
            Arrived::Held(file) => Odb::source_in(received.id, file.clone()),
            Arrived::Written(tmp) => self.odb.source_at(received.id, &tmp.path),
        }
    }

    /// What has to be in place before a received file can be: what it is made from, and when all of that is
    /// there, what it refers to. Nobody is sent after what false bytes refer to: they are verified before.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn wants(&mut self, received: &mut Received) -> Result<Vec<ObjectId>, TransferError> {
        let id = received.id;
        let refused = |source: ReadError| TransferError::Refused { id, source: source.into() };
        let frame = self.arrived(received).map_err(refused)?.frame;
        let missing = self.missing(founds(&frame))?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        self.verify(received).map_err(refused)?;
        let mut source = self.arrived(received).map_err(refused)?;
        self.bounded(&mut source).map_err(refused)?;
        let needs = self.odb.needs_of(source).map_err(refused)?;
        Ok(self.missing(needs)?)
    }

    fn missing(&mut self, needs: Vec<Reference>) -> Result<Vec<ObjectId>, WriteError> {
        let mut missing = Vec::new();
        for Reference { id, .. } in needs {
            if !self.have(id)? {
                missing.push(id);
            }
        }
        Ok(missing)
    }

    /// Puts a received file in its place, if its bytes have the digest that they should have. A small one is
    /// there for this writer, and for everybody after [`Writer::flush`] or [`Writer::sync`].
    ///
    /// # Errors
    /// [`TransferError`]; nothing was put in place then.
    pub fn accept(&mut self, mut received: Received) -> Result<(), TransferError> {
        let id = received.id;
        let counted = self.verify(&mut received).and_then(|()| self.recount(&received));
        let recounted = counted.map_err(|source| TransferError::Refused { id, source: source.into() })?;
        match (recounted.map(|frame| Bytes::from(frame.encode())), received.file) {
            (Some(file), _) if file.len() as u64 > MAX_FILE => self.put_file(id, &file)?,
            (Some(file), _) | (None, Arrived::Held(file)) => self.put_pending(id, file)?,
            (None, Arrived::Written(tmp)) => self.place(&tmp.path, id)?,
        }
        Ok(())
    }

    /// The head of a received file with the steps that it takes here, where it claims others: what it is made
    /// from may be stored otherwise than where it came from.
    fn recount(&self, received: &Received) -> Result<Option<Frame>, ReadError> {
        let id = received.id;
        let frame = self.arrived(received)?.frame;
        let counted = self.odb.chain(id, frame.clone(), &|_| false)?.steps;
        if frame.claimed().is_none_or(|claimed| claimed == counted) {
            return Ok(None);
        }
        // What would not be read back is not written.
        let told = |source: crate::DecodeError| ReadError::frame(id, source);
        Frame::decode(&frame.with_steps(counted).encode()).map(Some).map_err(told)
    }

    fn verify(&self, received: &mut Received) -> Result<(), ReadError> {
        if received.verified {
            return Ok(());
        }
        self.odb.check(self.arrived(received)?)?;
        received.verified = true;
        Ok(())
    }

    /// Whether an object that will be held in memory is as small as its kind is.
    fn bounded(&self, source: &mut Source) -> Result<(), ReadError> {
        let len = match source.frame {
            Frame::Plain => source.len - Frame::PLAIN_LEN as u64,
            Frame::Packed { len, .. } => len,
            // Made from what is bounded.
            _ => return Ok(()),
        };
        let kind = self.odb.kind_of(source)?;
        within(kind, len).map_err(|reason| ReadError::frame(source.id, reason))
    }
}

/// Whether a file of this length can begin so.
fn possible(first: &[u8], len: u64) -> Result<(), String> {
    let told = |error: crate::DecodeError| error.to_string();
    let Some(form) = first.get(..Frame::PLAIN_LEN) else {
        return Err(format!("{} bytes are too few", first.len()));
    };
    match form.last() {
        Some(0) => {
            Frame::decode(form).map_err(told)?;
            let payload = &first[Frame::PLAIN_LEN..];
            let len = len.saturating_sub(form.len() as u64);
            if !payload.starts_with(TENSOR_MAGIC) {
                return within(Kind::of(payload), len);
            }
            let (head, n_head) = TensorHead::decode(payload).map_err(told)?;
            let whole = head.byte_len().and_then(|bytes| bytes.checked_add(n_head));
            match whole.is_some_and(|whole| whole as u64 == len) {
                true => Ok(()),
                false => Err(format!("{len} bytes are not what a tensor of {head} has")),
            }
        }
        Some(1) => match Frame::decode(first).map_err(told)? {
            Frame::Packed { packed, .. } if packed != len.saturating_sub(Frame::PACKED_LEN as u64) => {
                Err(format!("it claims {packed} packed bytes, and has {len} in all"))
            }
            _ => Ok(()),
        },
        _ if len > MAX_SMALL => Err(format!("{len} bytes are too many for its form")),
        _ => Ok(()),
    }
}

/// Whether an object of a kind may have this many bytes.
fn within(kind: Option<Kind>, len: u64) -> Result<(), String> {
    let most = match kind {
        Some(Kind::Tensor) => u64::MAX,
        Some(Kind::Patch | Kind::Facts | Kind::Blob) => MAX_HELD,
        Some(Kind::Manifest | Kind::Commit | Kind::Operation) => MAX_SMALL,
        None => return Err("it begins like no object".to_owned()),
    };
    match len <= most {
        true => Ok(()),
        false => Err(format!("{len} bytes are too many for a {}", kind.map_or("", Kind::name))),
    }
}
