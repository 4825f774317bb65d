//! Names and values of model editing: content ids, parameter paths, activation sites, tensors as bytes,
//! and weight patches with their algebra.
//!
//! This crate does no I/O and knows no tensor library. Everything in it is a value: it compares, clones
//! cheaply and hashes. An edit of a model is a [`WeightPatch`]; the weights of a model are [`Weights`];
//! applying the one to the other gives new weights and leaves the old ones as they were, so undoing an
//! edit means holding the old value (or swapping back to its content id), never subtracting an update.
//!
//! ```
//! use recant_core::{Addend, Change, Delta, Dtype, HostTensor, Matrix, ParamPath, WeightPatch, Weights};
//!
//! let path = ParamPath::new("mlp.weight")?;
//! let base = HostTensor::from_f32(Dtype::F32, vec![2, 2], &[1.0, 0.0, 0.0, 1.0])?;
//! let weights = Weights::from_tensors([(path.clone(), base.clone())]);
//! let rank_one = Addend::low_rank(Matrix::column(vec![0.5, 0.0]), Matrix::column(vec![0.0, 1.0]))?;
//! let patch = WeightPatch::one(path.clone(), Change { base: base.id(), delta: Delta::Add(rank_one) });
//!
//! let applied = patch.apply(&weights, &Default::default())?;
//! assert_eq!(applied.weights.get(&path).unwrap().to_f32(), vec![1.0, 0.5, 0.0, 1.0]);
//! let back = applied.undo.apply(&applied.weights, &applied.blobs)?;
//! assert_eq!(back.weights.digest(), weights.digest());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod digest;
mod dtype;
mod matrix;
mod patch;
mod path;
mod site;
mod statement;
mod tensor;
mod weights;

pub use adapter::{AdapterState, StateDecodeError, StateError, StoredFact};
pub use digest::{
    AdapterId, CommitId, DigestParseError, ManifestId, ModelDigest, ObjectId, OperationId, PatchId, TensorId,
    bytes_digest, hex,
};
pub use dtype::{Dtype, DtypeError};
pub use matrix::{Matrix, MatrixError};
pub use patch::{
    Addend, Applied, ApplyError, Blobs, Change, ComposeError, DecodeError, Delta, InvertError, WeightPatch,
};
pub use path::{ParamPath, ParamPathError};
pub use site::{Point, Site, SiteParseError};
pub use statement::{OnConflict, Statement, is_blank};
pub use tensor::{HostTensor, TensorError};
pub use weights::{Weights, WeightsError};
