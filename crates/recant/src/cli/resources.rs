//! From arguments to what a method is made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_edit::{Contexts, EditError};
use recant_methods::moments::Moments;
use recant_methods::rome::Covariance;
use recant_methods::{METHODS, MethodInputs, Setting};
use recant_model::{Model, ModelSpec};

use super::args::MethodArgs;
use super::error::CliError;
use super::progress;

/// Sampled contexts of ROME's code: ten texts of five tokens, ten of ten.
const CONTEXT_LENGTHS: [(usize, usize); 2] = [(5, 10), (10, 10)];

/// Everything that methods need, gathered once.
pub(crate) struct Resources {
    pub(crate) layer: usize,
    pub(crate) contexts: Contexts,
    pub(crate) moments: Option<Arc<Moments>>,
    pub(crate) moments_source: String,
    covariance: Option<Covariance>,
    settings: Vec<Setting>,
}

impl Resources {
    /// Reads or makes what `methods` need on `model`.
    pub(crate) fn gather(args: &MethodArgs, methods: &[String], model: &Model) -> Result<Self, CliError> {
        let settings = args.set.iter().map(|text| Setting::parse(text)).collect::<Result<Vec<_>, _>>()?;
        check_settings(&settings, methods)?;
        let layer = layer(args, &settings, model.spec())?;
        let identity = settings.iter().any(|set| set.key == "mom2_adjustment" && set.value == "false");
        let needed =
            METHODS.iter().any(|info| info.needs_moments && methods.iter().any(|name| name == info.name));
        let (moments, moments_source) = match (&args.stats, needed && !identity) {
            (Some(path), true) => (Some(Moments::load(path)?), path.display().to_string()),
            (None, true) if !args.corpus.is_empty() => {
                let names: Vec<String> = args.corpus.iter().map(|path| path.display().to_string()).collect();
                let moments = measure(model, &[layer], &args.corpus, None)?;
                (Some(moments), format!("measured over {}", names.join(", ")))
            }
            _ => (None, String::new()),
        };
        let moments = moments.map(Arc::new);
        let covariance = moments.clone().map(|moments| Covariance::measured(moments, model)).transpose()?;
        let contexts = match &args.contexts {
            Some(path) => read_contexts(path)?,
            None if needed => Contexts::sample(model, &CONTEXT_LENGTHS, args.seed)?,
            None => Contexts::bare(),
        };
        Ok(Self { layer, contexts, moments, moments_source, covariance, settings })
    }

    /// The inputs of one method: hyper-parameters that only others know are left out.
    pub(crate) fn inputs(&self, method: &str) -> MethodInputs {
        let known = METHODS.iter().find(|info| info.name == method).map_or(&[][..], |info| info.settings);
        let own = |set: &&Setting| known.contains(&set.key.as_str());
        MethodInputs {
            layer: self.layer,
            contexts: self.contexts.clone(),
            covariance: self.covariance.clone(),
            settings: self.settings.iter().filter(own).cloned().collect(),
        }
    }
}

/// A hyper-parameter that none of the methods knows is a typing error, not a wish.
fn check_settings(settings: &[Setting], methods: &[String]) -> Result<(), CliError> {
    let infos: Vec<_> = METHODS.iter().filter(|info| methods.iter().any(|name| name == info.name)).collect();
    for set in settings {
        if !infos.is_empty() && !infos.iter().any(|info| info.settings.contains(&set.key.as_str())) {
            let known: Vec<&str> = infos.iter().flat_map(|info| info.settings).copied().collect();
            return Err(CliError::Edit(EditError::Setting {
                key: set.key.clone(),
                value: set.value.clone(),
                reason: format!("{} has no such setting; known are {}", methods.join(", "), known.join(", ")),
            }));
        }
    }
    Ok(())
}

fn layer(args: &MethodArgs, settings: &[Setting], spec: &ModelSpec) -> Result<usize, CliError> {
    let set = settings.iter().find(|set| set.key == "layers");
    let named = set.map(|set| set.value.trim_matches(['[', ']', ' ']).parse::<usize>());
    let layer = match (args.layer, named) {
        (Some(layer), _) | (None, Some(Ok(layer))) => layer,
        // GPT-2 XL is edited at 17 of 48 in the ROME paper, Llama-2 7B at 5 of 32 in EasyEdit.
        (None, None) if spec.architecture == "llama" => spec.layers * 5 / 32,
        (None, None) => spec.layers * 17 / 48,
        (None, Some(Err(_))) => {
            return Err(CliError::Option {
                option: "--set layers",
                reason: "one layer number is expected".to_owned(),
            });
        }
    };
    if layer >= spec.layers {
        return Err(EditError::Layer { layer, layers: spec.layers }.into());
    }
    Ok(layer)
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

/// Measures second moments over corpus files, with a progress bar, until the budget is met.
pub(crate) fn measure(
    model: &Model,
    layers: &[usize],
    corpus: &[PathBuf],
    budget: Option<u64>,
) -> Result<Moments, CliError> {
    let bar = progress::bar(budget.unwrap_or(0), "second moments", "tokens");
    let moments = Moments::measure(model, layers, corpus, budget, |progress| {
        bar.set_length(progress.budget);
        bar.set_position(progress.tokens.min(progress.budget));
    });
    bar.finish_and_clear();
    Ok(moments?)
}
