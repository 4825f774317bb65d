//! `recant learn`: a memory beside the weights, in a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use recant_app::{Judged, Resources, VERDICTS, phase};
use recant_edit::{Fact, Memory};
use recant_eval::{Dataset, attach_locality, verdicts};
use recant_files::Role;
use recant_methods::lifelong::{MEMORY, load_state, save_state_to};
use recant_methods::{DEFAULT_MEMORY, MEMORIES, memory, open_memory};
use recant_model::Model;
use serde_json::json;

use super::args::{ChatArgs, MethodArgs, ModelArgs, said};
use super::error::CliError;
use super::progress::{self, Terminal};
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

/// What a memory is taught, each fact once.
#[derive(Default)]
struct Lessons {
    facts: Vec<Fact>,
    notes: Vec<String>,
    /// How many the memory knew already.
    known: usize,
}

impl Lessons {
    fn read(args: &LearnArgs) -> Result<Self, CliError> {
        let mut lessons = Self::default();
        if let (Some(subject), Some(prompt), Some(target)) = (&args.subject, &args.prompt, &args.target) {
            let fact = said([subject, prompt, target], args.literal, &mut lessons.notes)?;
            lessons.facts.push(fact.with_locality(args.locality.clone()));
        }
        if let Some(data) = &args.data {
            let mut data = Dataset::read(data, args.limit)?.all_usable()?;
            attach_locality(&mut data.cases, &data.spare);
            for fact in data.cases.into_iter().map(|case| case.fact) {
                lessons.add(fact);
            }
        }
        Ok(lessons)
    }

    /// Adds a fact of a file, unless it is there already.
    fn add(&mut self, fact: Fact) {
        let said = fact.statement();
        let mut earlier = self.facts.iter();
        match earlier.find(|earlier| earlier.statement().same_question(&said)) {
            Some(earlier) if earlier.statement().same(&said) => {
                self.notes.push(format!(
                    "{} -> {} is given twice and learned once",
                    fact.text(),
                    fact.target
                ));
                return;
            }
            Some(earlier) => self.notes.push(format!(
                "{} is given with {:?} and {:?}; the later one is learned last",
                fact.text(),
                earlier.target,
                fact.target
            )),
            None => {}
        }
        self.facts.push(fact);
    }

    /// Leaves out what the memory knows already.
    fn pass_over(&mut self, memory: &dyn Memory) {
        let count = self.facts.len();
        let held = memory.facts();
        self.facts.retain(|fact| !held.iter().any(|held| held.statement().same(&fact.statement())));
        self.known = count - self.facts.len();
    }
}

pub(crate) fn learn(args: &LearnArgs, session: &Session) -> Result<ExitCode, CliError> {
    let mut lessons = Lessons::read(args)?;
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.with.guard(&mut outputs)?;
    args.data.iter().try_for_each(|data| outputs.reads(Role::Input, data))?;
    let output = outputs.continued(&args.state, MEMORY)?;
    let told_in = args.verdicts.as_ref().map(|path| outputs.file(path, VERDICTS)).transpose()?;
    let terminal = Terminal::default();
    let model = phase(&terminal, "open", || args.chat.applied(args.model.open(None, &terminal)?))?;
    let (mut memory, told_of) = phase(&terminal, "resources", || begun(args, model.clone(), &terminal))?;
    if args.data.is_some() {
        lessons.pass_over(&*memory);
    }
    let started = Instant::now();
    let bar = progress::bar(lessons.facts.len() as u64, memory.name(), "edits");
    let mut notes = Vec::new();
    phase(&terminal, "learn", || -> Result<(), CliError> {
        for fact in &lessons.facts {
            tracing::debug!("learning {:?}", fact.text());
            notes = memory.learn(std::slice::from_ref(fact))?;
            // After every edit: whatever happens next, what was learned so far stands in the file.
            save_state_to(&memory.state()?, &output)?;
            if let Some(loss) = memory.loss() {
                bar.set_message(format!("{}, loss {loss:.3}", memory.name()));
            }
            bar.inc(1);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let verdicts = phase(&terminal, "score", || verdicts(&model, memory.model(), &lessons.facts))?;
    let told = Judged::new(&lessons.facts, &verdicts);
    if let Some(file) = &told_in {
        file.write(told.lines().as_bytes())?;
    }
    notes.extend(told_of.iter().chain(&lessons.notes).cloned());
    let (learned, known) = (told.len(), lessons.known);
    let (edits, bytes) = (memory.facts().len(), memory.state_bytes());
    if args.json {
        super::print_json(&json!({
            "edits": edits, "learned": learned, "known": known, "seconds": seconds, "bytes": bytes,
            "state": memory.state()?.id().to_string(), "notes": notes, "facts": told.json(),
            "holds": told.held() == learned,
        }))?;
        return Ok(verdict::exit(told));
    }
    say!("{}: {learned} learned in {seconds:.2} s, {known} known already", memory.name());
    verdict::print(told);
    say!("{} holds {edits} edits in {bytes} bytes", args.state.display());
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(verdict::exit(told))
}

/// The memory of --state, or an empty one, and what to know about the files that were read.
fn begun(
    args: &LearnArgs,
    model: Model,
    terminal: &Terminal,
) -> Result<(Box<dyn Memory>, Vec<String>), CliError> {
    if args.state.exists() {
        let opened = load_state(&args.state)?;
        let notes = opened.note(&args.state).into_iter().collect();
        return Ok((open_memory(&opened.value, model)?, notes));
    }
    let resources =
        Resources::gather(&args.with.sources()?, std::slice::from_ref(&args.method), &model, terminal)?;
    let notes = resources.notes(&model);
    Ok((memory(&args.method, &resources.inputs(&args.method)?, model)?, notes))
}
