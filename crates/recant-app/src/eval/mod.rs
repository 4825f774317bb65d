//! Methods, evaluated on the cases of a data set.

mod error;
mod journal;
mod kept;

use std::collections::BTreeMap;
use std::path::PathBuf;

use recant_edit::Editor;
use recant_eval::report::{DataInfo, IN_CONTEXT, ModelInfo, Part, SCHEMA, Shard, StatisticsInfo, UNEDITED};
use recant_eval::{
    Dataset, Event, Exam, Report, Retained, Run, RunOptions, Scenario, attach_locality, check_retained,
    evaluate_lifelong, evaluate_rest, go_on, judge_given, judge_in_context, not_applicable, read_retained,
    teach_alone, unedited,
};
use recant_methods::{MethodSpec, lifelong, method};
use recant_model::Model;

pub use self::error::EvalFailure;
use self::journal::Journal;
pub use self::journal::{JournalError, JournalFiles};
use self::kept::KeptRuns;
use crate::bar::Bar;
use crate::observer::{Observer, Unit, phase};
use crate::resources::{MethodSources, Resources};

/// How facts are put into a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steps {
    /// Each alone, then taken back.
    Single,
    /// The first of them in one step of each of these sizes; of no size: all.
    Batch(Vec<usize>),
    /// All of them, in steps of each of these sizes; of no size: one a step.
    Sequential(Vec<usize>),
}

impl Steps {
    /// The scenarios to run with each method.
    fn of(&self, cases: usize) -> Result<Vec<Scenario>, EvalFailure> {
        match self {
            Self::Batch(sizes) | Self::Sequential(sizes) if sizes.contains(&0) => Err(EvalFailure::EmptyStep),
            Self::Single => Ok(vec![Scenario::Single]),
            Self::Batch(sizes) if sizes.is_empty() => Ok(vec![Scenario::Batch(cases)]),
            Self::Batch(sizes) => match sizes.iter().find(|&&size| size > cases) {
                Some(&size) => Err(EvalFailure::FewCases { cases, size }),
                None => Ok(sizes.iter().copied().map(Scenario::Batch).collect()),
            },
            Self::Sequential(sizes) if sizes.is_empty() => Ok(vec![Scenario::Sequential(1)]),
            Self::Sequential(sizes) => Ok(sizes.iter().copied().map(Scenario::Sequential).collect()),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// The data set.
    pub data: PathBuf,
    /// Only the first so many cases; the others are not checked.
    pub limit: Option<usize>,
    /// Leave out cases that cannot be used, instead of refusing the file.
    pub skip_bad: bool,
    /// Names of methods.
    pub methods: Vec<String>,
    /// How facts are put in.
    pub steps: Steps,
    /// A file of facts that no edit is about.
    pub probe: Option<PathBuf>,
    /// What the methods are made from.
    pub sources: MethodSources,
    /// How the report names the model.
    pub model: String,
    /// Models that something else edited, each with the name of its row: judged as they are, before the methods.
    pub given: Vec<(String, Model)>,
    /// Whether the unedited model is judged too with each fact in the prompt.
    pub in_context: bool,
    /// Where it is written down how far the runs have come, and gone on with if it is there: one sequence of a memory after
    /// each step; of anything else each case that is put in alone, and each run that is finished.
    pub journal: Option<JournalFiles>,
    /// Only every N-th case, each edited alone: a shard.
    pub part: Option<Part>,
    /// Cases that are edited alone at the same time, by methods that plan changes of weights.
    pub jobs: usize,
}

/// The files of a request, read before minutes of work.
pub struct EvalData {
    data: Dataset,
    retained: Vec<Retained>,
}

impl EvalRequest {
    /// Reads the files.
    ///
    /// # Errors
    /// [`EvalFailure::Dataset`], [`EvalFailure::NoCases`]; [`EvalFailure::SharedSteps`] where the request cannot be shared out.
    pub fn read(&self) -> Result<EvalData, EvalFailure> {
        if self.part.is_some() && self.steps != Steps::Single {
            return Err(EvalFailure::SharedSteps);
        }
        let data = self.usable(Dataset::read(&self.data, self.limit)?)?;
        Ok(EvalData {
            data,
            retained: self.probe.as_deref().map(read_retained).transpose()?.unwrap_or_default(),
        })
    }

    /// The cases of a data set, all of which have to be usable unless the others may be left out.
    fn usable(&self, data: Dataset) -> Result<Dataset, EvalFailure> {
        let data = data.usable(self.skip_bad)?;
        if data.cases.is_empty() { Err(EvalFailure::NoCases) } else { Ok(data) }
    }
}

/// What methods are made from, and which of them plan changes of weights.
struct Methods {
    resources: Resources,
    editors: Vec<Option<Box<dyn Editor>>>,
}

impl Methods {
    fn gather(request: &EvalRequest, model: &Model, observer: &dyn Observer) -> Result<Self, EvalFailure> {
        let gather = || Resources::gather(&request.sources, &request.methods, model, observer);
        let resources = phase(observer, "resources", gather)?;
        let editor = |name: &String| {
            if MethodSpec::find(name)?.is_memory() {
                Ok(None)
            } else {
                Ok(Some(method(name, &resources.inputs(name)?)?))
            }
        };
        let editors = request.methods.iter().map(editor).collect::<Result<_, EvalFailure>>()?;
        Ok(Self { resources, editors })
    }
}

/// Edits, scores and takes back every case with every method; the unedited model is the first row.
///
/// # Errors
/// [`EvalFailure`]. A case that fails alone is a failure in the report.
pub fn evaluate(
    request: &EvalRequest,
    EvalData { mut data, retained }: EvalData,
    mut model: Model,
    observer: &dyn Observer,
) -> Result<Report, EvalFailure> {
    data.check(&model);
    let mut data = request.usable(data)?;
    if let Some(path) = &request.probe {
        check_retained(path, &retained, &model)?;
    }
    for (_, given) in &request.given {
        comparable(&model, given)?;
    }
    if request.part.is_some() && !request.given.is_empty() {
        return Err(EvalFailure::SharedModel);
    }
    attach_locality(&mut data.cases, &data.spare);
    let scenarios = request.steps.of(data.cases.len())?;
    let Methods { resources, editors } = Methods::gather(request, &model, observer)?;
    // What decides the runs of all shards, before only one is left.
    let about = kept::about(request, &model, &data.cases, &retained, &resources);
    let shard = request.part.map(|part| shared_out(part, &mut data, &about)).transpose()?;
    let cases = &data.cases[..];
    let mut keeping = match (&request.journal, &scenarios[..], &request.methods[..], &editors[..]) {
        (None, ..) => Keeping::None,
        (Some(files), [Scenario::Sequential(step)], [name], [None]) => {
            let inputs = resources.inputs(name)?;
            let journal = Journal::open(files.clone(), name, &inputs, &model, (cases, *step), observer)?;
            Keeping::Sequence(Box::new(journal))
        }
        (Some(files), ..) => {
            let part = request.part.map_or_else(|| "1/1".to_owned(), |part| part.to_string());
            let about = about.into_iter().chain([("shard".to_owned(), part)]).collect();
            Keeping::Runs(Box::new(KeptRuns::open(files.record(), &about, observer)?))
        }
    };
    let rows = editors.len() * scenarios.len() + request.given.len() + usize::from(request.in_context) + 1;
    let steps = cases.len() * rows;
    let mut bar = Bar::new(observer, "evaluation", Unit::Cases);
    bar.expect(steps);
    bar.turn_to(UNEDITED);
    let options = RunOptions { keep_prompts: true, jobs: request.jobs };
    let first = || unedited(&model, cases, &retained, options, &mut |event| bar.hear(&event));
    let (base, first) = phase(observer, "unedited", first)?;
    let exam = Exam { cases, retained: &retained, base: &base, options };
    let mut runs = vec![first];
    for (name, given) in &request.given {
        bar.turn_to(name);
        let judged = || judge_given(given, name, exam, &mut |event| bar.hear(&event));
        runs.push(phase(observer, name, judged)?);
    }
    for (editor, name) in editors.iter().zip(&request.methods) {
        for &scenario in &scenarios {
            if observer.cancelled() {
                return Err(EvalFailure::Cancelled);
            }
            let one = One { name, editor: editor.as_deref(), scenario, at: runs.len(), exam };
            bar.turn_to(name);
            let run = || one.run(&mut model, &resources, &mut keeping, &mut bar);
            runs.push(phase(observer, name, run)?);
        }
    }
    // The first runs are of models that no file was read for.
    runs.iter_mut().skip(1 + request.given.len()).for_each(|run| run.notes.extend(resources.notes(&model)));
    if request.in_context {
        bar.turn_to(IN_CONTEXT);
        let judged = || Ok::<_, EvalFailure>(judge_in_context(&model, exam, &mut |event| bar.hear(&event)));
        runs.push(phase(observer, IN_CONTEXT, judged)?);
    }
    keeping.unkept().iter().for_each(|note| observer.note(note));
    observer.idle();
    Ok(report(request, &model, &data, &resources, shard, runs))
}

/// Leaves the cases of one part, and says of which evaluation it is one.
fn shared_out(
    part: Part,
    data: &mut Dataset,
    about: &BTreeMap<String, String>,
) -> Result<Shard, EvalFailure> {
    let cases = data.cases.len();
    part.keep(&mut data.cases);
    match data.cases.is_empty() {
        true => Err(EvalFailure::EmptyPart { part, cases }),
        false => Ok(Shard { part, cases, about: about.clone() }),
    }
}

/// Where it is written down how far the runs have come.
enum Keeping {
    None,
    /// One sequence of a memory.
    Sequence(Box<Journal>),
    /// Any runs.
    Runs(Box<KeptRuns>),
}

impl Keeping {
    /// What to know where the runs could not all be written down. The report has them all the same.
    fn unkept(&mut self) -> Option<String> {
        let Self::Runs(runs) = self else { return None };
        let error = runs.failed()?;
        Some(format!(
            "it was not written down how far the runs have come, and they cannot be gone on with: {error}"
        ))
    }
}

/// One method in one scenario.
struct One<'a> {
    name: &'a str,
    editor: Option<&'a dyn Editor>,
    scenario: Scenario,
    /// Its place among the runs of the report.
    at: usize,
    exam: Exam<'a>,
}

impl One<'_> {
    fn run(
        &self,
        model: &mut Model,
        resources: &Resources,
        keeping: &mut Keeping,
        bar: &mut Bar<'_>,
    ) -> Result<Run, EvalFailure> {
        let runs = match keeping {
            Keeping::Sequence(journal) => return resumed(journal, self.scenario, self.exam, bar),
            Keeping::Runs(runs) => Some(&mut **runs),
            Keeping::None => None,
        };
        self.rest(model, resources, runs, bar)
    }

    /// Goes on behind what is known of the run.
    fn rest(
        &self,
        model: &mut Model,
        resources: &Resources,
        mut runs: Option<&mut KeptRuns>,
        bar: &mut Bar<'_>,
    ) -> Result<Run, EvalFailure> {
        let Self { scenario, at, exam, .. } = *self;
        if let Some(run) = runs.as_mut().and_then(|runs| runs.run(at)) {
            bar.skip(run.cases);
            return Ok(run);
        }
        let done = runs.as_mut().map(|runs| runs.singles(at)).unwrap_or_default();
        bar.skip(done.len());
        let hears = &mut |event: Event<'_>| {
            if let Some(runs) = &mut runs {
                runs.note(at, &event);
            }
            bar.hear(&event);
        };
        let learner = |model: &Model| lifelong(self.name, &resources.inputs(self.name)?, model.clone());
        let run = match (scenario, self.editor) {
            (Scenario::Single, Some(editor)) => evaluate_rest(model, editor, exam, done, hears),
            (Scenario::Single, None) => teach_alone(&mut *learner(model)?, exam, done, hears),
            _ => evaluate_lifelong(&mut *learner(model)?, scenario, exam, hears)?,
        };
        if let (Some(runs), false) = (runs, scenario == Scenario::Single) {
            runs.finish(at, &run);
        }
        Ok(run)
    }
}

/// Whether scores of two models can be compared: a probability is over the same tokens.
fn comparable(before: &Model, after: &Model) -> Result<(), EvalFailure> {
    let tokens = |model: &Model| model.tokenizer().vocab_size();
    match (tokens(before), tokens(after)) {
        (before, after) if before != after => Err(EvalFailure::OtherTokens { before, after }),
        _ => Ok(()),
    }
}

/// A sequence that goes on and is written down.
fn resumed(
    journal: &mut Journal,
    scenario: Scenario,
    exam: Exam<'_>,
    bar: &mut Bar<'_>,
) -> Result<Run, EvalFailure> {
    let Some((mut learner, progress)) = journal.resume() else { unreachable!("a journal is of one run") };
    bar.skip(progress.cases);
    let keep = &mut |event: Event<'_>| {
        journal.note(&event);
        bar.hear(&event);
    };
    let run = go_on(&mut learner, scenario, exam, progress, keep)?;
    journal.kept()?;
    Ok(run)
}

fn report(
    request: &EvalRequest,
    model: &Model,
    data: &Dataset,
    resources: &Resources,
    shard: Option<Shard>,
    runs: Vec<Run>,
) -> Report {
    let spec = model.spec();
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: ModelInfo {
            path: request.model.clone(),
            architecture: spec.architecture.to_owned(),
            layers: spec.layers,
            d_model: spec.d_model,
            d_mlp: spec.d_mlp,
            digest: model.digest().to_string(),
            bytes: model.weights().byte_len(),
        },
        data: DataInfo {
            path: request.data.display().to_string(),
            cases: data.cases.len(),
            available: data.available,
            left_out: data.unusable.iter().map(ToString::to_string).collect(),
            unread: data.unread.clone(),
            not_applicable: not_applicable(&data.cases),
        },
        device: model.device().spec().to_string(),
        seed: request.sources.wishes.seed.unwrap_or(0),
        statistics: resources.moments().map(|(moments, source)| StatisticsInfo {
            source: source.to_owned(),
            tokens: moments.tokens,
            corpus: recant_core::hex(&moments.corpus),
        }),
        shard,
        bootstrap: None,
        differences: Vec::new(),
        cautions: Vec::new(),
        runs,
    }
    .with_confidence()
}
