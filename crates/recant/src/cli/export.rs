//! `recant export`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use recant_app::{ModelRef, open_record};
use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Delta, Matrix, ParamPath, WeightPatch};
use recant_files::{ADAPTER_DIRECTORY, Role};
use recant_linalg::{LowRank, Rows};
use recant_model::{Layout, Model, Slot};
use recant_records::Record;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use super::args::WhichModel;
use super::error::CliError;
use super::open_model;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    model: WhichModel,
    /// The edit, as `recant edit --patch` writes it.
    #[arg(long, value_name = "FILE")]
    patch: PathBuf,
    /// The form: lora (PEFT's adapter_config.json and adapter_model.safetensors).
    #[arg(long = "as", value_enum)]
    form: Form,
    /// Largest rank a matrix may take; a larger edit is truncated by SVD, and the error is printed [default:
    /// none, exact].
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rank: Option<u32>,
    /// Directory for the adapter.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an adapter at --out.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A LoRA adapter for PEFT.
    Lora,
}

/// A dense block's `down_proj` has the name that an expert's had before `transformers` joined the experts of a block.
const BESIDE_EXPERTS: &str = "this model has mixtures of experts: peft 0.21 takes the module for one of an expert, warns, \
                              and leaves the adapter out; `recant edit --out` writes the edited model";

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

pub(crate) fn run(args: &ExportArgs, session: &Session) -> Result<(), CliError> {
    let Form::Lora = args.form;
    let mut outputs = session.outputs(args.force);
    let base = super::found(args.model.name())?;
    let named = Base::of(base)?;
    base.guard(&mut outputs)?;
    outputs.reads(Role::Input, &args.patch)?;
    let output = outputs.directory(&args.out, ADAPTER_DIRECTORY, Vec::new())?;
    let model = open_model(args.model.name(), &Device::open(DeviceSpec::Flex)?, &Terminal::default())?;
    let opened = open_record(&args.patch, WeightPatch::from_file)?;
    let mut notes: Vec<String> = opened.note(&args.patch).into_iter().collect();
    let patch = opened.value;
    // Applying checks that the edit was made for this very model.
    let _applied = model.apply(&patch, &Default::default())?;
    let modules = modules(&model, &patch, args.rank.map(|rank| rank as usize))?;
    notes.extend(model.spec().mixture.is_some().then(|| BESIDE_EXPERTS.to_owned()));
    let (config, weights) = (config(&named, &modules)?, weights(&args.out, &modules)?);
    output.fill(|dir| {
        recant_files::write_new(&dir.join(CONFIG), config.as_bytes())
            .and_then(|()| recant_files::write_new(&dir.join(WEIGHTS), &weights))
            .map_err(|error| CliError::Write { path: args.out.clone(), reason: error.to_string() })
    })?;
    let lines: Vec<Value> = modules
        .iter()
        .map(|module| {
            json!({ "module": module.name, "rank": module.a.rows(), "truncation_error": module.error })
        })
        .collect();
    if args.json {
        return super::print_json(&json!({
            "out": args.out.display().to_string(), "modules": lines, "notes": notes,
        }));
    }
    for module in &modules {
        let exact = if module.error == 0.0 {
            "exact".to_owned()
        } else {
            format!("truncated, {:.3} % of the update's norm is lost", 100.0 * module.error)
        };
        say!("{}: rank {}, {exact}", module.name, module.a.rows());
    }
    notes.iter().for_each(|note| say!("note: {note}"));
    say!("written to {}", args.out.display());
    Ok(())
}

fn modules(model: &Model, patch: &WeightPatch, cap: Option<usize>) -> Result<Vec<Module>, CliError> {
    let refuse = |reason: String| CliError::Option { option: "--patch", reason };
    let slots: Vec<(ParamPath, Layout)> =
        (0..model.spec().layers).filter_map(|layer| model.slot(Slot::MlpDown(layer))).collect();
    let mut modules = Vec::new();
    for (path, change) in patch.changes() {
        let Delta::Add(Addend::LowRank { u, v }) = &change.delta else {
            return Err(refuse(format!(
                "`{path}` is not changed by low-rank factors; a LoRA cannot say that"
            )));
        };
        let layout = slots.iter().find(|(slot, _)| slot == path).map(|(_, layout)| *layout);
        let layout = layout.ok_or_else(|| refuse(format!("`{path}` is no matrix that recant exports")))?;
        // u vᵀ has the checkpoint's layout: [in, out] for Conv1D, [out, in] for a linear layer.
        let (out, input) = match layout {
            Layout::InOut => (v, u),
            Layout::OutIn => (u, v),
        };
        let (out, input, error) = match cap.filter(|&cap| cap < u.cols()) {
            None => (out.clone(), input.clone(), 0.0),
            Some(cap) => {
                truncated(out, input, cap).ok_or_else(|| refuse(format!("`{path}`: the SVD failed")))?
            }
        };
        let name = path.as_str().trim_end_matches(".weight");
        // A checkpoint of the bare GPT-2 leaves out the prefix that the model with a head has.
        let name = if name.starts_with("h.") { format!("transformer.{name}") } else { name.to_owned() };
        modules.push(Module { name, a: input.transposed(), b: out, conv1d: layout == Layout::InOut, error });
    }
    if modules.is_empty() {
        return Err(refuse("the edit changes nothing".to_owned()));
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

/// The configuration. Alpha equals the rank, so that PEFT's scale is 1. The base is named by its whole path, so that
/// PEFT finds it from every folder.
/// How an adapter names its base.
struct Base {
    name: String,
    revision: Option<String>,
}

impl Base {
    fn of(model: &ModelRef) -> Result<Self, CliError> {
        match model {
            ModelRef::Path(path) => {
                let refuse =
                    |error: std::io::Error| CliError::Read { path: path.clone(), reason: error.to_string() };
                Ok(Self { name: path.canonicalize().map_err(refuse)?.display().to_string(), revision: None })
            }
            ModelRef::Hub(name, _) => {
                let revision = Some(name.revision().to_owned()).filter(|revision| revision != "main");
                Ok(Self { name: format!("{}/{}", name.owner(), name.name()), revision })
            }
            ModelRef::Commit(..) => {
                let reason = "an adapter names its base by a path, and a store's revision has none; \
                              `recant store checkout` writes it";
                Err(CliError::Option { option: "MODEL", reason: reason.to_owned() })
            }
        }
    }
}

fn config(base: &Base, modules: &[Module]) -> Result<String, CliError> {
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
fn weights(out: &Path, modules: &[Module]) -> Result<Vec<u8>, CliError> {
    let failed = |reason: String| CliError::Write { path: out.join(WEIGHTS), reason };
    let tensors: Vec<(String, [usize; 2], Vec<u8>)> = modules
        .iter()
        .flat_map(|module| [("lora_A", &module.a, &module.name), ("lora_B", &module.b, &module.name)])
        .map(|(part, matrix, name)| {
            let bytes = matrix.data().iter().flat_map(|x| x.to_le_bytes()).collect();
            (format!("base_model.model.{name}.{part}.weight"), [matrix.rows(), matrix.cols()], bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))
}
