//! `recant eval`, and what `cargo xtask eval` runs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use recant_app::{Resources, phase};
use recant_eval::report::{DataInfo, ModelInfo, ReportFiles, SCHEMA, StatisticsInfo};
use recant_eval::{
    Dataset, Event, Exam, Report, Run, RunOptions, Scenario, attach_locality, check_retained,
    evaluate_lifelong, go_on, not_applicable, read_retained, unedited,
};
use recant_files::Role;
use recant_methods::{DEFAULT_METHOD, MEMORIES, lifelong, method};
use recant_model::Model;

use super::args::{ChatArgs, MethodArgs, ModelArgs};
use super::error::CliError;
use super::progress::{self, Terminal};
use super::resume::Journal;
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
    /// Cases, in one JSON array or one a line: CounterFact in the original form or EasyEdit's, zsRE in MEND's or
    /// EasyEdit's, KnowEdit.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Methods, separated by commas; the unedited model is always the first row.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = DEFAULT_METHOD)]
    pub method: Vec<String>,
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
    /// Facts that no edit is about, a JSON array of `prompt` and `answer`: the share still answered is
    /// reported as `retained`.
    #[arg(long, value_name = "FILE")]
    pub probe: Option<PathBuf>,
    /// What the methods are made from.
    #[command(flatten)]
    pub with: MethodArgs,
    /// Keep how far one sequence of a memory has come in this file (and the memory beside it, in FILE.state) after
    /// every step, and go on from there if it is there.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Directory for report.json and report.html.
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

impl EvalArgs {
    /// The scenarios to run with each method.
    fn scenarios(&self, cases: usize) -> Result<Vec<Scenario>, CliError> {
        let refuse = |reason: String| Err(CliError::Option { option: "--batch-size", reason });
        if self.batch_size.contains(&0) {
            return refuse("a step has at least one fact".to_owned());
        }
        match self.scenario {
            ScenarioArg::Single if !self.batch_size.is_empty() => {
                refuse("it goes with --scenario batch or sequential".to_owned())
            }
            ScenarioArg::Single => Ok(vec![Scenario::Single]),
            ScenarioArg::Batch if self.batch_size.is_empty() => Ok(vec![Scenario::Batch(cases)]),
            ScenarioArg::Batch => match self.batch_size.iter().find(|&&size| size > cases) {
                Some(size) => refuse(format!("there are {cases} cases, not {size}")),
                None => Ok(self.batch_size.iter().copied().map(Scenario::Batch).collect()),
            },
            ScenarioArg::Sequential if self.batch_size.is_empty() => Ok(vec![Scenario::Sequential(1)]),
            ScenarioArg::Sequential => {
                Ok(self.batch_size.iter().copied().map(Scenario::Sequential).collect())
            }
        }
    }
}

/// Edits, scores and takes back every case with every method, writes the report and prints the table.
///
/// # Errors
/// [`CliError`]; [`CliError::Rollback`] when a weight was not put back, which the report then shows too.
pub fn evaluate(args: &EvalArgs, session: &Session) -> Result<(), CliError> {
    let data = usable(Dataset::read(&args.data, args.limit)?, args)?;
    let retained = args.probe.as_deref().map(read_retained).transpose()?.unwrap_or_default();
    let mut outputs = session.outputs(args.force);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    let inputs = args.probe.iter().chain([&args.data]);
    inputs.into_iter().try_for_each(|path| outputs.reads(Role::Input, path))?;
    let files = ReportFiles::decide(&mut outputs, &args.out)?;
    let terminal = Terminal::default();
    let mut model = phase(&terminal, "open", || args.chat.applied(args.model.open(None, &terminal)?))?;
    let mut data = usable(checked(data, &model), args)?;
    if let Some(path) = &args.probe {
        check_retained(path, &retained, &model)?;
    }
    attach_locality(&mut data.cases, &data.spare);
    let cases = &data.cases[..];
    let scenarios = args.scenarios(cases.len())?;
    let sources = args.with.sources()?;
    let resources =
        phase(&terminal, "resources", || Resources::gather(&sources, &args.method, &model, &terminal))?;
    let editors = args
        .method
        .iter()
        .map(|name| {
            let memory = MEMORIES.iter().any(|info| info.name == name);
            if memory { Ok(None) } else { Ok(Some(method(name, &resources.inputs(name)?)?)) }
        })
        .collect::<Result<Vec<_>, CliError>>()?;

    let mut journal = match (&args.resume, &scenarios[..], &args.method[..]) {
        (None, ..) => None,
        (Some(path), [Scenario::Sequential(step)], [name]) => {
            Some(Journal::open(&mut outputs, path, name, &resources.inputs(name)?, &model, cases, *step)?)
        }
        _ => {
            let reason = "it goes with one method and one --scenario sequential".to_owned();
            return Err(CliError::Option { option: "--resume", reason });
        }
    };

    let steps = cases.len() * (editors.len() * scenarios.len() + 1);
    let bar = progress::bar(steps as u64, "unedited", "cases");
    let mut on_event = |event: Event<'_>| match event {
        Event::Case { method, .. } => {
            // A step that tells its loss has it in the bar until the next method begins.
            if !bar.message().starts_with(method) {
                bar.set_message(method.to_owned());
            }
            bar.inc(1);
        }
        Event::Step { method, loss: Some(loss), .. } => bar.set_message(format!("{method}, loss {loss:.3}")),
        _ => {}
    };
    let options = RunOptions { keep_prompts: true };
    let (base, first) =
        phase(&terminal, "unedited", || unedited(&model, cases, &retained, options, &mut on_event))?;
    let exam = Exam { cases, retained: &retained, base: &base, options };
    let mut runs = vec![first];
    for (editor, name) in editors.iter().zip(&args.method) {
        for &scenario in &scenarios {
            let run = || match (scenario, editor, &mut journal) {
                (Scenario::Single, Some(editor), _) => {
                    Ok(recant_eval::evaluate(&mut model, &**editor, cases, &base, options, &mut on_event))
                }
                (_, _, Some(journal)) => {
                    let (mut learner, progress) = journal.resume()?;
                    bar.inc(progress.cases as u64);
                    let keep = &mut |event: Event<'_>| {
                        journal.note(&event);
                        on_event(event);
                    };
                    let run = go_on(&mut learner, scenario, exam, progress, keep)?;
                    journal.kept()?;
                    Ok::<_, CliError>(run)
                }
                _ => {
                    let mut learner = lifelong(name, &resources.inputs(name)?, model.clone())?;
                    Ok(evaluate_lifelong(&mut *learner, scenario, exam, &mut on_event)?)
                }
            };
            runs.push(phase(&terminal, name, run)?);
        }
    }
    bar.finish_and_clear();
    // The first run is of the unedited model, which no file was read for.
    runs.iter_mut().skip(1).for_each(|run| run.notes.extend(resources.notes(&model)));

    let report = report(args, &model, &data, &resources, runs);
    report.write(&files)?;
    if args.json {
        super::print_json(&report)?;
    } else {
        super::out::lines(report.table().trim_end());
        say!("report: {} and {}", files.json.path().display(), files.html.path().display());
    }
    outcome(&report, files.json.path())
}

/// The cases of a data set, all of which have to be usable unless the others may be left out.
fn usable(data: Dataset, args: &EvalArgs) -> Result<Dataset, CliError> {
    let data = if args.skip_bad { data } else { data.all_usable()? };
    if data.cases.is_empty() {
        let option = if args.limit == Some(0) { "--limit" } else { "--data" };
        return Err(CliError::Option { option, reason: "no cases are left".to_owned() });
    }
    Ok(data)
}

fn checked(mut data: Dataset, model: &Model) -> Dataset {
    data.check(model);
    data
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

fn report(args: &EvalArgs, model: &Model, data: &Dataset, resources: &Resources, runs: Vec<Run>) -> Report {
    let spec = model.spec();
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: ModelInfo {
            path: args.model.name().said().display().to_string(),
            architecture: spec.architecture.to_owned(),
            layers: spec.layers,
            d_model: spec.d_model,
            d_mlp: spec.d_mlp,
            digest: model.digest().to_string(),
            bytes: model.weights().byte_len(),
        },
        data: DataInfo {
            path: args.data.display().to_string(),
            cases: data.cases.len(),
            available: data.available,
            left_out: data.unusable.iter().map(ToString::to_string).collect(),
            unread: data.unread.clone(),
            not_applicable: not_applicable(&data.cases),
        },
        device: model.device().spec().to_string(),
        seed: args.with.seed.unwrap_or(0),
        statistics: resources.moments().map(|(moments, source)| StatisticsInfo {
            source: source.to_owned(),
            tokens: moments.tokens,
            corpus: moments.corpus.iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
        runs,
    }
}
