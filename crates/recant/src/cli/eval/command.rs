//! The forms of `recant eval`: an evaluation, or something done with reports.

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::{EvalArgs, compare, merge};
use crate::cli::error::CliError;
use crate::cli::session::Session;

/// What is done with reports.
#[derive(Debug, Subcommand)]
enum ReportCommand {
    /// Say what changed from one report to another, beyond noise.
    Compare(compare::CompareArgs),
    /// Put the reports of all shards together.
    Merge(merge::MergeArgs),
}

/// `recant eval MODEL ...`, or one of its commands.
#[derive(Debug)]
pub(crate) struct EvalCommand(Form);

#[derive(Debug)]
enum Form {
    Run(Box<EvalArgs>),
    Reports(ReportCommand),
}

impl FromArgMatches for EvalCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(match matches.subcommand_name() {
            Some(_) => Form::Reports(ReportCommand::from_arg_matches(matches)?),
            None => Form::Run(Box::new(EvalArgs::from_arg_matches(matches)?)),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for EvalCommand {
    fn augment_args(command: Command) -> Command {
        let command = ReportCommand::augment_subcommands(EvalArgs::augment_args(command));
        // They need nothing that an evaluation needs.
        let command = command.subcommand_required(false).arg_required_else_help(false);
        command.args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

pub(crate) fn run(command: &EvalCommand, session: &Session) -> Result<(), CliError> {
    match &command.0 {
        Form::Run(args) => super::evaluate(args, session),
        Form::Reports(ReportCommand::Compare(args)) => compare::run(args),
        Form::Reports(ReportCommand::Merge(args)) => merge::run(args, session),
    }
}
