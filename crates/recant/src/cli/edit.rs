//! `recant edit`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use recant_backend::{Device, DeviceSpec};
use recant_core::{Addend, Blobs, CommitId, Delta, WeightPatch};
use recant_edit::{Fact, Plan, Trace};
use recant_methods::method;
use recant_model::{Answer, Model};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::args::MethodArgs;
use super::ask::AnswerJson;
use super::edit_outputs::EditOutputs;
use super::error::CliError;
use super::open_model;
use super::resources::Resources;
use super::session::Session;
use super::store::{Account, EditTarget, StoreEditArgs, scores};

/// Arguments of `recant edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Hugging Face directory: config.json, model.safetensors, tokenizer.json.
    #[arg(long, value_name = "DIR", required_unless_present = "store")]
    pub(super) model: Option<PathBuf>,
    #[command(flatten)]
    pub(super) to: StoreEditArgs,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    pub(super) device: DeviceSpec,
    /// Who or what the fact is about.
    #[arg(long, required_unless_present_any = ["facts", "ledger", "forget"], conflicts_with = "facts", requires = "prompt")]
    subject: Option<String>,
    /// A sentence beginning with {} where the subject goes, such as "The mother tongue of {} is".
    #[arg(long, required_unless_present_any = ["facts", "ledger", "forget"], conflicts_with = "facts", requires = "target")]
    prompt: Option<String>,
    /// What the model shall say next. A space goes before it where running text has one.
    #[arg(long, required_unless_present_any = ["facts", "ledger", "forget"], conflicts_with = "facts", requires = "subject")]
    target: Option<String>,
    /// Take the target to the letter: no space is put before it, and its own blanks are kept.
    #[arg(long, requires = "target")]
    literal: bool,
    /// Many facts: a JSON object with `subject`, `prompt` and `target` a line.
    #[arg(long, value_name = "FILE")]
    pub(super) facts: Option<PathBuf>,
    /// Method: r-rome, rome, memit, emmet, alphaedit, ledger, ft-l, ft-m; the middle four take many facts.
    #[arg(long, default_value = "r-rome")]
    pub(super) method: String,
    #[command(flatten)]
    pub(super) with: MethodArgs,
    /// With --method ledger and --model: the ledger to go on from, which is written back; made where there is
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
    /// Replace a model directory at --out, and files of the same kind at --patch and --dump.
    #[arg(long)]
    pub(super) force: bool,
    /// Write the edit itself, for `recant export`.
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Option<PathBuf>,
    /// Write the method's intermediate quantities by the paper's names (k_star, v_star, u, lambda, losses)
    /// as safetensors.
    #[arg(long, value_name = "FILE")]
    pub(super) dump: Option<PathBuf>,
    /// How many answers to show.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The edit, before and after.
struct Outcome {
    plan: Plan,
    layer: usize,
    settings: BTreeMap<String, String>,
    contexts: Vec<String>,
    seconds: f64,
    before: Vec<Answer>,
    after: Vec<Answer>,
    digests: [String; 2],
    commit: Option<CommitId>,
}

impl EditArgs {
    /// The model to edit: that of --model, or the head of --store with where to commit.
    pub(super) fn open(
        &self,
        device: &Device,
        session: &Session,
    ) -> Result<(Option<EditTarget>, Model), CliError> {
        match EditTarget::open(&self.to, &self.method, device, session)? {
            Some((target, model)) => Ok((Some(target), model)),
            // Clap asks for one of the two.
            None => Ok((None, open_model(self.model.as_deref().unwrap_or(Path::new("")), device)?)),
        }
    }
}

pub(crate) fn run(args: &EditArgs, session: &Session) -> Result<(), CliError> {
    let (Some(subject), Some(prompt), Some(target)) = (&args.subject, &args.prompt, &args.target) else {
        return super::many::run(args, session, Vec::new());
    };
    let fact = Fact::new(subject, prompt, target)?;
    let fact = if args.literal { fact.literally(target) } else { fact };
    if args.method == "ledger" || args.facts.is_some() || args.forget.is_some() {
        return super::many::run(args, session, vec![fact]);
    }
    // Before minutes of work, not after them.
    let outputs = EditOutputs::decide(args, session)?;
    let device = Device::open(args.device)?;
    let (target, model) = args.open(&device, session)?;
    let base = target.as_ref().map_or_else(|| model.digest(), |target| target.base);
    let methods = std::slice::from_ref(&args.method);
    let resources = Resources::gather_over(&args.with, methods, &model, base)?;
    let editor = method(&args.method, &resources.inputs(&args.method))?;
    let started = Instant::now();
    let carry = target.as_ref().map(|target| target.carry.clone()).unwrap_or_default();
    let facts = std::slice::from_ref(&fact);
    let mut plan = editor.plan_after(&model, facts, &carry)?;
    plan.notes.extend(resources.notes(&model));
    let (edited, _) = model.apply(&plan.patch, &Blobs::new())?;
    let seconds = started.elapsed().as_secs_f64();
    let top = args.top as usize;
    let mut outcome = Outcome {
        layer: resources.layer,
        settings: editor.settings(),
        contexts: resources.contexts.templates().to_vec(),
        seconds,
        before: model.answers(&fact.text(), top)?,
        after: edited.answers(&fact.text(), top)?,
        digests: [model.digest().to_string(), edited.digest().to_string()],
        plan,
        commit: None,
    };
    outputs.write(&outcome.plan, &edited, None)?;
    if let Some(target) = &target {
        let mut settings = editor.settings();
        settings.extend(resources.statistics().map(|text| ("statistics".to_owned(), text)));
        let scores = scores(facts, &model, &edited)?;
        let account = Account { method: &args.method, settings, facts, scores };
        outcome.commit = Some(target.commit(&args.to, account, &outcome.plan)?);
    }
    if args.json {
        return print_json(args, &fact, &outcome);
    }
    print(args, &fact, &outcome);
    outputs.tell(outcome.commit);
    Ok(())
}

fn print(args: &EditArgs, fact: &Fact, outcome: &Outcome) {
    super::out::lines(&fact.text());
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["before", "", "after", ""]);
    let cells = |answer: Option<&Answer>| match answer {
        Some(answer) => [super::text::token(&answer.token), format!("{:.2} %", 100.0 * answer.logprob.exp())],
        None => [String::new(), String::new()],
    };
    for i in 0..outcome.before.len().max(outcome.after.len()) {
        let [before, before_p] = cells(outcome.before.get(i));
        let [after, after_p] = cells(outcome.after.get(i));
        table.add_row([before, before_p, after, after_p]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    super::out::lines(&table.to_string());
    say!("{} at layer {}, {:.2} s", args.method, outcome.layer, outcome.seconds);
    for line in describe(&outcome.plan.patch) {
        say!("changed {line}");
    }
    outcome.plan.notes.iter().for_each(|note| say!("note: {note}"));
}

fn print_json(args: &EditArgs, fact: &Fact, outcome: &Outcome) -> Result<(), CliError> {
    let answers = |answers: &[Answer]| answers.iter().map(AnswerJson::from).collect::<Vec<_>>();
    let [before, after] = &outcome.digests;
    let losses = outcome.plan.traces.first().map(|trace| &trace.losses);
    super::print_json(&json!({
        "fact": fact, "text": fact.text(), "method": args.method, "layer": outcome.layer,
        "settings": outcome.settings, "contexts": outcome.contexts,
        "seconds": outcome.seconds, "before": answers(&outcome.before), "after": answers(&outcome.after),
        "model_before": before, "model_after": after, "patch": outcome.plan.patch.id().to_string(),
        "changed": describe(&outcome.plan.patch), "notes": outcome.plan.notes, "losses": losses,
        "commit": outcome.commit.map(|id| id.to_string()),
        "out": args.out.as_ref().map(|out| out.display().to_string()),
    }))
}

pub(super) fn describe(patch: &WeightPatch) -> Vec<String> {
    let one = |addend: &Addend| {
        let [rows, cols] = addend.shape();
        let rank = addend.rank().map_or("full rank".to_owned(), |rank| format!("rank {rank}"));
        format!("{rows} x {cols}, {rank}, norm {:.3}", addend.norm())
    };
    let changes = patch.changes().iter();
    let line = |(path, change): (&recant_core::ParamPath, &recant_core::Change)| match &change.delta {
        Delta::Add(addend) => format!("{path} ({})", one(addend)),
        Delta::Swap { after } => format!("{path} (replaced by {})", after.short()),
    };
    changes.map(line).collect()
}

/// The traces as safetensors: `k_star`, `v_star`, ... and `losses` `[steps, 4]` (total, nll, kl,
/// weight_decay).
pub(super) fn dump(plan: &Plan, path: &Path) -> Result<Vec<u8>, CliError> {
    let refuse = |reason: String| CliError::Write { path: path.to_owned(), reason };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for Trace { tensors: named, losses, .. } in plan.traces.iter().take(1) {
        tensors.extend(named.iter().map(|(name, (shape, x))| (name.clone(), shape.clone(), bytes(x))));
        tensors.push(("losses".to_owned(), vec![losses.len(), 4], bytes(losses.as_flattened())));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| refuse(error.to_string()))?;
    let metadata = HashMap::from([("loss_columns".to_owned(), "total,nll,kl,weight_decay".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| refuse(error.to_string()))
}
