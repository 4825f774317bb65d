//! Bundles of a remote: what is in them, and how it comes here.

use object_store::path::Path;
use recant_core::ObjectId;
use recant_store::bundle::{BUNDLE_BYTES, Bundle};
use recant_store::{ReadError, ReceivedBundle, WriteError, Writer};

use crate::error::RemoteError;
use crate::place::Remote;

/// Folder of bundles.
pub(crate) const BUNDLES: &str = "bundles";

/// No pusher makes larger ones: their files have [`BUNDLE_BYTES`], and each a head and an entry of 88 bytes.
const MAX_BUNDLE: u64 = 4 * BUNDLE_BYTES;

/// The bundles of a remote, by their indices, which are not believed.
#[derive(Default)]
pub(crate) struct Bundles {
    known: Vec<Known>,
    /// Keys of what stands among them and is none.
    pub(crate) stray: Vec<String>,
}

struct Known {
    key: Path,
    /// Its files are read there, one by one.
    there: Bundle,
    /// All of it, here.
    here: Option<ReceivedBundle>,
    /// Whether it was seen what is lacking of it.
    decided: bool,
}

impl Bundles {
    /// Lists them, and reads the index of each.
    pub(crate) fn list(remote: &Remote) -> Result<Self, RemoteError> {
        let (found, stray) = remote.list(&remote.key(&[BUNDLES]))?;
        let mut bundles = Self { stray, ..Self::default() };
        for meta in found {
            let key = meta.location;
            let name = key.filename().unwrap_or_default().to_owned();
            let is_bundle = name.parse::<ObjectId>().is_ok() && meta.size <= MAX_BUNDLE;
            let parts = Some(&key).filter(|_| is_bundle).and_then(|key| remote.parts(key).ok());
            let opened = parts.and_then(|parts| Bundle::read_index(&name, meta.size, parts).ok());
            match opened {
                Some(there) => bundles.known.push(Known { key, there, here: None, decided: false }),
                None => bundles.stray.push(key.to_string()),
            }
        }
        Ok(bundles)
    }

    /// Whether one of them has an object.
    pub(crate) fn have(&self, id: ObjectId) -> bool {
        self.known.iter().any(|known| known.there.find(id).is_some())
    }

    /// An object's file, if one of them has it. A bundle of which half is lacking here is fetched as a whole.
    pub(crate) fn read(
        &mut self,
        remote: &Remote,
        writer: &mut Writer,
        id: ObjectId,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some((known, entry)) =
            self.known.iter_mut().find_map(|known| known.there.find(id).map(|entry| (known, entry)))
        else {
            return Ok(None);
        };
        if !known.decided {
            known.decided = true;
            let entries = &known.there.entries;
            let mut n_lacking = 0;
            for entry in entries {
                n_lacking += usize::from(!writer.has(entry.id)?);
            }
            if n_lacking >= entries.len().div_ceil(2) {
                let mut arriving = remote.stream(&known.key)?;
                let len = arriving.len.min(MAX_BUNDLE);
                known.here = Some(writer.receive_bundle(&known.there.name, len, &mut arriving)?);
            }
        }
        let bundle = known.here.as_ref().map_or(&known.there, |here| &here.bundle);
        let damaged = |reason: String| {
            let path = known.key.to_string().into();
            RemoteError::Write(WriteError::Read(ReadError::Bundle { path, reason }))
        };
        // What came may be another file than the index that was read.
        let entry = bundle.find(id).filter(|now| now.len == entry.len);
        let entry = entry.ok_or_else(|| damaged("it was changed while it was read".to_owned()))?;
        bundle.read(entry).map(Some).map_err(|error| damaged(error.to_string()))
    }
}
