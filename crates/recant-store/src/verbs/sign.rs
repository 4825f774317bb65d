//! Ed25519 signatures on commits.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signature as Ed, Signer, SigningKey, Verifier, VerifyingKey};

use crate::object::{Commit, Signature};

/// A key that signs. Its bytes are shown by [`SecretKey::to_text`] alone.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// A key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It does not have the form of one.
    #[error("a {expected} is expected")]
    Form {
        /// What it should look like.
        expected: &'static str,
    },
    /// A line of a list of signers is none.
    #[error("line {line}: {source}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: Box<KeyError>,
    },
}

/// What a commit's signature is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureState {
    /// There is none.
    Unsigned,
    /// It is good, and the key is known by this name.
    Good(String),
    /// It is good, and nobody knows the key.
    Unknown(PublicKey),
    /// It does not belong to this commit.
    Bad(PublicKey),
}

const SECRET: &str = "recant-secret-1 ";
const PUBLIC: &str = "recant-public-1 ";

fn from_text(text: &str, prefix: &str, expected: &'static str) -> Result<[u8; 32], KeyError> {
    let digits = text.trim().strip_prefix(prefix).ok_or(KeyError::Form { expected })?;
    digits.parse::<recant_core::ObjectId>().map(|id| *id.as_bytes()).map_err(|_| KeyError::Form { expected })
}

impl SecretKey {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads what [`SecretKey::to_text`] wrote.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let expected = "line `recant-secret-1 ` and 64 hexadecimal digits";
        from_text(text, SECRET, expected).map(Self::from_seed)
    }

    /// One line for a file that nobody else may read.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}\n", recant_core::hex(&self.0.to_bytes()))
    }

    /// The key that signatures are checked with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a commit.
    pub fn sign(&self, commit: &mut Commit) {
        let signature = self.0.sign(&commit.signed_bytes()).to_bytes();
        commit.signature = Some(Signature { key: self.public().0, signature });
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public())
    }
}

impl PublicKey {
    /// Reads what [`PublicKey::to_text`] wrote.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let expected = "line `recant-public-1 ` and 64 hexadecimal digits";
        from_text(text, PUBLIC, expected).map(Self)
    }

    /// One line.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PUBLIC}{}\n", recant_core::hex(&self.0))
    }

    /// Reads a list of signers: lines `NAME recant-public-1 HEX`; empty lines and lines that begin with `#`
    /// are left out.
    ///
    /// # Errors
    /// [`KeyError::Line`].
    pub fn signers(text: &str) -> Result<BTreeMap<Self, String>, KeyError> {
        let mut signers = BTreeMap::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |source| KeyError::Line { line: i + 1, source: Box::new(source) };
            let expected = "line of a name, `recant-public-1 ` and 64 hexadecimal digits";
            let (name, key) = line.split_once(' ').ok_or_else(|| wrong(KeyError::Form { expected }))?;
            signers.insert(Self::from_text(key).map_err(wrong)?, name.to_owned());
        }
        Ok(signers)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&recant_core::hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Commit {
    /// What this commit's signature is worth to somebody who knows `signers`.
    #[must_use]
    pub fn signature_state(&self, signers: &BTreeMap<PublicKey, String>) -> SignatureState {
        let Some(Signature { key, signature }) = self.signature else { return SignatureState::Unsigned };
        let public = PublicKey(key);
        let good = VerifyingKey::from_bytes(&key)
            .is_ok_and(|key| key.verify(&self.signed_bytes(), &Ed::from_bytes(&signature)).is_ok());
        match signers.get(&public) {
            _ if !good => SignatureState::Bad(public),
            Some(name) => SignatureState::Good(name.clone()),
            None => SignatureState::Unknown(public),
        }
    }
}
