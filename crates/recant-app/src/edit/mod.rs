//! An edit, from what is asked for to what came of it: one fact or a thousand, in or out, of a model or of a store.

mod error;
mod files;
mod gate;
mod ledger;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use recant_backend::Device;
use recant_core::{Blobs, OnConflict};
use recant_edit::{EditError, Fact, Plan};
use recant_eval::{Asked, Retained, SideEffects, SideProbes, Verdict, side_effects, verdicts};
use recant_files::Outputs;
use recant_methods::ledger::Ledger;
use recant_methods::ledger::conflict::ConflictReport;
use recant_methods::{DEFAULT_METHOD, MethodInputs, MethodSpec, method};
use recant_model::{Answer, Model};
use recant_store::Store;

pub use self::error::EditFailure;
pub use self::files::{EditFiles, EditFilesError, EditPaths};
pub use self::gate::{Bound, Breach, Gate, GateError, Gated};
use crate::judged::Judged;
use crate::model_ref::{ModelRef, ModelRefError};
use crate::observer::{Observer, Progress, Unit, Watching, phase};
use crate::resources::{MethodSources, Resources};
use crate::store::Head;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct EditRequest {
    /// What the model shall say.
    pub facts: Vec<Fact>,
    /// What a ledger shall say no longer.
    pub remove: Vec<Fact>,
    /// The method's name.
    pub method: String,
    /// What the method is made from.
    pub sources: MethodSources,
    /// The ledger to go on from, where the edit is not one in a store, which keeps its own. Without it a ledger is
    /// begun.
    pub ledger: Option<Ledger>,
    /// What becomes of a fact that contradicts one in the ledger; without it, what the method's settings say.
    pub on_conflict: Option<OnConflict>,
    /// Whether to edit also where the model already says every fact.
    pub again: bool,
    /// How many answers to a single fact's prompt to tell.
    pub top: usize,
    /// Whether to ask what else moved, and the facts that are to be retained.
    pub side_effects: Option<Vec<Retained>>,
    /// What to know about where the facts come from.
    pub notes: Vec<String>,
}

impl EditRequest {
    /// The facts, by the method that is taken where nobody names one.
    #[must_use]
    pub fn new(facts: Vec<Fact>) -> Self {
        Self {
            facts,
            remove: Vec::new(),
            method: DEFAULT_METHOD.to_owned(),
            sources: MethodSources::default(),
            ledger: None,
            on_conflict: None,
            again: false,
            top: 5,
            side_effects: None,
            notes: Vec::new(),
        }
    }

    /// The method, if it can do what is asked for: known before a model is opened.
    ///
    /// # Errors
    /// [`EditError::Setting`] when there is no such method, [`EditError::FactCount`].
    pub fn check(&self) -> Result<&'static MethodSpec, EditError> {
        let method = MethodSpec::find(&self.method)?;
        if !method.is_ledger() {
            method.check_count(self.facts.len())?;
        }
        Ok(method)
    }
}

/// Where the model that is edited comes from.
#[derive(Debug, Clone, Copy)]
pub enum EditSource<'a> {
    /// A model; the edited one is another.
    Model(&'a ModelRef),
    /// The head of a store, where the edit can be committed.
    Store(&'a Store),
}

impl EditSource<'_> {
    /// Names it to `outputs` as something that is read. What a store is linked to is looked for in all of its objects:
    /// only where something is written.
    fn guard(self, outputs: &mut Outputs, writes: bool) -> Result<(), ModelRefError> {
        match self {
            Self::Model(model) => model.guard(outputs),
            Self::Store(store) if writes => Ok(store.guard(outputs)?),
            Self::Store(_) => Ok(()),
        }
    }

    /// The files of a directory that is written for the model.
    fn files(self) -> Result<Vec<PathBuf>, ModelRefError> {
        match self {
            Self::Model(model) => model.files(),
            Self::Store(store) => Ok(store.checkout_files(store.resolve("HEAD")?)?),
        }
    }

    /// Opens the model to plan on.
    ///
    /// # Errors
    /// [`EditFailure::Model`], [`EditFailure::Store`].
    pub fn open(
        self,
        method: &MethodSpec,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<EditPlace, EditFailure> {
        Ok(match self {
            Self::Model(model) => EditPlace { model: model.open(device, observer)?, head: None },
            Self::Store(store) => {
                let (head, model) = Head::open(store.clone(), method, device, observer)?;
                EditPlace { model, head: Some(head) }
            }
        })
    }
}

/// The model to plan on, and the head that it is the model of.
pub struct EditPlace {
    /// The model.
    pub model: Model,
    /// Where the edit can be committed.
    pub head: Option<Head>,
}

impl From<Model> for EditPlace {
    fn from(model: Model) -> Self {
        Self { model, head: None }
    }
}

/// Everything that came of an edit.
pub struct EditOutcome {
    /// The method.
    pub method: &'static MethodSpec,
    /// What the model shall say.
    pub facts: Vec<Fact>,
    /// What it shall say no longer.
    pub removed: Vec<Fact>,
    /// The model before the edit.
    pub before: Model,
    /// The model after it, which shares every tensor that was not edited.
    pub after: Model,
    /// The change of weights, how it came about, and what to know about it.
    pub plan: Plan,
    /// Every setting that decides the result.
    pub settings: BTreeMap<String, String>,
    /// What a history says of the statistics.
    pub statistics: Option<String>,
    /// What the new facts meet in a ledger.
    pub conflicts: Option<ConflictReport>,
    /// The ledger afterwards.
    pub ledger: Option<Ledger>,
    /// What became of each fact.
    pub verdicts: Vec<Verdict>,
    /// The most probable next tokens after a single fact's prompt, before and after.
    pub answers: Option<[Vec<Answer>; 2]>,
    /// What else moved, where that was asked.
    pub side_effects: Option<SideEffects>,
    /// What the gates that it passed measured.
    pub gated: Vec<Gated>,
    /// Planning and applying, in seconds.
    pub seconds: f64,
    /// What the editor was made from.
    pub(crate) inputs: MethodInputs,
}

impl EditOutcome {
    /// The facts with their verdicts.
    #[must_use]
    pub fn judged(&self) -> Judged<'_> {
        Judged::new(&self.facts, &self.verdicts)
    }

    /// Measures it by a gate, whose bounds a commit then records. What the gate bounds has to have been asked for.
    ///
    /// # Errors
    /// [`Breach`]: the edit should not be written.
    pub fn pass(&mut self, gate: &Gate) -> Result<(), Breach> {
        self.gated = gate.measure(self)?;
        Ok(())
    }

    /// The context templates of the method.
    #[must_use]
    pub fn contexts(&self) -> &[String] {
        self.inputs.contexts.templates()
    }

    /// The layers that were edited, as the editor says them: numbers with commas between them.
    #[must_use]
    pub fn layers(&self) -> &str {
        self.settings.get("layers").map_or("", String::as_str)
    }
}

/// What an editor is made from.
struct Basis {
    inputs: MethodInputs,
    /// What a history says of the statistics.
    statistics: Option<String>,
    notes: Vec<String>,
}

/// An edit that is planned and not applied.
struct Planned {
    plan: Plan,
    settings: BTreeMap<String, String>,
    conflicts: Option<ConflictReport>,
    /// The ledger afterwards.
    ledger: Option<Ledger>,
}

/// Plans an edit, applies it and judges it. The model of the place stays as it is, and nothing is written.
///
/// # Errors
/// [`EditFailure`].
pub fn edit(
    place: &EditPlace,
    request: EditRequest,
    observer: &dyn Observer,
) -> Result<EditOutcome, EditFailure> {
    let model = &place.model;
    let spec = request.check()?;
    // A ledger's edit is judged by the model at the head, which may be another one than it is planned on.
    let asked = match spec.is_ledger() {
        true => None,
        false => Some(phase(observer, "ask", || asked(model, &request))?),
    };
    let probes = request.side_effects.as_ref();
    let probes = probes.map(|retained| SideProbes::of(&request.facts, retained).that_fit(model));
    let basis = phase(observer, "resources", || basis(place, spec, &request.sources, observer))?;
    let started = Instant::now();
    let planned = phase(observer, "plan", || planned(place, spec, &request, &basis.inputs, observer))?;
    let Planned { mut plan, mut settings, conflicts, ledger } = planned;
    settings.extend(model.tokenizer().chat().map(|_| ("chat".to_owned(), "true".to_owned())));
    plan.notes.extend(request.notes.into_iter().chain(basis.notes));
    let (before, after) = phase(observer, "apply", || match &place.head {
        // Planned on the base, committed after whatever else is live at the head.
        Some(head) if ledger.is_some() => {
            Ok::<_, EditFailure>((head.at_head(model)?, head.with_patch(model, &plan.patch)?))
        }
        _ => Ok((model.clone(), model.apply(&plan.patch, &Blobs::new())?.0)),
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let verdicts = phase(observer, "score", || {
        let asked = asked.map_or_else(|| Asked::of(&before, &request.facts), Ok)?;
        verdicts(&asked, &after, &request.facts)
    })?;
    let beside = |probes| phase(observer, "side effects", || beside(&probes, [&before, &after], observer));
    let side_effects = probes.map(beside).transpose()?;
    Ok(EditOutcome {
        side_effects,
        gated: Vec::new(),
        method: spec,
        answers: answers(&request.facts, [&before, &after], request.top)?,
        facts: request.facts,
        removed: request.remove,
        before,
        after,
        plan,
        settings,
        statistics: basis.statistics,
        conflicts,
        ledger,
        verdicts,
        seconds,
        inputs: basis.inputs,
    })
}

/// What else an edit moved.
fn beside(
    probes: &SideProbes,
    models: [&Model; 2],
    observer: &dyn Observer,
) -> Result<SideEffects, EditFailure> {
    let found = side_effects(probes, models, &mut |done, of| {
        let (done, of) = (done as u64, of as u64);
        observer.progress(Progress { work: "side effects", detail: "", done, of, unit: Unit::Passes });
        Watching(observer).goes_on()
    });
    observer.idle();
    found?.ok_or(EditFailure::Edit(EditError::Cancelled))
}

/// How the model answers the facts before an edit, where there is anything to do.
fn asked(model: &Model, request: &EditRequest) -> Result<Asked, EditFailure> {
    let asked = Asked::of(model, &request.facts)?;
    match (&request.facts[..], asked.all_hold()) {
        ([first, others @ ..], Some(least)) if !request.again => {
            Err(EditFailure::AlreadySo { fact: Box::new(first.clone()), others: others.len(), least })
        }
        _ => Ok(asked),
    }
}

/// What the editor is made from: what a store keeps with its ledger, or what was asked for.
fn basis(
    place: &EditPlace,
    spec: &MethodSpec,
    sources: &MethodSources,
    observer: &dyn Observer,
) -> Result<Basis, EditFailure> {
    let kept = match &place.head {
        Some(head) if spec.is_ledger() => head.kept(sources)?,
        _ => None,
    };
    if let Some((inputs, statistics)) = kept {
        return Ok(Basis { inputs, statistics, notes: Vec::new() });
    }
    let model = &place.model;
    let base = place.head.as_ref().map_or_else(|| model.digest(), |head| head.base);
    let resources = Resources::gather_over(sources, &[spec.name.to_owned()], model, base, observer)?;
    let notes = resources.notes(model);
    Ok(Basis { inputs: resources.inputs(spec.name)?, statistics: resources.statistics(), notes })
}

fn planned(
    place: &EditPlace,
    spec: &MethodSpec,
    request: &EditRequest,
    inputs: &MethodInputs,
    observer: &dyn Observer,
) -> Result<Planned, EditFailure> {
    if spec.is_ledger() {
        return ledger::planned(place, request, inputs, observer);
    }
    let editor = method(spec.name, inputs)?;
    let carry = place.head.as_ref().map(|head| head.carry.clone()).unwrap_or_default();
    let plan = editor.plan_watched(&place.model, &request.facts, &carry, &Watching(observer));
    observer.idle();
    let plan = plan?;
    Ok(Planned { plan, settings: editor.settings(), conflicts: None, ledger: None })
}

/// The answers to the prompt of a single fact.
fn answers(facts: &[Fact], models: [&Model; 2], top: usize) -> Result<Option<[Vec<Answer>; 2]>, EditFailure> {
    let [fact] = facts else { return Ok(None) };
    let [before, after] = models.map(|model| model.answers(&fact.text(), top));
    Ok(Some([before?, after?]))
}
