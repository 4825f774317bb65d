//! From what is asked of methods to what they are made from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_core::{ModelDigest, ObjectId};
use recant_edit::{ContextError, Contexts, EditError, StatisticsError, TextError};
use recant_methods::moments::{CollectError, Collector, Moments, MomentsFileError};
use recant_methods::rome::Covariance;
use recant_methods::{Asked, MethodInputs, MethodSpec, Wishes};
use recant_model::{AskError, Model};

use crate::observer::{Observer, Progress, Unit, Watching};

/// Sampled contexts of ROME's code: ten texts of five tokens, ten of ten.
const CONTEXT_LENGTHS: [(usize, usize); 2] = [(5, 10), (10, 10)];
/// Sampled contexts of MEMIT's code: five texts of ten tokens.
const FEW_CONTEXT_LENGTHS: [(usize, usize); 1] = [(10, 5)];

/// What methods need and cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The observer broke it off.
    #[error("gathering what the method needs was broken off")]
    Cancelled,
    /// A method or a setting is unknown or out of range, or a method lacks something.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Second moments cannot be used.
    #[error(transparent)]
    Moments(#[from] StatisticsError),
    /// A statistics file cannot be read.
    #[error(transparent)]
    MomentsFile(#[from] MomentsFileError),
    /// Second moments cannot be measured.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Context templates cannot be used.
    #[error(transparent)]
    Contexts(#[from] ContextError),
    /// A file of contexts cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file of contexts is not what is expected.
    #[error("{path}: a JSON array of strings is expected: {source}")]
    ContextsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Where what methods need comes from.
#[derive(Debug, Clone, Default)]
pub struct MethodSources {
    /// Layers, seed and settings.
    pub wishes: Wishes,
    /// A file of context templates: a JSON array, or one a line. Without it they are sampled from the model.
    pub contexts: Option<PathBuf>,
    /// A file of second moments.
    pub stats: Option<PathBuf>,
    /// Files over whose texts second moments are measured, where there is no file of them.
    pub corpus: Vec<PathBuf>,
}

/// Everything that methods need, gathered once.
pub struct Resources {
    /// What is asked of each method.
    asked: Vec<(&'static MethodSpec, Asked)>,
    contexts: Contexts,
    /// Contexts of the methods that write many facts.
    few_contexts: Contexts,
    moments: Option<Arc<Moments>>,
    moments_source: String,
    covariance: Option<Covariance>,
    /// What to know about the files that were read.
    notes: Vec<String>,
}

impl Resources {
    /// Reads or makes what `methods` need on `model`.
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn gather(
        sources: &MethodSources,
        methods: &[String],
        model: &Model,
        observer: &dyn Observer,
    ) -> Result<Self, ResourceError> {
        Self::gather_over(sources, methods, model, model.digest(), observer)
    }

    /// As [`Resources::gather`], for one method that edits one layer, which will be tried at each of `layers`; see
    /// [`Resources::inputs_at`].
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn gather_at(
        sources: &MethodSources,
        method: &str,
        layers: &[usize],
        model: &Model,
        observer: &dyn Observer,
    ) -> Result<Self, ResourceError> {
        let mut sources = sources.clone();
        sources.wishes.layer = layers.first().copied();
        Self::gather_more(&sources, &[method.to_owned()], (model, model.digest()), layers, observer)
    }

    /// As [`Resources::gather`], where statistics may also be those of the model that `model` was edited from.
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn gather_over(
        sources: &MethodSources,
        methods: &[String],
        model: &Model,
        base: ModelDigest,
        observer: &dyn Observer,
    ) -> Result<Self, ResourceError> {
        Self::gather_more(sources, methods, (model, base), &[], observer)
    }

    /// As [`Resources::gather_over`], with second moments of `more` layers where a method needs them at all.
    fn gather_more(
        sources: &MethodSources,
        methods: &[String],
        (model, base): (&Model, ModelDigest),
        more: &[usize],
        observer: &dyn Observer,
    ) -> Result<Self, ResourceError> {
        let infos = methods.iter().map(|name| MethodSpec::find(name)).collect::<Result<Vec<_>, _>>()?;
        let asked = sources.wishes.of_all(&infos, model.spec())?;
        let asked: Vec<(&MethodSpec, Asked)> = infos.into_iter().zip(asked).collect();
        for (info, Asked { layers, seed, settings }) in &asked {
            let set: Vec<String> = settings.iter().map(|set| format!("{}={}", set.key, set.value)).collect();
            tracing::debug!("{}: layers {layers:?}, seed {seed}, set: {}", info.name, set.join(" "));
        }
        let needing = || {
            let identity = |asked: &Asked| asked.get("mom2_adjustment") == Some("false");
            asked.iter().filter(move |(info, asked)| info.needs_moments && !identity(asked))
        };
        let mut notes = Vec::new();
        let (moments, moments_source) = match &sources.stats {
            _ if needing().next().is_none() => (None, String::new()),
            Some(path) => {
                let opened = Moments::load(path)?;
                notes.extend(opened.note(path));
                let moments = opened.value;
                // Whoever tries several layers takes those that are there.
                if more.is_empty() {
                    moments.hold(&layers_of(needing(), &[]))?;
                }
                // AlphaEdit asks for eigenvectors, not for a factor.
                let mut factored = layers_of(needing().filter(|(info, _)| info.name != "alphaedit"), &[]);
                factored.retain(|layer| moments.layers().any(|held| held == *layer));
                notes.extend(moments.factors_beside(path, &factored)?.notes);
                (Some(moments), path.display().to_string())
            }
            None if !sources.corpus.is_empty() => {
                let names: Vec<String> =
                    sources.corpus.iter().map(|path| path.display().to_string()).collect();
                let moments = measure(model, &layers_of(needing(), more), &sources.corpus, observer)?;
                (Some(moments), format!("measured over {}", names.join(", ")))
            }
            None => (None, String::new()),
        };
        notes.extend(moments.as_ref().and_then(few_tokens));
        let moments = moments.map(Arc::new);
        let own = moments.as_ref().is_some_and(|moments| moments.model == model.digest());
        let owner = if own { model.digest() } else { base };
        let covariance = moments.clone().map(|moments| Covariance::of_base(moments, owner)).transpose()?;
        let given = sources.contexts.as_deref().map(read_contexts).transpose()?;
        let sample = |many: bool, lengths: &[(usize, usize)]| {
            let wanted = asked.iter().any(|(info, _)| info.needs_moments && info.many == many);
            match &given {
                Some(given) => Ok(Some(given.clone())),
                None if wanted => {
                    let of = lengths.iter().map(|&(_, count)| count as u64).sum();
                    let told = |done| Progress { work: "contexts", detail: "", done, of, unit: Unit::Texts };
                    observer.progress(told(0));
                    let seed = sources.wishes.seed.unwrap_or(0);
                    let goes_on = &mut || Watching(observer).goes_on();
                    let sampled = Contexts::sample_watched(model, lengths, seed, goes_on);
                    observer.progress(told(of));
                    observer.idle();
                    match sampled {
                        Err(ContextError::Sample(AskError::Cancelled)) => Err(ResourceError::Cancelled),
                        sampled => Ok(Some(sampled?)),
                    }
                }
                None => Ok(None),
            }
        };
        let (of_one, of_many) = (sample(false, &CONTEXT_LENGTHS)?, sample(true, &FEW_CONTEXT_LENGTHS)?);
        let few_contexts = of_many.clone().unwrap_or_else(Contexts::bare);
        let contexts = of_one.or(of_many).unwrap_or_else(Contexts::bare);
        Ok(Self { asked, few_contexts, contexts, moments, moments_source, covariance, notes })
    }

    /// The context templates of the methods that write one fact.
    #[must_use]
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// The second moments, and where they come from.
    #[must_use]
    pub fn moments(&self) -> Option<(&Moments, &str)> {
        Some((self.moments.as_deref()?, &self.moments_source))
    }

    /// What a history says of the statistics: whose they are, and over what.
    #[must_use]
    pub fn statistics(&self) -> Option<String> {
        let moments = self.moments.as_ref()?;
        let corpus = ObjectId::from_bytes(moments.corpus).short();
        Some(format!("of model {}, {} tokens of corpus {corpus}", moments.model, moments.tokens))
    }

    /// What to know about the files that were read, and of statistics that are not of the model that is edited.
    #[must_use]
    pub fn notes(&self, model: &Model) -> Vec<String> {
        let of = self.moments.as_ref().map(|moments| moments.model).filter(|&of| of != model.digest());
        let base = of.map(|of| {
            format!("the statistics are of the base model {}, without the edits since", of.short())
        });
        self.notes.iter().cloned().chain(base).collect()
    }

    /// The inputs of one of the methods that the resources were gathered for.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is none of them.
    pub fn inputs(&self, method: &str) -> Result<MethodInputs, EditError> {
        let found = self.asked.iter().find(|(info, _)| info.name == method);
        let (info, asked) = found.ok_or_else(|| EditError::Setting {
            key: "method".to_owned(),
            value: method.to_owned(),
            reason: "nothing was gathered for it".to_owned(),
        })?;
        Ok(MethodInputs {
            layer: asked.layer(),
            layers: asked.layers.clone(),
            contexts: if info.many { self.few_contexts.clone() } else { self.contexts.clone() },
            covariance: self.covariance.clone(),
            settings: asked.settings.clone(),
            seed: asked.seed,
        })
    }

    /// As [`Resources::inputs`], of a method that edits one layer, for this one.
    ///
    /// # Errors
    /// As [`Resources::inputs`].
    pub fn inputs_at(&self, method: &str, layer: usize) -> Result<MethodInputs, EditError> {
        let mut inputs = MethodInputs { layer, layers: vec![layer], ..self.inputs(method)? };
        for setting in inputs.settings.iter_mut().filter(|setting| setting.key == "layers") {
            setting.value = layer.to_string();
        }
        Ok(inputs)
    }
}

/// Tokens for each number of a key below which second moments are a poor estimate. One is the least that has full rank;
/// ten suffice ("FastMEMIT", arXiv 2506.04226).
const FEW_TOKENS: u64 = 5;

/// What to know of second moments over a short corpus.
fn few_tokens(moments: &Moments) -> Option<String> {
    let layer = moments.layers().next()?;
    let dim = moments.mean(layer)?.len().isqrt() as u64;
    (moments.tokens < FEW_TOKENS * dim).then(|| {
        format!(
            "the second moments are over {} tokens, fewer than {FEW_TOKENS} for each of a key's {dim} numbers: a longer \
             corpus moves less beside the fact",
            moments.tokens
        )
    })
}

/// The layers of some methods and some more, ascending, each once.
fn layers_of<'a>(
    asked: impl Iterator<Item = &'a (&'static MethodSpec, Asked)>,
    more: &[usize],
) -> Vec<usize> {
    let layers = asked.flat_map(|(_, asked)| &asked.layers).chain(more);
    layers.copied().collect::<BTreeSet<usize>>().into_iter().collect()
}

/// A JSON array of templates, or one template a line.
fn read_contexts(path: &Path) -> Result<Contexts, ResourceError> {
    let text = recant_edit::read_text(path)?;
    let templates = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
            .map_err(|source| ResourceError::ContextsFile { path: path.to_owned(), source })?
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    };
    Ok(Contexts::new(templates)?)
}

/// Measures second moments over corpus files until the default budget is met.
fn measure(
    model: &Model,
    layers: &[usize],
    corpus: &[PathBuf],
    observer: &dyn Observer,
) -> Result<Moments, ResourceError> {
    let told = |done: u64, of: u64| {
        observer.progress(Progress { work: "second moments", detail: "", done, of, unit: Unit::Tokens });
    };
    told(0, 0);
    let mut collector = Collector::new(model, layers, None)?;
    let ended = collector.read(corpus, |collector| {
        let progress = collector.progress();
        told(progress.tokens.min(progress.budget), progress.budget);
        Watching(observer).goes_on()
    });
    observer.idle();
    if ended?.is_break() {
        return Err(ResourceError::Cancelled);
    }
    Ok(collector.finish()?)
}
