//! Bringing in a base checkpoint, tensor by tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use recant_checkpoint::{Directory, Source, SourceError, TensorEntry, WeightFile};
use recant_core::{CommitId, ModelDigest, ObjectId, ParamPath, TensorId};

use crate::name::{FileName, Name, NameError};
use crate::object::{Blob, Commit, Deed, Manifest, Record, TensorHead, files};
use crate::odb::{LinkFrame, WriteError, Writer};
use crate::store::{SHARDED, Stamp, Store, TransactionError};
use crate::verbs::SecretKey;

/// Largest carried file. Tokenizers are tens of megabytes.
const MAX_CARRIED: u64 = 1 << 30;

/// Threads of an import.
const MAX_LANES: usize = 4;
/// Bytes of tensors from which on several threads import them.
const LANES_FROM: u64 = 64 << 20;

/// How to import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Import {
    /// Refer to the tensors in place instead of copying them. The file must then stay as it is; each tensor
    /// is verified when it is used.
    pub link: bool,
    /// Compress what is copied.
    pub pack: bool,
    /// Second and first names of matrices that are one, as the configuration says. Where the file holds other bytes
    /// under the second name, both matrices are kept and none is tied.
    pub ties: Vec<(ParamPath, ParamPath)>,
    /// The branch to make; without it, the head's, which must have no commit yet.
    pub branch: Option<Name>,
    /// What for.
    pub message: String,
    /// Program and version.
    pub tool: String,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The commit.
    pub commit: CommitId,
    /// The digest of the weights.
    pub digest: ModelDigest,
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of the tensors.
    pub bytes: u64,
    /// Second names that were to be tied and hold bytes of their own.
    pub untied: Vec<ParamPath>,
}

/// A checkpoint cannot be imported. The store's history is as it was; tensors that were copied before the
/// error stay until gc, and the next attempt finds them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory is no model.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file of weights has a name that a store does not carry.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A matrix has a second name, but there is no matrix.
    #[error("`{alias}` is said to be tied to `{path}`, which is missing")]
    Tie {
        /// The second name.
        alias: ParamPath,
        /// The first name.
        path: ParamPath,
    },
    /// The source is no directory of safetensors files.
    #[error(
        "{place} cannot be linked to: its tensors do not stand in it as they are used; import it without linking"
    )]
    Link {
        /// The source.
        place: PathBuf,
    },
    /// The branch has commits already.
    #[error("branch {name} has commits already; choose another name")]
    Occupied {
        /// The branch.
        name: Name,
    },
    /// The head stands on a commit.
    #[error("the head stands on no branch, and none is named")]
    NoBranch,
    /// The file changed while it was read.
    #[error("{path} changed while it was read")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An object cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl Store {
    /// Imports a model directory: `model.safetensors` and what stands beside it. Holds a buffer in memory for
    /// each of at most four threads, never a tensor (when it packs, a tensor each).
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn import(
        &self,
        dir: &Path,
        import: &Import,
        stamp: &Stamp,
        key: Option<&SecretKey>,
    ) -> Result<Imported, ImportError> {
        self.import_source(&Directory::open(dir)?, import, stamp, key)
    }

    /// As [`Store::import`], of any source. One that is no directory, such as a GGUF file, is stored as the directory
    /// that it stands for, a tensor in memory at a time, and cannot be linked to.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn import_source(
        &self,
        source: &dyn Source,
        import: &Import,
        stamp: &Stamp,
        key: Option<&SecretKey>,
    ) -> Result<Imported, ImportError> {
        let layout = source.layout().clone();
        if import.link && source.directory().is_none() {
            return Err(ImportError::Link { place: source.place().to_owned() });
        }
        let mut tx = self.begin(stamp)?;
        let branch = match &import.branch {
            Some(name) => name.clone(),
            None => tx.view.head_branch().cloned().ok_or(ImportError::NoBranch)?,
        };
        if tx.view.branches.contains_key(&branch) {
            return Err(ImportError::Occupied { name: branch });
        }
        branch.check_ref().map_err(TransactionError::from)?;
        tx.writer.pack = import.pack;
        let files = match source.directory() {
            Some(dir) => carry(dir, &mut tx.writer)?,
            None => made(source, &mut tx.writer)?,
        };
        let blob = files::encode(&layout)?;
        if blob.kind.as_str() != "file" {
            tx.writer.odb().allow(SHARDED)?;
        }
        let bytes = layout.files.iter().map(|file| file.header.data_len()).sum();
        let mut stored = BTreeMap::new();
        if let Some(dir) = source.directory() {
            for file in layout.files {
                let weights = Weights::open(&dir.join(&file.name), file)?;
                stored.append(&mut weights.tensors(import.link, &mut tx.writer)?);
            }
        } else {
            for name in layout.names() {
                stored.insert(name.clone(), tx.writer.put_tensor(&source.tensor(name)?)?);
            }
        }
        let layout = tx.writer.put(&blob.encode())?;
        let Tied { tensors, ties, untied } = tie(stored, &import.ties)?;
        let manifest = Manifest { tensors, ties, files, layout };
        let manifest_id = tx.writer.put_manifest(&manifest, None)?;
        let digest = manifest.model_digest();
        let message = match import.message.is_empty() {
            true => "Import".to_owned(),
            false => import.message.clone(),
        };
        let mut commit = Commit {
            parents: Vec::new(),
            generation: 1,
            manifest: manifest_id,
            deed: Deed::Import,
            patch: None,
            ledger: None,
            takes: BTreeSet::new(),
            drops: BTreeSet::new(),
            states: BTreeMap::new(),
            time: stamp.time,
            author: stamp.author.clone(),
            message,
            record: Record { tool: import.tool.clone(), ..Record::default() },
            base: digest,
            signature: None,
        };
        if let Some(key) = key {
            key.sign(&mut commit);
        }
        let id = tx.put_commit(&commit).map_err(ImportError::Write)?;
        tx.view.branches.insert(branch.clone(), id);
        tx.view.head = crate::object::Head::Branch(branch);
        tx.publish("import")?;
        let tensors = manifest.tensors.len();
        Ok(Imported { commit: id, digest, tensors, bytes, untied })
    }
}

/// The tensors by their first names, and the second names.
#[derive(Default)]
struct Tied {
    tensors: BTreeMap<ParamPath, TensorId>,
    ties: BTreeMap<ParamPath, ParamPath>,
    untied: Vec<ParamPath>,
}

fn tie(stored: BTreeMap<ParamPath, TensorId>, ties: &[(ParamPath, ParamPath)]) -> Result<Tied, ImportError> {
    let mut tied = Tied { tensors: stored, ..Tied::default() };
    for (alias, path) in ties {
        let Some(first) = tied.tensors.get(path).copied() else {
            return Err(ImportError::Tie { alias: alias.clone(), path: path.clone() });
        };
        if tied.tensors.get(alias).is_some_and(|second| *second != first) {
            tied.untied.push(alias.clone());
            continue;
        }
        tied.tensors.remove(alias);
        tied.ties.insert(alias.clone(), path.clone());
    }
    Ok(tied)
}

/// A safetensors file whose header has been checked.
struct Weights {
    path: PathBuf,
    file: File,
    stored: WeightFile,
}

impl Weights {
    /// Opens a file, which must be as long and begin as it did when it was checked.
    fn open(path: &Path, stored: WeightFile) -> Result<Self, ImportError> {
        let read = |source| ImportError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let mut head = vec![0; stored.head.len()];
        let same = len == head.len() as u64 + stored.header.data_len()
            && file.read_exact(&mut head).is_ok()
            && head == stored.head;
        match same {
            true => Ok(Self { path: path.to_owned(), file, stored }),
            false => Err(ImportError::Changed { path: path.to_owned() }),
        }
    }

    /// Stores all tensors. Reading, hashing, writing and waiting for the disk take turns in a lane, so that
    /// lanes fill each other's pauses.
    fn tensors(self, link: bool, writer: &mut Writer) -> Result<BTreeMap<ParamPath, TensorId>, ImportError> {
        let places = self.stored.header.tensors.clone();
        let n_lanes = match self.stored.header.data_len() {
            ..LANES_FROM => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_LANES),
        };
        let next = AtomicUsize::new(0);
        let run = |mut file: Self, mut writer: Writer| {
            let mut stored = Vec::new();
            while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                match file.tensor(place, link, &mut writer) {
                    Ok(id) => stored.push((place.path.clone(), id)),
                    Err(error) => {
                        // Nobody begins another one.
                        next.store(places.len(), Ordering::Relaxed);
                        return Err((place.begin, error));
                    }
                }
            }
            Ok((stored, writer))
        };
        let mut files = vec![self];
        for _ in 1..n_lanes {
            let again = files[0].again()?;
            files.push(again);
        }
        let done = std::thread::scope(|scope| {
            let lanes = files.into_iter().enumerate().map(|(lane, file)| {
                let writer = writer.lane(lane);
                let run = &run;
                scope.spawn(move || run(file, writer))
            });
            let lanes: Vec<_> = lanes.collect();
            lanes.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut stored = BTreeMap::new();
        let mut failed = Vec::new();
        for lane in done {
            match lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok((tensors, lane)) => {
                    stored.extend(tensors);
                    writer.join(lane);
                }
                Err(error) => failed.push(error),
            }
        }
        // Of several errors the one that is first in the file.
        match failed.into_iter().min_by_key(|(begin, _)| *begin) {
            Some((_, error)) => Err(error),
            None => Ok(stored),
        }
    }

    /// The same file, to be read at another place; an error when it is another one by now.
    fn again(&self) -> Result<Self, ImportError> {
        Self::open(&self.path, self.stored.clone())
    }

    fn tensor(
        &mut self,
        place: &TensorEntry,
        link: bool,
        writer: &mut Writer,
    ) -> Result<TensorId, ImportError> {
        let path = self.path.clone();
        let read = |source| ImportError::Read { path: path.clone(), source };
        let head = TensorHead { dtype: place.dtype, shape: place.shape.clone() };
        let len = place.end - place.begin;
        let offset = self.stored.head.len() as u64 + place.begin;
        self.file.seek(SeekFrom::Start(offset)).map_err(read)?;
        let mut input = BufReader::with_capacity(1 << 20, (&mut self.file).take(len));
        let id = if link {
            let id = hash(&head.encode(), &mut input).map_err(read)?;
            let path = self.path.canonicalize().map_err(read)?;
            writer.put_link(id, LinkFrame { path, offset, head })?;
            id
        } else if writer.pack {
            let mut payload = head.encode();
            input.read_to_end(&mut payload).map_err(read)?;
            let id = crate::object::object_id(&payload);
            if !writer.have(id)? {
                writer.put_stream(id, place.dtype.size() as u8, payload.len() as u64, &mut &payload[..])?;
            }
            TensorId::from_bytes(*id.as_bytes())
        } else {
            TensorId::from_bytes(*writer.put_unknown(&head.encode(), &mut input)?.as_bytes())
        };
        // A short read would be a shorter tensor under its own, unexpected id.
        if self.file.stream_position().map_err(read)? != offset + len {
            return Err(ImportError::Changed { path: self.path.clone() });
        }
        Ok(id)
    }
}

fn hash(head: &[u8], input: &mut dyn Read) -> io::Result<TensorId> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(TensorId::from_bytes(*hasher.finalize().as_bytes())),
            len => hasher.update(&buffer[..len]),
        };
    }
}

fn file_blob(writer: &mut Writer, bytes: Vec<u8>) -> Result<ObjectId, ImportError> {
    let kind = Name::new("file").map_err(|_| ImportError::NoBranch)?;
    Ok(writer.put(&Blob { kind, bytes }.encode())?)
}

/// Stores the files that a source makes.
fn made(source: &dyn Source, writer: &mut Writer) -> Result<BTreeMap<FileName, ObjectId>, ImportError> {
    let mut files = BTreeMap::new();
    for name in source.files()? {
        if let Some(bytes) = source.file(&name)? {
            files.insert(FileName::new(name)?, file_blob(writer, bytes)?);
        }
    }
    Ok(files)
}

/// Stores the files beside the weights. Symbolic links are followed, because download caches are made of
/// them; names that cannot be carried are an error rather than a loss.
fn carry(dir: &Path, writer: &mut Writer) -> Result<BTreeMap<FileName, ObjectId>, ImportError> {
    let read = |path: &Path, source| ImportError::Read { path: path.to_owned(), source };
    let mut files = BTreeMap::new();
    for name in recant_files::carried_files(dir).map_err(|source| read(dir, source))? {
        let path = dir.join(&name);
        let text = name.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let name = FileName::new(text)
            .map_err(|error| read(&path, io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|source| read(&path, source))?;
        file.take(MAX_CARRIED + 1).read_to_end(&mut bytes).map_err(|source| read(&path, source))?;
        if bytes.len() as u64 > MAX_CARRIED {
            return Err(read(&path, io::Error::new(io::ErrorKind::InvalidData, "more than 1 GiB")));
        }
        files.insert(name, file_blob(writer, bytes)?);
    }
    Ok(files)
}
