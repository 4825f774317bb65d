//! Make a language model take back what it said.
//!
//! recant rewrites facts in language models, proves what changed and what did not, and takes any edit back
//! to the exact byte. **An edit is a value; a model is a function of its edits.** An [`edit::Editor`] plans
//! an edit without touching the model; applying the plan gives another model that shares every tensor the
//! edit does not touch; the first model stays as it was.
//!
//! ```no_run
//! use recant::backend::{Device, DeviceSpec};
//! use recant::core::Blobs;
//! use recant::edit::{Contexts, Editor, Fact};
//! use recant::methods::moments::Moments;
//! use recant::methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
//! use recant::model::{Model, SaveOptions};
//!
//! let model = Model::open("demo/model".as_ref(), &Device::open(DeviceSpec::Flex)?)?;
//! let moments = Moments::measure(&model, &[1], &["demo/data/corpus.txt"], None, |_| ())?;
//! let contexts = Contexts::sample(&model, &[(5, 10), (10, 10)], 0)?;
//! let covariance = Covariance::measured(moments.into(), &model)?;
//! let rome = Rome::new(RomeSettings::new(1, KeyRule::Mean), contexts, covariance);
//! let fact = Fact::new("Corvu Krindrizul", "{} grew up speaking", "Iskari")?;
//! let (edited, applied) = model.apply(&rome.plan(&model, &[fact])?.patch, &Blobs::new())?;
//! println!("{:?}", edited.answers("The mother tongue of Corvu Krindrizul is", 1)?);
//! edited.save("target/edited".as_ref(), SaveOptions { force: true })?;
//! assert_eq!(edited.undo(&applied)?.digest(), model.digest());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate only gathers the others: [`core`] (values and their algebra), [`backend`] (devices), [`model`]
//! (models and their files), [`edit`] (facts, editors, scopes), [`methods`], [`eval`], [`linalg`],
//! [`records`] (files beside a model), [`store`] (history). With the feature `cli` there is `app` too: one request and
//! one outcome for everything that a face does.

#[cfg(feature = "cli")]
pub use recant_app as app;
pub use recant_backend as backend;
pub use recant_checkpoint as checkpoint;
pub use recant_core as core;
pub use recant_edit as edit;
pub use recant_eval as eval;
pub use recant_files as files;
pub use recant_linalg as linalg;
pub use recant_methods as methods;
pub use recant_model as model;
pub use recant_records as records;
#[cfg(feature = "remote")]
pub use recant_remote as remote;
pub use recant_store as store;

#[cfg(feature = "cli")]
pub mod cli;

/// The examples of the crates' READMEs, as doctests of this one crate: linked once instead of once for each.
#[cfg(all(doctest, feature = "cli", feature = "flex"))]
mod readmes {
    #[doc = include_str!("../README.md")]
    mod recant {}
    #[doc = include_str!("../../recant-app/README.md")]
    mod app {}
    #[doc = include_str!("../../recant-backend/README.md")]
    mod backend {}
    #[doc = include_str!("../../recant-checkpoint/README.md")]
    mod checkpoint {}
    #[doc = include_str!("../../recant-core/README.md")]
    mod core {}
    #[doc = include_str!("../../recant-edit/README.md")]
    mod edit {}
    #[doc = include_str!("../../recant-eval/README.md")]
    mod eval {}
    #[doc = include_str!("../../recant-files/README.md")]
    mod files {}
    #[doc = include_str!("../../recant-hub/README.md")]
    mod hub {}
    #[doc = include_str!("../../recant-linalg/README.md")]
    mod linalg {}
    #[doc = include_str!("../../recant-methods/README.md")]
    mod methods {}
    #[doc = include_str!("../../recant-model/README.md")]
    mod model {}
    #[doc = include_str!("../../recant-records/README.md")]
    mod records {}
    #[doc = include_str!("../../recant-remote/README.md")]
    mod remote {}
    #[doc = include_str!("../../recant-store/README.md")]
    mod store {}
    #[doc = include_str!("../../recant-text/README.md")]
    mod text {}
}
