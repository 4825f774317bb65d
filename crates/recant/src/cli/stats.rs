//! `recant stats`.

use std::path::PathBuf;

use clap::Args;
use recant_app::{Measurement, Observer, phase};
use recant_files::{OutputFile, Role};
use recant_methods::moments::{Moments, PARTIAL, STATISTICS, partial_path};
use recant_methods::parse_layers;
use recant_model::Model;
use serde_json::json;

use super::args::ModelArgs;
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Texts, one a line: plain, or JSON objects with a `text` field, which are told by .jsonl, .ndjson or .json and by
    /// the first line (repeatable).
    #[arg(long, value_name = "FILE", required_unless_present = "import", num_args = 1..)]
    corpus: Vec<PathBuf>,
    /// Take the moments from statistics of the reference code: a .npz with `mom2.mom2` and `mom2.count` for each
    /// of --layers, in their order. Such a file does not say its model; it is taken to be MODEL.
    #[arg(long, value_name = "FILE.npz", conflicts_with_all = ["corpus", "tokens"], num_args = 1..)]
    import: Vec<PathBuf>,
    /// Layers to measure, all in one pass, such as 3, 0,1,2 or 0-2.
    #[arg(long, alias = "layer", value_name = "L1,L2", value_parser = layer_list)]
    layers: Layers,
    /// Stop after this many tokens [default: ten times the length of a key].
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Where to write the statistics. A measurement that is broken off (Ctrl-C) is kept beside it, in
    /// FILE.partial, and the same command goes on with it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace statistics at --out.
    #[arg(long)]
    force: bool,
    /// Print JSON: `tokens`, `layers`, `model`, `out`.
    #[arg(long)]
    json: bool,
}

/// Layers of the command line.
#[derive(Debug, Clone)]
struct Layers(Vec<usize>);

fn layer_list(text: &str) -> Result<Layers, String> {
    let known = parse_layers(text);
    let known = known.ok_or_else(|| "layer numbers are expected, such as 3, 0,1,2 or 0-2".to_owned())?;
    // In the order in which they were given: the files of --import stand in the same.
    let given: Option<Vec<usize>> = text.split(',').map(|layer| layer.trim().parse().ok()).collect();
    Ok(Layers(given.unwrap_or(known)))
}

pub(crate) fn run(args: &StatsArgs, session: &Session) -> Result<(), CliError> {
    let mut outputs = session.outputs(args.force);
    args.model.guard(&mut outputs)?;
    let inputs = args.corpus.iter().chain(&args.import);
    inputs.into_iter().try_for_each(|path| outputs.reads(Role::Input, path))?;
    let output = outputs.file(&args.out, STATISTICS)?;
    let partial = outputs.continued(&partial_path(&args.out), PARTIAL)?;
    let terminal = Terminal::stopped_by(session.stop_politely());
    let model = phase(&terminal, "open", || args.model.open(None, &terminal))?;
    if args.import.is_empty() {
        let moments = phase(&terminal, "measure", || measure(args, &model, &partial, &terminal))?;
        phase(&terminal, "write", || moments.save_to(&output))?;
        partial.remove()?;
        return tell(args, &moments);
    }
    let moments = Moments::import(&model, &imports(args)?)?;
    moments.save_to(&output)?;
    tell(args, &moments)
}

fn tell(args: &StatsArgs, moments: &Moments) -> Result<(), CliError> {
    let layers: Vec<usize> = moments.layers().collect();
    if args.json {
        return super::print_json(&json!({
            "tokens": moments.tokens, "layers": layers, "model": moments.model.to_string(),
            "out": args.out.display().to_string(),
        }));
    }
    say!(
        "second moments of layers {layers:?} over {} tokens, for model {}: {}",
        moments.tokens,
        moments.model.short(),
        args.out.display()
    );
    Ok(())
}

/// A layer for each file.
fn imports(args: &StatsArgs) -> Result<Vec<(usize, PathBuf)>, CliError> {
    let (files, layers) = (args.import.len(), args.layers.0.len());
    if files != layers {
        let reason = format!("{files} files for {layers} layers; each layer needs a file of its own");
        return Err(CliError::Option { option: "--import", reason });
    }
    Ok(args.layers.0.iter().copied().zip(args.import.iter().cloned()).collect())
}

/// Measures, or goes on with a measurement that was broken off.
fn measure(
    args: &StatsArgs,
    model: &Model,
    partial: &OutputFile,
    terminal: &Terminal,
) -> Result<Moments, CliError> {
    let measurement = Measurement::begin(model, &args.layers.0, args.tokens, partial.clone())?;
    measurement.notes().iter().for_each(|note| terminal.note(note));
    if let Some(tokens) = measurement.resumed() {
        remark!("going on behind the {tokens} tokens that {} keeps", partial.path().display());
    }
    Ok(measurement.run(&args.corpus, terminal)?)
}
