//! `recant learn`, `recant forget` and `recant learned`: a memory beside the weights, in a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use recant_backend::Device;
use recant_core::AdapterState;
use recant_edit::{Fact, Memory};
use recant_eval::{Dataset, attach_locality};
use recant_files::Role;
use recant_methods::lifelong::{MEMORY, load_state, save_state_to};
use recant_methods::{memory, open_memory};
use recant_model::Model;
use serde_json::json;

use super::args::{MethodArgs, ModelArgs};
use super::error::CliError;
use super::resources::Resources;
use super::session::Session;
use super::{open_model, progress};

/// Arguments of `recant learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The memory: read if it is there, begun if it is not, and written after every edit.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Who or what the fact is about.
    #[arg(long, requires = "prompt", conflicts_with = "data")]
    subject: Option<String>,
    /// A sentence beginning with {} where the subject goes.
    #[arg(long, requires = "target")]
    prompt: Option<String>,
    /// What the model shall say next.
    #[arg(long, requires = "subject")]
    target: Option<String>,
    /// A prompt that must be left alone; WISE learns from it (repeatable).
    #[arg(long, value_name = "PROMPT", requires = "subject")]
    locality: Vec<String>,
    /// Learn the cases of this file, one edit each; those that the memory knows already are passed over, so that an
    /// interrupted run goes on where it stopped.
    #[arg(long, value_name = "FILE", required_unless_present = "subject")]
    data: Option<PathBuf>,
    /// Learn only the first N cases of --data; the others give the locality prompts.
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<usize>,
    /// Method of a memory that is begun: wise, grace, memory. One that is there knows its own.
    #[arg(long, default_value = "wise")]
    method: String,
    #[command(flatten)]
    with: MethodArgs,
    /// Print JSON: `edits`, `learned`, `seconds`, `bytes`, `state`, `notes`.
    #[arg(long)]
    json: bool,
}

/// Arguments of `recant forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The memory.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Which edit, as `recant learned` counts them.
    #[arg(long, value_name = "I", required_unless_present = "back_to")]
    edit: Option<usize>,
    /// Go back to the memory as it was after this many steps instead.
    #[arg(long, value_name = "STEPS", conflicts_with = "edit")]
    back_to: Option<usize>,
}

/// Arguments of `recant learned`.
#[derive(Debug, Args)]
pub(crate) struct LearnedArgs {
    /// The memory.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Print JSON: `kind`, `base`, `layer`, `id`, `bytes`, `settings`, `facts[]`.
    #[arg(long)]
    json: bool,
}

/// A model, with the memory of a state file in front of it if there is one.
pub(crate) fn with_state(model: Model, state: Option<&Path>) -> Result<Model, CliError> {
    match state {
        None => Ok(model),
        Some(path) => {
            let opened = load_state(path)?;
            opened.note(path).iter().for_each(|note| remark!("note: {note}"));
            Ok(open_memory(&opened.value, model)?.model().clone())
        }
    }
}

fn facts(args: &LearnArgs) -> Result<Vec<Fact>, CliError> {
    if let (Some(subject), Some(prompt), Some(target)) = (&args.subject, &args.prompt, &args.target) {
        return Ok(vec![Fact::new(subject, prompt, target)?.with_locality(args.locality.clone())]);
    }
    let Some(data) = &args.data else { return Ok(Vec::new()) };
    let mut data = Dataset::read(data, args.limit)?.all_usable()?;
    attach_locality(&mut data.cases, &data.spare);
    Ok(data.cases.into_iter().map(|case| case.fact).collect())
}

pub(crate) fn learn(args: &LearnArgs, session: &Session) -> Result<(), CliError> {
    let facts = facts(args)?;
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    args.data.iter().try_for_each(|data| outputs.reads(Role::Input, data))?;
    let output = outputs.continued(&args.state, MEMORY)?;
    let model = open_model(&args.model.model, &Device::open(args.model.device)?)?;
    let mut told = Vec::new();
    let mut memory: Box<dyn Memory> = if args.state.exists() {
        let opened = load_state(&args.state)?;
        told.extend(opened.note(&args.state));
        open_memory(&opened.value, model)?
    } else {
        let resources = Resources::gather(&args.with, std::slice::from_ref(&args.method), &model)?;
        told.extend(resources.notes(&model));
        memory(&args.method, &resources.inputs(&args.method), model)?
    };
    let known = match args.data {
        Some(_) => memory.facts().iter().zip(&facts).take_while(|(known, fact)| known == fact).count(),
        None => 0,
    };
    let started = Instant::now();
    let bar = progress::bar((facts.len() - known) as u64, memory.name(), "edits");
    let mut notes = Vec::new();
    for fact in &facts[known..] {
        notes = memory.learn(std::slice::from_ref(fact))?;
        // After every edit: whatever happens next, what was learned so far stands in the file.
        save_state_to(&memory.state()?, &output)?;
        if let Some(loss) = memory.loss() {
            bar.set_message(format!("{}, loss {loss:.3}", memory.name()));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    told.append(&mut notes);
    let (learned, seconds) = (facts.len() - known, started.elapsed().as_secs_f64());
    if args.json {
        return super::print_json(&json!({
            "edits": memory.facts().len(), "learned": learned, "seconds": seconds,
            "bytes": memory.state_bytes(), "state": memory.state()?.id().to_string(), "notes": told,
        }));
    }
    let (edits, bytes) = (memory.facts().len(), memory.state_bytes());
    say!("{}: {learned} learned in {seconds:.2} s, {known} known already", memory.name());
    say!("{} holds {edits} edits in {bytes} bytes", args.state.display());
    told.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

pub(crate) fn forget(args: &ForgetArgs, session: &Session) -> Result<(), CliError> {
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    let output = outputs.continued(&args.state, MEMORY)?;
    let opened = load_state(&args.state)?;
    let model = open_model(&args.model.model, &Device::open(args.model.device)?)?;
    let mut memory = open_memory(&opened.value, model)?;
    match (args.edit, args.back_to) {
        (Some(edit), _) => memory.forget(edit)?,
        (None, Some(steps)) => memory.roll_back(steps)?,
        (None, None) => {}
    }
    save_state_to(&memory.state()?, &output)?;
    say!("{} holds {} edits", args.state.display(), memory.facts().len());
    opened.note(&args.state).iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

pub(crate) fn learned(args: &LearnedArgs) -> Result<(), CliError> {
    let opened = load_state(&args.state)?;
    let (note, state): (_, AdapterState) = (opened.note(&args.state), opened.value);
    let facts = state.facts();
    if args.json {
        let one = |fact: &recant_core::StoredFact| {
            json!({
                "step": fact.step, "subject": fact.subject, "prompt": fact.prompt, "target": fact.target,
                "locality": fact.locality,
            })
        };
        return super::print_json(&json!({
            "kind": state.kind(), "base": state.base().to_string(), "layer": state.layer(),
            "id": state.id().to_string(), "bytes": state.encode().len(), "settings": state.settings(),
            "facts": facts.iter().map(one).collect::<Vec<_>>(), "notes": note.as_slice(),
        }));
    }
    say!("{} at layer {}, for model {}", state.kind(), state.layer(), state.base().short());
    for (at, fact) in facts.iter().enumerate() {
        say!("{at:>5}  {} -> {}", fact.prompt.replacen("{}", &fact.subject, 1), fact.target);
    }
    note.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}
