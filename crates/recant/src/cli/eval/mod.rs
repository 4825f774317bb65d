//! `recant eval`, and what `cargo xtask eval` runs.

mod command;
mod compare;
mod merge;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use recant_app::{EvalFailure, EvalRequest, JournalFiles, ModelName, Steps, phase};
use recant_eval::report::{Part, ReportFiles};
use recant_eval::{FORMS, Report};
use recant_files::Role;
use recant_methods::DEFAULT_METHOD;

pub(super) use command::{EvalCommand, run};

use super::args::{ChatArgs, MethodArgs, ModelArgs};
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub chat: ChatArgs,
    #[arg(long, value_name = "FILE", help = data_help())]
    #[allow(missing_docs)]
    pub data: PathBuf,
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help = method_help())]
    #[allow(missing_docs)]
    pub method: Vec<String>,
    /// Judge this model too, as it is: one that something else edited, of which MODEL is the one before (repeatable).
    #[arg(long, value_name = "MODEL")]
    pub after: Vec<ModelName>,
    /// Judge too what MODEL says when it is told each fact in the prompt, which an edit has to beat: the last row.
    #[arg(long)]
    pub in_context: bool,
    /// Use only the first N cases; the others are not checked.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave cases out that cannot be used (a subject that is not in its prompt, a prompt that is too long for the
    /// model), instead of refusing the file; the report lists them.
    #[arg(long)]
    pub skip_bad: bool,
    /// How facts are put in: single (each alone, then taken back), batch (the first N in one step), sequential
    /// (all, in steps of N).
    #[arg(long, value_enum, default_value = "single")]
    pub scenario: ScenarioArg,
    /// Facts a step, or several sizes, separated by commas [default: all for batch, 1 for sequential].
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub batch_size: Vec<usize>,
    /// Evaluate only every N-th case, from the I-th on: a shard, which another machine does another one of. With --scenario
    /// single alone; `recant eval merge` puts the reports of all shards together.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Part>,
    /// Facts that no edit is about, a JSON array of `prompt` and `answer`: the share still answered is
    /// reported as `retained`.
    #[arg(long, value_name = "FILE")]
    pub probe: Option<PathBuf>,
    /// What the methods are made from.
    #[command(flatten)]
    pub with: MethodArgs,
    /// Write down in this file how far it has come, and go on from there if it is there: after each case of --scenario
    /// single, after each run of other scenarios; one sequence of one memory after each step (with the memory beside it,
    /// in FILE.state).
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Edit this many cases at the same time, each on a fork of the model that shares its weights; same scores, with
    /// --scenario single and methods that write weights. For machines with many cores.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
    /// Directory for report.json, report.html and report.csv.
    #[arg(long, value_name = "DIR", default_value = "target/recant-eval")]
    pub out: PathBuf,
    /// Replace a report in --out.
    #[arg(long)]
    pub force: bool,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// How facts are put into a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScenarioArg {
    /// Each fact alone.
    Single,
    /// Many facts in one step.
    Batch,
    /// One step after the other.
    Sequential,
}

fn data_help() -> String {
    let forms: Vec<&str> = FORMS.iter().map(|form| form.name).collect();
    format!("Cases, in one JSON array, one a line, or a table: {}", forms.join("; "))
}

fn method_help() -> String {
    format!(
        "Methods, separated by commas; the unedited model is always the first row [default: {DEFAULT_METHOD}; none with \
         --after]"
    )
}

impl EvalArgs {
    /// The methods that are named, or what is meant where none is.
    fn methods(&self) -> Vec<String> {
        match self.method.is_empty() && self.after.is_empty() {
            true => vec![DEFAULT_METHOD.to_owned()],
            false => self.method.clone(),
        }
    }

    /// How facts are put in.
    fn steps(&self) -> Result<Steps, CliError> {
        if self.jobs > 1 && self.scenario != ScenarioArg::Single {
            let reason = "it goes with --scenario single".to_owned();
            return Err(CliError::Option { option: "--jobs", reason });
        }
        match self.scenario {
            ScenarioArg::Single if !self.batch_size.is_empty() => {
                let reason = "it goes with --scenario batch or sequential".to_owned();
                Err(CliError::Option { option: "--batch-size", reason })
            }
            ScenarioArg::Single => Ok(Steps::Single),
            ScenarioArg::Batch => Ok(Steps::Batch(self.batch_size.clone())),
            ScenarioArg::Sequential => Ok(Steps::Sequential(self.batch_size.clone())),
        }
    }

    fn request(&self) -> Result<EvalRequest, CliError> {
        Ok(EvalRequest {
            data: self.data.clone(),
            limit: self.limit,
            skip_bad: self.skip_bad,
            methods: self.methods(),
            steps: self.steps()?,
            probe: self.probe.clone(),
            sources: self.with.sources()?,
            model: self.model.name().said().display().to_string(),
            given: Vec::new(),
            in_context: self.in_context,
            journal: None,
            part: self.shard,
            jobs: self.jobs.into(),
        })
    }

    /// An error with the option that it is about.
    fn refused(&self, error: EvalFailure) -> CliError {
        let (option, reason) = match error {
            EvalFailure::NoCases if self.limit == Some(0) => ("--limit", error.to_string()),
            EvalFailure::NoCases => ("--data", error.to_string()),
            EvalFailure::EmptyStep | EvalFailure::FewCases { .. } => ("--batch-size", error.to_string()),
            EvalFailure::SharedSteps | EvalFailure::SharedModel | EvalFailure::EmptyPart { .. } => {
                ("--shard", error.to_string())
            }
            EvalFailure::OtherTokens { .. } => ("--after", error.to_string()),
            error => return error.into(),
        };
        CliError::Option { option, reason }
    }
}

/// Edits, scores and takes back every case with every method, writes the report and prints the table.
///
/// # Errors
/// [`CliError`]; [`CliError::Rollback`] when a weight was not put back, which the report then shows too.
pub fn evaluate(args: &EvalArgs, session: &Session) -> Result<(), CliError> {
    let mut request = args.request()?;
    let data = request.read().map_err(|error| args.refused(error))?;
    let mut outputs = session.outputs(args.force);
    args.model.guard(&mut outputs)?;
    args.after.iter().try_for_each(|name| Ok::<_, CliError>(super::found(name)?.guard(&mut outputs)?))?;
    args.with.guard(&mut outputs)?;
    let inputs = args.probe.iter().chain([&args.data]);
    inputs.into_iter().try_for_each(|path| outputs.reads(Role::Input, path))?;
    let files = ReportFiles::decide(&mut outputs, &args.out)?;
    let resume = args.resume.as_deref();
    request.journal = resume.map(|path| JournalFiles::decide(&mut outputs, path)).transpose()?;
    let terminal = Terminal::default();
    let open = || args.chat.applied(args.model.open(None, &terminal)?);
    let model = phase(&terminal, "open", open)?;
    for name in &args.after {
        let other = ModelArgs::new(name.clone(), args.model.device);
        let opened = phase(&terminal, "open", || args.chat.applied(other.open(None, &terminal)?))?;
        request.given.push((name.said().display().to_string(), opened));
    }
    let report = recant_app::evaluate(&request, data, model, &terminal);
    let report = report.map_err(|error| args.refused(error))?;
    finish(&report, &files, args.json)
}

/// Writes a report, prints it, and says in the exit code how it went.
fn finish(report: &Report, files: &ReportFiles, json: bool) -> Result<(), CliError> {
    report.write(files)?;
    if json {
        super::print_json(report)?;
    } else {
        super::out::lines(report.table().trim_end());
        let [json, html, csv] = [&files.json, &files.html, &files.csv].map(|file| file.path().display());
        say!("report: {json}, {html} and {csv}");
    }
    outcome(report, files.json.path())
}

/// What the exit code tells: whether every weight was put back, and every case edited and scored.
fn outcome(report: &Report, json: &Path) -> Result<(), CliError> {
    if let Some(run) = report.runs.iter().find(|run| run.rollback_exact == Some(false)) {
        let cases = run.results.iter().filter(|case| case.rollback_exact == Some(false)).count();
        return Err(CliError::Rollback { method: run.method.clone(), cases });
    }
    let failures = report.runs.iter().flat_map(|run| run.failures.iter().map(move |failure| (run, failure)));
    let Some((run, first)) = failures.clone().next() else { return Ok(()) };
    Err(CliError::Failures {
        count: failures.count(),
        method: run.label(),
        case_id: first.case_id,
        first: first.error.clone(),
        report: json.to_owned(),
    })
}
