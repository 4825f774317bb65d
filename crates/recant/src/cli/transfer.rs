//! `recant facts move`: one fact's edit from a memory, a ledger or a patch to another, without another search.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recant_app::{Form, MoveFailure, MoveRequest, Moved, Moving, move_edits};
use recant_backend::Device;
use recant_edit::Fact;
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
    form: Option<FormArg>,
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
enum FormArg {
    /// A retrieval memory.
    Memory,
    /// A ledger of one layer.
    Ledger,
    /// A rank-one change of weights.
    Patch,
}

impl MoveArgs {
    fn request(&self) -> Result<MoveRequest, CliError> {
        let moving = match (&self.subject, &self.prompt, &self.target) {
            (Some(subject), Some(prompt), Some(target)) => {
                Moving::Stated(said((Some(subject), prompt, target), self.literal, &mut Vec::new())?)
            }
            _ if self.all => Moving::All,
            _ => Moving::Texts(self.fact.clone()),
        };
        let form = self.form.map(|form| match form {
            FormArg::Memory => Form::Memory,
            FormArg::Ledger => Form::Ledger,
            FormArg::Patch => Form::Patch,
        });
        let (from, to, copy, sources) = (self.from.clone(), self.to.clone(), self.copy, self.with.sources()?);
        Ok(MoveRequest { from, to, form, moving, copy, sources })
    }
}

/// An error with the option that it is about.
fn refused(error: MoveFailure) -> CliError {
    let (option, reason) = match error {
        MoveFailure::UnknownFact => (
            "--from",
            "a patch does not know its fact; say it with --subject, --prompt and --target".to_owned(),
        ),
        MoveFailure::KnownFacts => {
            ("--subject", "--from knows its facts; name one with --fact TEXT, or take --all".to_owned())
        }
        MoveFailure::NoForm => {
            ("--as", "--to is not there yet; say what it shall be: memory, ledger, patch".to_owned())
        }
        MoveFailure::NoEdit => ("--from", error.to_string()),
        MoveFailure::PatchThere => ("--to", error.to_string()),
        MoveFailure::ManyInPatch { .. } => ("--as", error.to_string()),
        error => return error.into(),
    };
    CliError::Option { option, reason }
}

pub(crate) fn run(args: &MoveArgs, session: &Session) -> Result<(), CliError> {
    let request = args.request()?;
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    let terminal = Terminal::default();
    let model = open_model(args.model.name(), &Device::open(args.model.device)?, &terminal)?;
    let Moved { facts, layer, stays, notes } =
        move_edits(&request, &model, &mut outputs, &terminal).map_err(refused)?;
    if args.json {
        let texts: Vec<String> = facts.iter().map(Fact::text).collect();
        return super::print_json(&json!({
            "moved": texts, "from": args.from.display().to_string(), "to": args.to.display().to_string(),
            "layer": layer, "stays": stays, "notes": notes,
        }));
    }
    for fact in &facts {
        say!("{} -> {}", fact.text(), fact.target);
    }
    let verb = if stays { "copied" } else { "moved" };
    say!("{} {verb} to {}, block {layer}, nothing was searched again", facts.len(), args.to.display());
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}
