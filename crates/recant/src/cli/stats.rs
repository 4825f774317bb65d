//! `recant stats`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use recant_app::phase;
use recant_files::{OutputFile, Role};
use recant_methods::moments::{Collector, Moments, MomentsFileError, PARTIAL, STATISTICS, partial_path};
use recant_methods::parse_layers;
use recant_model::Model;
use serde_json::json;

use super::args::ModelArgs;
use super::error::CliError;
use super::progress::{self, Terminal};
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
    let stopped = session.stop_politely();
    let terminal = Terminal::default();
    let model = phase(&terminal, "open", || args.model.open(None, &terminal))?;
    if args.import.is_empty() {
        let moments = phase(&terminal, "measure", || measure(args, &model, &partial, &stopped))?;
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

/// Measures, keeping what there is at intervals and when it is told to stop.
fn measure(
    args: &StatsArgs,
    model: &Model,
    partial: &OutputFile,
    stopped: &AtomicBool,
) -> Result<Moments, CliError> {
    let mut collector = Collector::new(model, &args.layers.0, args.tokens)?;
    if partial.path().exists() {
        let opened = collector.resume(partial.path())?;
        opened.note(partial.path()).iter().for_each(|note| remark!("note: {note}"));
        collector = opened.value;
        let tokens = collector.progress().tokens;
        remark!("going on behind the {tokens} tokens that {} keeps", partial.path().display());
    }
    let bar = progress::bar(collector.progress().budget, "second moments", "tokens");
    let mut keeper = Keeper { last: Instant::now(), took: Duration::ZERO };
    let mut kept = Ok(());
    let ended = collector.read(&args.corpus, |collector| {
        let progress = collector.progress();
        bar.set_position(progress.tokens.min(progress.budget));
        let stopped = stopped.load(Ordering::Relaxed);
        if stopped || keeper.due() {
            kept = keeper.keep(collector, partial);
        }
        if stopped || kept.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let ended = ended?;
    kept?;
    if ended.is_break() {
        let tokens = collector.progress().tokens;
        return Err(CliError::BrokenOff { path: partial.path().to_owned(), tokens });
    }
    Ok(collector.finish()?)
}

/// Keeps a measurement every half minute, or as seldom as makes keeping a twentieth of the work.
struct Keeper {
    last: Instant,
    took: Duration,
}

impl Keeper {
    fn due(&self) -> bool {
        self.last.elapsed() >= Duration::from_secs(30).max(20 * self.took)
    }

    fn keep(&mut self, collector: &Collector<'_>, partial: &OutputFile) -> Result<(), MomentsFileError> {
        let started = Instant::now();
        collector.keep_in(partial)?;
        self.last = Instant::now();
        self.took = self.last - started;
        Ok(())
    }
}
