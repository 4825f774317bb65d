//! Temporary folders: made private, told from everybody else's, removed with their owner or after it.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PREFIX: &str = ".recant-";
const SUFFIX: &str = ".tmp";
/// The file that says whose folder it is. Its owner holds a lock on it, which ends with the process.
const MARKER: &str = "owner";
const MARK: &[u8] = b"recant temporary folder 1\n";
/// How often a folder is removed in which somebody still works; what stays then is left for a sweep.
const TRIES: usize = 64;
/// What is being made.
const NEW: &str = "new";
/// What it replaces, on systems that cannot exchange two folders in one step.
const FORMER: &str = "former";

/// The temporary folders of one owner, usually of one process. A handle: clones are the same list.
///
/// Each folder is removed when the work in it ends. Whoever ends the process otherwise, at a signal, calls
/// [`Temporaries::remove_all`] first; what a killed process leaves is found and removed by [`Temporaries::sweep`].
#[derive(Debug, Clone, Default)]
pub struct Temporaries(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Temporaries {
    /// Makes a folder among the system's temporary ones.
    ///
    /// # Errors
    /// What the system says.
    pub fn folder(&self) -> io::Result<TemporaryFolder> {
        self.folder_in(&std::env::temp_dir())
    }

    pub(crate) fn folder_in(&self, dir: &Path) -> io::Result<TemporaryFolder> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        loop {
            let mut held = self.held();
            let path = builder.tempdir_in(dir)?.keep();
            held.insert(path.clone());
            drop(held);
            let folder = TemporaryFolder { path, owner: None, temporaries: self.clone() };
            // Another process's sweep can take it for one that a dead process left, until it has an owner.
            match File::create_new(folder.path.join(MARKER)) {
                Ok(owner) => {
                    if let Some(folder) = Self::marked(folder, owner)? {
                        return Ok(folder);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The folder with its owner; `None` where a sweep was faster.
    fn marked(mut folder: TemporaryFolder, mut owner: File) -> io::Result<Option<TemporaryFolder>> {
        // Locked before it is marked: nobody finds a mark without an owner while there is one.
        match owner.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !folder.path.join(MARKER).is_file() {
            return Ok(None);
        }
        owner.write_all(MARK)?;
        folder.owner = Some(owner);
        Ok(Some(folder))
    }

    /// Removes every folder, and lets nothing made in them come to its place afterwards while `then` runs, which
    /// usually ends the process.
    pub fn remove_all(&self, then: impl FnOnce()) {
        let mut held = self.held();
        for path in std::mem::take(&mut *held) {
            // Whoever works in it goes on meanwhile: a file that he makes in a folder just emptied stands in the way.
            let mut tries = 0..TRIES;
            while remove(&path).is_err() && path.is_dir() && tries.next().is_some() {}
        }
        then();
    }

    /// Removes the folders in `dir` that dead processes of recant left. Others are not touched, nor what cannot be
    /// told from them.
    pub fn sweep(dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                let _left_for_the_next = remove_if_dead(&entry.path());
            }
        }
    }

    /// Does the step that puts something in its place, unless the folders are being removed.
    pub(crate) fn settle<T>(&self, step: impl FnOnce() -> T) -> T {
        let _held = self.held();
        step()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder of this process, removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    owner: Option<File>,
    temporaries: Temporaries,
}

impl TemporaryFolder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where to make what will be put in its place.
    pub(crate) fn new_path(&self) -> PathBuf {
        self.path.join(NEW)
    }

    /// Where to move what is replaced.
    pub(crate) fn former_path(&self) -> PathBuf {
        self.path.join(FORMER)
    }

    /// Leaves the folder to the person: nobody removes it any more.
    pub(crate) fn give_up(mut self) {
        let _stays = fs::remove_file(self.path.join(MARKER));
        self.temporaries.held().remove(&self.path);
        self.owner = None;
        self.path = PathBuf::new();
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let mut held = self.temporaries.held();
        held.remove(&self.path);
        // Some systems do not remove what is open.
        self.owner = None;
        let _left_for_a_sweep = remove(&self.path);
    }
}

/// Removes a folder, but never one that still has what it replaced.
fn remove(path: &Path) -> io::Result<()> {
    if path.join(FORMER).symlink_metadata().is_ok() {
        return Ok(());
    }
    // The marker goes last: a process that is killed on the way leaves a folder that a sweep still knows.
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() != MARKER {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    match fs::remove_file(path.join(MARKER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::remove_dir(path),
    }
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    match fs::symlink_metadata(path.join(MARKER)) {
        Ok(marker) if marker.is_file() => {}
        // Killed before it was marked or after the marker went: empty, and only then does the system remove it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fs::remove_dir(path),
        _ => return Ok(()),
    }
    let mut owner = File::open(path.join(MARKER))?;
    let mut mark = Vec::new();
    (&mut owner).take(MARK.len() as u64 + 1).read_to_end(&mut mark)?;
    // Killed while it was marked: there is nothing yet but the marker.
    let begun = || Ok::<_, io::Error>(MARK.starts_with(&mark) && fs::read_dir(path)?.count() == 1);
    if mark != MARK && !begun()? {
        return Ok(());
    }
    match owner.try_lock() {
        Ok(()) => remove(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A process that ends at a signal leaves nothing, although another thread of it still writes.
    #[test]
    fn a_folder_in_which_somebody_works_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let temporaries = Temporaries::default();
        let folder = temporaries.folder_in(dir.path()).unwrap();
        let path = folder.path().to_owned();
        let at_work = path.clone();
        let work = std::thread::spawn(move || {
            while at_work.is_dir() {
                let _may_be_gone = fs::create_dir(at_work.join(NEW));
                let _may_be_gone = File::create(at_work.join(NEW).join("weights"));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(10));
        temporaries.remove_all(|| ());
        assert!(!path.exists());
        work.join().unwrap();
    }

    #[test]
    fn a_sweep_takes_the_folders_of_dead_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let living = Temporaries::default().folder_in(dir.path()).unwrap();
        // A process that was killed: the marker stays, the lock is gone.
        let dead = Temporaries::default().folder_in(dir.path()).unwrap();
        fs::create_dir(dead.new_path()).unwrap();
        fs::write(dead.new_path().join("weights"), "half").unwrap();
        fs::copy(dead.path.join(MARKER), at("mark")).unwrap();
        fs::rename(&dead.path, at(".recant-dead.tmp")).unwrap();
        drop(dead);
        for (name, mark) in [(".recant-begun.tmp", ""), (".recant-half.tmp", "recant temp")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(MARKER), mark).unwrap();
        }
        let keeps = [
            ".recant-mine.tmp",
            ".recant-other.tmp",
            ".recant-former.tmp",
            ".recant-empty.tmp",
            "recant",
            "new.tmp",
        ];
        for name in keeps {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("thesis.txt"), "mine").unwrap();
        }
        fs::write(at(".recant-other.tmp/owner"), "somebody else").unwrap();
        fs::write(at(".recant-empty.tmp/owner"), "").unwrap();
        for name in [".recant-former.tmp", "recant", "new.tmp"] {
            fs::copy(at("mark"), at(name).join(MARKER)).unwrap();
        }
        fs::create_dir(at(".recant-former.tmp/former")).unwrap();
        fs::write(at(".recant-file.tmp"), "a file").unwrap();
        let before = names(dir.path());
        Temporaries::sweep(dir.path());
        let gone: Vec<String> = before.into_iter().filter(|name| !names(dir.path()).contains(name)).collect();
        assert_eq!(gone, [".recant-begun.tmp", ".recant-dead.tmp", ".recant-half.tmp"]);
        assert!(keeps.iter().all(|name| at(name).join("thesis.txt").exists()));
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_temporary_folder_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = Temporaries::default().folder_in(dir.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_removed_at_a_signal_is_not_put_in_its_place_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let temporaries = Temporaries::default();
        let folder = temporaries.folder_in(dir.path()).unwrap();
        fs::write(folder.new_path(), "half").unwrap();
        let mut called = false;
        temporaries.remove_all(|| called = true);
        assert!(called && names(dir.path()).is_empty());
        let place = || fs::rename(folder.new_path(), dir.path().join("final"));
        assert!(temporaries.settle(place).is_err());
        drop(folder);
        assert!(names(dir.path()).is_empty());
    }
}
