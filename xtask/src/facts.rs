//! What a command takes that edits the facts of a file one by one.

use std::path::PathBuf;

use recant::app::{MethodSources, ModelName, Silent};
use recant::backend::{Device, DeviceSpec};
use recant::eval::{Case, Dataset};
use recant::methods::{Setting, Wishes};
use recant::model::Model;

use crate::error::Error;

/// A model, facts, and what they are edited with.
#[derive(Debug, clap::Args)]
pub(crate) struct FactArgs {
    /// Hugging Face directory or GGUF file.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Cases in CounterFact's form.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Second moments, made by `recant stats`.
    #[arg(long, value_name = "FILE")]
    stats: PathBuf,
    /// Context templates.
    #[arg(long, value_name = "FILE")]
    contexts: Option<PathBuf>,
    /// The edited layer.
    #[arg(long, value_name = "L")]
    layer: Option<usize>,
    /// Settings of the method.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only the first N cases.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Device.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
}

impl FactArgs {
    pub(crate) fn open(&self) -> Result<(Model, Vec<Case>, MethodSources), Error> {
        let found = ModelName::from(self.model.clone());
        let model = found.find(&Silent)?.open(&Device::open(self.device)?, &Silent)?;
        let cases = Dataset::read(&self.cases, self.limit)?.all_usable()?.cases;
        let settings = self.set.iter().map(|text| Setting::parse(text)).collect::<Result<_, _>>()?;
        let sources = MethodSources {
            wishes: Wishes { layer: self.layer, settings, ..Wishes::default() },
            contexts: self.contexts.clone(),
            stats: Some(self.stats.clone()),
            corpus: Vec::new(),
        };
        Ok((model, cases, sources))
    }
}
