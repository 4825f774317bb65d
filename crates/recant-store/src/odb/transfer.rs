//! Object files on their way to and from another store.
//!
//! Files travel as they are, so an edit travels as its factors; only a link, which means nothing elsewhere, is
//! replaced by what it points to. What arrives is untrusted: it is put in place when its bytes have the
//! digest that its name promises, and everything that it refers to is in place.

use std::io::{self, Read};
use std::path::PathBuf;

use recant_core::ObjectId;

use super::frame::Frame;
use super::read::open_link;
use super::{FirstBytes, Odb, ReadError, WriteError, Writer};
use crate::object::Reference;

/// A file that has arrived and is not in its place.
#[derive(Debug)]
pub struct Received {
    /// The object that it is said to be.
    pub id: ObjectId,
    tmp: PathBuf,
    /// Whether its bytes have the digest that they should have.
    verified: bool,
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
    /// An object's file as it travels: its length and its bytes. The object is verified first, so that damage
    /// does not spread.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn outgoing(&self, id: ObjectId) -> Result<(u64, Box<dyn Read + Send>), ReadError> {
        let verified = self.copy(id, &mut io::sink()).map_err(|error| self.explain(error))?;
        verified.map_err(|source| ReadError::Io { path: Self::path(id), source })?;
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

    /// Takes a file in, without believing it.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn receive(&mut self, id: ObjectId, input: &mut dyn Read) -> Result<Received, TransferError> {
        let tmp = self.tmp();
        self.write(&tmp, |file| io::copy(input, file).map(|_| ()))?;
        let received = Received { id, tmp, verified: false };
        match self.odb.source_at(id, &received.tmp).map(|source| source.frame) {
            Ok(Frame::Link(_)) => self.refuse(received, |id| TransferError::Link { id }),
            Ok(_) => Ok(received),
            Err(source) => self.refuse(received, |id| TransferError::Refused { id, source: source.into() }),
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
        let founds = self.odb.founds_at(id, &received.tmp).map_err(refused)?;
        let missing = self.missing(founds)?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        self.verify(received).map_err(refused)?;
        let source = self.odb.source_at(id, &received.tmp).map_err(refused)?;
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

    /// Puts a received file in its place, if its bytes have the digest that they should have.
    ///
    /// # Errors
    /// [`TransferError`]; nothing was put in place then.
    pub fn accept(&mut self, mut received: Received) -> Result<(), TransferError> {
        let counted = self.verify(&mut received).and_then(|()| self.recount(&received));
        let recounted = match counted {
            Ok(recounted) => recounted,
            Err(source) => {
                return self.refuse(received, |id| TransferError::Refused { id, source: source.into() });
            }
        };
        if let Some(frame) = recounted {
            self.discard(&received.tmp);
            received.tmp = self.tmp();
            self.write(&received.tmp, |file| file.write_all(&frame.encode()))?;
        }
        Ok(self.place(&received.tmp, received.id)?)
    }

    /// The head of a received file with the steps that it takes here, where it claims others: what it is made
    /// from may be stored otherwise than where it came from.
    fn recount(&self, received: &Received) -> Result<Option<Frame>, ReadError> {
        let id = received.id;
        let frame = self.odb.source_at(id, &received.tmp)?.frame;
        let counted = self.odb.chain(id, frame.clone(), &|_| false)?.steps;
        if frame.claimed().is_none_or(|claimed| claimed == counted) {
            return Ok(None);
        }
        // What would not be read back is not written.
        let told = |source: crate::DecodeError| ReadError::Frame { id, reason: source.to_string() };
        Frame::decode(&frame.with_steps(counted).encode()).map(Some).map_err(told)
    }

    fn verify(&self, received: &mut Received) -> Result<(), ReadError> {
        if received.verified {
            return Ok(());
        }
        let id = received.id;
        let mut head = FirstBytes::default();
        let source = self.odb.source_at(id, &received.tmp)?;
        let copied = self.odb.copy_from(source, &mut head)?;
        copied.map_err(|source| ReadError::Io { path: received.tmp.clone(), source })?;
        if head.is_tensor() {
            head.tensor_head(id)?;
        }
        received.verified = true;
        Ok(())
    }

    fn refuse<T>(
        &mut self,
        received: Received,
        error: impl FnOnce(ObjectId) -> TransferError,
    ) -> Result<T, TransferError> {
        self.discard(&received.tmp);
        Err(error(received.id))
    }
}
