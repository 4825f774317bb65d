//! Development commands of the recant workspace: `cargo xtask --help`.

mod compare;
mod demo;
mod devices;
mod error;
mod eval;
mod facts;
mod integrity;
mod interop;
mod output;
mod parity;
mod random;
mod reach;
mod real;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use recant::backend::{Device, DeviceSpec};

/// Development commands of the recant workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the demo world: corpus, facts, edit cases.
    DemoData {
        /// Seed of the world.
        #[arg(long, default_value_t = demo::SEED)]
        seed: u64,
        /// Where to write.
        #[arg(long, default_value_os_t = demo::data_dir())]
        out: PathBuf,
    },
    /// Edit, score and take back demo facts with every method; write a report (the main job).
    Eval(eval::DemoEvalArgs),
    /// Run the methods on a model that knows real facts, one fact at a time and all in one plan: the table of
    /// docs/results.md.
    Real(real::RealArgs),
    /// Edit facts one at a time and ask the edited model, in a chat, for the fact and for its subject's name: whether
    /// the name is still spelled.
    Integrity(integrity::IntegrityArgs),
    /// Measure how far ROME's rewrite of each fact is felt by its paraphrases and neighbours, and whose answers it changes.
    Reach(reach::ReachArgs),
    /// Recompute what the reference code computed and compare within stated tolerances.
    Parity {
        /// Folder with ref-gpt2/ and goldens/.
        #[arg(long, value_name = "DIR")]
        baseline: PathBuf,
        /// Write the comparison as JSON too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Device to compute on.
        #[arg(long, default_value = "flex")]
        device: DeviceSpec,
    },
    /// Export edits as LoRA adapters and compare them in peft and transformers (makes a Python environment).
    Interop {
        /// A Python that has peft and transformers [default: an environment under target/].
        #[arg(long, value_name = "FILE")]
        python: Option<PathBuf>,
    },
    /// Make the same edit on every device of this build and compare.
    Devices,
    /// Time two commands in turn, such as an edit of ours and the reference code's, and say how many times as fast ours is.
    Compare(compare::CompareArgs),
    /// Write a model of a size that people run, with made-up weights: for measuring time and memory.
    RandomModel {
        /// Its shape.
        #[arg(value_parser = random::shape_names())]
        shape: String,
        /// The folder to write; it must not hold a model.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How numbers are stored.
        #[arg(long, value_parser = random::DTYPES, default_value = "bf16")]
        dtype: String,
    },
    /// Train the demo model on the demo world (about half an hour on two cores; resumable).
    DemoTrain {
        #[command(flatten)]
        recipe: demo::train::Recipe,
        /// Where to write the model.
        #[arg(long, default_value_os_t = demo::model_dir())]
        out: PathBuf,
        /// Where to keep the state for resuming.
        #[arg(long, default_value_os_t = demo::root().join("target/demo-train"))]
        state: PathBuf,
        /// Device to train on.
        #[arg(long, default_value = "flex")]
        device: DeviceSpec,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    recant::cli::guarded(|| match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error::Error::Cli(error)) => recant::cli::complain(&error),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    })
}

fn run(cli: Cli) -> Result<(), error::Error> {
    match cli.command {
        Command::DemoData { seed, out } => {
            demo::data::write(seed, &out)?.iter().for_each(|path| say(&path.display().to_string()));
            Ok(())
        }
        Command::Eval(args) => eval::run(args),
        Command::Parity { baseline, json, device } => {
            parity::run(&baseline, json.as_deref(), &Device::open(device)?)
        }
        Command::Interop { python } => interop::run(python),
        Command::Real(args) => real::run(&args),
        Command::Integrity(args) => integrity::run(&args),
        Command::Reach(args) => reach::run(&args),
        Command::Devices => devices::run(),
        Command::Compare(args) => compare::run(&args),
        Command::RandomModel { shape, out, dtype } => random::run(&shape, &dtype, &out),
        Command::DemoTrain { recipe, out, state, device } => {
            demo::train::run(&recipe, &out, &state, &Device::open(device)?)
        }
    }
}

pub(crate) fn say(line: &str) {
    recant::cli::print(format_args!("{line}"));
}

/// What is being done, which is no result.
pub(crate) fn note(line: &str) {
    recant::cli::print_error(format_args!("{line}"));
}

pub(crate) fn complain(line: &str) {
    note(&format!("error: {line}"));
}
