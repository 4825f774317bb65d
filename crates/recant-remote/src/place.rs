//! The place: from an address to something that holds objects.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, FuturesUnordered, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use recant_core::ObjectId;
use recant_store::disk::ReadAt;
use tokio::runtime::Runtime;
use url::Url;

use crate::error::RemoteError;

/// What FORMAT says of a remote in which every object stands alone.
const ALONE: &[u8] = b"recant remote 1\n";
/// What FORMAT says of one that may have bundles.
const BUNDLED: &[u8] = b"recant remote 2\n";
/// No small object has more bytes than this: FORMAT, and where a name stands.
const MAX_SMALL: u64 = 1 << 10;
/// What is larger goes in parts of this size.
const PART: usize = 8 << 20;
/// Parts on their way at once.
const N_PARTS: usize = 4;

/// Object storage that holds stores' objects and names.
pub struct Remote {
    pub(crate) place: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    runtime: Arc<Runtime>,
    /// Whether objects are files of this machine, which may be something else than plain ones.
    is_folder: bool,
}

impl Remote {
    /// The place at an address: a folder's path, or a URL that `object_store` knows (`file://`, and with the
    /// features of this crate `s3://BUCKET/PREFIX`, `gs://…`, `az://…`). Credentials, region and endpoint come
    /// from `options`, named as in the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …). Nothing is made or
    /// asked yet.
    ///
    /// # Errors
    /// [`RemoteError::Url`], [`RemoteError::Feature`], [`RemoteError::Runtime`].
    pub fn open(
        address: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, RemoteError> {
        let wrong = |reason: String| RemoteError::Url { url: address.to_owned(), reason };
        // A drive letter is no scheme.
        let url = match Url::parse(address) {
            Ok(url) if url.scheme().len() > 1 => url,
            _ => {
                let path = std::path::absolute(address).map_err(|error| wrong(error.to_string()))?;
                Url::from_directory_path(path).map_err(|()| wrong("it is no path".to_owned()))?
            }
        };
        if let Some(feature) = missing_feature(url.scheme()) {
            return Err(RemoteError::Feature { url: address.to_owned(), feature });
        }
        let options = options.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
        let (place, prefix) =
            object_store::parse_url_opts(&url, options).map_err(|error| wrong(error.to_string()))?;
        let is_folder = url.scheme() == "file";
        Ok(Self { is_folder, ..Self::on(place.into(), prefix, address)? })
    }

    /// A place that is there already; `address` names it in errors.
    ///
    /// # Errors
    /// [`RemoteError::Runtime`].
    pub fn on(place: Arc<dyn ObjectStore>, prefix: Path, address: &str) -> Result<Self, RemoteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Arc::new(runtime.map_err(|source| RemoteError::Runtime { source })?);
        Ok(Self { place, prefix, url: address.to_owned(), runtime, is_folder: false })
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Opens an object: a fifo or a device would be waited for, so of a folder only plain files are opened.
    fn opened(&self, key: &Path) -> Result<GetResult, RemoteError> {
        self.plain(key)?;
        Ok(self.wait(self.place.get(key))?)
    }

    fn plain(&self, key: &Path) -> Result<(), RemoteError> {
        if self.is_folder {
            let path = LocalFileSystem::new().path_to_filesystem(key)?;
            if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
                return Err(RemoteError::NotAFile { key: key.to_string() });
            }
        }
        Ok(())
    }

    /// An object of which parts are read.
    pub(crate) fn parts(&self, key: &Path) -> Result<Box<dyn ReadAt>, RemoteError> {
        self.plain(key)?;
        let (place, runtime) = (self.place.clone(), self.runtime.clone());
        Ok(Box::new(Parts { place, runtime, key: key.clone() }))
    }

    pub(crate) fn key(&self, parts: &[&str]) -> Path {
        parts.iter().fold(self.prefix.clone(), |path, part| path.join(*part))
    }

    pub(crate) fn object_key(&self, id: ObjectId) -> Path {
        let hex = id.to_string();
        self.key(&["objects", &hex[..2], &hex[2..]])
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Makes the place a remote, if nobody did.
    pub(crate) fn begin(&self) -> Result<(), RemoteError> {
        match self.create(&self.key(&["FORMAT"]), ALONE.into())? {
            true => Ok(()),
            false => self.check(),
        }
    }

    /// Makes the remote one that may have bundles: an earlier recant would miss what is in them.
    pub(crate) fn allow_bundles(&self) -> Result<(), RemoteError> {
        if self.format()? == ALONE {
            self.wait(self.place.put(&self.key(&["FORMAT"]), BUNDLED.into()))?;
        }
        Ok(())
    }

    /// Whether it is a remote of a version that is known.
    pub(crate) fn check(&self) -> Result<(), RemoteError> {
        self.format().map(drop)
    }

    fn format(&self) -> Result<Bytes, RemoteError> {
        let found = match self.get(&self.key(&["FORMAT"])) {
            Ok(found) => found,
            Err(RemoteError::Place { source: object_store::Error::NotFound { .. } }) => {
                return Err(RemoteError::Nothing { url: self.url.clone() });
            }
            Err(error) => return Err(error),
        };
        if found == ALONE || found == BUNDLED {
            return Ok(found);
        }
        let found = String::from_utf8_lossy(&found[..found.len().min(64)]).trim().to_owned();
        Err(RemoteError::Version { url: self.url.clone(), found })
    }

    /// Creates an object; `false` when there is one already.
    pub(crate) fn create(&self, key: &Path, bytes: Bytes) -> Result<bool, RemoteError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.wait(self.place.put_opts(key, bytes.into(), options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A small object; what is larger than any is not read.
    pub(crate) fn get(&self, key: &Path) -> Result<Bytes, RemoteError> {
        let got = self.opened(key)?;
        match got.meta.size {
            ..=MAX_SMALL => Ok(self.wait(got.bytes())?),
            len => Err(RemoteError::TooLarge { key: key.to_string(), len, most: MAX_SMALL }),
        }
    }

    /// What stands under a prefix, and what else stands there and cannot be a key.
    pub(crate) fn list(&self, prefix: &Path) -> Result<(Vec<ObjectMeta>, Vec<String>), RemoteError> {
        let (mut found, mut stray) = (Vec::new(), Vec::new());
        let mut list = self.place.list(Some(prefix));
        while let Some(entry) = self.wait(list.next()) {
            match entry {
                Ok(meta) => found.push(meta),
                Err(object_store::Error::InvalidPath { source }) => stray.push(source.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok((found, stray))
    }

    /// Writes an object, whole or not at all.
    pub(crate) fn put(&self, key: &Path, len: u64, input: &mut dyn Read) -> Result<(), RemoteError> {
        if len <= PART as u64 {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).map_err(unread)?;
            self.wait(self.place.put(key, bytes.into()))?;
            return Ok(());
        }
        let mut upload = self.wait(self.place.put_multipart(key))?;
        let sent = match self.put_parts(&mut *upload, input) {
            Ok(()) => self.wait(upload.complete()).map(|_| ()).map_err(RemoteError::from),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // What arrived of it is dropped, or it would be paid for; an error of that changes nothing.
            let _ = self.wait(upload.abort());
        }
        sent
    }

    fn put_parts(&self, upload: &mut dyn MultipartUpload, input: &mut dyn Read) -> Result<(), RemoteError> {
        let mut on_their_way = FuturesUnordered::new();
        loop {
            let mut part = Vec::with_capacity(PART);
            (&mut *input).take(PART as u64).read_to_end(&mut part).map_err(unread)?;
            if part.is_empty() {
                break;
            }
            on_their_way.push(upload.put_part(part.into()));
            if on_their_way.len() == N_PARTS {
                self.wait(on_their_way.next()).transpose()?;
            }
        }
        Ok(self.wait(on_their_way.try_collect::<()>())?)
    }

    /// An object's bytes as they come.
    pub(crate) fn stream(&self, key: &Path) -> Result<Arriving<'_>, RemoteError> {
        let got = self.opened(key)?;
        let len = got.meta.size;
        Ok(Arriving { remote: self, stream: got.into_stream(), rest: Bytes::new(), len, total: 0 })
    }
}

/// The feature without which a scheme is not reached.
fn missing_feature(scheme: &str) -> Option<&'static str> {
    match scheme {
        "s3" | "s3a" if !cfg!(feature = "s3") => Some("s3"),
        "gs" if !cfg!(feature = "gcs") => Some("gcs"),
        "az" | "adl" | "azure" | "abfs" | "abfss" if !cfg!(feature = "azure") => Some("azure"),
        _ => None,
    }
}

/// What was to be sent cannot be read.
fn unread(source: io::Error) -> RemoteError {
    RemoteError::Place { source: object_store::Error::Generic { store: "local", source: source.into() } }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.url)
    }
}

/// An object of which parts are read.
struct Parts {
    place: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    key: Path,
}

impl ReadAt for Parts {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let range = at..at.saturating_add(buffer.len() as u64);
        let got = self.runtime.block_on(self.place.get_range(&self.key, range)).map_err(io::Error::other)?;
        // A place may give less at the end.
        if got.len() != buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&got);
        Ok(())
    }
}

/// Bytes that arrive, as a reader.
pub(crate) struct Arriving<'r> {
    remote: &'r Remote,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    rest: Bytes,
    /// How many there are, as the place says.
    pub(crate) len: u64,
    pub(crate) total: u64,
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.remote.wait(self.stream.next()) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.rest.len());
        buffer[..len].copy_from_slice(&self.rest.split_to(len));
        self.total += len as u64;
        Ok(len)
    }
}
