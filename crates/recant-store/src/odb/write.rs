//! Writing objects: a temporary file, synced, renamed; the folder synced before anything refers to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bytes::Bytes;
use recant_core::{HostTensor, ManifestId, ObjectId, ParamPath, PatchId, TensorId};

use super::bundle::{BUNDLE_BYTES, BUNDLE_FROM, BUNDLES, BundleWriter};
use super::frame::{Frame, LinkFrame};
use super::{OBJECTS, Odb, ReadError, TMP, WriteError, pack};
use crate::disk::{Disk, DiskFile, read_small};
use crate::object::{Manifest, encode_tensor, object_id};
use crate::store::{BUNDLED, FORMAT};

/// Writes objects. What it wrote is durable once [`Writer::sync`] returned, and not before.
pub struct Writer {
    pub(crate) odb: Odb,
    /// Folders with new names in them.
    dirty: BTreeSet<PathBuf>,
    /// Distinguish this writer's temporary files; a store has one writer at a time, which may have lanes.
    lane: usize,
    next: u64,
    /// Bytes of pending files.
    n_pending: u64,
    /// Compress tensors that are stored as bytes.
    pub pack: bool,
}

impl Writer {
    pub(crate) fn new(odb: Odb) -> Self {
        let odb = odb.for_writer();
        Self { odb, dirty: BTreeSet::new(), lane: 0, next: 0, n_pending: 0, pack: false }
    }

    /// A writer beside this one, for another thread. What it writes is durable after [`Writer::join`] and
    /// [`Writer::sync`].
    pub(crate) fn lane(&self, lane: usize) -> Self {
        Self { lane, pack: self.pack, ..Self::new(self.odb.clone()) }
    }

    /// Takes over what a lane wrote.
    pub(crate) fn join(&mut self, lane: Self) {
        self.dirty.extend(lane.dirty);
    }

    /// From here on, what was read and made stays in memory, for much that follows one from the other.
    pub fn remember(&mut self) {
        self.odb = self.odb.remembering();
    }

    /// The objects written to.
    #[must_use]
    pub fn odb(&self) -> &Odb {
        &self.odb
    }

    /// Stores an encoding.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn put(&mut self, payload: &[u8]) -> Result<ObjectId, WriteError> {
        let id = object_id(payload);
        if !self.have(id)? {
            self.file(id, |file| {
                file.write_all(&Frame::Plain.encode())?;
                file.write_all(payload)
            })?;
        }
        Ok(id)
    }

    /// Stores a tensor's bytes, packed if this writer packs.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn put_tensor(&mut self, tensor: &HostTensor) -> Result<TensorId, WriteError> {
        let id = tensor.id();
        if !self.have(id.into())? {
            let payload = encode_tensor(tensor);
            self.put_stream(id.into(), tensor.dtype().size() as u8, payload.len() as u64, &mut &payload[..])?;
        }
        Ok(id)
    }

    /// Stores `len` bytes that `input` gives and that are said to have this id; packed if this writer packs
    /// and it gains something. The caller has hashed them or compares the digest afterwards.
    pub(crate) fn put_stream(
        &mut self,
        id: ObjectId,
        width: u8,
        len: u64,
        input: &mut dyn Read,
    ) -> Result<(), WriteError> {
        if !self.pack {
            return self.file(id, |file| {
                file.write_all(&Frame::Plain.encode())?;
                io::copy(input, file).map(|_| ())
            });
        }
        // Packed in memory, because the gain decides the form: one tensor at a time.
        let mut packed = Vec::new();
        let mut plain = Vec::new();
        input.read_to_end(&mut plain).map_err(|source| WriteError::Input { source })?;
        pack::pack(&mut &plain[..], width, &mut packed).map_err(|source| WriteError::Input { source })?;
        let n_packed = packed.len() as u64;
        let gains = n_packed < len && len / pack::MAX_GAIN <= n_packed;
        let (head, body) = match gains {
            true => (Frame::Packed { len, width, packed: n_packed }, packed),
            false => (Frame::Plain, plain),
        };
        self.file(id, |file| {
            file.write_all(&head.encode())?;
            file.write_all(&body)
        })
    }

    /// Streams a tensor into the store without knowing its id before: written to a temporary file, hashed on
    /// the way, renamed by what came out.
    pub(crate) fn put_unknown(&mut self, head: &[u8], input: &mut dyn Read) -> Result<ObjectId, WriteError> {
        let tmp = self.tmp();
        let mut hasher = blake3::Hasher::new();
        hasher.update(head);
        let mut failed_input = None;
        let written = self.write(&tmp, |file| {
            file.write_all(&Frame::Plain.encode())?;
            file.write_all(head)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(len) => {
                        hasher.update(&buffer[..len]);
                        file.write_all(&buffer[..len])?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        failed_input = Some(error);
                        return Ok(());
                    }
                }
            }
        });
        if let Some(source) = failed_input {
            self.discard(&tmp);
            return Err(WriteError::Input { source });
        }
        written?;
        let id = ObjectId::from_bytes(*hasher.finalize().as_bytes());
        if self.have(id)? {
            self.discard(&tmp);
        } else {
            self.place(&tmp, id)?;
        }
        Ok(id)
    }

    /// Stores a reference to bytes in a file outside the store.
    pub(crate) fn put_link(&mut self, id: TensorId, link: LinkFrame) -> Result<(), WriteError> {
        self.small(id.into(), &Frame::Link(link))
    }

    /// Stores a tensor that follows from `base` by the patches' additions to `path`: as that, unless it would
    /// be too many steps from stored bytes. `tensor` gives the tensor itself.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn put_derived(
        &mut self,
        tensor: &HostTensor,
        base: TensorId,
        path: &ParamPath,
        patches: &[PatchId],
    ) -> Result<TensorId, WriteError> {
        let id = tensor.id();
        if patches.is_empty() || self.have(id.into())? {
            return Ok(id);
        }
        let steps = self.odb.steps(base)?.saturating_add(u32::try_from(patches.len()).unwrap_or(u32::MAX));
        if steps > Frame::TENSOR_STEPS {
            return self.put_tensor(tensor);
        }
        let frame = Frame::Tensor { steps, base, path: path.clone(), patches: patches.to_vec() };
        self.small(id.into(), &frame)?;
        Ok(id)
    }

    /// Stores a manifest as its difference from `base`, if they differ in tensors only.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn put_manifest(
        &mut self,
        manifest: &Manifest,
        base: Option<(ManifestId, &Manifest)>,
    ) -> Result<ManifestId, WriteError> {
        let id = manifest.id();
        if self.have(id.into())? {
            return Ok(id);
        }
        if let Some((base_id, base)) = base {
            let alike = base.tensors.keys().eq(manifest.tensors.keys())
                && (&base.ties, &base.files, base.layout)
                    == (&manifest.ties, &manifest.files, manifest.layout);
            let steps = self.odb.steps(base_id)?.saturating_add(1);
            if alike && steps <= Frame::MANIFEST_STEPS {
                let differs = |(path, id): &(&ParamPath, &TensorId)| base.tensors.get(*path) != Some(*id);
                let changed: BTreeMap<_, _> =
                    manifest.tensors.iter().filter(differs).map(|(path, &id)| (path.clone(), id)).collect();
                self.small(id.into(), &Frame::Manifest { steps, base: base_id, changed })?;
                return Ok(id);
            }
        }
        self.put(&manifest.encode())?;
        Ok(id)
    }

    /// Stores an object's file as it stands, unverified.
    pub(crate) fn put_file(&mut self, id: ObjectId, file: &[u8]) -> Result<(), WriteError> {
        self.file(id, |out| out.write_all(file))
    }

    /// Takes a small object's file to be written with others.
    pub(super) fn put_pending(&mut self, id: ObjectId, file: Bytes) -> Result<(), WriteError> {
        self.n_pending += file.len() as u64;
        self.odb.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, file);
        if self.n_pending < BUNDLE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Writes pending files: into a bundle, if there are enough of them.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let pending = self.odb.pending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match pending.len() {
            0 => return Ok(()),
            1..BUNDLE_FROM => pending.iter().try_for_each(|(&id, file)| self.put_file(id, file))?,
            _ => _ = self.put_bundle(pending.iter().map(|(&id, file)| Ok((id, file.clone()))))?,
        }
        // Only now, so that whoever looks finds them at every moment.
        self.odb.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.n_pending = 0;
        Ok(())
    }

    /// Writes objects' files into a bundle. Returns its name.
    pub(crate) fn put_bundle(
        &mut self,
        mut files: impl Iterator<Item = Result<(ObjectId, Bytes), ReadError>>,
    ) -> Result<String, WriteError> {
        self.odb.allow(BUNDLED)?;
        let (tmp, mut name, mut unread) = (self.tmp(), String::new(), None);
        self.write(&tmp, |out| {
            let mut bundle = BundleWriter::begin(out)?;
            for file in &mut files {
                match file {
                    Ok((id, file)) => bundle.add(id, &file)?,
                    Err(error) => {
                        unread = Some(error);
                        return Ok(());
                    }
                }
            }
            name = bundle.finish()?;
            Ok(())
        })?;
        if let Some(error) = unread {
            self.discard(&tmp);
            return Err(error.into());
        }
        let io = |path: &Path, source| WriteError::Io { path: path.to_owned(), source };
        let (dir, disk) = (Path::new(BUNDLES), &*self.odb.disk);
        disk.make_dir(dir).map_err(|source| io(dir, source))?;
        let to = dir.join(&name);
        disk.rename(&tmp, &to).map_err(|source| {
            self.discard(&tmp);
            io(&to, source)
        })?;
        self.dirty.extend([PathBuf::new(), dir.to_owned()]);
        Ok(name)
    }

    /// Writes the head of a derived object again, with so many steps; `false` when that cannot be.
    pub(crate) fn restep(&mut self, id: ObjectId, steps: u32) -> Result<bool, WriteError> {
        let frame = self.odb.source(id)?.frame.with_steps(steps).encode();
        if Frame::decode(&frame).is_err() {
            return Ok(false);
        }
        self.file(id, |file| file.write_all(&frame))?;
        Ok(true)
    }

    /// Whether the object is there already, with everything that it is made from: after a crash a file may
    /// have lasted whose patch has not. Its folder counts as dirty then too, because whoever renamed the file
    /// into it may have died before the folder was synced.
    pub(crate) fn have(&mut self, id: ObjectId) -> Result<bool, WriteError> {
        if self.odb.pending(id).is_some() {
            return Ok(true);
        }
        let alone = self.odb.stands_alone(id)?;
        let there = (alone || self.odb.contains(id)?) && self.odb.is_founded(id)?;
        match (there, alone) {
            (true, true) => self.mark(&Odb::path(id)),
            (true, false) => self.dirty.extend([PathBuf::from(BUNDLES), PathBuf::new()]),
            _ => {}
        }
        Ok(there)
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        sync_all(&*self.odb.disk, &self.dirty)?;
        self.dirty.clear();
        Ok(())
    }

    fn small(&mut self, id: ObjectId, frame: &Frame) -> Result<(), WriteError> {
        if self.have(id)? { Ok(()) } else { self.file(id, |file| file.write_all(&frame.encode())) }
    }

    fn file(
        &mut self,
        id: ObjectId,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let tmp = self.tmp();
        self.write(&tmp, fill)?;
        self.place(&tmp, id)
    }

    /// Writes and syncs a temporary file; removes it when that fails.
    pub(crate) fn write(
        &mut self,
        tmp: &Path,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let disk = self.odb.disk.clone();
        let fill = |file: &mut dyn DiskFile| {
            let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut *file);
            fill(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            file.sync()
        };
        let written = disk.create(tmp).and_then(|mut file| fill(&mut *file));
        written.map_err(|source| {
            self.discard(tmp);
            WriteError::Io { path: tmp.to_owned(), source }
        })
    }

    pub(super) fn place(&mut self, tmp: &Path, id: ObjectId) -> Result<(), WriteError> {
        let path = Odb::path(id);
        let dir = path.parent().unwrap_or(Path::new(OBJECTS)).to_owned();
        let io = |path: &Path, source| WriteError::Io { path: path.to_owned(), source };
        if !self.odb.disk.exists(&dir).map_err(|source| io(&dir, source))? {
            self.odb.disk.make_dir(&dir).map_err(|source| io(&dir, source))?;
        }
        self.odb.disk.rename(tmp, &path).map_err(|source| {
            self.discard(tmp);
            io(&path, source)
        })?;
        self.mark(&path);
        Ok(())
    }

    fn mark(&mut self, path: &Path) {
        self.dirty.extend(path.parent().map(Path::to_owned));
        // The folder's own name, which may be as new as the file's.
        self.dirty.insert(PathBuf::from(OBJECTS));
    }

    pub(crate) fn tmp(&mut self) -> PathBuf {
        self.next += 1;
        Path::new(TMP).join(format!("{}-{}-{}", std::process::id(), self.lane, self.next))
    }

    pub(crate) fn discard(&self, tmp: &Path) {
        // Best effort on the way out of an error; fsck --repair and gc sweep what stays.
        let _ = self.odb.disk.remove(tmp);
    }
}

impl Odb {
    /// Makes the store one of a format at least: an earlier recant would miss what is in bundles, and would not know
    /// shards.
    pub(crate) fn allow(&self, format: &str) -> Result<(), WriteError> {
        let path = Path::new(FORMAT);
        let found = read_small(&*self.disk, path, 256)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        // Formats differ in one digit.
        if found.as_slice() >= format.as_bytes() { Ok(()) } else { self.replace(FORMAT, format.as_bytes()) }
    }

    /// Replaces a small file of the store in one step.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let disk = &*self.disk;
        let tmp = Path::new(TMP).join(format!("{}-{name}", std::process::id()));
        let written = (|| {
            let mut file = disk.create(&tmp)?;
            file.write_all(bytes)?;
            file.sync()?;
            drop(file);
            disk.rename(&tmp, Path::new(name))
        })();
        if let Err(source) = written {
            let _ = disk.remove(&tmp);
            return Err(WriteError::Io { path: name.into(), source });
        }
        disk.sync_dir(Path::new("")).map_err(|source| WriteError::Io { path: name.into(), source })
    }
}

/// Syncs folders, the deepest first.
pub(crate) fn sync_all(disk: &dyn Disk, dirs: &BTreeSet<PathBuf>) -> Result<(), WriteError> {
    for dir in dirs.iter().rev() {
        disk.sync_dir(dir).map_err(|source| WriteError::Io { path: dir.clone(), source })?;
    }
    Ok(())
}
