//! One file of a model: fetched behind what is there of it, compared with its digest, put in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Call, innermost};
use crate::{HubError, Step};

/// How often a file is gone on with without a byte more.
const TRIES: u32 = 5;

/// What the hub says of a file.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) file: String,
    /// SHA-256 of the file, or SHA-1 of it as an object of git.
    pub(super) digest: String,
    pub(super) size: u64,
}

impl Blob {
    pub(super) fn new(file: String, digest: &str, size: u64) -> Option<Self> {
        let is_digest = [40, 64].contains(&digest.len()) && digest.bytes().all(|b| b.is_ascii_hexdigit());
        is_digest.then(|| Self { file, digest: digest.to_ascii_lowercase(), size })
    }

    /// The digest of a file, of the kind that the hub says.
    fn of(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        if self.digest.len() == 64 {
            return hashed(&mut file, Sha256::new());
        }
        let git = Sha1::new().chain_update(format!("blob {}\0", file.metadata()?.len()));
        hashed(&mut file, git)
    }
}

fn hashed(file: &mut File, mut hash: impl Digest) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&buffer[..read]),
        }
    }
}

impl Call<'_> {
    /// Fetches one file to `place`. `before` bytes of other files are there.
    pub(super) async fn take_one(
        &self,
        commit: &str,
        blob: &Blob,
        place: &Path,
        before: u64,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), HubError> {
        let partial = place.with_extension("incomplete");
        let failed = |source| HubError::Cache { path: partial.clone(), source };
        fs::create_dir_all(place.parent().unwrap_or(place)).map_err(failed)?;
        let _lock = self.lock(blob)?;
        if place.is_file() {
            return Ok(());
        }
        let mut begun_anew = false;
        loop {
            let resumed = self.fill(commit, blob, &partial, before, watch).await?;
            let found = blob.of(&partial).map_err(failed)?;
            if found == blob.digest {
                return fs::rename(&partial, place).map_err(failed);
            }
            fs::remove_file(&partial).map_err(failed)?;
            // What was there may have been of another file, or the hub sent more than was asked for.
            if !resumed || begun_anew {
                let (name, file) = (self.name.clone(), blob.file.clone());
                return Err(HubError::Digest { name, file, expected: blob.digest.clone(), found });
            }
            begun_anew = true;
        }
    }

    /// Fetches what `partial` lacks, and says whether anything was there before.
    async fn fill(
        &self,
        commit: &str,
        blob: &Blob,
        partial: &Path,
        before: u64,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<bool, HubError> {
        let failed = |source| HubError::Cache { path: partial.to_owned(), source };
        let mut file = OpenOptions::new().create(true).append(true).open(partial).map_err(failed)?;
        let mut have = file.metadata().map_err(failed)?.len();
        if have > blob.size {
            file.set_len(0).map_err(failed)?;
            have = 0;
        }
        let mut resumed = have > 0;
        let mut tries = 0;
        while have < blob.size {
            let start = have;
            watch(Step::Bytes(before + have));
            let Err(error) = self.stream(commit, blob, &mut file, &mut have, before, watch).await? else {
                break;
            };
            if have == start {
                tries += 1;
                if tries == TRIES {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(200 << tries)).await;
            } else {
                tries = 0;
            }
            resumed |= have > 0;
            watch(Step::Again { file: &blob.file, reason: &error.to_string() });
        }
        file.sync_all().map_err(failed)?;
        Ok(resumed)
    }

    /// Appends what comes of the file from `have` on. The outer error ends the download, the inner one this connection.
    async fn stream(
        &self,
        commit: &str,
        blob: &Blob,
        file: &mut File,
        have: &mut u64,
        before: u64,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<Result<(), HubError>, HubError> {
        let range = (*have > 0).then_some(*have..blob.size);
        let asked = self.repo.download_file_stream().filename(blob.file.clone()).revision(commit);
        let mut chunks = match asked.maybe_range(range).send().await {
            Ok((_, chunks)) => chunks,
            Err(error) => {
                let error = self.refused(error, Some(&blob.file));
                let passes = matches!(error, HubError::Unreachable { .. });
                return if passes { Ok(Err(error)) } else { Err(error) };
            }
        };
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Err(self.broken(innermost(&error)))),
            };
            let chunk = &chunk[..chunk.len().min(usize::try_from(blob.size - *have).unwrap_or(usize::MAX))];
            let path = || self.hub.cache.model(self.name).join("blobs").join(&blob.digest);
            file.write_all(chunk).map_err(|source| HubError::Cache { path: path(), source })?;
            *have += chunk.len() as u64;
            watch(Step::Bytes(before + *have));
        }
        if *have < blob.size {
            Ok(Err(self.broken("the connection ended early".to_owned())))
        } else {
            Ok(Ok(()))
        }
    }

    pub(super) fn broken(&self, reason: String) -> HubError {
        HubError::Unreachable { name: self.name.clone(), endpoint: self.hub.endpoint.clone(), reason }
    }

    /// The lock that the hub's own tools take for a file.
    fn lock(&self, blob: &Blob) -> Result<File, HubError> {
        let model = self.hub.cache.model(self.name);
        let folder = self.hub.cache.root().join(".locks").join(model.file_name().unwrap_or_default());
        let path = folder.join(format!("{}.lock", blob.digest));
        let locked = fs::create_dir_all(&folder).and_then(|()| {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|source| HubError::Cache { path, source })
    }
}

/// Puts a link to a blob where the snapshot has the file.
pub(super) fn link(blob: &Path, at: &Path) -> Result<(), HubError> {
    let failed = |source| HubError::Cache { path: at.to_owned(), source };
    if at.is_file() {
        return Ok(());
    }
    fs::create_dir_all(at.parent().unwrap_or(at)).map_err(failed)?;
    // A link that leads nowhere is of a blob that was removed.
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let outcome = linked(blob, at);
    match outcome {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(failed),
    }
}

#[cfg(unix)]
fn linked(blob: &Path, at: &Path) -> io::Result<()> {
    // Relative, so that the cache can be moved: up from the file's folder to the model's.
    let model = blob.parent().and_then(Path::parent).unwrap_or(blob);
    let depth = at
        .parent()
        .and_then(|folder| folder.strip_prefix(model).ok())
        .map_or(0, |rest| rest.components().count());
    let up: std::path::PathBuf = std::iter::repeat_n("..", depth).collect();
    std::os::unix::fs::symlink(up.join("blobs").join(blob.file_name().unwrap_or_default()), at)
}

#[cfg(not(unix))]
fn linked(blob: &Path, at: &Path) -> io::Result<()> {
    fs::hard_link(blob, at)
}

/// Writes a small file whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let failed = |source| HubError::Cache { path: path.to_owned(), source };
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    let staged = path.with_extension(format!("{}.incomplete", std::process::id()));
    fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, path)).map_err(failed)
}
