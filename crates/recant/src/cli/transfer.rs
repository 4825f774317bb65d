//! `recant facts move`: one fact's edit from a memory, a ledger or a patch to another, without another search.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use recant_app::{PATCH, Resources, open_record};
use recant_backend::Device;
use recant_core::WeightPatch;
use recant_edit::{Fact, Memory};
use recant_files::{FileKind, OutputFile, Role};
use recant_methods::ledger::{LEDGER, Ledger};
use recant_methods::lifelong::{MEMORY, Pairs};
use recant_methods::retrieval::Retrieval;
use recant_methods::rome::Covariance;
use recant_methods::transfer::{Loose, TransferError};
use recant_methods::{make_ledger, make_retrieval};
use recant_model::Model;
use recant_records::{AnyRecord, Record};
use serde_json::json;

use super::args::{MethodArgs, ModelArgs, said};
use super::error::CliError;
use super::open_model;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant facts move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The base model that both sides stand on.
    #[command(flatten)]
    model: ModelArgs,
    /// Where the edit is: a retrieval memory, a ledger of one layer, or a patch of `recant edit --patch`.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Where it goes. A memory or a ledger that is there takes it in; a patch must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// What --to shall be, where it is not there yet: memory, ledger, patch.
    #[arg(long = "as", value_enum)]
    form: Option<Form>,
    /// The fact, as a sentence: its prompt with the subject in it (repeatable).
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["all", "subject"], conflicts_with = "all")]
    fact: Vec<String>,
    /// Every fact of --from.
    #[arg(long, conflicts_with = "subject")]
    all: bool,
    /// From a patch, which does not know its fact: who or what it is about.
    #[arg(long, requires = "prompt", conflicts_with = "fact")]
    subject: Option<String>,
    /// From a patch: a sentence beginning with {} where the subject goes.
    #[arg(long, requires = "target")]
    prompt: Option<String>,
    /// From a patch: what the edit says next.
    #[arg(long, requires = "subject")]
    target: Option<String>,
    /// From a patch: prompt and target are to the letter, as with `recant edit --literal`.
    #[arg(long, requires = "target")]
    literal: bool,
    /// Leave the edit where it is, too.
    #[arg(long)]
    copy: bool,
    /// For a --to that is begun.
    #[command(flatten)]
    with: MethodArgs,
    /// Print JSON: `moved`, `from`, `to`, `layer`.
    #[arg(long)]
    json: bool,
}

/// What holds edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A retrieval memory.
    Memory,
    /// A ledger of one layer.
    Ledger,
    /// A rank-one change of weights.
    Patch,
}

/// A file that holds edits, opened.
enum Holder {
    Memory(Box<Pairs>),
    Ledger(Ledger),
    Patch(WeightPatch),
}

impl Holder {
    /// Opens a file by how it begins.
    fn open(path: &Path, model: &Model, notes: &mut Vec<String>) -> Result<Self, CliError> {
        let opened = open_record(path, AnyRecord::from_file)?;
        notes.extend(opened.note(path));
        match opened.value {
            AnyRecord::Memory(state) if state.kind() != "memory" => {
                Err(TransferError::Kind { kind: state.kind().to_owned() }.into())
            }
            AnyRecord::Memory(state) => Ok(Self::Memory(Box::new(Retrieval::open(model.clone(), &state)?))),
            AnyRecord::Ledger(ledger) => Ok(Self::Ledger(ledger)),
            AnyRecord::Patch(patch) => Ok(Self::Patch(patch)),
        }
    }

    fn kind(&self) -> FileKind {
        match self {
            Self::Memory(_) => MEMORY,
            Self::Ledger(_) => LEDGER,
            Self::Patch(_) => PATCH,
        }
    }

    fn write(&self, output: &OutputFile) -> Result<(), CliError> {
        let bytes = match self {
            Self::Memory(memory) => memory.state()?.to_file(),
            Self::Ledger(ledger) => ledger.to_file(),
            Self::Patch(patch) => patch.to_file(),
        };
        Ok(output.write(&bytes)?)
    }
}

/// What is asked for, in the order of the source.
fn chosen(args: &MoveArgs, holder: &Holder, model: &Model) -> Result<Vec<Loose>, CliError> {
    let held: Vec<Fact> = match holder {
        Holder::Memory(memory) => memory.facts().to_vec(),
        Holder::Ledger(ledger) => ledger.facts().cloned().collect(),
        Holder::Patch(patch) => {
            let (Some(subject), Some(prompt), Some(target)) = (&args.subject, &args.prompt, &args.target)
            else {
                let reason = "a patch does not know its fact; say it with --subject, --prompt and --target";
                return Err(CliError::Option { option: "--from", reason: reason.to_owned() });
            };
            let fact = said([subject, prompt, target], args.literal, &mut Vec::new())?;
            let resources = Resources::gather(
                &args.with.sources()?,
                &["r-rome".to_owned()],
                model,
                &Terminal::default(),
            )?;
            return Ok(vec![Loose::in_patch(model, patch, &fact, resources.contexts())?]);
        }
    };
    if args.subject.is_some() {
        let reason = "--from knows its facts; name one with --fact TEXT, or take --all".to_owned();
        return Err(CliError::Option { option: "--subject", reason });
    }
    if let Some(text) = args.fact.iter().find(|text| !held.iter().any(|fact| fact.text() == **text)) {
        return Err(TransferError::Unknown { text: text.clone() }.into());
    }
    let wanted = held.iter().enumerate().filter(|(_, fact)| args.all || args.fact.contains(&fact.text()));
    let one = |(at, fact): (usize, &Fact)| match holder {
        Holder::Memory(memory) => Loose::in_memory(memory, at),
        Holder::Ledger(ledger) => Loose::in_ledger(ledger, fact),
        Holder::Patch(_) => Err(TransferError::Unknown { text: fact.text() }),
    };
    Ok(wanted.map(one).collect::<Result<_, _>>()?)
}

/// The other side, empty, at the edit's layer.
fn begun(args: &MoveArgs, form: Form, layer: usize, model: &Model) -> Result<Option<Holder>, CliError> {
    let name = if form == Form::Memory { "memory" } else { "ledger" };
    let inputs = || -> Result<_, CliError> {
        let with = MethodArgs { layer: Some(layer), layers: Some(layer.to_string()), ..args.with.clone() };
        let resources = Resources::gather(&with.sources()?, &[name.to_owned()], model, &Terminal::default())?;
        Ok(resources.inputs(name)?)
    };
    Ok(match form {
        Form::Memory => Some(Holder::Memory(Box::new(make_retrieval(&inputs()?, model.clone())?))),
        Form::Ledger => Some(Holder::Ledger(Ledger::new(make_ledger(&inputs()?)?.ground(model)))),
        Form::Patch => None,
    })
}

/// The change of weights that one edit is.
fn written(args: &MoveArgs, loose: Vec<Loose>, model: &Model) -> Result<Holder, CliError> {
    let [one] = <[Loose; 1]>::try_from(loose).map_err(|loose| {
        let reason = format!(
            "a patch holds one edit, not {}; move them to a ledger, which solves for all together",
            loose.len()
        );
        CliError::Option { option: "--as", reason }
    })?;
    let with = MethodArgs { layer: Some(one.layer), layers: None, ..args.with.clone() };
    let inputs = Resources::gather(&with.sources()?, &["r-rome".to_owned()], model, &Terminal::default())?
        .inputs("r-rome")?;
    let identity = inputs.settings.iter().any(|set| set.key == "mom2_adjustment" && set.value == "false");
    let covariance = match (inputs.covariance, identity) {
        (_, true) => Covariance::Identity,
        (Some(covariance), false) => covariance,
        (None, false) => return Err(CliError::Edit(recant_edit::StatisticsError::Missing.into())),
    };
    Ok(Holder::Patch(one.into_patch(model, &covariance)?))
}

pub(crate) fn run(args: &MoveArgs, session: &Session) -> Result<(), CliError> {
    let refuse = |option, reason: &str| Err(CliError::Option { option, reason: reason.to_owned() });
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    let model = open_model(args.model.name(), &Device::open(args.model.device)?, &Terminal::default())?;
    let mut notes = Vec::new();
    let mut from = Holder::open(&args.from, &model, &mut notes)?;
    // A patch is a record of what was done, and stays.
    let stays = args.copy || matches!(from, Holder::Patch(_));
    let from_output = match stays {
        true => outputs.reads(Role::Input, &args.from).map(|()| None)?,
        false => Some(outputs.continued(&args.from, from.kind())?),
    };
    let loose = chosen(args, &from, &model)?;
    let Some(layer) = loose.first().map(|one| one.layer) else {
        return refuse("--from", "it holds no edit");
    };
    let moved: Vec<Fact> = loose.iter().map(|one| one.fact.clone()).collect();
    let there = args.to.exists().then(|| Holder::open(&args.to, &model, &mut notes)).transpose()?;
    let kind = match (&there, args.form) {
        (Some(there), _) => there.kind(),
        (None, Some(Form::Memory)) => MEMORY,
        (None, Some(Form::Ledger)) => LEDGER,
        (None, _) => PATCH,
    };
    let to_output = outputs.continued(&args.to, kind)?;
    let to = match (there, args.form) {
        (Some(Holder::Patch(_)), _) => {
            return refuse("--to", "a patch is there already; it takes no other edit in");
        }
        (Some(there), _) => Some(there),
        (None, Some(form)) => begun(args, form, layer, &model)?,
        (None, None) => {
            return refuse("--as", "--to is not there yet; say what it shall be: memory, ledger, patch");
        }
    };
    let to = match to {
        None | Some(Holder::Patch(_)) => written(args, loose, &model)?,
        Some(Holder::Memory(mut memory)) => {
            loose.into_iter().try_for_each(|one| one.into_memory(&mut memory))?;
            Holder::Memory(memory)
        }
        Some(Holder::Ledger(mut ledger)) => {
            loose.into_iter().try_for_each(|one| one.into_ledger(&mut ledger))?;
            Holder::Ledger(ledger)
        }
    };
    if !stays {
        taken_out(&mut from, &moved)?;
    }
    // The new place first: a crash between the two leaves an edit in both, never in neither.
    to.write(&to_output)?;
    if let Some(output) = from_output {
        from.write(&output)?;
    }
    if args.json {
        let texts: Vec<String> = moved.iter().map(Fact::text).collect();
        return super::print_json(&json!({
            "moved": texts, "from": args.from.display().to_string(), "to": args.to.display().to_string(),
            "layer": layer, "stays": stays, "notes": notes,
        }));
    }
    for fact in &moved {
        say!("{} -> {}", fact.text(), fact.target);
    }
    let verb = if stays { "copied" } else { "moved" };
    say!("{} {verb} to {}, block {layer}, nothing was searched again", moved.len(), args.to.display());
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}

fn taken_out(from: &mut Holder, moved: &[Fact]) -> Result<(), CliError> {
    match from {
        Holder::Memory(memory) => {
            for fact in moved {
                let at = memory.facts().iter().position(|held| held == fact);
                at.map_or(Ok(()), |at| memory.forget(at))?;
            }
        }
        Holder::Ledger(ledger) => {
            for fact in moved {
                ledger.remove(fact).map_err(TransferError::from)?;
            }
        }
        Holder::Patch(_) => {}
    }
    Ok(())
}
