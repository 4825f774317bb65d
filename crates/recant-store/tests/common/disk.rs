//! A disk in memory that counts its operations, fails one of them, and forgets what was never synced.
//!
//! Content is durable up to the last sync of its file; a name is durable up to the last sync of its folder.
//! After a crash a file has what was durable of it, and each name change since the folder's last sync has
//! happened or not, as a seed decides: a file system may write them out whenever it likes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use recant_store::disk::{Disk, DiskFile, Held, ReadAt};

/// What happens to the operation that is failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It reports an error and does nothing.
    Error,
    /// A write writes half and reports an error; others as [`Fault::Error`].
    Short,
    /// The machine stops before it: nothing works from then on.
    Crash,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, usize),
    Gone(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Name changes since the last sync, in order.
    pending: Vec<Change>,
    count: usize,
    fault: Option<(usize, Fault)>,
    /// So many more writes work, then none, for this reason.
    refuses: Option<(usize, io::ErrorKind)>,
    crashed: bool,
    locked: bool,
}

impl State {
    /// Counts an operation; the fault, if this is the one.
    fn tick(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.count += 1;
        match self.fault {
            Some((at, Fault::Crash)) if at == self.count => {
                self.crashed = true;
                Err(io::Error::other("the machine stops"))
            }
            Some((at, fault)) if at == self.count => Ok(Some(fault)),
            _ => Ok(None),
        }
    }

    fn step(&mut self) -> io::Result<()> {
        match self.tick()? {
            None => Ok(()),
            Some(_) => Err(io::Error::other("injected")),
        }
    }

    /// A step that puts something onto the disk.
    fn put(&mut self) -> io::Result<()> {
        match &mut self.refuses {
            Some((0, kind)) => return Err((*kind).into()),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        self.step()
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Add(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Change::Gone(path) => {
            names.remove(path);
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    /// Fails the `at`-th operation from now, counted from 1.
    pub(crate) fn arm(&self, at: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        let at = state.count + at;
        state.fault = Some((at, fault));
    }

    /// Takes so many more writes, and refuses all later ones; `None`: takes them again.
    pub(crate) fn refuse(&self, after: Option<(usize, io::ErrorKind)>) {
        self.state.lock().unwrap().refuses = after;
    }

    /// Operations so far.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().count
    }

    /// The disk after the power went: what was durable, and what a seed lets through of the rest.
    pub(crate) fn after_crash(&self, seed: u64) -> Self {
        let state = self.state.lock().unwrap();
        let mut names = state.durable.clone();
        let mut dice = seed | 1;
        for change in &state.pending {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if dice >> 63 == 0 {
                apply(&mut names, change);
            }
        }
        let inodes: Vec<Inode> = state
            .inodes
            .iter()
            .map(|inode| Inode { now: inode.durable.clone(), durable: inode.durable.clone() })
            .collect();
        let state = State { inodes, durable: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The same files, as if all of it had been synced, with no fault.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state.lock().unwrap();
        let inodes: Vec<Inode> =
            state.inodes.iter().map(|i| Inode { now: i.now.clone(), durable: i.now.clone() }).collect();
        let names = state.names.clone();
        Self {
            state: Arc::new(Mutex::new(State { inodes, durable: names.clone(), names, ..State::default() })),
        }
    }

    /// Replaces a file's bytes behind the store's back.
    pub(crate) fn overwrite(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        let inode = state.inodes.len();
        state.inodes.push(Inode { now: bytes.clone(), durable: bytes });
        state.names.insert(path.to_owned(), inode);
        state.durable.insert(path.to_owned(), inode);
    }

    /// Every file.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.state.lock().unwrap().names.keys().cloned().collect()
    }
}

struct FaultyAt(Vec<u8>);

impl ReadAt for FaultyAt {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = at as usize;
        let from = self.0.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }
}

struct FaultyFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        match state.refuses {
            Some((0, kind)) => return Err(kind.into()),
            Some((left, kind)) => state.refuses = Some((left - 1, kind)),
            None => {}
        }
        let fault = state.tick()?;
        let inode = self.inode;
        let written = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        if fault != Some(Fault::Error) {
            state.inodes[inode].now.extend_from_slice(written);
        }
        match fault {
            None => Ok(bytes.len()),
            Some(_) => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the device")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        let inode = self.inode;
        state.inodes[inode].durable = state.inodes[inode].now.clone();
        Ok(())
    }
}

struct Lock {
    state: Arc<Mutex<State>>,
}

impl Held for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.state.lock().unwrap().locked = false;
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = state.inodes[inode].now.clone();
        Ok((bytes.len() as u64, Box::new(io::Cursor::new(bytes))))
    }

    fn open_at(&self, path: &Path) -> io::Result<(u64, Box<dyn ReadAt>)> {
        let mut bytes = Vec::new();
        let (len, mut file) = self.open(path)?;
        file.read_to_end(&mut bytes)?;
        Ok((len, Box::new(FaultyAt(bytes))))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock().unwrap();
        state.put()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(Change::Add(path.to_owned(), inode));
        Ok(Box::new(FaultyFile { state: self.state.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.put()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Change::Gone(from.to_owned()));
        state.change(Change::Add(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Gone(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        let mut names: Vec<String> = state
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok()?.iter().next())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        Ok(state.names.keys().any(|name| name.starts_with(path)))
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state.lock().unwrap().put()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        let state = &mut *state;
        let (inside, outside): (Vec<Change>, Vec<Change>) = state.pending.drain(..).partition(|change| {
            let (Change::Add(path, _) | Change::Gone(path)) = change;
            path.parent() == Some(dir)
        });
        state.pending = outside;
        inside.iter().for_each(|change| apply(&mut state.durable, change));
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let mut state = self.state.lock().unwrap();
        state.put()?;
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock { state: self.state.clone() })))
    }
}
