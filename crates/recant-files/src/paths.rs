//! Paths as places: two names of one place are found to be one.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::Relation;

/// The place that a path means: symbolic links resolved in the part that exists, the rest taken by its words.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let parts: Vec<Component<'_>> = absolute.components().collect();
    for len in (1..=parts.len()).rev() {
        let existing: PathBuf = parts[..len].iter().collect();
        let mut place = match existing.canonicalize() {
            Ok(place) => place,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        for part in &parts[len..] {
            match part {
                Component::ParentDir => drop(place.pop()),
                other => place.push(other),
            }
        }
        return Ok(place);
    }
    Ok(absolute)
}

/// Whether two places are one, also under two names of one file system.
fn same(a: &Path, b: &Path) -> bool {
    a == b || identity(a).is_some_and(|id| Some(id) == identity(b))
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

fn lies_in(inner: &Path, outer: &Path) -> bool {
    inner.ancestors().skip(1).any(|above| same(above, outer))
}

/// How `place` lies to `other`, if they have anything to do with each other.
pub(crate) fn relation(place: &Path, other: &Path) -> Option<Relation> {
    if same(place, other) {
        Some(Relation::Is)
    } else if lies_in(other, place) {
        Some(Relation::Contains)
    } else {
        lies_in(place, other).then_some(Relation::LiesIn)
    }
}

/// The store that a place is or lies inside.
pub(crate) fn store_around(place: &Path) -> Option<&Path> {
    use std::io::Read;
    let is_store = |dir: &&Path| {
        let format = dir.join("FORMAT");
        if !std::fs::symlink_metadata(&format).is_ok_and(|metadata| metadata.is_file()) {
            return false;
        }
        let mut head = Vec::new();
        let read = std::fs::File::open(format).and_then(|file| file.take(13).read_to_end(&mut head));
        read.is_ok() && head == b"recant store "
    };
    place.ancestors().find(is_store)
}

/// The folder that a place is in.
pub(crate) fn parent(place: &Path) -> &Path {
    place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn a_place_has_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        for (path, place) in [
            ("a/b", "a/b"),
            ("a/../a/b/.", "a/b"),
            ("new", "new"),
            ("a/new/../other", "a/other"),
            ("a/new/../../x", "x"),
            ("file/new", "file/new"),
        ] {
            assert_eq!(resolve(&root.join(path)).unwrap(), root.join(place), "{path}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
            assert_eq!(resolve(&root.join("link/b/new")).unwrap(), root.join("a/b/new"));
            assert_eq!(resolve(&root.join("link/../new")).unwrap(), root.join("new"));
        }
    }

    #[test]
    fn places_lie_to_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for (place, other, expected) in [
            ("a", "a", Some(Relation::Is)),
            ("a", "a/b/c", Some(Relation::Contains)),
            ("a/b/c", "a", Some(Relation::LiesIn)),
            ("ab", "a", None),
            ("a/b", "a/c", None),
        ] {
            assert_eq!(relation(&at(place), &at(other)), expected, "{place} and {other}");
        }
    }
}
