//! From arguments to what a method is made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_core::{ModelDigest, ObjectId};
use recant_edit::{Contexts, EditError};
use recant_methods::moments::Moments;
use recant_methods::rome::Covariance;
use recant_methods::{MEMORIES, METHODS, MethodInfo, MethodInputs, Setting, parse_layers};
use recant_model::{Model, ModelSpec};

use super::args::MethodArgs;
use super::error::CliError;
use super::progress;

/// Sampled contexts of ROME's code: ten texts of five tokens, ten of ten.
const CONTEXT_LENGTHS: [(usize, usize); 2] = [(5, 10), (10, 10)];
/// Sampled contexts of MEMIT's code: five texts of ten tokens.
const FEW_CONTEXT_LENGTHS: [(usize, usize); 1] = [(10, 5)];

/// Everything that methods need, gathered once.
pub(crate) struct Resources {
    pub(crate) layer: usize,
    /// Layers of the methods that edit several.
    pub(crate) layers: Vec<usize>,
    pub(crate) contexts: Contexts,
    /// Contexts of the methods that write many facts.
    few_contexts: Contexts,
    pub(crate) moments: Option<Arc<Moments>>,
    pub(crate) moments_source: String,
    covariance: Option<Covariance>,
    settings: Vec<Setting>,
    /// What to know about the files that were read.
    notes: Vec<String>,
}

impl Resources {
    /// Reads or makes what `methods` need on `model`.
    pub(crate) fn gather(args: &MethodArgs, methods: &[String], model: &Model) -> Result<Self, CliError> {
        Self::gather_over(args, methods, model, model.digest())
    }

    /// As [`Resources::gather`], where statistics may also be those of the model that `model` was edited from.
    pub(crate) fn gather_over(
        args: &MethodArgs,
        methods: &[String],
        model: &Model,
        base: ModelDigest,
    ) -> Result<Self, CliError> {
        let settings = args.set.iter().map(|text| Setting::parse(text)).collect::<Result<Vec<_>, _>>()?;
        check_settings(&settings, methods)?;
        let layer = layer(args, &settings, model.spec())?;
        let layers = layers(args, &settings, layer, model.spec())?;
        let identity = settings.iter().any(|set| set.key == "mom2_adjustment" && set.value == "false");
        let needed =
            METHODS.iter().any(|info| info.needs_moments && methods.iter().any(|name| name == info.name));
        let mut notes = Vec::new();
        let (moments, moments_source) = match (&args.stats, needed && !identity) {
            (Some(path), true) => {
                let opened = Moments::load(path)?;
                notes.extend(opened.note(path));
                (Some(opened.value), path.display().to_string())
            }
            (None, true) if !args.corpus.is_empty() => {
                let names: Vec<String> = args.corpus.iter().map(|path| path.display().to_string()).collect();
                let named = |many: bool| {
                    METHODS.iter().any(|info| info.many == many && methods.iter().any(|m| m == info.name))
                };
                let mut measured = if named(true) { layers.clone() } else { Vec::new() };
                if named(false) && !measured.contains(&layer) {
                    measured.push(layer);
                }
                let moments = measure(model, &measured, &args.corpus)?;
                (Some(moments), format!("measured over {}", names.join(", ")))
            }
            _ => (None, String::new()),
        };
        if let (Some(path), Some(moments)) = (&args.stats, &moments) {
            // AlphaEdit asks for eigenvectors, not for a factor.
            let asks = |many: bool| {
                let factoring = |info: &&MethodInfo| info.needs_moments && info.name != "alphaedit";
                let mut infos = METHODS.iter().filter(factoring).filter(|info| info.many == many);
                infos.any(|info| methods.iter().any(|name| name == info.name))
            };
            let mut asked = if asks(true) { layers.clone() } else { Vec::new() };
            if asks(false) && !asked.contains(&layer) {
                asked.push(layer);
            }
            asked.retain(|layer| moments.layers().any(|held| held == *layer));
            notes.extend(moments.factors_beside(path, &asked)?.notes);
        }
        let moments = moments.map(Arc::new);
        let own = moments.as_ref().is_some_and(|moments| moments.model == model.digest());
        let owner = if own { model.digest() } else { base };
        let covariance = moments.clone().map(|moments| Covariance::of_base(moments, owner)).transpose()?;
        let given = args.contexts.as_deref().map(read_contexts).transpose()?;
        let sample = |many: bool, lengths: &[(usize, usize)]| {
            let wanted = METHODS
                .iter()
                .filter(|info| info.needs_moments && info.many == many)
                .any(|info| methods.iter().any(|name| name == info.name));
            match &given {
                Some(given) => Ok(Some(given.clone())),
                None if wanted => Contexts::sample(model, lengths, args.seed).map(Some),
                None => Ok(None),
            }
        };
        let (of_one, of_many) = (sample(false, &CONTEXT_LENGTHS)?, sample(true, &FEW_CONTEXT_LENGTHS)?);
        let few_contexts = of_many.clone().unwrap_or_else(Contexts::bare);
        let contexts = of_one.or(of_many).unwrap_or_else(Contexts::bare);
        Ok(Self {
            layer,
            layers,
            few_contexts,
            contexts,
            moments,
            moments_source,
            covariance,
            settings,
            notes,
        })
    }

    /// What a history says of the statistics: whose they are, and over what.
    pub(crate) fn statistics(&self) -> Option<String> {
        let moments = self.moments.as_ref()?;
        let corpus = ObjectId::from_bytes(moments.corpus).short();
        Some(format!("of model {}, {} tokens of corpus {corpus}", moments.model, moments.tokens))
    }

    /// What to know about the files that were read, and of statistics that are not of the model that is edited.
    pub(crate) fn notes(&self, model: &Model) -> Vec<String> {
        let of = self.moments.as_ref().map(|moments| moments.model).filter(|&of| of != model.digest());
        let base = of.map(|of| {
            format!("the statistics are of the base model {}, without the edits since", of.short())
        });
        self.notes.iter().cloned().chain(base).collect()
    }

    /// The inputs of one method: hyper-parameters that only others know are left out.
    pub(crate) fn inputs(&self, method: &str) -> MethodInputs {
        let info = METHODS.iter().chain(&MEMORIES).find(|info| info.name == method);
        let known = info.map_or(&[][..], |info| info.settings);
        let many = info.is_some_and(|info| info.many);
        let own = |set: &Setting| match set.key.split_once('.') {
            None => known.contains(&set.key.as_str()).then(|| set.clone()),
            Some((name, key)) => {
                (name == method).then(|| Setting { key: key.to_owned(), value: set.value.clone() })
            }
        };
        // What is said to one method goes before what is said to all.
        let (mine, all): (Vec<_>, Vec<_>) = self.settings.iter().partition(|set| set.key.contains('.'));
        MethodInputs {
            layer: self.layer,
            layers: self.layers.clone(),
            contexts: if many { self.few_contexts.clone() } else { self.contexts.clone() },
            covariance: self.covariance.clone(),
            settings: all.into_iter().chain(mine).filter_map(own).collect(),
        }
    }
}

/// A hyper-parameter that none of the methods knows is a typing error, not a wish.
fn check_settings(settings: &[Setting], methods: &[String]) -> Result<(), CliError> {
    let infos: Vec<_> =
        METHODS.iter().chain(&MEMORIES).filter(|info| methods.iter().any(|name| name == info.name)).collect();
    for set in settings {
        let (name, key) = set.key.split_once('.').map_or((None, &*set.key), |(name, key)| (Some(name), key));
        let asked: Vec<_> = infos.iter().filter(|info| name.is_none_or(|name| name == info.name)).collect();
        if !infos.is_empty() && !asked.iter().any(|info| info.settings.contains(&key)) {
            let known: Vec<&str> = asked.iter().flat_map(|info| info.settings).copied().collect();
            let reason = match name {
                Some(name) if asked.is_empty() => format!("{name} is none of the methods asked for"),
                _ => {
                    let methods = name.map_or_else(|| methods.join(", "), str::to_owned);
                    format!("{methods} has no such setting; known are {}", known.join(", "))
                }
            };
            let (key, value) = (set.key.clone(), set.value.clone());
            return Err(CliError::Edit(EditError::Setting { key, value, reason }));
        }
    }
    Ok(())
}

fn layer(args: &MethodArgs, settings: &[Setting], spec: &ModelSpec) -> Result<usize, CliError> {
    let set = settings.iter().find(|set| set.key == "layers");
    let named = set.map(|set| parse_layers(&set.value).and_then(|layers| layers.last().copied()));
    let layer = match (args.layer, named) {
        (Some(layer), _) | (None, Some(Some(layer))) => layer,
        // GPT-2 XL is edited at 17 of 48 in the ROME paper, Llama-2 7B at 5 of 32 in EasyEdit.
        (None, None) if spec.architecture == "llama" => spec.layers * 5 / 32,
        (None, None) => spec.layers * 17 / 48,
        (None, Some(None)) => {
            return Err(CliError::Option {
                option: "--set layers",
                reason: "layer numbers are expected, such as 3, 0,1,2 or 0-2".to_owned(),
            });
        }
    };
    if layer >= spec.layers {
        return Err(EditError::Layer { layer, layers: spec.layers }.into());
    }
    Ok(layer)
}

/// The layers of methods that edit several: the named ones, or a range that ends at `layer`.
fn layers(
    args: &MethodArgs,
    settings: &[Setting],
    layer: usize,
    spec: &ModelSpec,
) -> Result<Vec<usize>, CliError> {
    let set = settings.iter().find(|set| set.key == "layers").and_then(|set| parse_layers(&set.value));
    let layers = match (&args.layers, set) {
        (Some(text), _) => parse_layers(text).ok_or_else(|| CliError::Option {
            option: "--layers",
            reason: "layer numbers are expected, such as 3, 0,1,2 or 0-2".to_owned(),
        })?,
        (None, Some(set)) => set,
        // GPT-2 XL is edited at 13 to 17 of 48 in the MEMIT paper.
        (None, None) => {
            let count = spec.layers.div_ceil(3).clamp(1, 5);
            ((layer + 1).saturating_sub(count)..=layer).collect()
        }
    };
    match layers.iter().find(|&&layer| layer >= spec.layers) {
        Some(&layer) => Err(EditError::Layer { layer, layers: spec.layers }.into()),
        None => Ok(layers),
    }
}

/// A JSON array of templates, or one template a line.
fn read_contexts(path: &Path) -> Result<Contexts, CliError> {
    let refuse = |reason: String| CliError::Read { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let templates = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
            .map_err(|error| refuse(format!("a JSON array of strings is expected: {error}")))?
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    };
    Ok(Contexts::new(templates)?)
}

/// Measures second moments over corpus files, with a progress bar, until the default budget is met.
fn measure(model: &Model, layers: &[usize], corpus: &[PathBuf]) -> Result<Moments, CliError> {
    let bar = progress::bar(0, "second moments", "tokens");
    let moments = Moments::measure(model, layers, corpus, None, |progress| {
        bar.set_length(progress.budget);
        bar.set_position(progress.tokens.min(progress.budget));
    });
    bar.finish_and_clear();
    Ok(moments?)
}
