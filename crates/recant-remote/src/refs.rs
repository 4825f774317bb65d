//! Names of a remote: numbered, and moved by creating the next number.

use std::collections::BTreeMap;

use recant_core::CommitId;
use recant_store::Name;

use crate::error::RemoteError;
use crate::place::Remote;

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefKind {
    /// It moves.
    Branch,
    /// It stays.
    Tag,
}

impl RefKind {
    fn dir(self) -> &'static str {
        match self {
            Self::Branch => "heads",
            Self::Tag => "tags",
        }
    }
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteRef {
    /// How often it has moved.
    pub number: u64,
    /// What it stands on.
    pub commit: CommitId,
}

/// Digits of a number, so that keys sort as numbers do.
const DIGITS: usize = 16;

impl Remote {
    /// Where every name of a kind stands.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn refs(&self, kind: RefKind) -> Result<BTreeMap<Name, RemoteRef>, RemoteError> {
        self.check()?;
        let mut newest: BTreeMap<Name, u64> = BTreeMap::new();
        let prefix = self.key(&["refs", kind.dir()]);
        for key in self.list(&prefix)? {
            let refuse = || RemoteError::Key { key: key.to_string() };
            let parts: Vec<_> = key.prefix_match(&prefix).ok_or_else(refuse)?.collect();
            let [name, number] = &parts[..] else { return Err(refuse()) };
            let name = Name::new(name.as_ref()).map_err(|_| refuse())?;
            name.check_ref().map_err(|_| refuse())?;
            let number = number.as_ref();
            let whole = number.len() == DIGITS && number.bytes().all(|digit| digit.is_ascii_digit());
            let number = number.parse().ok().filter(|_| whole).ok_or_else(refuse)?;
            let known = newest.entry(name).or_insert(number);
            *known = number.max(*known);
        }
        let read = |(name, number): (Name, u64)| {
            let key = self.ref_key(kind, &name, number);
            let text = String::from_utf8_lossy(&self.get(&key)?).into_owned();
            let commit = text.strip_suffix('\n').and_then(|hex| hex.parse().ok());
            let commit = commit.ok_or_else(|| RemoteError::Key { key: key.to_string() })?;
            Ok((name, RemoteRef { number, commit }))
        };
        newest.into_iter().map(read).collect()
    }

    /// Moves a name from where it is known to stand; refused when somebody else moved it first.
    pub(crate) fn move_ref(
        &self,
        kind: RefKind,
        name: &Name,
        from: Option<RemoteRef>,
        to: CommitId,
    ) -> Result<(), RemoteError> {
        let number = from.map_or(0, |from| from.number + 1);
        let key = self.ref_key(kind, name, number);
        let text = format!("{to}\n");
        if self.create(&key, text.clone().into())? {
            return Ok(());
        }
        // The answer to a first attempt may have been lost, and the attempt repeated: what stands there is then
        // ours.
        match self.get(&key) {
            Ok(there) if there == text => Ok(()),
            _ => Err(RemoteError::Raced { name: name.clone() }),
        }
    }

    fn ref_key(&self, kind: RefKind, name: &Name, number: u64) -> object_store::path::Path {
        self.key(&["refs", kind.dir(), name.as_str(), &format!("{number:0DIGITS$}")])
    }
}
