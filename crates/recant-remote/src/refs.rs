//! Names of a remote: numbered, and moved by creating the next number.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;
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

/// The names of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refs {
    /// Where each stands.
    pub names: BTreeMap<Name, RemoteRef>,
    /// Keys of what stands among them and is none, such as a file that a file manager left. Nobody but the
    /// remote's owner removes them.
    pub stray: Vec<String>,
    /// The highest number of each, readable or not.
    highest: BTreeMap<Name, u64>,
}

impl Refs {
    /// The number with which a name moves next.
    pub(crate) fn next(&self, name: &Name) -> u64 {
        self.highest.get(name).map_or(0, |number| number + 1)
    }
}

/// Digits of a number, so that keys sort as numbers do.
const DIGITS: usize = 16;
/// No name moves as often; the number after it must have as many digits.
const MAX_NUMBER: u64 = 999_999_999_999_999;
/// Numbers that are passed over in one move.
const MAX_PASSED: u64 = 1 << 10;

impl Remote {
    /// Where every name of a kind stands: on what its highest number that can be read says. What is no name
    /// and no number is passed over, and told.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn refs(&self, kind: RefKind) -> Result<Refs, RemoteError> {
        self.check()?;
        let prefix = self.key(&["refs", kind.dir()]);
        let (keys, stray) = self.list(&prefix)?;
        let mut refs = Refs { stray, ..Refs::default() };
        let mut numbers: BTreeMap<Name, BTreeSet<u64>> = BTreeMap::new();
        for key in keys.into_iter().map(|meta| meta.location) {
            match parsed(&key, &prefix) {
                Some((name, number)) => _ = numbers.entry(name).or_default().insert(number),
                None => refs.stray.push(key.to_string()),
            }
        }
        for (name, numbers) in numbers {
            refs.highest.extend(numbers.last().map(|&number| (name.clone(), number)));
            for &number in numbers.iter().rev() {
                let key = self.ref_key(kind, &name, number);
                if let Some(commit) = self.commit_at(&key)? {
                    refs.names.insert(name, RemoteRef { number, commit });
                    break;
                }
                refs.stray.push(key.to_string());
            }
        }
        Ok(refs)
    }

    /// The commit that a name's object says, if it says one.
    fn commit_at(&self, key: &Path) -> Result<Option<CommitId>, RemoteError> {
        match self.get(key) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                Ok(text.strip_suffix('\n').and_then(|hex| hex.parse().ok()))
            }
            Err(RemoteError::TooLarge { .. } | RemoteError::NotAFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves a name by creating its next number; refused when somebody else moved it first. Where something
    /// stands that says no commit, and that was not listed, the number after it is taken.
    pub(crate) fn move_ref(
        &self,
        kind: RefKind,
        name: &Name,
        number: u64,
        to: CommitId,
    ) -> Result<(), RemoteError> {
        for number in number..=MAX_NUMBER.min(number.saturating_add(MAX_PASSED)) {
            let key = self.ref_key(kind, name, number);
            if self.create(&key, format!("{to}\n").into())? {
                return Ok(());
            }
            match self.commit_at(&key) {
                // The answer to a first attempt may have been lost, and the attempt repeated.
                Ok(Some(there)) if there == to => return Ok(()),
                Ok(None) => {}
                // A folder, which is never on its way as an object elsewhere may be.
                Err(RemoteError::Place { source: object_store::Error::NotFound { .. } })
                    if self.is_folder() => {}
                _ => break,
            }
        }
        Err(RemoteError::Raced { name: name.clone() })
    }

    fn ref_key(&self, kind: RefKind, name: &Name, number: u64) -> Path {
        self.key(&["refs", kind.dir(), name.as_str(), &format!("{number:0DIGITS$}")])
    }
}

/// The name and the number in a key.
fn parsed(key: &Path, prefix: &Path) -> Option<(Name, u64)> {
    let parts: Vec<_> = key.prefix_match(prefix)?.collect();
    let [name, number] = &parts[..] else { return None };
    let name = Name::new(name.as_ref()).ok()?;
    name.check_ref().ok()?;
    let number = number.as_ref();
    let whole = number.len() == DIGITS && number.bytes().all(|digit| digit.is_ascii_digit());
    let number = number.parse().ok().filter(|&number| whole && number <= MAX_NUMBER)?;
    Some((name, number))
}
