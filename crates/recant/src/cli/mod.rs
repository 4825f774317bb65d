//! The command line, as functions, so that `cargo xtask` runs the very same code.
//!
//! This is the only place that prints, and it prints through `out` alone: results go to standard output, progress
//! and complaints to standard error. An error is one line that names the thing, and a hint that says what to do.

#[macro_use]
mod out;
mod args;
mod ask;
mod chat;
mod commands;
mod config;
mod convert;
mod edit;
mod error;
mod eval;
mod export;
mod facts;
mod generate;
mod info;
mod layers;
mod man;
mod methods;
mod progress;
mod session;
mod side_by_side;
mod stats;
mod store;
mod text;
mod trace;
mod transfer;
mod verdict;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use commands::{Cli, run};
use recant_app::ModelRef;
use recant_backend::Device;
use recant_model::Model;

pub use args::{ChatArgs, MethodArgs, ModelArgs, SourceArgs};
pub use error::CliError;
pub use eval::{EvalArgs, ScenarioArg, evaluate};
pub use out::{guarded, line as print, remark as print_error};
use progress::Terminal;
pub use recant_app::{ModelName, StoreError};
pub use session::Session;

/// Parses the arguments, runs the command and turns its error into a message and an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = match arguments() {
        Ok(args) => {
            Cli::grouped().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches))
        }
        Err(error) => return complain(&error),
    };
    let cli = match parsed {
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

/// The arguments with what configuration files say. Help needs none of them to be good.
fn arguments() -> Result<Vec<OsString>, CliError> {
    let (root, args) = (Cli::grouped(), std::env::args_os().collect::<Vec<_>>());
    let is_help = |error: clap::Error| !error.use_stderr();
    match config::Config::read(&root) {
        Ok(config) => Ok(config.added(&root, args)),
        Err(_) if root.try_get_matches_from(&args).is_err_and(is_help) => Ok(args),
        Err(error) => Err(error),
    }
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

/// What the name of a model means. A download shows how far it has come.
fn found(name: &ModelName) -> Result<&ModelRef, CliError> {
    Ok(name.find(&Terminal::default())?)
}

/// Opens a model and prints what there is to know about it.
fn open_model(name: &ModelName, device: &Device, terminal: &Terminal) -> Result<Model, CliError> {
    Ok(name.find(terminal)?.open(device, terminal)?)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    Ok(out::json(value)?)
}
