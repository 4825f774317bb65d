//! `recant facts`: what a memory, a ledger or a store holds, listed and taken out.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use recant_app::{FactsHeld, FactsHeldError, Removal, ledger_facts, open_held};
use recant_backend::{Device, DeviceSpec};
use recant_core::{AdapterState, StoredFact};
use recant_edit::Fact;
use recant_files::OutputFile;
use recant_methods::ledger::{LEDGER, Ledger};
use recant_methods::lifelong::MEMORY;
use serde_json::{Value, json};

use super::args::ModelArgs;
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;
use super::transfer::{self, MoveArgs};
use super::{ModelName, open_model};

/// Commands on the facts that something holds.
#[derive(Debug, Subcommand)]
pub(crate) enum FactsCommand {
    /// List what a memory, a ledger or a store's ledger holds.
    List(ListArgs),
    /// Take one edit out of a memory or a ledger, or a memory back to an earlier step.
    Remove(RemoveArgs),
    /// Move a fact's edit between a retrieval memory, a ledger and a patch, without another search.
    Move(Box<MoveArgs>),
}

pub(crate) fn run(command: &FactsCommand, session: &Session) -> Result<(), CliError> {
    match command {
        FactsCommand::List(args) => list(args),
        FactsCommand::Remove(args) => remove(args, session),
        FactsCommand::Move(args) => transfer::run(args, session),
    }
}

/// Arguments of `recant facts list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The file of a memory or a ledger, or a store's revision as STORE or STORE@REV.
    #[arg(value_name = "PLACE")]
    place: PathBuf,
    /// Print JSON: `kind`, `facts[]`, and of a memory `base`, `layer`, `id`, `bytes`, `settings`.
    #[arg(long)]
    json: bool,
}

/// Arguments of `recant facts remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The file of a memory or a ledger.
    #[arg(value_name = "FILE")]
    place: PathBuf,
    /// The model that a memory stands in front of; a ledger needs none.
    #[arg(value_name = "MODEL")]
    model: Option<ModelName>,
    /// Which edit, as `recant facts list` counts them, from 0.
    #[arg(long, value_name = "I", required_unless_present = "back_to")]
    edit: Option<usize>,
    /// Of a memory: go back to what it was after this many steps instead.
    #[arg(long, value_name = "STEPS", conflicts_with = "edit")]
    back_to: Option<usize>,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
    /// Print JSON: `edits`, and of a memory `bytes`, `state`.
    #[arg(long)]
    json: bool,
}

/// Arguments of the former `recant facts remove`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    #[arg(long, value_name = "I", required_unless_present = "back_to")]
    edit: Option<usize>,
    #[arg(long, value_name = "STEPS", conflicts_with = "edit")]
    back_to: Option<usize>,
    #[arg(long)]
    json: bool,
}

impl From<ForgetArgs> for RemoveArgs {
    fn from(former: ForgetArgs) -> Self {
        let ForgetArgs { model, state, edit, back_to, json } = former;
        let (device, model) = (model.device, Some(model.name().clone()));
        Self { place: state, model, edit, back_to, device, json }
    }
}

/// Arguments of the former `recant facts list`.
#[derive(Debug, Args)]
pub(crate) struct LearnedArgs {
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    #[arg(long)]
    json: bool,
}

impl From<LearnedArgs> for ListArgs {
    fn from(former: LearnedArgs) -> Self {
        Self { place: former.state, json: former.json }
    }
}

fn list(args: &ListArgs) -> Result<(), CliError> {
    if let Some(facts) = ledger_facts(&args.place)? {
        return list_ledger(&facts, None, args);
    }
    let opened = open_held(&args.place)?;
    let note = opened.note(&args.place);
    match opened.value {
        FactsHeld::Memory(state) => list_memory(&state, note, args),
        FactsHeld::Ledger(ledger) => list_ledger(&ledger.facts().cloned().collect::<Vec<_>>(), note, args),
    }
}

fn list_ledger(facts: &[Fact], note: Option<String>, args: &ListArgs) -> Result<(), CliError> {
    if args.json {
        return super::print_json(&json!({ "kind": "ledger", "facts": facts, "notes": note.as_slice() }));
    }
    say!("ledger, {}", super::store::count(facts.len(), "fact"));
    for (at, fact) in facts.iter().enumerate() {
        say!("{at:>5}  {} -> {}", fact.text(), fact.target);
    }
    note.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

fn list_memory(state: &AdapterState, note: Option<String>, args: &ListArgs) -> Result<(), CliError> {
    let facts = state.facts();
    if args.json {
        let one = |fact: &StoredFact| -> Value {
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
        say!("{at:>5}  {} -> {}", fact.statement().text(), fact.target);
    }
    note.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

fn remove(args: &RemoveArgs, session: &Session) -> Result<(), CliError> {
    let mut outputs = session.outputs(false);
    if let Some(model) = &args.model {
        super::found(model)?.guard(&mut outputs)?;
    }
    let opened = open_held(&args.place)?;
    let note = opened.note(&args.place);
    match opened.value {
        FactsHeld::Memory(state) => {
            let output = outputs.continued(&args.place, MEMORY)?;
            remove_from_memory(args, &state, &output, note)
        }
        FactsHeld::Ledger(ledger) => {
            let output = outputs.continued(&args.place, LEDGER)?;
            remove_from_ledger(args, ledger, &output, note)
        }
    }
}

fn remove_from_memory(
    args: &RemoveArgs,
    state: &AdapterState,
    output: &OutputFile,
    note: Option<String>,
) -> Result<(), CliError> {
    let Some(model) = &args.model else {
        let reason = "a memory is opened in front of its model; name it after the file".to_owned();
        return Err(CliError::Option { option: "MODEL", reason });
    };
    let model = open_model(model, &Device::open(args.device)?, &Terminal::default())?;
    // The parser asks for one of them.
    let removal = match args.edit {
        Some(edit) => Removal::Edit(edit),
        None => Removal::BackTo(args.back_to.unwrap_or(usize::MAX)),
    };
    let memory = recant_app::remove_from_memory(state, model, removal, output)?;
    let state = memory.state()?;
    let edits = memory.facts().len();
    if args.json {
        let (bytes, id) = (memory.state_bytes(), state.id().to_string());
        return super::print_json(&json!({
            "edits": edits, "bytes": bytes, "state": id, "notes": note.as_slice(),
        }));
    }
    say!("{} holds {}", args.place.display(), super::store::count(edits, "edit"));
    note.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

fn remove_from_ledger(
    args: &RemoveArgs,
    mut ledger: Ledger,
    output: &OutputFile,
    note: Option<String>,
) -> Result<(), CliError> {
    let Some(edit) = args.edit else {
        let reason =
            "it goes with a memory, whose edits were made in steps; a ledger is a set of facts".to_owned();
        return Err(CliError::Option { option: "--back-to", reason });
    };
    let fact = recant_app::remove_from_ledger(&mut ledger, edit, output).map_err(|error| match error {
        FactsHeldError::NoEdit { .. } | FactsHeldError::Ledger(_) => {
            CliError::Option { option: "--edit", reason: error.to_string() }
        }
        error => error.into(),
    })?;
    if args.json {
        return super::print_json(&json!({ "edits": ledger.len(), "notes": note.as_slice() }));
    }
    say!("taken out: {} -> {}", fact.text(), fact.target);
    say!("{} holds {}", args.place.display(), super::store::count(ledger.len(), "fact"));
    say!(
        "no weights were changed; `recant edit MODEL --method ledger --ledger FILE --out DIR` writes those of the ledger"
    );
    note.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}
