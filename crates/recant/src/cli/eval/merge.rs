//! `recant eval merge`.

use std::path::PathBuf;

use clap::Args;
use recant_eval::Report;
use recant_eval::report::{ReportFiles, merge};
use recant_files::Role;

use crate::cli::error::CliError;
use crate::cli::session::Session;

/// Arguments of `recant eval merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Directory for the whole report: report.json, report.html, report.csv.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The report.json of every shard, in any order.
    #[arg(value_name = "SHARD", required = true)]
    shards: Vec<PathBuf>,
    /// Replace a report in OUT.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &MergeArgs, session: &Session) -> Result<(), CliError> {
    let mut outputs = session.outputs(args.force);
    args.shards.iter().try_for_each(|path| outputs.reads(Role::Input, path))?;
    let files = ReportFiles::decide(&mut outputs, &args.out)?;
    let named = args.shards.iter().map(|path| Ok((path.display().to_string(), Report::read(path)?)));
    let report = merge(named.collect::<Result<Vec<_>, CliError>>()?)?;
    super::finish(&report, &files, args.json)
}
