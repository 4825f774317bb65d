//! What else an edit moved, and bounds that it has to keep.

use std::path::{Path, PathBuf};

use clap::Args;
use recant_app::{EditRequest, Gate, Gated};
use recant_eval::{Reach, SideChange, SideEffects, SideKind, check_retained, read_retained};
use recant_files::{Outputs, Role};
use recant_model::Model;

use crate::cli::error::CliError;

/// What is asked beside the facts.
#[derive(Debug, Default, Args)]
pub(crate) struct CheckArgs {
    /// Ask also what else moved: other subjects in the same sentence, names that are nearly the
    /// subject's, that name itself, plain texts.
    #[arg(long)]
    check: bool,
    /// Facts to be retained, which --check asks too: JSON objects with `prompt` and `answer`, one a line or in one array.
    #[arg(long, value_name = "FILE", requires = "check")]
    probe: Option<PathBuf>,
    /// Write nothing unless the edit keeps the bounds of this file (TOML): `facts`, `relation`, `namesake`, `name` and `retained` are
    /// the least shares that hold or stay, `retained_facts` a file as of --probe, `kl` and `perplexity` the most that plain
    /// texts may drift. Implies --check.
    #[arg(long, value_name = "FILE", conflicts_with = "probe")]
    gate: Option<PathBuf>,
}

impl CheckArgs {
    /// Names the files to `outputs` that are read.
    pub(super) fn reads(&self, outputs: &mut Outputs) -> Result<(), CliError> {
        let mut files = self.probe.iter().chain(&self.gate);
        Ok(files.try_for_each(|path| outputs.reads(Role::Input, path))?)
    }

    /// Asks for it, and reads the gate.
    pub(super) fn ask(&self, request: &mut EditRequest) -> Result<Option<Gate>, CliError> {
        let gate = self.gate.as_deref().map(read_gate).transpose()?;
        if self.check || gate.is_some() {
            let retained = self.retained(gate.as_ref()).map(read_retained).transpose()?;
            request.side_effects = Some(retained.unwrap_or_default());
        }
        Ok(gate)
    }

    /// The file of the facts to be retained.
    fn retained<'a>(&'a self, gate: Option<&'a Gate>) -> Option<&'a Path> {
        gate.map_or(self.probe.as_deref(), |gate| gate.retained_facts.as_deref())
    }

    /// Whether the model can be asked about the facts to be retained: before minutes of work, not after them.
    pub(super) fn fits(
        &self,
        request: &EditRequest,
        gate: Option<&Gate>,
        model: &Model,
    ) -> Result<(), CliError> {
        match (self.retained(gate), &request.side_effects) {
            (Some(path), Some(retained)) => Ok(check_retained(path, retained, model)?),
            _ => Ok(()),
        }
    }
}

/// A gate from its file; files that it names are beside it.
fn read_gate(path: &Path) -> Result<Gate, CliError> {
    let wrong = |reason: String| CliError::Read { path: path.to_owned(), reason };
    let text = recant_edit::read_text(path)?;
    let mut gate: Gate =
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    gate.check().map_err(|error| wrong(error.to_string()))?;
    if let (Some(facts), Some(beside)) = (&mut gate.retained_facts, path.parent()) {
        *facts = beside.join(&facts);
    }
    Ok(gate)
}

/// How many prompts whose answer changed a person sees; JSON has all.
const SHOWN: usize = 5;

/// Says what else moved.
pub(super) fn print(effects: &SideEffects) {
    say!("what else moved: {}", words(effects.reach()));
    for group in &effects.groups {
        let (kept, asked) = (group.kept, group.asked);
        match group.kind {
            SideKind::Relation => {
                say!("  other subjects in the same sentence: {kept} of {asked} keep their answer")
            }
            SideKind::Namesake => {
                say!("  names that are nearly the subject's: {kept} of {asked} keep their answer")
            }
            SideKind::Name => say!("  the subject's name, written again: {kept} of {asked} as before"),
            SideKind::Retained => say!("  facts to be retained: {kept} of {asked} still answered"),
            _ => say!("  {}: {kept} of {asked} kept", group.kind.name()),
        }
        for change in group.changed.iter().take(SHOWN) {
            let SideChange { prompt, before, probability_before, after, probability_after } = change;
            let (was, is) = (100.0 * probability_before, 100.0 * probability_after);
            let (before, after) = (before.trim(), after.trim());
            say!("    {prompt}: {before:?} {was:.1} % -> {after:?} {is:.1} %");
        }
        if group.changed.len() > SHOWN {
            say!("    and {} more", group.changed.len() - SHOWN);
        }
    }
    let [was, is] = effects.perplexity;
    say!("  plain texts: perplexity {was:.2} -> {is:.2}, KL {:.4} nats a token", effects.kl);
}

/// Says by what an edit passed a gate, and of what nothing could be measured.
pub(super) fn print_gated(gated: &[Gated]) {
    gated.iter().for_each(|gated| say!("gate: {gated}"));
}

fn words(reach: Reach) -> &'static str {
    match reach {
        Reach::Little => "little or nothing",
        Reach::Some => "some of what was asked",
        Reach::Much => "much; the edit reaches beyond what it is about",
    }
}
