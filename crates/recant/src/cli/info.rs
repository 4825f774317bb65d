//! `recant info`: what a model is, before anything is done with it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use recant_app::ModelName;
use recant_checkpoint::Source;
use recant_core::{Dtype, ParamPath};
use recant_eval::report::grouped;
use recant_methods::{MEMORIES, METHODS, MethodSpec, Wishes};
use recant_model::{ChatError, Layout, MixtureSpec, ModelSpec, OpenError, Slot, Tokenizer};
use serde_json::{Value, json};

use super::error::CliError;
use super::store::size;

/// Arguments of `recant info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Hugging Face directory, GGUF file, or a store's revision as STORE@REV.
    model: ModelName,
    /// Print JSON: `family`, `layers`, `d_model`, `d_mlp`, `heads`, `kv_heads`, `head_dim`, `vocab`, `context`, `parameters`,
    /// `bytes`, `bytes_f32`, `dtypes`, `files[]`, `ties`, `slots`, `mixture`, `tokenizer`, `chat_template`, `unread[]`, `methods[]`.
    #[arg(long)]
    json: bool,
}

/// What the headers and the configuration of a model say; no tensor is read.
struct Info {
    place: String,
    spec: ModelSpec,
    /// Bytes of each element type.
    dtypes: BTreeMap<&'static str, u64>,
    parameters: u64,
    /// Name, tensors and bytes of each file of weights.
    files: Vec<(String, usize, u64)>,
    ties: Vec<(ParamPath, ParamPath)>,
    /// The down-projection of the first block that has one, and how it is stored.
    slot: Option<(ParamPath, Layout)>,
    tokenizer: Result<Tokenizer, String>,
    /// Whether there is a chat template, or why it cannot be used.
    chat_template: Result<bool, String>,
    unread: Vec<String>,
}

impl Info {
    fn of(source: &dyn Source) -> Result<Self, CliError> {
        let (architecture, unread) = recant_model::architecture(source)?;
        let layout = source.layout();
        let has = |name: &str| ParamPath::new(name).is_ok_and(|name| layout.find(&name).is_some());
        let mut dtypes: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut parameters = 0;
        for file in &layout.files {
            for entry in &file.header.tensors {
                *dtypes.entry(entry.dtype.name()).or_default() += entry.end - entry.begin;
                if entry.dtype.is_float() {
                    parameters += (entry.end - entry.begin) / entry.dtype.size() as u64;
                }
            }
        }
        let file = |file: &recant_checkpoint::WeightFile| {
            (file.name.clone(), file.header.tensors.len(), file.head.len() as u64 + file.header.data_len())
        };
        let spec = architecture.spec();
        let slot = (0..spec.layers).find_map(|block| architecture.slot(Slot::MlpDown(block), &has));
        Ok(Self {
            place: source.place().display().to_string(),
            spec,
            files: layout.files.iter().map(file).collect(),
            ties: architecture.ties(&has),
            slot,
            tokenizer: recant_model::tokenizer(source).map_err(|error| error.to_string()),
            chat_template: match recant_model::chat_frame(source) {
                Ok(_) => Ok(true),
                Err(OpenError::Chat { source: ChatError::None, .. }) => Ok(false),
                Err(error) => Err(error.to_string()),
            },
            dtypes,
            parameters,
            unread,
        })
    }

    fn bytes(&self) -> u64 {
        self.dtypes.values().sum()
    }

    /// Bytes on a device that has a copy, where everything is f32.
    fn bytes_f32(&self) -> u64 {
        4 * self.parameters
    }
}

/// A method on a model: its layers where nobody says others, and what its statistics take.
struct OnModel {
    info: &'static MethodSpec,
    layers: Vec<usize>,
    /// Bytes of second moments of those layers, as f64; 0 where it needs none.
    moments: u64,
    /// Whether it can edit there: it may need a matrix, and all blocks be mixtures of experts.
    works: bool,
}

fn methods(spec: &ModelSpec) -> Result<Vec<OnModel>, CliError> {
    let on_model = |info: &'static MethodSpec| {
        let layers = Wishes::default().of(info, spec)?.layers;
        let works = !info.needs_matrix || layers.iter().all(|&layer| !spec.is_mixture(layer));
        let one = 8 * (spec.d_mlp as u64).pow(2);
        let moments = if info.needs_moments && works { one * layers.len() as u64 } else { 0 };
        Ok(OnModel { info, layers, moments, works })
    };
    METHODS.iter().chain(&MEMORIES).map(on_model).collect()
}

pub(crate) fn run(args: &InfoArgs) -> Result<(), CliError> {
    let source = super::found(&args.model)?.source()?;
    let info = Info::of(&*source)?;
    let methods = methods(&info.spec)?;
    if args.json { super::print_json(&as_json(&info, &methods)) } else { shown(&info, &methods) }
}

fn as_json(info: &Info, methods: &[OnModel]) -> Value {
    let spec = &info.spec;
    let file = |(name, tensors, bytes): &(String, usize, u64)| json!({ "name": name, "tensors": tensors, "bytes": bytes });
    let method = |on: &OnModel| json!({ "name": on.info.name, "layers": on.layers, "moments_bytes": on.moments, "works": on.works });
    let mixture = spec.mixture.as_ref().map(|mixture| {
        json!({
            "experts": mixture.experts, "experts_per_token": mixture.per_token, "d_expert": mixture.d_expert,
            "blocks": mixture.blocks,
        })
    });
    let ties: BTreeMap<&str, &str> =
        info.ties.iter().map(|(two, one)| (two.as_str(), one.as_str())).collect();
    json!({
        "model": info.place, "family": spec.architecture, "layers": spec.layers, "d_model": spec.d_model, "d_mlp": spec.d_mlp,
        "heads": spec.heads, "kv_heads": spec.kv_heads, "head_dim": spec.head_dim, "vocab": spec.vocab,
        "context": spec.context, "parameters": info.parameters, "bytes": info.bytes(),
        "bytes_f32": info.bytes_f32(), "dtypes": info.dtypes, "files": info.files.iter().map(file).collect::<Vec<_>>(),
        "ties": ties, "slots": { "mlp_down": info.slot.as_ref().map(|(path, _)| path.as_str()) },
        "norm_behind_mlp": spec.norm_behind_mlp, "mixture": mixture,
        "tokenizer": info.tokenizer.as_ref().ok().map(|tokenizer| {
            json!({ "kind": tokenizer.kind(), "tokens": tokenizer.vocab_size() })
        }),
        "chat_template": info.chat_template.as_ref().is_ok_and(|there| *there), "unread": info.unread,
        "edit_layer": { "layer": spec.edit.layer, "reason": spec.edit.reason },
        "methods": methods.iter().map(method).collect::<Vec<_>>(),
    })
}

fn in_words(mixture: &MixtureSpec, layers: usize) -> String {
    let MixtureSpec { experts, per_token, d_expert, blocks, .. } = mixture;
    let which = match blocks.len() == layers {
        true => "every block".to_owned(),
        false => format!("{} of {layers} blocks", blocks.len()),
    };
    format!("{which}: {experts} experts of width {d_expert}, {per_token} for each token")
}

fn shown(info: &Info, methods: &[OnModel]) -> Result<(), CliError> {
    let spec = &info.spec;
    say!("{}", info.place);
    let line = |name: &str, text: String| say!("  {name:14} {text}");
    line("family", format!("{}, {} layers", spec.architecture, spec.layers));
    line("width", format!("d_model {}, d_mlp {}", spec.d_model, spec.d_mlp));
    if let Some(mixture) = &spec.mixture {
        line("mixture", in_words(mixture, spec.layers));
        line("", "no single matrix maps a key to the output there: such a block is not edited".to_owned());
    }
    line(
        "attention",
        format!("{} heads of {}, {} for keys and values", spec.heads, spec.head_dim, spec.kv_heads),
    );
    line("vocabulary", format!("{}, context {} tokens", spec.vocab, spec.context));
    let dtypes: Vec<String> =
        info.dtypes.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
    line("weights", format!("{} parameters, {}", grouped(info.parameters), dtypes.join(", ")));
    let in_place = [Dtype::F32, Dtype::F16, Dtype::BF16].map(Dtype::name);
    let computed = match info.dtypes.keys().all(|dtype| in_place.contains(dtype)) {
        true => format!("read where they are on a CPU; elsewhere {}, as f32", size(info.bytes_f32())),
        false => format!("{} in memory, as f32", size(info.bytes_f32())),
    };
    line("computed with", computed);
    for (name, tensors, bytes) in &info.files {
        line("file", format!("{name}: {tensors} tensors, {}", size(*bytes)));
    }
    info.ties.iter().for_each(|(two, one)| line("tied", format!("{two} is {one}")));
    if let Some((path, layout)) = &info.slot {
        let stored = if *layout == Layout::InOut { "[d_mlp, d_model]" } else { "[d_model, d_mlp]" };
        let others = if spec.mixture.is_some() { "layers that have one" } else { "layers" };
        line("edited", format!("{path} and those of the other {others}, stored as {stored}"));
    }
    if spec.norm_behind_mlp {
        line("", "a norm stands behind the MLP: methods that share out over layers do not work".to_owned());
    }
    match &info.tokenizer {
        Ok(tokenizer) => {
            line("tokenizer", format!("{}, {} tokens", tokenizer.kind(), tokenizer.vocab_size()))
        }
        Err(reason) => line("tokenizer", format!("none that can be used: {reason}")),
    }
    let chat = match &info.chat_template {
        Ok(true) => "yes: --chat reads prompts in it".to_owned(),
        Ok(false) => "no".to_owned(),
        Err(reason) => format!("one that cannot be used: {reason}"),
    };
    line("chat template", chat);
    if !info.unread.is_empty() {
        line("not read", format!("{} of config.json", info.unread.join(", ")));
    }
    say!("methods, at the layers where nobody says others ({}):", spec.edit.reason);
    for on in methods {
        let layers: BTreeSet<usize> = on.layers.iter().copied().collect();
        let layers = layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let moments = match (on.works, on.moments) {
            (false, _) => "not on this model: every block is a mixture of experts".to_owned(),
            (true, 0) => String::new(),
            (true, bytes) => format!("statistics {}", size(bytes)),
        };
        say!("{}", format!("  {:10} layers {layers:10} {moments}", on.info.name).trim_end());
    }
    Ok(())
}
