//! The command line, as functions, so that `cargo xtask` runs the very same code.
//!
//! This is the only place that prints, and it prints through `out` alone: results go to standard output, progress
//! and complaints to standard error. An error is one line that names the thing, and a hint that says what to do.

#[macro_use]
mod out;
mod args;
mod ask;
mod edit;
mod edit_outputs;
mod edit_shown;
mod error;
mod eval;
mod export;
mod generate;
mod info;
mod kinds;
mod learn;
mod ledger;
mod methods;
mod model_ref;
mod phase;
mod progress;
mod resources;
mod resume;
mod session;
mod stats;
mod store;
mod text;
mod transfer;
mod verdict;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use recant_backend::Device;
use recant_checkpoint::Source;
use recant_model::Model;
use recant_records::{Opened, RecordError};

pub use args::{ChatArgs, MethodArgs, ModelArgs};
pub use error::CliError;
pub use eval::{EvalArgs, ScenarioArg, evaluate};
pub use model_ref::ModelName;
pub use out::{guarded, line as print, remark as print_error};
pub use session::Session;
pub use store::StoreError;

/// What the exit codes say.
const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    an error, told in one line; nothing was changed
  2    arguments that cannot be understood
  3    edit, learn: written as asked, but not every fact holds
  130  broken off, and what was done so far is kept";

/// Make a language model take back what it said.
///
/// Rewrites facts in a language model's weights, shows what changed and what did not, and never touches the
/// model it was given: an edited model is written beside it.
#[derive(Debug, Parser)]
#[command(name = "recant", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Say more: -v for notes, -vv for details.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rewrite one fact or many and say which hold now.
    Edit(edit::EditArgs),
    /// Write an edit as a LoRA adapter.
    Export(export::ExportArgs),
    /// Show the most probable next tokens behind a prompt.
    Ask(ask::AskArgs),
    /// Let the model continue a prompt.
    Generate(generate::GenerateArgs),
    /// Measure the second moments of keys that ROME needs, over a corpus.
    Stats(stats::StatsArgs),
    /// Edit, score and take back many facts; write a report.
    Eval(EvalArgs),
    /// Teach a memory beside the weights (WISE, GRACE, retrieval), kept in a file.
    Learn(learn::LearnArgs),
    /// Take one edit out of such a memory, or go back to an earlier step.
    Forget(learn::ForgetArgs),
    /// List what such a memory holds.
    Learned(learn::LearnedArgs),
    /// Move a fact's edit between a retrieval memory, a ledger and a patch, without another search.
    Move(transfer::MoveArgs),
    /// Say what a model is: family, sizes, files, what can be edited, and where methods edit it.
    Info(info::InfoArgs),
    /// List the methods, or the hyper-parameters of one.
    Methods(methods::MethodsArgs),
    #[command(flatten)]
    Store(store::StoreCommand),
}

/// Parses the arguments, runs the command and turns its error into a message and an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return out::usage(&error),
    };
    let level = ["warn", "info", "debug"][usize::from(cli.verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| out::Events);
    events.with_ansi(false).without_time().init();
    let session = Session::begin();
    out::guarded(|| match run(cli.command, &session) {
        Ok(code) => code,
        Err(error) => complain(&error),
    })
}

/// Prints an error and its hint to standard error.
#[must_use]
pub fn complain(error: &CliError) -> ExitCode {
    remark!("error: {error}");
    if let Some(hint) = error.hint() {
        remark!("hint: {hint}");
    }
    ExitCode::from(error.exit_code())
}

fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Edit(args) => return edit::run(&args, session),
        Command::Learn(args) => return learn::learn(&args, session),
        Command::Export(args) => export::run(&args, session),
        Command::Ask(args) => ask::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Stats(args) => stats::run(&args, session),
        Command::Eval(args) => evaluate(&args, session),
        Command::Forget(args) => learn::forget(&args, session),
        Command::Learned(args) => learn::learned(&args),
        Command::Move(args) => transfer::run(&args, session),
        Command::Info(args) => info::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Store(command) => store::run(&command, session),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Opens a model and prints what there is to know about it.
fn open_model(name: &ModelName, device: &Device) -> Result<Model, CliError> {
    open_source(name.find()?.source()?, device)
}

/// As [`open_model`], of any source.
fn open_source(source: Arc<dyn Source>, device: &Device) -> Result<Model, CliError> {
    let model = Model::from_source(source, device)?;
    for note in model.notes() {
        remark!("note: {note}");
    }
    Ok(model)
}

/// Reads a file of ours.
fn read_with<T>(
    path: &Path,
    open: impl FnOnce(&[u8]) -> Result<Opened<T>, RecordError>,
) -> Result<Opened<T>, CliError> {
    let refuse = |error: std::io::Error| CliError::Read { path: path.to_owned(), reason: error.to_string() };
    let bytes = recant_checkpoint::read_file(path).map_err(refuse)?;
    open(&bytes).map_err(|source| CliError::Record { path: path.to_owned(), source })
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    Ok(out::json(value)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_command_prints_json() {
        for command in super::Cli::command().get_subcommands() {
            let json = command.get_arguments().any(|arg| arg.get_id() == "json");
            assert!(json, "{} has no --json", command.get_name());
        }
    }

    /// What a person is told of methods is what there is.
    #[test]
    fn help_names_every_method() {
        let mut cli = super::Cli::command();
        let mut help = |name: &str| cli.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        let (edit, learn) = (help("edit"), help("learn"));
        for info in &recant_methods::METHODS {
            assert!(edit.contains(info.name), "{}", info.name);
        }
        for info in &recant_methods::MEMORIES {
            assert!(learn.contains(info.name), "{}", info.name);
        }
        let codes = super::Cli::command().render_long_help().to_string();
        assert!(codes.contains("3    edit, learn: written as asked, but not every fact holds"), "{codes}");
    }
}
