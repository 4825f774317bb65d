//! `recant stats`.

use std::path::PathBuf;

use clap::Args;
use recant_backend::Device;
use recant_model::Model;
use serde_json::json;

use super::args::ModelArgs;
use super::error::CliError;
use super::resources::measure;

/// Arguments of `recant stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Text file, one text a line, or JSONL with a `text` field (repeatable).
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    corpus: Vec<PathBuf>,
    /// Layers to measure, all in one pass.
    #[arg(long, value_name = "L1,L2", value_delimiter = ',', required = true)]
    layers: Vec<usize>,
    /// Stop after this many tokens [default: ten times the length of a key].
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Where to write the statistics.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON: `tokens`, `layers`, `model`, `out`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatsArgs) -> Result<(), CliError> {
    let model = Model::open(&args.model.model, &Device::open(args.model.device)?)?;
    let moments = measure(&model, &args.layers, &args.corpus, args.tokens)?;
    moments.save(&args.out)?;
    let layers: Vec<usize> = moments.layers().collect();
    if args.json {
        return super::print_json(&json!({
            "tokens": moments.tokens, "layers": layers, "model": moments.model.to_string(),
            "out": args.out.display().to_string(),
        }));
    }
    println!(
        "second moments of layers {layers:?} over {} tokens, for model {}: {}",
        moments.tokens,
        moments.model.short(),
        args.out.display()
    );
    Ok(())
}
