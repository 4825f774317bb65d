//! The one step that puts what was made in its place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::staging::TemporaryFolder;

/// Puts a new file in its place; without `replace` only if nothing is there.
pub(crate) fn file(folder: &TemporaryFolder, target: &Path, replace: bool) -> io::Result<()> {
    let new = folder.new_path();
    if replace {
        return fs::rename(new, target);
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, &new, CWD, target, RenameFlags::NOREPLACE) {
            Err(error) if unsupported(error) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    // A second name is refused where there is a first one.
    match fs::hard_link(&new, target) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => fs::rename(new, target),
        done => done,
    }
}

/// Puts a new folder in the place of the one that is there, and returns where that one is now.
pub(crate) fn exchange(folder: &TemporaryFolder, target: &Path) -> io::Result<PathBuf> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, folder.new_path(), CWD, target, RenameFlags::EXCHANGE) {
            Err(error) if unsupported(error) => {}
            done => return done.map(|()| folder.new_path()).map_err(io::Error::from),
        }
    }
    exchange_in_two_steps(folder, target)
}

/// Where the system cannot exchange: the former folder steps aside first. A kill in between leaves it there, and
/// nobody removes a temporary folder that has one.
fn exchange_in_two_steps(folder: &TemporaryFolder, target: &Path) -> io::Result<PathBuf> {
    let former = folder.former_path();
    fs::rename(target, &former)?;
    if let Err(error) = fs::rename(folder.new_path(), target) {
        fs::rename(&former, target)?;
        return Err(error);
    }
    Ok(former)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn unsupported(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [Errno::NOSYS, Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&error)
}

/// Writes a file or folder, with all that is in it, to the disk.
pub(crate) fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
        sync_dir(path)
    } else {
        File::open(path)?.sync_all()
    }
}

/// Writes a folder's names to the disk. Windows has no such call; there the file system's journal does it.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use crate::Temporaries;

    /// Both ways of an exchange, on the same folders.
    #[test]
    fn an_exchange_gives_the_former_folder_back() {
        type Exchange = fn(&TemporaryFolder, &Path) -> io::Result<PathBuf>;
        for exchange in [exchange as Exchange, exchange_in_two_steps] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("out");
            fs::create_dir(&target).unwrap();
            fs::write(target.join("x"), "old").unwrap();
            let folder = Temporaries::default().folder_in(dir.path()).unwrap();
            fs::create_dir(folder.new_path()).unwrap();
            fs::write(folder.new_path().join("x"), "new").unwrap();
            let former = exchange(&folder, &target).unwrap();
            assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
            assert_eq!(fs::read(former.join("x")).unwrap(), b"old");
            fs::remove_dir_all(former).unwrap();
            // There is nothing new to exchange it with: the folder stays where it is.
            assert!(exchange(&folder, &target).is_err());
            assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
        }
    }

    #[test]
    fn a_file_is_not_put_over_another_unless_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let folder = Temporaries::default().folder_in(dir.path()).unwrap();
        fs::write(folder.new_path(), "1").unwrap();
        file(&folder, &target, false).unwrap();
        fs::write(folder.new_path(), "2").unwrap();
        assert_eq!(file(&folder, &target, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"1");
        file(&folder, &target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"2");
    }
}
