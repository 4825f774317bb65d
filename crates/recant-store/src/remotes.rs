//! Remotes by name: where a store is shared, kept beside its history and not in it.
//!
//! ```text
//! magic    8   "RCNTREM1"
//! count    u32 remotes, names strictly ascending: name text, address text
//! digest   32  BLAKE3 of everything before
//! ```
//!
//! The file `remotes` belongs to this copy of the store: it is neither pushed nor cloned, an undo does not touch it, and a
//! store without it has no names yet.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::disk::read_small;
use crate::name::{Name, NameError};
use crate::odb::WriteError;
use crate::store::{Store, TransactionError};

const MAGIC: &[u8] = b"RCNTREM1";
pub(crate) const FILE: &str = "remotes";
/// A file with thousands of names is smaller.
const MAX: u64 = 1 << 20;
/// The longest address.
const MAX_ADDRESS: usize = 4096;

/// Remotes by name: their addresses.
pub type Remotes = BTreeMap<Name, String>;

/// The names of remotes cannot be read or changed. They are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemotesError {
    /// The file cannot be read.
    #[error("cannot read the names of remotes: {source}")]
    Io {
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("the names of remotes are damaged: {source}")]
    Damaged {
        /// What is wrong.
        source: DecodeError,
    },
    /// The name is taken.
    #[error("remote {name} exists already, at {address}")]
    Taken {
        /// The name.
        name: Name,
        /// Where it is.
        address: String,
    },
    /// There is no such name.
    #[error("the store knows no remote {name}; it knows {}", listed(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: Vec<Name>,
    },
    /// The address can be none.
    #[error("{address:?} cannot be the address of a remote: {reason}")]
    Address {
        /// The address.
        address: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The store cannot be changed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<WriteError> for RemotesError {
    fn from(error: WriteError) -> Self {
        Self::Transaction(error.into())
    }
}

fn listed(known: &[Name]) -> String {
    let names: Vec<&str> = known.iter().map(Name::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn check_address(address: &str) -> Result<(), &'static str> {
    match address {
        "" => Err("it is empty"),
        _ if address.len() > MAX_ADDRESS => Err("it is longer than 4096 bytes"),
        _ if address.chars().any(char::is_control) => Err("it holds a control character"),
        _ => Ok(()),
    }
}

fn encode(remotes: &Remotes) -> Vec<u8> {
    let mut out = Encoder::new(MAGIC);
    out.count(remotes.len());
    for (name, address) in remotes {
        out.text(name.as_str());
        out.text(address);
    }
    out.sealed()
}

fn decode(bytes: &[u8]) -> Result<Remotes, DecodeError> {
    let mut input = Decoder::sealed("file of remotes", MAGIC, bytes)?;
    let mut remotes = Remotes::new();
    for _ in 0..input.count()? {
        let name =
            Name::new(input.text()?).map_err(|error: NameError| input.inconsistent(error.to_string()))?;
        let address = input.text()?;
        check_address(address).map_err(|reason| input.inconsistent(format!("remote {name}: {reason}")))?;
        input.ascends(remotes.last_key_value().map(|(last, _)| last), &name, &name)?;
        remotes.insert(name, address.to_owned());
    }
    input.finish()?;
    Ok(remotes)
}

impl Store {
    /// The remotes that have a name.
    ///
    /// # Errors
    /// [`RemotesError`].
    pub fn remotes(&self) -> Result<Remotes, RemotesError> {
        match read_small(&*self.odb().disk, Path::new(FILE), MAX) {
            Ok(bytes) => decode(&bytes).map_err(|source| RemotesError::Damaged { source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Remotes::new()),
            Err(source) => Err(RemotesError::Io { source }),
        }
    }

    /// Names a remote. One that has this name and this address already is left as it is.
    ///
    /// # Errors
    /// [`RemotesError`].
    pub fn add_remote(&self, name: &Name, address: &str) -> Result<(), RemotesError> {
        check_address(address)
            .map_err(|reason| RemotesError::Address { address: address.to_owned(), reason })?;
        self.change_remotes(|remotes| match remotes.get(name) {
            Some(there) if there == address => Ok(()),
            Some(there) => Err(RemotesError::Taken { name: name.clone(), address: there.clone() }),
            None => {
                remotes.insert(name.clone(), address.to_owned());
                Ok(())
            }
        })
    }

    /// Takes a remote's name away; the remote stays as it is. Returns its address.
    ///
    /// # Errors
    /// [`RemotesError`].
    pub fn remove_remote(&self, name: &Name) -> Result<String, RemotesError> {
        self.change_remotes(|remotes| {
            remotes.remove(name).ok_or_else(|| RemotesError::Unknown {
                name: name.to_string(),
                known: remotes.keys().cloned().collect(),
            })
        })
    }

    fn change_remotes<T>(
        &self,
        change: impl FnOnce(&mut Remotes) -> Result<T, RemotesError>,
    ) -> Result<T, RemotesError> {
        let _held = self.lock()?;
        self.sweep()?;
        let before = self.remotes()?;
        let mut remotes = before.clone();
        let result = change(&mut remotes)?;
        if remotes != before {
            self.odb().replace(FILE, &encode(&remotes))?;
        }
        Ok(result)
    }

    /// Why the file of remotes cannot be used; `None` when it can or is not there.
    pub(crate) fn wrong_remotes(&self) -> Option<String> {
        self.remotes().err().map(|error| match error {
            RemotesError::Damaged { source } => source.to_string(),
            error => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use crate::store::Stamp;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp { time: 1, author: "ada".to_owned() };
        let store = Store::init(&dir.path().join("store"), name("main"), &stamp).unwrap();
        (dir, store)
    }

    #[test]
    fn a_name_is_kept_and_taken_away_and_is_no_history() {
        let (dir, store) = store();
        assert!(store.remotes().unwrap().is_empty(), "an older store has no such file");
        store.add_remote(&name("origin"), "s3://here/x").unwrap();
        store.add_remote(&name("backup"), "/mnt/copy").unwrap();
        store.add_remote(&name("origin"), "s3://here/x").unwrap();
        let taken = store.add_remote(&name("origin"), "s3://there").unwrap_err();
        assert!(taken.to_string().contains("origin exists already, at s3://here/x"), "{taken}");
        let listed = Store::open(&dir.path().join("store")).unwrap().remotes().unwrap();
        assert_eq!(listed.keys().map(Name::as_str).collect::<Vec<_>>(), ["backup", "origin"]);
        assert_eq!(store.operations().unwrap().len(), 1);
        assert_eq!(store.remove_remote(&name("backup")).unwrap(), "/mnt/copy");
        let unknown = store.remove_remote(&name("backup")).unwrap_err();
        assert!(unknown.to_string().contains("no remote backup; it knows origin"), "{unknown}");
        for address in ["", "a\nb", &"x".repeat(MAX_ADDRESS + 1)] {
            assert!(matches!(store.add_remote(&name("x"), address), Err(RemotesError::Address { .. })));
        }
        assert!(store.fsck().unwrap().problems.is_empty());
    }

    #[test]
    fn every_flipped_bit_of_the_remotes_is_refused_and_set_aside() {
        let remotes = Remotes::from([(name("a"), "/a".to_owned()), (name("b"), "s3://b".to_owned())]);
        let bytes = encode(&remotes);
        assert_eq!(decode(&bytes).unwrap(), remotes);
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "679cfa8237190ac679abc5b701baa30153bea668a3e7216888cda640eb8f7261",
            "the encoding is frozen"
        );
        for at in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[at / 8] ^= 1 << (at % 8);
            assert!(decode(&other).is_err(), "bit {at}");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let (dir, store) = store();
        let file = dir.path().join("store").join(FILE);
        std::fs::write(&file, &bytes[1..]).unwrap();
        assert!(matches!(store.add_remote(&name("x"), "/x"), Err(RemotesError::Damaged { .. })));
        assert_eq!(store.fsck().unwrap().problems.len(), 1);
        store.repair(&Stamp { time: 2, author: "ada".to_owned() }).unwrap();
        assert!(store.fsck().unwrap().problems.is_empty() && !file.exists());
    }

    #[test]
    fn what_is_sealed_and_still_no_list_of_remotes_is_refused() {
        let sealed = |pairs: &[(&str, &str)]| {
            let mut out = Encoder::new(MAGIC);
            out.count(pairs.len());
            for (name, address) in pairs {
                out.text(name);
                out.text(address);
            }
            let mut bytes = out.finish();
            bytes.extend_from_slice(blake3::hash(&bytes.clone()).as_bytes());
            bytes
        };
        assert!(decode(&sealed(&[("a", "/a")])).is_ok());
        for pairs in [
            &[("b", "/b"), ("a", "/a")][..],
            &[("a", "/a"), ("a", "/b")],
            &[("../a", "/a")],
            &[("a", "")],
            &[("a", "x\u{1b}[2J")],
        ] {
            assert!(decode(&sealed(pairs)).is_err(), "{pairs:?}");
        }
    }
}
