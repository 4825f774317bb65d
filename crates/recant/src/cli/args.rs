//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use recant_backend::DeviceSpec;
use recant_files::{OutputError, Outputs, Role};

/// Which model, and where to compute.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Hugging Face directory: config.json, model.safetensors, tokenizer.json.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    pub device: DeviceSpec,
}

/// What a method is made from.
#[derive(Debug, Clone, Args)]
pub struct MethodArgs {
    /// Layer to edit, counted from 0 [default: a third of the way up; a sixth for llama].
    #[arg(long, value_name = "L")]
    pub layer: Option<usize>,
    /// Layers of the methods that edit several, such as 0,1,2 or 0-2 [default: a range that ends at --layer].
    #[arg(long, value_name = "L1,L2")]
    pub layers: Option<String>,
    /// Context templates: a JSON array, or one a line, each with {} where the prompt goes
    /// [default: sampled from the model with the seed].
    #[arg(long, value_name = "FILE")]
    pub contexts: Option<PathBuf>,
    /// Second moments of keys, made by `recant stats` for this model.
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    pub stats: Option<PathBuf>,
    /// Measure second moments now, over the texts of this file, one a line: plain, or JSON objects with a `text` field
    /// (repeatable).
    #[arg(long, value_name = "FILE")]
    pub corpus: Vec<PathBuf>,
    /// Set a hyper-parameter by its name in the literature: v_lr, v_num_grad_steps, v_weight_decay,
    /// clamp_norm_factor, kl_factor, mom2_adjustment (false: C = I), mom2_update_weight, norm_weight, blue,
    /// consistent_keys, max_mb, emmet_lambda, nullspace_threshold, L2, num_steps, lr, norm_constraint
    /// (repeatable). METHOD.KEY=VALUE says it to one of several methods.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of everything that is drawn.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

impl ModelArgs {
    /// Names the model to `outputs` as something that is read.
    pub(crate) fn guard(&self, outputs: &mut Outputs) -> Result<(), OutputError> {
        outputs.reads(Role::Model, &self.model)
    }
}

impl MethodArgs {
    /// Names the files to `outputs` as something that is read.
    pub(crate) fn guard(&self, outputs: &mut Outputs) -> Result<(), OutputError> {
        let files = self.contexts.iter().chain(&self.stats).chain(&self.corpus);
        files.into_iter().try_for_each(|path| outputs.reads(Role::Input, path))
    }
}
