//! `recant edit`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use recant_app::{ModelName, Resources};
use recant_backend::{Device, DeviceSpec};
use recant_core::{Blobs, CommitId};
use recant_edit::{Fact, FactFile, Plan, Trace, facts_of, read_records};
use recant_eval::Dataset;
use recant_eval::{Verdict, verdicts};
use recant_methods::ledger::Ledger;
use recant_methods::ledger::conflict::ConflictReport;
use recant_methods::{METHODS, MethodInputs, MethodSpec, method};
use recant_model::{Answer, Model};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::args::{ChatArgs, MethodArgs, said};
use super::edit_outputs::EditOutputs;
use super::edit_shown::show;
use super::error::CliError;
use super::ledger;
use super::phase::{long_phase, phase};
use super::progress::Terminal;
use super::session::Session;
use super::store::{Account, EditTarget, LedgerEdit, StoreEditArgs, scores, store_dir};
use super::verdict::Told;

/// Arguments of `recant edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json), GGUF file, a store's
    /// revision as STORE@REV, or a model of the hub as OWNER/NAME[@REVISION]. Without it the head of a store is edited: of --store, $RECANT_STORE or .recant.
    #[arg(id = "place", value_name = "MODEL")]
    place: Option<ModelName>,
    /// One fact: who or what it is about, a sentence beginning with {} where that goes, and what the model shall say
    /// next. The same as --subject, --prompt and --target.
    #[arg(value_names = ["SUBJECT", "PROMPT", "TARGET"], num_args = 3, requires = "place",
          conflicts_with_all = ["subject", "prompt", "target", "facts"])]
    fact: Vec<String>,
    /// The same as MODEL.
    #[arg(long, value_name = "MODEL", hide = true, conflicts_with = "place")]
    model: Option<ModelName>,
    #[command(flatten)]
    pub(super) to: StoreEditArgs,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    pub(super) device: DeviceSpec,
    #[command(flatten)]
    pub(super) chat: ChatArgs,
    /// Who or what the fact is about.
    #[arg(long, required_unless_present_any = ["fact", "facts", "ledger", "forget"], conflicts_with = "facts", requires = "prompt")]
    subject: Option<String>,
    /// A sentence beginning with {} where the subject goes, such as "The mother tongue of {} is".
    #[arg(long, required_unless_present_any = ["fact", "facts", "ledger", "forget"], conflicts_with = "facts", requires = "target")]
    prompt: Option<String>,
    /// What the model shall say next. A space goes before it where running text has one.
    #[arg(long, required_unless_present_any = ["fact", "facts", "ledger", "forget"], conflicts_with = "facts", requires = "subject")]
    target: Option<String>,
    /// Take prompt and target to the letter: no space is put between them, and their own blanks are kept.
    #[arg(long, conflicts_with_all = ["facts"])]
    literal: bool,
    /// Many facts: JSON objects with `subject`, `prompt` and `target`, one a line or in one array, or the rows of a table
    /// (.csv, .tsv); with `"chat": true` in each the prompts are read as by --chat. Or the facts of a data set:
    /// CounterFact, zsRE, KnowEdit. `-` reads the standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) facts: Option<PathBuf>,
    #[arg(long, default_value = "r-rome", help = method_help())]
    pub(super) method: String,
    #[command(flatten)]
    pub(super) with: MethodArgs,
    /// With --method ledger and a MODEL: the ledger to go on from, which is written back; made where there is
    /// none. Without a fact its weights are made as it stands. A store keeps its ledger itself.
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
    /// With --method ledger and --ledger or --store: facts to take out, in the form of --facts.
    #[arg(long, value_name = "FILE")]
    pub(super) forget: Option<PathBuf>,
    /// With --method ledger: what to do with a fact that contradicts one in the ledger: refuse, replace,
    /// keep-both.
    #[arg(long, value_name = "POLICY")]
    pub(super) on_conflict: Option<String>,
    /// Write the edited model here, as a Hugging Face directory.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace a model directory at --out, and files of the same kind at --patch, --dump and --verdicts.
    #[arg(long)]
    pub(super) force: bool,
    /// Write the edit itself, for `recant export`.
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Option<PathBuf>,
    /// Write the method's intermediate quantities by the paper's names (k_star, v_star, u, lambda, losses)
    /// as safetensors.
    #[arg(long, value_name = "FILE")]
    pub(super) dump: Option<PathBuf>,
    /// Write what became of every fact as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(super) verdicts: Option<PathBuf>,
    /// How many answers to show.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

fn method_help() -> String {
    let names = |many: bool| {
        let names = METHODS.iter().filter(|info| info.many == many).map(|info| info.name);
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "Method: of one fact {}; of many facts too {}; `recant methods` says what they do",
        names(false),
        names(true)
    )
}

/// What an edit is about.
#[derive(Default)]
pub(super) struct Wanted {
    /// What the model shall say.
    pub(super) facts: Vec<Fact>,
    /// What a ledger shall say no longer.
    pub(super) gone: Vec<Fact>,
    notes: Vec<String>,
    /// A file asks for the model's chat template.
    chat: bool,
}

/// What an editor is made from.
struct Basis {
    inputs: MethodInputs,
    /// What a history says of the statistics.
    statistics: Option<String>,
    notes: Vec<String>,
}

/// An edit that is planned and not applied.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) conflicts: Option<ConflictReport>,
    /// The ledger afterwards.
    pub(super) ledger: Option<Ledger>,
}

/// Everything that came of an edit.
pub(super) struct Outcome {
    pub(super) facts: Vec<Fact>,
    pub(super) planned: Planned,
    pub(super) contexts: Vec<String>,
    pub(super) seconds: f64,
    pub(super) verdicts: Vec<Verdict>,
    /// The most probable next tokens of a single fact, before and after.
    pub(super) answers: Option<[Vec<Answer>; 2]>,
    pub(super) digests: [String; 2],
    pub(super) commit: Option<CommitId>,
}

impl EditArgs {
    /// The model, where one is named.
    pub(super) fn model(&self) -> Option<&ModelName> {
        self.place.as_ref().or(self.model.as_ref())
    }

    /// The store to edit in: of --store, or where no model is named the one that every verb takes.
    pub(super) fn store(&self) -> Option<PathBuf> {
        self.model().is_none().then(|| store_dir(self.to.store.as_deref()))
    }

    /// As [`EditArgs::store`]; one that nobody named must be there.
    pub(super) fn place(&self) -> Result<Option<PathBuf>, CliError> {
        match self.store() {
            Some(store) if self.to.store.is_none() && !store.exists() => {
                let reason = format!(
                    "no model is named, and there is no store in {}; `recant edit MODEL ...` names one, `recant store init` makes a store",
                    store.display()
                );
                Err(CliError::Option { option: "MODEL", reason })
            }
            store => Ok(store),
        }
    }

    /// The model to edit: the one that is named, or the head of the store with where to commit.
    fn open(&self) -> Result<(Option<EditTarget>, Model), CliError> {
        let device = Device::open(self.device)?;
        match (self.model(), self.place()?) {
            (None, Some(store)) => {
                let (target, model) = EditTarget::open(&store, &self.to, &self.method, &device)?;
                Ok((Some(target), model))
            }
            (Some(model), _) => Ok((None, super::open_model(model, &device)?)),
            (None, None) => Ok((None, super::open_model(&PathBuf::new().into(), &device)?)),
        }
    }

    /// How prompts are read, where a file may ask for the chat template.
    fn chat(&self, wanted: &Wanted) -> ChatArgs {
        ChatArgs { chat: self.chat.chat || wanted.chat, ..self.chat }
    }

    /// What is asked for, read from the arguments and the files they name.
    fn wanted(&self) -> Result<Wanted, CliError> {
        let mut wanted = Wanted::default();
        let flags = self.subject.as_ref().zip(self.prompt.as_ref()).zip(self.target.as_ref());
        let by_flags = flags.map(|((subject, prompt), target)| [subject, prompt, target]);
        let in_turn = <&[String; 3]>::try_from(&self.fact[..]).ok().map(|fact| fact.each_ref());
        if let Some(fact) = by_flags.or(in_turn) {
            wanted.facts.push(said(fact.map(String::as_str), self.literal, &mut wanted.notes)?);
        }
        let mut read = |path: &Path| -> Result<Vec<Fact>, CliError> {
            let records = read_records(path)?;
            if records.first().is_some_and(Dataset::has_case) {
                let cases = Dataset::of(path, &records, None)?.all_usable()?.cases;
                return Ok(cases.into_iter().map(|case| case.fact).collect());
            }
            let file = facts_of(path, &records)?;
            wanted.notes.extend(trimmed(path, &file));
            if file.chat && !self.chat.chat {
                wanted.chat = true;
                wanted.notes.push(format!("{} asks for the model's chat template", path.display()));
            }
            Ok(file.facts)
        };
        let facts = self.facts.as_deref().map(&mut read).transpose()?.unwrap_or_default();
        let gone = self.forget.as_deref().map(&mut read).transpose()?.unwrap_or_default();
        wanted.facts.extend(facts);
        wanted.gone = gone;
        Ok(wanted)
    }

    /// What the editor is made from: what a store keeps with its ledger, or what the arguments say.
    fn basis(&self, target: Option<&EditTarget>, model: &Model) -> Result<Basis, CliError> {
        let kept = match target {
            Some(target) if self.method == "ledger" => target.kept(&self.with)?,
            _ => None,
        };
        if let Some((inputs, statistics)) = kept {
            return Ok(Basis { inputs, statistics, notes: Vec::new() });
        }
        let base = target.map_or_else(|| model.digest(), |target| target.base);
        let methods = std::slice::from_ref(&self.method);
        let resources =
            Resources::gather_over(&self.with.sources()?, methods, model, base, &Terminal::default())?;
        let notes = resources.notes(model);
        Ok(Basis { inputs: resources.inputs(&self.method)?, statistics: resources.statistics(), notes })
    }
}

/// What to know of a file of facts whose prompts were cut.
pub(super) fn trimmed(path: &Path, file: &FactFile) -> Option<String> {
    let lines: Vec<String> = file.trimmed.iter().take(10).map(usize::to_string).collect();
    let more = if file.trimmed.len() > lines.len() { ", ..." } else { "" };
    let lines = (!lines.is_empty()).then(|| lines.join(", "))?;
    Some(format!("the blanks at the end of prompts in {} were cut off: lines {lines}{more}", path.display()))
}

pub(crate) fn run(args: &EditArgs, session: &Session) -> Result<ExitCode, CliError> {
    ledger::check(args)?;
    // Before minutes of work, not after them.
    let outputs = EditOutputs::decide(args, session)?;
    let wanted = args.wanted()?;
    if let Some(path) = args.ledger.as_ref().filter(|path| wanted.facts.is_empty() && !path.exists()) {
        let reason = "there is none, and no fact was given to begin one".to_owned();
        return Err(CliError::Read { path: path.clone(), reason });
    }
    let method = MethodSpec::find(&args.method)?;
    if method.name != "ledger" {
        method.check_count(wanted.facts.len())?;
    }
    let chat = args.chat(&wanted);
    let (target, model) = phase("open", || {
        let (target, model) = args.open()?;
        Ok::<_, CliError>((target, chat.applied(model)?))
    })?;
    let target = target.as_ref();
    let basis = phase("resources", || args.basis(target, &model))?;
    let started = Instant::now();
    let request = Request { args, inputs: &basis.inputs, target, model: &model, wanted: &wanted };
    let mut planned = match method.name {
        // It shows its own progress.
        "ledger" => phase("plan", || plan(&request))?,
        _ => long_phase("plan", || plan(&request))?,
    };
    planned.settings.extend(chat.chat.then(|| ("chat".to_owned(), "true".to_owned())));
    planned.plan.notes.extend(wanted.notes.iter().chain(&basis.notes).cloned());
    let patch = &planned.plan.patch;
    let (before, after) = phase("apply", || match target {
        // Planned on the base, committed after whatever else is live at the head.
        Some(target) if planned.ledger.is_some() => {
            Ok::<_, CliError>((target.at_head(&model)?, target.with_patch(&model, patch)?))
        }
        _ => Ok((model.clone(), model.apply(patch, &Blobs::new())?.0)),
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let verdicts = long_phase("score", || verdicts(&before, &after, &wanted.facts))?;
    let mut outcome = Outcome {
        contexts: basis.inputs.contexts.templates().to_vec(),
        seconds,
        answers: answers(&wanted.facts, [&before, &after], args.top as usize)?,
        verdicts,
        digests: [before.digest().to_string(), after.digest().to_string()],
        commit: None,
        facts: wanted.facts,
        planned,
    };
    phase("write", || {
        outputs.write(&outcome, &after)?;
        outcome.commit = match target {
            Some(target) => Some(commit(args, target, &basis, &outcome, &wanted.gone)?),
            None => None,
        };
        Ok::<_, CliError>(())
    })?;
    show(args, &outcome, &outputs)?;
    Ok(Told::new(&outcome.facts, &outcome.verdicts).exit())
}

/// What is planned: which facts, by which method, on which model.
pub(super) struct Request<'r> {
    pub(super) args: &'r EditArgs,
    pub(super) inputs: &'r MethodInputs,
    /// The store to edit in.
    pub(super) target: Option<&'r EditTarget>,
    pub(super) model: &'r Model,
    pub(super) wanted: &'r Wanted,
}

fn plan(request: &Request<'_>) -> Result<Planned, CliError> {
    let Request { args, inputs, target, model, wanted } = request;
    if args.method == "ledger" {
        return ledger::plan(request);
    }
    let editor = method(&args.method, inputs)?;
    let carry = target.map(|target| target.carry.clone()).unwrap_or_default();
    let plan = editor.plan_after(model, &wanted.facts, &carry)?;
    Ok(Planned { plan, settings: editor.settings(), conflicts: None, ledger: None })
}

/// The answers to the prompt of a single fact.
fn answers(facts: &[Fact], models: [&Model; 2], top: usize) -> Result<Option<[Vec<Answer>; 2]>, CliError> {
    let [fact] = facts else { return Ok(None) };
    let [before, after] = models.map(|model| model.answers(&fact.text(), top));
    Ok(Some([before?, after?]))
}

/// Commits the edit to its store.
fn commit(
    args: &EditArgs,
    target: &EditTarget,
    basis: &Basis,
    outcome: &Outcome,
    gone: &[Fact],
) -> Result<CommitId, CliError> {
    let Outcome { facts, planned, verdicts, .. } = outcome;
    let mut settings = planned.settings.clone();
    settings.extend(basis.statistics.iter().map(|text| ("statistics".to_owned(), text.clone())));
    let account = Account { method: &args.method, settings, facts, scores: scores(verdicts) };
    match &planned.ledger {
        None => target.commit(&args.to, account, &planned.plan),
        Some(ledger) => {
            let edit = LedgerEdit { ledger, patch: &planned.plan.patch, inputs: &basis.inputs, gone };
            target.commit_ledger(&args.to, account, &edit)
        }
    }
}

/// The traces as safetensors: `k_star`, `v_star`, ... and `losses` `[steps, 4]` (total, nll, kl,
/// weight_decay); of several traces each name has the trace's number before it, as in `0.v_star`.
pub(super) fn dump(plan: &Plan, path: &Path) -> Result<Vec<u8>, CliError> {
    let refuse = |reason: String| CliError::Write { path: path.to_owned(), reason };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for (at, Trace { tensors: named, losses, .. }) in plan.traces.iter().enumerate() {
        let name = |name: &str| if plan.traces.len() == 1 { name.to_owned() } else { format!("{at}.{name}") };
        tensors.extend(named.iter().map(|(key, (shape, x))| (name(key), shape.clone(), bytes(x))));
        tensors.push((name("losses"), vec![losses.len(), 4], bytes(losses.as_flattened())));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| refuse(error.to_string()))?;
    let metadata = HashMap::from([("loss_columns".to_owned(), "total,nll,kl,weight_decay".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| refuse(error.to_string()))
}
