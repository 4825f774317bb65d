//! Writing a file whole or not at all.

use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to a temporary file beside `path`, syncs it and renames it: a reader, or a crash, finds the former
/// file or this one. Who may read it is what the process says of new files (the umask), as for any file.
///
/// # Errors
/// What the system says; what stood under `path` still stands then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".recant-");
    // A temporary file is its owner's alone unless told otherwise.
    #[cfg(unix)]
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(all);
    let mut file = builder.tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    /// As an ordinary new file, whatever the umask is; and a file that is replaced is replaced whole.
    #[test]
    fn a_written_file_has_the_mode_of_any_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, whole) = (dir.path().join("plain"), dir.path().join("whole"));
        std::fs::write(&plain, "x").unwrap();
        super::write_whole(&whole, b"x").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&whole), mode(&plain));
        super::write_whole(&whole, b"y").unwrap();
        assert_eq!(std::fs::read(&whole).unwrap(), b"y");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
