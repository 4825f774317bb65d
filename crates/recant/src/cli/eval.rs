//! `recant eval`, and what `cargo xtask eval` runs.

use std::path::{Path, PathBuf};

use clap::Args;
use recant_backend::Device;
use recant_eval::report::{DataInfo, ModelInfo, SCHEMA, StatisticsInfo};
use recant_eval::{Case, Event, Report, Run, RunOptions, read_cases, unedited};
use recant_methods::method;
use recant_model::Model;

use super::args::{MethodArgs, ModelArgs};
use super::error::CliError;
use super::progress;
use super::resources::Resources;

/// Arguments of `recant eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// CounterFact cases, in the original form or EasyEdit's.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Methods, separated by commas; the unedited model is always the first row.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "r-rome")]
    pub method: Vec<String>,
    /// Use only the first N cases.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// What the methods are made from.
    #[command(flatten)]
    pub with: MethodArgs,
    /// Directory for report.json and report.html.
    #[arg(long, value_name = "DIR", default_value = "target/recant-eval")]
    pub out: PathBuf,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Edits, scores and takes back every case with every method, writes the report and prints the table.
///
/// # Errors
/// [`CliError`]; [`CliError::Rollback`] when a weight was not put back, which the report then shows too.
pub fn evaluate(args: &EvalArgs) -> Result<(), CliError> {
    let mut cases = read_cases(&args.data)?;
    let available = cases.len();
    cases.truncate(args.limit.unwrap_or(available));
    if cases.is_empty() {
        return Err(CliError::Option { option: "--limit", reason: "no cases are left".to_owned() });
    }
    check_out(&args.out)?;
    let mut model = Model::open(&args.model.model, &Device::open(args.model.device)?)?;
    let resources = Resources::gather(&args.with, &args.method, &model)?;
    let editors = args
        .method
        .iter()
        .map(|name| method(name, &resources.inputs(name)))
        .collect::<Result<Vec<_>, _>>()?;

    let bar = progress::bar((cases.len() * (editors.len() + 1)) as u64, "unedited", "cases");
    let mut on_event = |event: Event<'_>| {
        if let Event::Case { method, .. } = event {
            bar.set_message(method.to_owned());
        }
        bar.inc(1);
    };
    let options = RunOptions { keep_prompts: true };
    let (base, first) = unedited(&model, &cases, options, &mut on_event)?;
    let mut runs = vec![first];
    for editor in &editors {
        runs.push(recant_eval::evaluate(&mut model, &**editor, &cases, &base, options, &mut on_event)?);
    }
    bar.finish_and_clear();

    let report = report(args, &model, &cases, available, &resources, runs);
    let [json, html] = report.write(&args.out)?;
    if args.json {
        super::print_json(&report)?;
    } else {
        print!("{}", report.table());
        println!("report: {} and {}", json.display(), html.display());
    }
    match report.runs.iter().find(|run| run.rollback_exact == Some(false)) {
        Some(run) => Err(CliError::Rollback {
            method: run.method.clone(),
            cases: run.results.iter().filter(|case| case.rollback_exact == Some(false)).count(),
        }),
        None => Ok(()),
    }
}

/// Finds out before the work whether the report can be written.
fn check_out(out: &Path) -> Result<(), CliError> {
    let refuse = |error: std::io::Error| CliError::Write { path: out.to_owned(), reason: error.to_string() };
    std::fs::create_dir_all(out).map_err(refuse)?;
    let probe = out.join(".recant-probe");
    std::fs::write(&probe, b"").map_err(refuse)?;
    std::fs::remove_file(&probe).map_err(refuse)
}

fn report(
    args: &EvalArgs,
    model: &Model,
    cases: &[Case],
    available: usize,
    resources: &Resources,
    runs: Vec<Run>,
) -> Report {
    let spec = model.spec();
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: ModelInfo {
            path: args.model.model.display().to_string(),
            architecture: spec.architecture.to_owned(),
            layers: spec.layers,
            d_model: spec.d_model,
            d_mlp: spec.d_mlp,
            digest: model.digest().to_string(),
            bytes: model.weights().byte_len(),
        },
        data: DataInfo { path: args.data.display().to_string(), cases: cases.len(), available },
        device: model.device().spec().to_string(),
        seed: args.with.seed,
        contexts: resources.contexts.templates().to_vec(),
        statistics: resources.moments.as_ref().map(|moments| StatisticsInfo {
            source: resources.moments_source.clone(),
            tokens: moments.tokens,
            corpus: moments.corpus.iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
        runs,
    }
}
