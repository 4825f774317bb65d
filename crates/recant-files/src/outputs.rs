//! The decision where an output may go, and the writing of what was decided.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{OutputError, Relation, Role};
use crate::kind::{DirectoryKind, FileKind};
use crate::staging::{Temporaries, TemporaryFolder};
use crate::{paths, place};

/// Bytes at a file's beginning by which its kind is told; headers of safetensors files are kilobytes.
const HEAD: u64 = 1 << 20;

/// What may happen to a file or folder that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// It stays.
    Refused,
    /// One of the same kind is replaced.
    Replaced,
}

/// What a command reads and writes, and the decision for each output.
#[derive(Debug, Clone)]
pub struct Outputs {
    temporaries: Temporaries,
    existing: Existing,
    guards: Vec<(Role, PathBuf)>,
}

/// A file that may be written.
#[derive(Debug, Clone)]
pub struct OutputFile {
    place: Place,
    kind: FileKind,
    /// Permission bits, where they are not those of the file that is replaced or of any new file.
    mode: Option<u32>,
}

/// A folder that may be written.
#[derive(Debug, Clone)]
pub struct OutputDirectory {
    place: Place,
    kind: DirectoryKind,
    /// Its files, relative to it.
    names: Vec<PathBuf>,
}

/// Where an output goes, as it was decided.
#[derive(Debug, Clone)]
struct Place {
    /// As it was given, for messages.
    path: PathBuf,
    /// The same with symbolic links resolved.
    target: PathBuf,
    existing: Existing,
    temporaries: Temporaries,
}

impl Outputs {
    /// A command that reads nothing yet and may replace nothing. Temporary folders are kept in `temporaries`.
    #[must_use]
    pub fn new(temporaries: &Temporaries) -> Self {
        Self { temporaries: temporaries.clone(), existing: Existing::Refused, guards: Vec::new() }
    }

    /// Whether what is there already may be replaced by something of the same kind.
    #[must_use]
    pub fn replacing(mut self, allowed: bool) -> Self {
        self.existing = if allowed { Existing::Replaced } else { Existing::Refused };
        self
    }

    /// Names something that must not be lost. No output may be it, hold it or, if it is a folder, lie inside it.
    ///
    /// # Errors
    /// [`OutputError::Write`] when the path cannot be followed.
    pub fn reads(&mut self, role: Role, path: &Path) -> Result<(), OutputError> {
        self.guards.push((role, paths::resolve(path).map_err(OutputError::write(path))?));
        Ok(())
    }

    /// Decides for a file.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn file(&mut self, path: &Path, kind: FileKind) -> Result<OutputFile, OutputError> {
        self.decided(path, kind, self.existing)
    }

    /// Decides for a file that the command reads and continues: it is replaced if it is of its kind.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn continued(&mut self, path: &Path, kind: FileKind) -> Result<OutputFile, OutputError> {
        self.decided(path, kind, Existing::Replaced)
    }

    /// Decides for a folder that will consist of the files `names`.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn directory(
        &mut self,
        path: &Path,
        kind: DirectoryKind,
        names: Vec<PathBuf>,
    ) -> Result<OutputDirectory, OutputError> {
        let place = self.place(path, self.existing)?;
        if let Ok(current) = std::env::current_dir() {
            match paths::relation(&place.target, &current) {
                None | Some(Relation::LiesIn) => {}
                Some(relation) => {
                    return Err(protected(path, relation, Role::CurrentDirectory, &current));
                }
            }
        }
        let output = OutputDirectory { place, kind, names };
        output.check()?;
        // Folders above it are made later, in the first one that exists.
        let above = output.place.target.ancestors().skip(1).find(|dir| dir.exists());
        output.place.try_out(above.unwrap_or(Path::new(".")))?;
        self.guards.push((Role::Output, output.place.target.clone()));
        Ok(output)
    }

    /// Makes a folder that outputs go into one by one, and the folders above it, unless it is there. It may hold
    /// what the command reads, but not lie inside it.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn folder(&self, path: &Path) -> Result<(), OutputError> {
        let target = paths::resolve(path).map_err(OutputError::write(path))?;
        self.protect(path, &target, |role, relation| match relation {
            Relation::Contains => false,
            Relation::Is | Relation::LiesIn => role.guards_content(),
        })?;
        fs::create_dir_all(&target).map_err(OutputError::write(path))
    }

    fn decided(
        &mut self,
        path: &Path,
        kind: FileKind,
        existing: Existing,
    ) -> Result<OutputFile, OutputError> {
        let output = OutputFile { place: self.place(path, existing)?, kind, mode: None };
        output.check()?;
        output.place.try_out(paths::parent(&output.place.target))?;
        self.guards.push((Role::Output, output.place.target.clone()));
        Ok(output)
    }

    fn place(&self, path: &Path, existing: Existing) -> Result<Place, OutputError> {
        // Without a `/` at the end, which would follow a link.
        let bare: PathBuf = path.components().collect();
        if fs::symlink_metadata(&bare).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(OutputError::Special { path: path.to_owned(), what: "a symbolic link" });
        }
        let target = paths::resolve(path).map_err(OutputError::write(path))?;
        self.protect(path, &target, |role, relation| relation != Relation::LiesIn || role.guards_content())?;
        let temporaries = self.temporaries.clone();
        Ok(Place { path: path.to_owned(), target, existing, temporaries })
    }

    /// Refuses a place that lies in a forbidden relation to something that must not be lost.
    fn protect(
        &self,
        path: &Path,
        target: &Path,
        forbidden: impl Fn(Role, Relation) -> bool,
    ) -> Result<(), OutputError> {
        for (role, guard) in &self.guards {
            if let Some(relation) = paths::relation(target, guard).filter(|found| forbidden(*role, *found)) {
                return Err(protected(path, relation, *role, guard));
            }
        }
        match paths::store_around(target) {
            Some(store) if store == target => Err(protected(path, Relation::Is, Role::Store, store)),
            Some(store) => Err(protected(path, Relation::LiesIn, Role::Store, store)),
            None => Ok(()),
        }
    }
}

fn protected(path: &Path, relation: Relation, role: Role, other: &Path) -> OutputError {
    OutputError::Protected { path: path.to_owned(), relation, role, other: other.to_owned() }
}

impl Place {
    fn write(&self) -> impl FnOnce(io::Error) -> OutputError {
        OutputError::write(&self.path)
    }

    /// Finds out before the work whether `dir` can be written to.
    fn try_out(&self, dir: &Path) -> Result<(), OutputError> {
        self.temporaries.folder_in(dir).map(drop).map_err(self.write())
    }

    fn staged(&self) -> Result<TemporaryFolder, OutputError> {
        let parent = paths::parent(&self.target);
        Temporaries::sweep(parent);
        self.temporaries.folder_in(parent).map_err(self.write())
    }

    /// What is there, unless nothing is.
    fn there(&self) -> Result<Option<fs::Metadata>, OutputError> {
        match fs::symlink_metadata(&self.target) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(self.write()(error)),
        }
    }

    fn refuse(&self, what: &'static str) -> OutputError {
        OutputError::Special { path: self.path.clone(), what }
    }

    fn occupied(&self) -> OutputError {
        OutputError::Occupied { path: self.path.clone() }
    }
}

/// What something is that is neither file nor folder.
fn special(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" }
}

impl OutputFile {
    /// Where the file goes, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// A file that only its owner may read.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.mode = Some(0o600);
        self
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn write(&self, bytes: &[u8]) -> Result<(), OutputError> {
        let there = self.check()?;
        let folder = self.place.staged()?;
        self.fill(&folder, bytes, there).map_err(self.place.write())?;
        let replace = self.place.existing == Existing::Replaced;
        let target = &self.place.target;
        let placed = self.place.temporaries.settle(|| place::file(&folder, target, replace));
        match placed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(self.place.occupied()),
            placed => {
                placed.and_then(|()| place::sync_dir(paths::parent(target))).map_err(self.place.write())
            }
        }
    }

    /// Adds bytes to the end of the file, durably; a crash leaves a part of them at most. Where there is no file it is
    /// written.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn append(&self, bytes: &[u8]) -> Result<(), OutputError> {
        if self.check()?.is_none() {
            return self.write(bytes);
        }
        let add = || -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(&self.place.target)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        add().map_err(self.place.write())
    }

    /// Removes the file, if there is one of this kind.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn remove(&self) -> Result<(), OutputError> {
        match self.check()? {
            Some(_) => fs::remove_file(&self.place.target).map_err(self.place.write()),
            None => Ok(()),
        }
    }

    fn fill(&self, folder: &TemporaryFolder, bytes: &[u8], there: Option<fs::Metadata>) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(folder.new_path())?;
        #[cfg(unix)]
        if let Some(mode) = self.mode {
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        } else if let Some(there) = there {
            file.set_permissions(there.permissions())?;
        }
        #[cfg(not(unix))]
        let _ = (there, self.mode);
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// What is there already, if it may be replaced.
    fn check(&self) -> Result<Option<fs::Metadata>, OutputError> {
        let place = &self.place;
        let Some(metadata) = place.there()? else { return Ok(None) };
        if metadata.is_dir() {
            return Err(place.refuse("a folder"));
        }
        if !metadata.is_file() {
            return Err(place.refuse(special(&metadata)));
        }
        if place.existing == Existing::Refused {
            return Err(place.occupied());
        }
        let mut head = Vec::new();
        let read = File::open(&place.target).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map_err(place.write())?;
        // Nothing is lost with an empty file.
        match head.is_empty() || (self.kind.recognises)(&head) {
            true => Ok(Some(metadata)),
            false => Err(OutputError::OtherKind { path: place.path.clone(), kind: self.kind.name }),
        }
    }
}

impl OutputDirectory {
    /// Where the folder goes, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Lets `write` make the folder's files in a temporary one, and puts that in its place: all of it or nothing.
    /// Folders above it are made.
    ///
    /// # Errors
    /// What `write` says, and [`OutputError`].
    pub fn fill<E: From<OutputError>>(&self, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
        self.check()?;
        let parent = paths::parent(&self.place.target);
        fs::create_dir_all(parent).map_err(OutputError::write(parent))?;
        let folder = self.place.staged()?;
        let new = folder.new_path();
        fs::create_dir(&new).map_err(self.place.write())?;
        write(&new)?;
        place::sync_all(&new).map_err(self.place.write())?;
        Ok(self.put(folder)?)
    }

    fn put(&self, folder: TemporaryFolder) -> Result<(), OutputError> {
        // Minutes may have passed.
        let there = self.check()?;
        let target = &self.place.target;
        if let Some(there) = &there {
            fs::set_permissions(folder.new_path(), there.permissions()).map_err(self.place.write())?;
        }
        let empty = there.is_none() || self.is_empty()?;
        let step = || match empty {
            // Over nothing or an empty folder; the system refuses any other.
            true => fs::rename(folder.new_path(), target).map(|()| None),
            false => place::exchange(&folder, target).map(Some),
        };
        let former = self.place.temporaries.settle(step).map_err(self.place.write())?;
        place::sync_dir(paths::parent(target)).map_err(self.place.write())?;
        match former {
            Some(former) if self.remove(&former).is_err() => {
                folder.give_up();
                let path = self.place.path.clone();
                Err(OutputError::Left { path, kind: self.kind.name, kept: former })
            }
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> Result<bool, OutputError> {
        let content = self.kind.content(&self.place.target, &self.names);
        Ok(content.map_err(self.place.write())?.is_empty())
    }

    /// Removes a former folder file by file, and nothing that does not belong to it.
    fn remove(&self, former: &Path) -> io::Result<()> {
        let content = self.kind.content(former, &self.names)?;
        content.files.iter().try_for_each(|file| fs::remove_file(former.join(file)))?;
        content.folders.iter().try_for_each(|inner| fs::remove_dir(former.join(inner)))?;
        fs::remove_dir(former)
    }

    /// What is there already, if it may be replaced.
    fn check(&self) -> Result<Option<fs::Metadata>, OutputError> {
        let place = &self.place;
        let Some(metadata) = place.there()? else { return Ok(None) };
        if !metadata.is_dir() {
            return Err(place.refuse(if metadata.is_file() { "a file" } else { special(&metadata) }));
        }
        let content = self.kind.content(&place.target, &self.names).map_err(place.write())?;
        if content.is_empty() {
            return Ok(Some(metadata));
        }
        if place.existing == Existing::Refused {
            return Err(place.occupied());
        }
        let (path, kind) = (place.path.clone(), self.kind.name);
        match content.foreign.first() {
            Some(entry) => Err(OutputError::Foreign { path, entry: entry.clone(), kind }),
            None if !self.kind.is_made_of(&content) => Err(OutputError::OtherKind { path, kind }),
            None => Ok(Some(metadata)),
        }
    }
}
