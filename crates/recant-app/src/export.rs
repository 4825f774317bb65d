//! An edit as a LoRA adapter, in PEFT's two files.

use std::io;
use std::path::PathBuf;

use recant_core::{Addend, Delta, Matrix, ParamPath, WeightPatch};
use recant_files::{OutputDirectory, OutputError};
use recant_linalg::{LowRank, Rows};
use recant_model::{Layout, Model, PatchError, Slot};
use safetensors::SafeTensorError;
use serde_json::{Map, Value, json};

use crate::model_ref::ModelRef;
use crate::sheet::{SheetTensor, sheet};

/// An edit cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportFailure {
    /// An adapter names its base by a path, and a commit has none.
    #[error("an adapter names its base by a path, and a store's revision has none")]
    NoPath,
    /// The base's path cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The base.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The edit was not made for this model.
    #[error(transparent)]
    Apply(#[from] PatchError),
    /// A change has another form.
    #[error("`{path}` is not changed by low-rank factors; a LoRA cannot say that")]
    NotLowRank {
        /// The parameter.
        path: ParamPath,
    },
    /// A change is of another parameter.
    #[error("`{path}` is no matrix that recant exports")]
    NoMatrix {
        /// The parameter.
        path: ParamPath,
    },
    /// A change cannot be truncated.
    #[error("`{path}`: the SVD failed")]
    Svd {
        /// The parameter.
        path: ParamPath,
    },
    /// There is no change.
    #[error("the edit changes nothing")]
    Nothing,
    /// The configuration cannot be written down.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The factors cannot be written down.
    #[error("cannot write {path}: {source}")]
    Factors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// The files cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The adapter's directory.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The directory cannot be put in its place.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// An adapter that was written.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Its matrices.
    pub modules: Vec<ExportedModule>,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// A matrix of an adapter.
#[derive(Debug, Clone)]
pub struct ExportedModule {
    /// Its name in the `transformers` model.
    pub name: String,
    /// Its rank.
    pub rank: usize,
    /// The share of the update's norm that is lost; 0 where it is exact.
    pub error: f64,
}

/// Writes an edit of `model` as an adapter of at most `cap` ranks a matrix.
///
/// # Errors
/// [`ExportFailure`].
pub fn export_lora(
    base: &Base,
    model: &Model,
    patch: &WeightPatch,
    cap: Option<usize>,
    output: &OutputDirectory,
) -> Result<Exported, ExportFailure> {
    // Applying checks that the edit was made for this very model.
    let _applied = model.apply(patch, &Default::default())?;
    let modules = modules(model, patch, cap)?;
    let notes = model.spec().mixture.is_some().then(|| BESIDE_EXPERTS.to_owned());
    let factors = |source| ExportFailure::Factors { path: output.path().join(WEIGHTS), source };
    let (config, weights) = (config(base, &modules)?, weights(&modules).map_err(factors)?);
    output.fill(|dir| {
        recant_files::write_new(&dir.join(CONFIG), config.as_bytes())
            .and_then(|()| recant_files::write_new(&dir.join(WEIGHTS), &weights))
            .map_err(|source| ExportFailure::Write { path: output.path().to_owned(), source })
    })?;
    let one = |Module { name, a, error, .. }: Module| ExportedModule { name, rank: a.rows(), error };
    Ok(Exported { modules: modules.into_iter().map(one).collect(), notes: notes.into_iter().collect() })
}

/// A dense block's `down_proj` has the name that an expert's had before `transformers` joined the experts of a block.
const BESIDE_EXPERTS: &str = "this model has mixtures of experts: peft 0.21 takes the module for one of an expert, warns, \
                              and leaves the adapter out; the edited model itself holds the edit";

/// One matrix of the adapter.
struct Module {
    /// Its name in the `transformers` model.
    name: String,
    /// `[rank, in]`.
    a: Matrix,
    /// `[out, rank]`.
    b: Matrix,
    conv1d: bool,
    error: f64,
}

fn modules(model: &Model, patch: &WeightPatch, cap: Option<usize>) -> Result<Vec<Module>, ExportFailure> {
    let slots: Vec<(ParamPath, Layout)> =
        (0..model.spec().layers).filter_map(|layer| model.slot(Slot::MlpDown(layer))).collect();
    let mut modules = Vec::new();
    for (path, change) in patch.changes() {
        let Delta::Add(Addend::LowRank { u, v }) = &change.delta else {
            return Err(ExportFailure::NotLowRank { path: path.clone() });
        };
        let layout = slots.iter().find(|(slot, _)| slot == path).map(|(_, layout)| *layout);
        let layout = layout.ok_or_else(|| ExportFailure::NoMatrix { path: path.clone() })?;
        // u vᵀ has the checkpoint's layout: [in, out] for Conv1D, [out, in] for a linear layer.
        let (out, input) = match layout {
            Layout::InOut => (v, u),
            Layout::OutIn => (u, v),
        };
        let (out, input, error) = match cap.filter(|&cap| cap < u.cols()) {
            None => (out.clone(), input.clone(), 0.0),
            Some(cap) => {
                truncated(out, input, cap).ok_or_else(|| ExportFailure::Svd { path: path.clone() })?
            }
        };
        let name = path.as_str().trim_end_matches(".weight");
        // A checkpoint of the bare GPT-2 leaves out the prefix that the model with a head has.
        let name = if name.starts_with("h.") { format!("transformer.{name}") } else { name.to_owned() };
        modules.push(Module { name, a: input.transposed(), b: out, conv1d: layout == Layout::InOut, error });
    }
    if modules.is_empty() {
        return Err(ExportFailure::Nothing);
    }
    Ok(modules)
}

/// The closest factors of rank `cap`, and the relative error.
fn truncated(out: &Matrix, input: &Matrix, cap: usize) -> Option<(Matrix, Matrix, f64)> {
    let rows = |matrix: &Matrix| {
        let turned = matrix.transposed();
        Rows::new(turned.cols(), turned.data().iter().map(|&x| f64::from(x)).collect())
    };
    let form = LowRank { left: rows(out)?, right: rows(input)? };
    let (smaller, error) = form.truncated(cap)?;
    let matrix = |rows: &Rows| Matrix::new(rows.width(), rows.count(), rows.columns_f32()).ok();
    Some((matrix(&smaller.left)?, matrix(&smaller.right)?, error))
}

/// PEFT's two files.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// How an adapter names its base: by its whole path, so that PEFT finds it from every folder.
#[derive(Debug, Clone)]
pub struct Base {
    name: String,
    revision: Option<String>,
}

impl Base {
    /// The name of a model.
    ///
    /// # Errors
    /// [`ExportFailure::NoPath`], [`ExportFailure::Read`].
    pub fn of(model: &ModelRef) -> Result<Self, ExportFailure> {
        match model {
            ModelRef::Path(path) => {
                let name = path
                    .canonicalize()
                    .map_err(|source| ExportFailure::Read { path: path.clone(), source })?;
                Ok(Self { name: name.display().to_string(), revision: None })
            }
            ModelRef::Hub(name, _) => {
                let revision = Some(name.revision().to_owned()).filter(|revision| revision != "main");
                Ok(Self { name: format!("{}/{}", name.owner(), name.name()), revision })
            }
            ModelRef::Commit(..) => Err(ExportFailure::NoPath),
        }
    }
}

/// The configuration. Alpha equals the rank, so that PEFT's scale is 1.
fn config(base: &Base, modules: &[Module]) -> Result<String, serde_json::Error> {
    let ranks: Map<String, Value> =
        modules.iter().map(|module| (module.name.clone(), json!(module.a.rows()))).collect();
    let most = modules.iter().map(|module| module.a.rows()).max().unwrap_or(1);
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.name, "revision": base.revision,
        "r": most, "lora_alpha": most, "rank_pattern": ranks, "alpha_pattern": ranks, "lora_dropout": 0.0,
        "bias": "none", "fan_in_fan_out": modules.iter().all(|module| module.conv1d),
        "target_modules": modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(),
        "inference_mode": true, "init_lora_weights": true, "use_rslora": false, "use_dora": false,
    });
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

/// The factors, as safetensors.
fn weights(modules: &[Module]) -> Result<Vec<u8>, SafeTensorError> {
    let tensors: Vec<SheetTensor> = modules
        .iter()
        .flat_map(|module| [("lora_A", &module.a, &module.name), ("lora_B", &module.b, &module.name)])
        .map(|(part, matrix, name)| {
            let bytes = matrix.data().iter().flat_map(|x| x.to_le_bytes()).collect();
            (format!("base_model.model.{name}.{part}.weight"), vec![matrix.rows(), matrix.cols()], bytes)
        })
        .collect();
    sheet(&tensors, ("format", "pt"))
}
