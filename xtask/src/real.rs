//! `cargo xtask real`: the methods on a model that knows real facts, one fact at a time and all in one plan.

use std::path::PathBuf;

use recant::backend::DeviceSpec;
use recant::cli::{ChatArgs, EvalArgs, MethodArgs, ModelArgs, ScenarioArg, Session, SourceArgs};

use crate::demo;
use crate::error::Error;

/// Methods of one fact at a time.
const SINGLE: [&str; 2] = ["r-rome", "rome"];
/// Methods of all facts in one plan.
const BATCH: [&str; 3] = ["memit", "ledger", "ultraedit"];

/// Arguments of `cargo xtask real`.
#[derive(Debug, clap::Args)]
pub(crate) struct RealArgs {
    /// Hugging Face directory, GGUF file, or a store's revision as STORE@REV.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Cases in CounterFact's form that the model answers as they say.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Texts for second moments, if --stats gives none.
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Second moments, made by `recant stats`.
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    stats: Option<PathBuf>,
    /// Context templates.
    #[arg(long, value_name = "FILE")]
    contexts: Option<PathBuf>,
    /// Facts that no case is about, and that should stay.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Only the first N cases.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Device.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
}

pub(crate) fn run(args: &RealArgs) -> Result<(), Error> {
    let with = MethodArgs {
        layer: None,
        layers: None,
        from: SourceArgs {
            contexts: args.contexts.clone(),
            stats: args.stats.clone(),
            corpus: args.corpus.iter().cloned().collect(),
            set: Vec::new(),
            seed: None,
        },
    };
    for (scenario, methods) in [(ScenarioArg::Single, &SINGLE[..]), (ScenarioArg::Batch, &BATCH[..])] {
        let name = if scenario == ScenarioArg::Single { "single" } else { "batch" };
        crate::note(&format!("{name}: {} of {}", methods.join(", "), args.model.display()));
        let eval = EvalArgs {
            model: ModelArgs::new(args.model.clone().into(), args.device),
            chat: ChatArgs::default(),
            data: args.cases.clone(),
            method: methods.iter().map(|&method| method.to_owned()).collect(),
            after: Vec::new(),
            in_context: scenario == ScenarioArg::Single,
            limit: args.limit,
            skip_bad: false,
            scenario,
            batch_size: Vec::new(),
            shard: None,
            // Single edits are taken back one by one, so nothing else has to stay.
            probe: args.probe.clone().filter(|_| scenario == ScenarioArg::Batch),
            with: with.clone(),
            resume: None,
            jobs: 1,
            force: true,
            out: demo::near(demo::root().join("target/recant-real").join(name)),
            json: false,
        };
        recant::cli::evaluate(&eval, &Session::begin())?;
    }
    Ok(())
}
