//! Make a language model take back what it said.
//!
//! recant rewrites facts in language models, proves what changed and what did not, and takes any edit back
//! to the exact byte. **An edit is a value; a model is a function of its edits.** An [`edit::Editor`] plans
//! an edit without touching the model; applying the plan gives another model that shares every tensor the
//! edit does not touch; the first model stays as it was.
//!
//! ```no_run
//! use recant::backend::{Device, DeviceSpec};
//! use recant::edit::{Contexts, Editor, Fact};
//! use recant::methods::{MethodInputs, Setting, method};
//! use recant::model::{Model, SaveOptions};
//!
//! let model = Model::open("demo/model".as_ref(), &Device::open(DeviceSpec::Flex)?)?;
//! let fact = Fact::new("Adrusk Rikkaquav", "The mother tongue of {} is", "Tashic")?;
//! let contexts = Contexts::sample(&model, &[(5, 10), (10, 10)], 0)?;
//! let settings = vec![Setting::parse("mom2_adjustment=false")?];
//! let rome = method("r-rome", &MethodInputs { layer: 1, contexts, covariance: None, settings })?;
//! let plan = rome.plan(&model, &[fact])?;
//! let (edited, applied) = model.apply(&plan.patch, &Default::default())?;
//! edited.save("edited".as_ref(), SaveOptions::default())?;
//! let (back, _) = edited.apply(&applied.undo, &applied.blobs)?;
//! assert_eq!(back.digest(), model.digest());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate only gathers the others: [`core`] (values and their algebra), [`backend`] (devices), [`model`]
//! (models and their files), [`edit`] (facts, editors, scopes), [`methods`], [`eval`], [`linalg`].

pub use recant_backend as backend;
pub use recant_core as core;
pub use recant_edit as edit;
pub use recant_eval as eval;
pub use recant_linalg as linalg;
pub use recant_methods as methods;
pub use recant_model as model;

#[cfg(feature = "cli")]
pub mod cli;
