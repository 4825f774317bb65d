//! Opening a source as a model: what its configuration and its weights say of each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recant_checkpoint::{Directory, Gguf, Source, SourceError};
use recant_core::{ParamPath, Weights, WeightsError};
use recant_text::{ChatError, ChatFrame, Tokenizer, TokenizerError};

use crate::family::{Architecture, ConfigError};
use crate::note::ModelNote;
use crate::params::ParamError;

/// Name of the configuration.
pub(crate) const CONFIG: &str = "config.json";

/// A source cannot be opened as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{name}` holds NaN or infinity at element {index}; the checkpoint is damaged")]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: ParamPath,
        /// Index of the first such element in row order.
        index: usize,
    },
    /// config.json cannot be used.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The weights do not fit config.json.
    #[error("{place}: {source}")]
    Param {
        /// The source.
        place: PathBuf,
        /// What is wrong.
        source: ParamError,
    },
    /// The chat template cannot be used.
    #[error("{place}: {source}")]
    Chat {
        /// The source.
        place: PathBuf,
        /// What is wrong.
        source: ChatError,
    },
    /// tokenizer.json cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// The source at a path: a Hugging Face directory, or a GGUF file.
///
/// # Errors
/// [`SourceError`].
pub fn source_at(path: &Path) -> Result<Arc<dyn Source>, SourceError> {
    match path.is_file() {
        true => Ok(Arc::new(Gguf::open(path)?)),
        false => Ok(Arc::new(Directory::open(path)?)),
    }
}

/// A file that every source has.
pub(crate) fn needed(source: &dyn Source, name: &str) -> Result<Vec<u8>, OpenError> {
    let path = || inside(source, name);
    let missing = || SourceError::Read { path: path(), source: std::io::ErrorKind::NotFound.into() };
    Ok(source.file(name)?.ok_or_else(missing)?)
}

/// What a file of a source is called in messages.
pub(crate) fn inside(source: &dyn Source, name: &str) -> PathBuf {
    match source.directory() {
        Some(dir) => dir.join(name),
        None => PathBuf::from(format!("{} ({name})", source.place().display())),
    }
}

/// The architecture that a source's configuration describes, and the keys that hold something and were not read.
///
/// # Errors
/// [`OpenError::Source`], [`OpenError::Config`].
pub fn architecture(source: &dyn Source) -> Result<(Architecture, Vec<String>), OpenError> {
    const GENERATION: &str = "generation_config.json";
    let told = |name| move |error| OpenError::Config { path: inside(source, name), source: error };
    let (architecture, unread) =
        Architecture::parse_with_unread(&needed(source, CONFIG)?).map_err(told(CONFIG))?;
    let ends = match source.file(GENERATION)? {
        Some(config) => Architecture::ends_of_generation(&config).map_err(told(GENERATION))?,
        None => Vec::new(),
    };
    Ok((architecture.ending_at(ends), unread))
}

/// The tokenizer of a source, which needs none of its weights.
///
/// # Errors
/// [`OpenError::Source`], [`OpenError::Tokenizer`].
pub fn tokenizer(source: &dyn Source) -> Result<Tokenizer, OpenError> {
    const NAME: &str = "tokenizer.json";
    let file = needed(source, NAME)?;
    let beside = source.file("tokenizer_config.json")?;
    let config = source.file(CONFIG)?;
    let made = Tokenizer::of_files(&file, beside.as_deref(), config.as_deref());
    let path = inside(source, NAME);
    Ok(made.map_err(|source| TokenizerError::Read { path, source })?)
}

/// What a chat model reads around a question.
///
/// # Errors
/// [`OpenError::Source`], [`OpenError::Chat`].
pub fn chat_frame(source: &dyn Source) -> Result<ChatFrame, OpenError> {
    let (template, config) = (source.file("chat_template.jinja")?, source.file("tokenizer_config.json")?);
    ChatFrame::of_files(template.as_deref(), config.as_deref())
        .map_err(|error| OpenError::Chat { place: source.place().to_owned(), source: error })
}

/// Every tensor of a source, none of which may hold NaN or infinity.
pub(crate) fn weights(source: &dyn Source) -> Result<Weights, OpenError> {
    let mut tensors = BTreeMap::new();
    let layout = source.layout();
    for name in layout.names() {
        let tensor = source.tensor(name)?;
        if let Some(index) = tensor.first_non_finite() {
            let file = layout.find(name).map_or("", |(file, _)| &layout.files[file].name);
            return Err(OpenError::NonFinite { path: inside(source, file), name: name.clone(), index });
        }
        tensors.insert(name.clone(), tensor);
    }
    Ok(Weights::from_tensors(tensors))
}

/// What there is to say about a directory.
pub(crate) fn notes(
    unused: Vec<ParamPath>,
    unread: Vec<String>,
    untied: Vec<(ParamPath, ParamPath)>,
) -> Vec<ModelNote> {
    let unused = (!unused.is_empty()).then_some(ModelNote::UnusedTensors { names: unused });
    let unread = (!unread.is_empty()).then_some(ModelNote::UnreadKeys { keys: unread });
    let untied = untied.into_iter().map(|(alias, path)| ModelNote::Untied { alias, path });
    unused.into_iter().chain(unread).chain(untied).collect()
}

/// Declares the matrices that the configuration ties to be one tensor with two names. Those that differ in the file
/// are left as two, as `transformers` loads them: `(second name, first name)` of each.
pub(crate) fn tie(weights: &mut Weights, architecture: &Architecture) -> Vec<(ParamPath, ParamPath)> {
    let mut untied = Vec::new();
    let has = |name: &str| ParamPath::new(name).is_ok_and(|name| weights.get(&name).is_some());
    for (alias, first) in architecture.ties(&has) {
        // A name that is missing is left to `build`, which knows its shape.
        if let Err(WeightsError::TiedButDifferent { .. }) = weights.tie(alias.clone(), first.clone()) {
            untied.push((alias, first));
        }
    }
    untied
}
