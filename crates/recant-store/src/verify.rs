//! Deriving a commit's weights again from the base, and checking who vouches for its history.

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{CommitId, ModelDigest, ParamPath, TensorId};

use crate::history::{History, HistoryError};
use crate::name::Name;
use crate::object::{Apart, Kind, files};
use crate::odb::{FirstBytes, ReadError};
use crate::store::{HeadError, Store};
use crate::verbs::{PublicKey, SignatureState};
use crate::weights::{self, FoldError};

/// Something that is not as the history says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// A tensor does not follow from the base and the edits.
    #[error("commit {commit}: `{path}` should be {derived} by its edits, but {committed} was committed", commit = commit.short(), derived = derived.short(), committed = committed.short())]
    Tensor {
        /// The commit.
        commit: CommitId,
        /// The parameter.
        path: ParamPath,
        /// What follows.
        derived: TensorId,
        /// What was committed.
        committed: TensorId,
    },
    /// The commit has another part than its base, which no edit changes.
    #[error("commit {commit}: {apart} against its base, which no edit does", commit = commit.short())]
    Part {
        /// The commit.
        commit: CommitId,
        /// The part, and how it differs.
        apart: Apart,
    },
    /// The layout of the weights' file is none, or not one of these tensors.
    #[error("commit {commit}: the stored layout of its weights' file is not theirs: {reason}", commit = commit.short())]
    Layout {
        /// The commit.
        commit: CommitId,
        /// What is wrong.
        reason: String,
    },
    /// The base's digest is not that of its weights.
    #[error("commit {commit} names base {claimed}, but its base has digest {found}", commit = commit.short())]
    Base {
        /// The commit.
        commit: CommitId,
        /// What it names.
        claimed: ModelDigest,
        /// What the base has.
        found: ModelDigest,
    },
    /// Nobody signed a commit.
    #[error("commit {commit} by {author:?} is not signed", commit = commit.short())]
    Unsigned {
        /// The commit.
        commit: CommitId,
        /// Who says to have made it.
        author: String,
    },
    /// Somebody unknown signed a commit.
    #[error("commit {commit} by {author:?} is signed by an unknown key {key}", commit = commit.short())]
    UnknownSigner {
        /// The commit.
        commit: CommitId,
        /// Who says to have made it.
        author: String,
        /// The key.
        key: PublicKey,
    },
    /// A signature does not belong to its commit.
    #[error("the signature of commit {commit} by key {key} is not one of this commit: it was tampered with", commit = commit.short())]
    BadSignature {
        /// The commit.
        commit: CommitId,
        /// The key.
        key: PublicKey,
    },
    /// A branch stands behind a signed commit, and no operation of the log says that it went back.
    #[error("branch {branch} stands on {tip}, behind commit {signed} signed by {signer}: the branch was rolled back", tip = tip.short(), signed = signed.short())]
    RolledBack {
        /// The branch.
        branch: Name,
        /// Where it stands.
        tip: CommitId,
        /// The commit that it is behind.
        signed: CommitId,
        /// Who signed that.
        signer: String,
    },
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The commit.
    pub commit: CommitId,
    /// The digest of its weights.
    pub digest: ModelDigest,
    /// Tensors whose bytes were read and hashed.
    pub tensors: usize,
    /// Live edits that were applied to the base.
    pub edits: usize,
    /// Commits whose signature is good, of a known key.
    pub signed: usize,
    /// What is not as it should be.
    pub wrong: Vec<Wrong>,
}

/// A commit cannot be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// An object cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// History cannot be walked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The newest operation cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The edits do not fit the base.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

impl Store {
    /// Derives the weights of a commit from its base and compares digests; everything else that a model
    /// directory consists of has to be the base's, and the layout has to be one of these tensors. A signature
    /// that is not of its commit is wrong, whoever it is of; with signers, each commit of the history has to be
    /// signed by one of them, and no branch rolled back behind what they signed.
    ///
    /// # Errors
    /// [`VerifyError`] when something cannot be read; what is read and wrong is in the result.
    pub fn verify(
        &self,
        id: CommitId,
        signers: Option<&BTreeMap<PublicKey, String>>,
    ) -> Result<Verified, VerifyError> {
        let odb = self.odb();
        let mut history = History::new(odb);
        let commit = history.commit(id)?;
        let manifest = odb.manifest(commit.manifest)?;
        let live = history.live(id)?;
        let base = odb.manifest(live.base)?;
        let mut wrong = Vec::new();
        let found = base.model_digest();
        if found != commit.base {
            wrong.push(Wrong::Base { commit: id, claimed: commit.base, found });
        }
        // The base first: every byte of it.
        let bases: BTreeSet<TensorId> = base.tensors.values().copied().collect();
        let mut heads = BTreeMap::new();
        for &tensor in &bases {
            let mut first = FirstBytes::default();
            let copied = odb.copy(tensor, &mut first).map_err(|error| odb.explain(error))?;
            copied.map_err(|source| ReadError::Io { path: "(nowhere)".into(), source })?;
            heads.insert(tensor, first.tensor_head(tensor.into())?);
        }
        let misfit = match files::decode(&odb.blob(base.layout)?) {
            Ok(layout) => base.misfit(&layout, |id| heads.get(&id).cloned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = misfit {
            wrong.push(Wrong::Layout { commit: id, reason });
        }
        wrong.extend(base.parts_apart(&manifest).into_iter().map(|apart| Wrong::Part { commit: id, apart }));
        let mut derived: BTreeMap<ParamPath, TensorId> = base.tensors.clone();
        derived.extend(weights::rederive(odb, &live)?);
        for (path, &derived) in &derived {
            // One that is not there is told as a part.
            let Some(&committed) = manifest.tensors.get(path) else { continue };
            if committed != derived {
                wrong.push(Wrong::Tensor { commit: id, path: path.clone(), derived, committed });
            }
        }
        let mut verified = Verified {
            commit: id,
            digest: manifest.model_digest(),
            tensors: bases.len(),
            edits: live.edits.len(),
            signed: 0,
            wrong,
        };
        self.check_signatures(&mut history, signers, &mut verified)?;
        Ok(verified)
    }

    fn check_signatures(
        &self,
        history: &mut History<'_>,
        signers: Option<&BTreeMap<PublicKey, String>>,
        verified: &mut Verified,
    ) -> Result<(), VerifyError> {
        let nobody = BTreeMap::new();
        for step in history.walk(&[verified.commit])? {
            let (commit, value) = step?;
            let author = value.author.clone();
            match value.signature_state(signers.unwrap_or(&nobody)) {
                SignatureState::Good(_) => verified.signed += 1,
                SignatureState::Bad(key) => verified.wrong.push(Wrong::BadSignature { commit, key }),
                _ if signers.is_none() => {}
                SignatureState::Unsigned => verified.wrong.push(Wrong::Unsigned { commit, author }),
                SignatureState::Unknown(key) => {
                    verified.wrong.push(Wrong::UnknownSigner { commit, author, key });
                }
            }
        }
        if let Some(signers) = signers {
            verified.wrong.extend(self.rolled_back(history, signers)?);
        }
        Ok(())
    }

    /// Branches that stand behind a signed commit which the operation log never knew: somebody put an old
    /// head in place of a newer one. A step back that the log tells of (an undo, a moved branch) is none.
    fn rolled_back(
        &self,
        history: &mut History<'_>,
        signers: &BTreeMap<PublicKey, String>,
    ) -> Result<Vec<Wrong>, VerifyError> {
        let odb = self.odb();
        let mut told = BTreeSet::new();
        for (_, operation) in self.operations()? {
            told.extend(operation.view.commits());
        }
        let tips: Vec<CommitId> = told.iter().copied().collect();
        let told: BTreeSet<CommitId> = history.ancestors(&tips)?.into_iter().collect();
        let view = self.view()?;
        let mut wrong = Vec::new();
        for id in odb.ids()? {
            let signed = CommitId::from_bytes(*id.as_bytes());
            if told.contains(&signed) || odb.kind(id)? != Some(Kind::Commit) {
                continue;
            }
            let SignatureState::Good(signer) = odb.commit(signed)?.signature_state(signers) else { continue };
            for (branch, &tip) in &view.branches {
                if history.is_ancestor(tip, signed)? {
                    let (branch, signer) = (branch.clone(), signer.clone());
                    wrong.push(Wrong::RolledBack { branch, tip, signed, signer });
                }
            }
        }
        Ok(wrong)
    }
}
