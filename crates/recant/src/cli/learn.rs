//! `recant learn`: a memory beside the weights, in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use recant_app::{Learned, Lessons, VERDICTS, phase};
use recant_files::Role;
use recant_methods::lifelong::MEMORY;
use recant_methods::{DEFAULT_MEMORY, MEMORIES};
use serde_json::json;

use super::args::{ChatArgs, MethodArgs, ModelArgs, said};
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;
use super::verdict;

/// Arguments of `recant learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
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
    /// Take prompt and target to the letter: no space is put between them, and their own blanks are kept.
    #[arg(long, requires = "target")]
    literal: bool,
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
    #[arg(long, default_value = DEFAULT_MEMORY, help = method_help())]
    method: String,
    #[command(flatten)]
    with: MethodArgs,
    /// Write what became of every fact that was learned as JSON lines.
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// Print JSON: `edits`, `learned`, `known`, `seconds`, `bytes`, `state`, `notes`, `facts[]`.
    #[arg(long)]
    json: bool,
}

fn method_help() -> String {
    let names = MEMORIES.map(|info| info.name).join(", ");
    format!(
        "Method of a memory that is begun: {names}; `recant methods` says what they do. One that is there knows its own"
    )
}

impl LearnArgs {
    /// What is taught.
    fn lessons(&self) -> Result<Lessons, CliError> {
        if let Some(data) = &self.data {
            return Ok(Lessons::read(data, self.limit)?);
        }
        let mut lessons = Lessons::default();
        if let (Some(subject), Some(prompt), Some(target)) = (&self.subject, &self.prompt, &self.target) {
            let fact = said([subject, prompt, target], self.literal, &mut lessons.notes)?;
            lessons.facts.push(fact.with_locality(self.locality.clone()));
        }
        Ok(lessons)
    }
}

pub(crate) fn learn(args: &LearnArgs, session: &Session) -> Result<ExitCode, CliError> {
    let lessons = args.lessons()?;
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    args.data.iter().try_for_each(|data| outputs.reads(Role::Input, data))?;
    let output = outputs.continued(&args.state, MEMORY)?;
    let told_in = args.verdicts.as_ref().map(|path| outputs.file(path, VERDICTS)).transpose()?;
    let sources = args.with.sources()?;
    let terminal = Terminal::default();
    let open = || args.chat.applied(args.model.open(None, &terminal)?);
    let model = phase(&terminal, "open", open)?;
    let learned = recant_app::learn(lessons, &args.method, &sources, &output, &model, &terminal)?;
    let judged = learned.judged();
    if let Some(file) = &told_in {
        file.write(judged.lines().as_bytes())?;
    }
    let Learned { memory, known, notes, seconds, .. } = &learned;
    let (edits, bytes) = (memory.facts().len(), memory.state_bytes());
    if args.json {
        super::print_json(&json!({
            "edits": edits, "learned": judged.len(), "known": known, "seconds": seconds, "bytes": bytes,
            "state": memory.state()?.id().to_string(), "notes": notes, "facts": judged.json(),
            "holds": judged.held() == judged.len(),
        }))?;
        return Ok(verdict::exit(judged));
    }
    say!("{}: {} learned in {seconds:.2} s, {known} known already", memory.name(), judged.len());
    verdict::print(judged);
    say!("{} holds {edits} edits in {bytes} bytes", args.state.display());
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(verdict::exit(judged))
}
