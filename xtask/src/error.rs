//! What can go wrong in a development command.

use std::io;
use std::path::{Path, PathBuf};

/// An error of a development command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] recant::files::OutputError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error(transparent)]
    ModelTokenizer(#[from] recant::model::TokenizerError),
    #[error(transparent)]
    Config(#[from] recant::model::ConfigError),
    #[error(transparent)]
    Param(#[from] recant::model::ParamError),
    #[error(transparent)]
    Input(#[from] recant::model::InputError),
    #[error(transparent)]
    Open(#[from] recant::model::OpenError),
    #[error(transparent)]
    Path(#[from] recant::core::ParamPathError),
    #[error(transparent)]
    Tensor(#[from] recant::core::TensorError),
    #[error(transparent)]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Device(#[from] recant::backend::DeviceError),
    #[error(transparent)]
    Edit(#[from] recant::edit::EditError),
    #[error(transparent)]
    Fact(#[from] recant::edit::FactError),
    #[error(transparent)]
    Request(#[from] recant::edit::RequestError),
    #[error(transparent)]
    Contexts(#[from] recant::edit::ContextError),
    #[error(transparent)]
    Moments(#[from] recant::edit::StatisticsError),
    #[error(transparent)]
    Collect(#[from] recant::methods::moments::CollectError),
    #[error(transparent)]
    Apply(#[from] recant::model::PatchError),
    #[error(transparent)]
    Cli(#[from] recant::cli::CliError),
    #[error(transparent)]
    Ask(#[from] recant::model::AskError),
    #[error(transparent)]
    Model(#[from] recant::app::ModelRefError),
    #[error(transparent)]
    Resources(#[from] recant::app::ResourceError),
    #[error(transparent)]
    Dialogue(#[from] recant::app::DialogueError),
    #[error(transparent)]
    Dataset(#[from] recant::eval::DatasetError),
    #[error("the forward pass was stopped")]
    Stopped,
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}
