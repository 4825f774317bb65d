//! Bundles: many small object files in one, because a file each is slow to list, to copy and to send.
//!
//! ```text
//! magic    8   "RCNTBND1"
//! records  one after another: id 32, u64 length, the object's file as it would stand alone
//! index    for each record, ids strictly ascending: id 32, u64 offset of the file, u64 its length
//! trailer  u64 records, 32 BLAKE3 of the index
//! ```
//!
//! A bundle's name is the BLAKE3 of all of it. What is in it is believed as little as any object file: bytes
//! are hashed before they are an object.

use std::io::{self, Read, Write};

use recant_core::ObjectId;

use super::ReadError;
use crate::disk::{Disk, ReadAt};

/// Fewer object files than this stay alone.
pub const BUNDLE_FROM: usize = 64;
/// Bytes of object files from which a bundle of what arrives or is sent is closed and the next one begun.
pub const BUNDLE_BYTES: u64 = 32 << 20;
/// Folder of bundles.
pub(crate) const BUNDLES: &str = "bundles";
const MAGIC: &[u8; 8] = b"RCNTBND1";
const ENTRY: usize = 48;
const TRAILER: u64 = 40;
/// Bytes before a record's file.
const RECORD: u64 = 40;
/// Larger object files stay alone: a bundle is read into memory object by object.
pub const MAX_FILE: u64 = 1 << 20;

/// Where an object's file stands in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The object that it is said to be.
    pub id: ObjectId,
    /// Where its file begins, in bytes.
    pub at: u64,
    /// Bytes of its file, at most [`MAX_FILE`].
    pub len: u64,
}

/// A bundle whose index was read and checked.
pub struct Bundle {
    /// The digest that all of it should have.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// What is in it, ids ascending.
    pub entries: Vec<Entry>,
    file: Box<dyn ReadAt>,
}

impl Bundle {
    /// Opens a bundle. `InvalidData` when it is none.
    pub(crate) fn open(disk: &dyn Disk, name: &str) -> io::Result<Self> {
        let (len, file) = disk.open_at(&std::path::Path::new(BUNDLES).join(name))?;
        Self::read_index(name, len, file)
    }

    /// The bundle of so many bytes in a file, of which the index is read. Nothing else of it is believed yet.
    ///
    /// # Errors
    /// `InvalidData` when it is no bundle; what the file says.
    pub fn read_index(name: &str, len: u64, file: Box<dyn ReadAt>) -> io::Result<Self> {
        let entries = read_index(len, &*file)?;
        Ok(Self { name: name.to_owned(), len, entries, file })
    }

    /// Where an object's file stands.
    #[must_use]
    pub fn find(&self, id: ObjectId) -> Option<Entry> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok().map(|i| self.entries[i])
    }

    /// An object's file, unverified.
    ///
    /// # Errors
    /// What the file says.
    pub fn read(&self, entry: Entry) -> io::Result<Vec<u8>> {
        let len = usize::try_from(entry.len).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_at(entry.at, &mut bytes)?;
        Ok(bytes)
    }

    /// Why the file is not the bundle that its name and its index promise.
    pub(crate) fn damage(&self) -> io::Result<Option<String>> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < self.len {
            let len = buffer.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            self.file.read_at(at, &mut buffer[..len])?;
            hasher.update(&buffer[..len]);
            at += len as u64;
        }
        let found = hasher.finalize().to_hex();
        if found.as_str() != self.name {
            return Ok(Some(format!("its bytes have digest {found}")));
        }
        self.contradiction()
    }

    /// Why the head of a record is not what the index says of it.
    fn contradiction(&self) -> io::Result<Option<String>> {
        for entry in &self.entries {
            let mut head = [0; RECORD as usize];
            self.file.read_at(entry.at - RECORD, &mut head)?;
            if head[..32] != entry.id.as_bytes()[..] || number(&head[32..]) != entry.len {
                return Ok(Some(format!("its index and its records disagree about {}", entry.id)));
            }
        }
        Ok(None)
    }
}

fn read_index(len: u64, file: &dyn ReadAt) -> io::Result<Vec<Entry>> {
    let mut magic = [0; 8];
    let mut trailer = [0; TRAILER as usize];
    if len < MAGIC.len() as u64 + TRAILER {
        return Err(bad("it is cut short"));
    }
    file.read_at(0, &mut magic)?;
    if magic != *MAGIC {
        return Err(bad("it does not begin as a bundle"));
    }
    file.read_at(len - TRAILER, &mut trailer)?;
    let count = number(&trailer[..8]);
    // Before memory is reserved: a record and its entry for each.
    let room = len - TRAILER - MAGIC.len() as u64;
    if count > room / (ENTRY as u64 + RECORD) {
        return Err(bad("it claims more objects than it has room for"));
    }
    let end = len - TRAILER - count * ENTRY as u64;
    let mut index = vec![0; count as usize * ENTRY];
    file.read_at(end, &mut index)?;
    if blake3::hash(&index).as_bytes()[..] != trailer[8..] {
        return Err(bad("its index is damaged"));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count as usize);
    for raw in index.chunks_exact(ENTRY) {
        let (at, len) = (number(&raw[32..40]), number(&raw[40..48]));
        let mut id = [0; 32];
        id.copy_from_slice(&raw[..32]);
        let id = ObjectId::from_bytes(id);
        let fits = at.checked_add(len).is_some_and(|to| to <= end) && at >= MAGIC.len() as u64 + RECORD;
        if !fits || len > MAX_FILE || entries.last().is_some_and(|last| last.id >= id) {
            return Err(bad("its index contradicts itself"));
        }
        entries.push(Entry { id, at, len });
    }
    Ok(entries)
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle({}, {} objects)", self.name, self.entries.len())
    }
}

/// Writes a bundle.
pub struct BundleWriter<'w> {
    out: &'w mut dyn Write,
    hasher: blake3::Hasher,
    at: u64,
    entries: Vec<Entry>,
}

impl<'w> BundleWriter<'w> {
    /// Begins one.
    ///
    /// # Errors
    /// What the output says.
    pub fn begin(out: &'w mut dyn Write) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), at: 0, entries: Vec::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Adds an object's file.
    ///
    /// # Errors
    /// What the output says.
    pub fn add(&mut self, id: ObjectId, file: &[u8]) -> io::Result<()> {
        self.write(id.as_bytes())?;
        self.write(&(file.len() as u64).to_le_bytes())?;
        self.entries.push(Entry { id, at: self.at, len: file.len() as u64 });
        self.write(file)
    }

    /// Writes the index. Returns the bundle's name.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<String> {
        self.entries.sort_by_key(|entry| entry.id);
        let mut index = Vec::with_capacity(self.entries.len() * ENTRY);
        for entry in &self.entries {
            index.extend_from_slice(entry.id.as_bytes());
            index.extend_from_slice(&entry.at.to_le_bytes());
            index.extend_from_slice(&entry.len.to_le_bytes());
        }
        let count = self.entries.len() as u64;
        self.write(&index)?;
        self.write(&count.to_le_bytes())?;
        let digest = blake3::hash(&index);
        self.write(digest.as_bytes())?;
        Ok(self.hasher.finalize().to_hex().to_string())
    }
}

impl std::fmt::Debug for BundleWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BundleWriter({} objects)", self.entries.len())
    }
}

/// The records of a bundle whose index may be damaged, as far as they can be told apart.
pub(crate) fn salvage(input: &mut dyn Read) -> io::Result<Vec<(ObjectId, Vec<u8>)>> {
    let mut magic = [0; 8];
    let mut records = Vec::new();
    if input.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Ok(records);
    }
    loop {
        let mut head = [0; RECORD as usize];
        if input.read_exact(&mut head).is_err() {
            return Ok(records);
        }
        let mut id = [0; 32];
        id.copy_from_slice(&head[..32]);
        let len = number(&head[32..]);
        // The index reads as a record of nonsense, which is not what its id says.
        if len > MAX_FILE {
            return Ok(records);
        }
        let mut file = Vec::new();
        input.take(len).read_to_end(&mut file)?;
        if file.len() as u64 != len || !file.starts_with(super::frame::MAGIC) {
            return Ok(records);
        }
        records.push((ObjectId::from_bytes(id), file));
    }
}

/// A file of a bundle, or the bundle, cannot be read.
pub(crate) fn unreadable(name: &str, source: io::Error) -> ReadError {
    let path = std::path::Path::new(BUNDLES).join(name);
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            ReadError::Bundle { path, reason: source.to_string() }
        }
        _ => ReadError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ReadAt for Vec<u8> {
        fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let from = self.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(from);
            Ok(())
        }
    }

    fn bundle(files: &[(u8, &[u8])]) -> (String, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut writer = BundleWriter::begin(&mut bytes).unwrap();
        files.iter().for_each(|(seed, file)| writer.add(ObjectId::from_bytes([*seed; 32]), file).unwrap());
        let name = writer.finish().unwrap();
        (name, bytes)
    }

    #[test]
    fn what_is_bundled_is_found() {
        let (name, bytes) = bundle(&[(9, b"RCNTOBJ1nine"), (1, b"RCNTOBJ1one"), (5, b"RCNTOBJ1")]);
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), name);
        let entries = read_index(bytes.len() as u64, &bytes).unwrap();
        let bundle = Bundle { name, len: bytes.len() as u64, entries, file: Box::new(bytes.clone()) };
        let file =
            |seed: u8| bundle.find(ObjectId::from_bytes([seed; 32])).map(|entry| bundle.read(entry).unwrap());
        assert_eq!(file(9).as_deref(), Some(&b"RCNTOBJ1nine"[..]));
        assert_eq!(file(5).as_deref(), Some(&b"RCNTOBJ1"[..]));
        assert_eq!(file(2), None);
        assert_eq!(bundle.damage().unwrap(), None);
        // Without its index, the records are found all the same.
        let cut = &bytes[..bytes.len() - 50];
        let ids: Vec<_> = salvage(&mut &cut[..]).unwrap().iter().map(|(id, _)| id.as_bytes()[0]).collect();
        assert_eq!(ids, [9, 1, 5]);
    }

    #[test]
    fn every_damage_of_the_index_is_told() {
        let (_, bytes) = bundle(&[(1, b"RCNTOBJ1one"), (2, b"RCNTOBJ1two")]);
        let end = bytes.len() - TRAILER as usize - 2 * ENTRY;
        for at in (0..8).chain(end..bytes.len()) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert!(read_index(bad.len() as u64, &bad).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(read_index(len as u64, &bytes[..len].to_vec()).is_err(), "cut to {len}");
        }
        assert!(read_index(bundle(&[]).1.len() as u64, &bundle(&[]).1).unwrap().is_empty());
    }
}
