//! A versioned store for weights and edits: history, exact rollback, merge, and nothing lost.
//!
//! This crate knows bytes and never a tensor library. An object (a tensor, a manifest, a patch, a commit) is
//! a value with one canonical encoding, and its id is the hash of it. A [`Store`] keeps objects as files and
//! moves one pointer; whatever happens in between, the pointer is the old one or the new one.
//!
//! An edit is stored as what it is, factors and all, and the matrix it makes is stored as "that base and
//! that patch" and checked against its digest whenever it is read. So a rank-one edit costs kilobytes, and
//! what comes out is the committed tensor to the byte.
//!
//! Weights are a function of the *set* of live edits ([`history`]), so taking back any commit, in any order,
//! gives the weights of a model that never saw it.
//!
//! ```
//! use recant_core::{Addend, Change, Delta, Matrix, ParamPath, WeightPatch};
//! use recant_store::{Draft, EditKind, Import, Name, Stamp, Store};
//! # let dir = tempfile::tempdir()?;
//! # let model = dir.path().join("model");
//! # std::fs::create_dir(&model)?;
//! # let header = br#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
//! # let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat();
//! # std::fs::write(model.join("model.safetensors"), file)?;
//! # std::fs::write(model.join("config.json"), "{}")?;
//! let stamp = Stamp { time: 1_700_000_000, author: "Ada".to_owned() };
//! let store = Store::init(&dir.path().join("store"), Name::new("main")?, &stamp)?;
//! let base = store.import(&model, &Import::default(), &stamp, None)?.commit;
//!
//! let path = ParamPath::new("w")?;
//! let manifest = store.odb().manifest(store.odb().commit(base)?.manifest)?;
//! let addend = Addend::low_rank(Matrix::column(vec![1.0, 2.0]), Matrix::column(vec![3.0, 4.0]))?;
//! let change = Change { base: manifest.get(&path).unwrap(), delta: Delta::Add(addend) };
//! let edit = EditKind::Patch(WeightPatch::one(path, change));
//! let commit = store.commit_edit(&edit, &Draft::default(), &stamp, None)?;
//!
//! store.revert(commit, None, &stamp, None)?;
//! let head = store.view()?.head_commit().unwrap();
//! assert_eq!(store.model_digest(head)?, store.model_digest(base)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkout;
mod codec;
mod damage;
pub mod disk;
mod fsck;
mod gc;
pub mod history;
mod import;
mod links;
mod live;
mod name;
pub mod object;
mod odb;
mod remotes;
mod rev;
mod source;
mod store;
mod verbs;
mod verify;
mod weights;

pub use checkout::{CheckoutError, CheckoutOptions, Written};
pub use codec::DecodeError;
pub use damage::Damage;
pub use fsck::{Fsck, FsckError, Problem};
pub use gc::{Gc, GcError, GcOptions};
pub use history::{History, HistoryError, Live, Walk};
pub use import::{Import, ImportError, Imported};
pub use links::GuardError;
pub use live::Counts;
pub use name::{FileName, Name, NameError};
pub use odb::bundle;
pub use odb::{Form, Odb, ReadError, Received, ReceivedBundle, Source, TransferError, WriteError, Writer};
pub use remotes::{Remotes, RemotesError};
pub use rev::RevError;
pub use source::CommitSource;
pub use store::{HeadError, OpenError, Size, Stamp, Store, Transaction, TransactionError};
pub use verbs::{
    CommitError, Conflict, Diff, Draft, EditKind, How, KeyError, MatrixDiff, MergeOptions, Merged,
    NamesError, PublicKey, Rebuild, Rebuilt, Reverted, SecretKey, SignatureState, UndoError,
};
pub use verify::{Verified, VerifyError, Wrong};
pub use weights::FoldError;
