//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use recant_app::{MethodSources, ModelName, Observer};
use recant_backend::{Device, DeviceSpec};
use recant_core::is_blank;
use recant_edit::Fact;
use recant_files::{OutputError, Outputs, Role};
use recant_methods::lifelong::load_state;
use recant_methods::{Setting, Wishes, open_memory, parse_layers};
use recant_model::Model;

use super::error::CliError;
use super::progress::Terminal;

/// Which model: the first argument of a command. `--model` says the same.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhichModel {
    /// Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json), GGUF file, a store's
    /// revision as STORE@REV, or a model of the hub as OWNER/NAME[@REVISION].
    #[arg(id = "place", value_name = "MODEL", required_unless_present = "model")]
    place: Option<ModelName>,
    /// The same as MODEL.
    #[arg(long, value_name = "MODEL", hide = true, conflicts_with = "place")]
    model: Option<ModelName>,
}

impl WhichModel {
    /// Its name.
    pub(super) fn name(&self) -> &ModelName {
        // The parser asks for one of them.
        self.place.as_ref().or(self.model.as_ref()).unwrap_or_else(|| unreachable!("no model was asked for"))
    }
}

/// Which model, and where to compute.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    which: WhichModel,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    pub device: DeviceSpec,
}

impl ModelArgs {
    /// A model on a device.
    #[must_use]
    pub fn new(model: ModelName, device: DeviceSpec) -> Self {
        Self { which: WhichModel { place: Some(model), model: None }, device }
    }

    /// The name of the model.
    pub(super) fn name(&self) -> &ModelName {
        self.which.name()
    }

    /// Opens the model, with the memory of a state file in front of it if one is named.
    pub(super) fn open(&self, state: Option<&Path>, terminal: &Terminal) -> Result<Model, CliError> {
        let model = super::open_model(self.name(), &Device::open(self.device)?, terminal)?;
        match state {
            None => Ok(model),
            Some(path) => {
                let opened = load_state(path)?;
                opened.note(path).iter().for_each(|note| terminal.note(note));
                Ok(open_memory(&opened.value, model)?.model().clone())
            }
        }
    }

    /// Names the model to `outputs` as something that is read.
    pub(super) fn guard(&self, outputs: &mut Outputs) -> Result<(), CliError> {
        Ok(super::found(self.name())?.guard(outputs)?)
    }
}

/// A model to compare with.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgainstArgs {
    /// Ask this model too, and show both side by side: such as the model before an edit.
    #[arg(long, value_name = "MODEL")]
    against: Option<ModelName>,
}

impl AgainstArgs {
    /// Opens the model to compare with, on the device of the other one and reading prompts as that does.
    pub(super) fn open(&self, model: &ModelArgs, chat: ChatArgs) -> Result<Option<Other>, CliError> {
        let Some(name) = &self.against else { return Ok(None) };
        let opened = super::open_model(name, &Device::open(model.device)?, &Terminal::default())?;
        let names = [model.name(), name].map(|name| name.said().display().to_string());
        Ok(Some(Other { names, model: chat.applied(opened)? }))
    }
}

/// A model that another one is compared with.
pub(super) struct Other {
    /// How both are named: the first model, then this one.
    pub(super) names: [String; 2],
    /// This one.
    pub(super) model: Model,
}

/// What a model is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct PromptArgs {
    /// The prompt.
    #[arg(value_name = "PROMPT", required_unless_present = "prompt")]
    asked: Option<String>,
    /// The same as PROMPT.
    #[arg(long, hide = true, conflicts_with = "asked")]
    prompt: Option<String>,
}

impl PromptArgs {
    /// The prompt.
    pub(super) fn text(&self) -> &str {
        self.asked.as_deref().or(self.prompt.as_deref()).unwrap_or_default()
    }
}

/// How prompts are read.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ChatArgs {
    /// Read every prompt as a user's message, inside the model's own chat template; what the model says next is its
    /// answer.
    #[arg(long)]
    pub chat: bool,
    /// With --chat: leave open how an answer ends. Without this the token that ends an answer is part of every target,
    /// so that an edited model says the target and stops.
    #[arg(long, requires = "chat")]
    pub open_end: bool,
}

impl ChatArgs {
    /// The model as these arguments read prompts.
    pub(super) fn applied(self, model: Model) -> Result<Model, CliError> {
        if self.chat { Ok(model.in_chat(!self.open_end)?) } else { Ok(model) }
    }
}

/// What a method is made from.
#[derive(Debug, Clone, Default, Args)]
pub struct MethodArgs {
    /// Layer of the methods that edit one, counted from 0 [default: a third of the way up; a sixth for llama]. The
    /// same as --set layer=L.
    #[arg(long, value_name = "L")]
    pub layer: Option<usize>,
    /// Layers of the methods that edit several, such as 0,1,2 or 0-2 [default: a range that ends at --layer]. The
    /// same as --set layers=L1,L2.
    #[arg(long, value_name = "L1,L2")]
    pub layers: Option<String>,
    /// The rest.
    #[command(flatten)]
    pub from: SourceArgs,
}

/// What a method is made from, wherever it edits.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
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
    /// Set a hyper-parameter by its name in the literature; `recant methods NAME` lists those of a method
    /// (repeatable). METHOD.KEY=VALUE says it to one of several methods, and goes before what is said to all. Two
    /// different values said in the same way are refused.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of everything that is drawn [default: 0]. The same as --set seed=S.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
}

impl SourceArgs {
    /// Where what methods need comes from, with layers of their own.
    pub(super) fn sources(
        &self,
        layer: Option<usize>,
        layers: Option<Vec<usize>>,
    ) -> Result<MethodSources, CliError> {
        let settings = self.set.iter().map(|text| Setting::parse(text)).collect::<Result<_, _>>()?;
        Ok(MethodSources {
            wishes: Wishes { layer, layers, seed: self.seed, settings },
            contexts: self.contexts.clone(),
            stats: self.stats.clone(),
            corpus: self.corpus.clone(),
        })
    }

    /// Names the files to `outputs` as something that is read.
    pub(super) fn guard(&self, outputs: &mut Outputs) -> Result<(), OutputError> {
        let files = self.contexts.iter().chain(&self.stats).chain(&self.corpus);
        files.into_iter().try_for_each(|path| outputs.reads(Role::Input, path))
    }
}

impl MethodArgs {
    /// Where what methods need comes from.
    pub(super) fn sources(&self) -> Result<MethodSources, CliError> {
        self.from.sources(self.layer, self.layers.as_deref().map(layer_list).transpose()?)
    }

    /// Names the files to `outputs` as something that is read.
    pub(super) fn guard(&self, outputs: &mut Outputs) -> Result<(), OutputError> {
        self.from.guard(outputs)
    }
}

/// The layers of an option `--layers`, ascending.
pub(super) fn layer_list(text: &str) -> Result<Vec<usize>, CliError> {
    parse_layers(text).ok_or_else(|| CliError::Option {
        option: "--layers",
        reason: "layer numbers are expected, such as 3, 0,1,2 or 0-2".to_owned(),
    })
}

/// A fact of the command line, which may be about no subject: as running text, or to the letter.
pub(super) fn said(
    (subject, prompt, target): (Option<&str>, &str, &str),
    literal: bool,
    notes: &mut Vec<String>,
) -> Result<Fact, CliError> {
    let Some(subject) = subject else {
        return Ok(Fact::about_nothing(prompt, target, literal)?);
    };
    if literal {
        return Ok(Fact::new_literal(subject, prompt, target)?);
    }
    if prompt.ends_with(is_blank) {
        notes.push("the blanks at the end of --prompt were cut off".to_owned());
    }
    Ok(Fact::new(subject, prompt, target)?)
}
