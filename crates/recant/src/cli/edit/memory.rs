//! `recant edit --state`: a memory beside the weights, in a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use recant_app::{EditRequest, Learned, VERDICTS, phase};
use recant_backend::Device;
use recant_methods::lifelong::MEMORY;
use recant_methods::{DEFAULT_MEMORY, MethodSpec};
use serde_json::json;

use super::EditArgs;
use crate::cli::args::{ChatArgs, MethodArgs, ModelArgs};
use crate::cli::error::CliError;
use crate::cli::progress::Terminal;
use crate::cli::session::Session;
use crate::cli::verdict;

/// Arguments of the former `recant learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    #[arg(long, requires = "prompt", conflicts_with = "data")]
    subject: Option<String>,
    #[arg(long, requires = "target")]
    prompt: Option<String>,
    #[arg(long, requires = "subject")]
    target: Option<String>,
    #[arg(long, requires = "target")]
    literal: bool,
    #[arg(long, value_name = "PROMPT", requires = "subject")]
    locality: Vec<String>,
    #[arg(long, value_name = "FILE", required_unless_present = "subject")]
    data: Option<PathBuf>,
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<usize>,
    #[arg(long, default_value = DEFAULT_MEMORY)]
    method: String,
    #[command(flatten)]
    with: MethodArgs,
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

impl From<LearnArgs> for EditArgs {
    fn from(former: LearnArgs) -> Self {
        Self {
            place: Some(former.model.name().clone()),
            device: former.model.device,
            chat: former.chat,
            // A fact that was said by itself was learned also where it was known.
            again: former.data.is_none(),
            state: Some(former.state),
            subject: former.subject,
            prompt: former.prompt,
            target: former.target,
            literal: former.literal,
            locality: former.locality,
            facts: former.data,
            limit: former.limit,
            method: Some(former.method),
            with: former.with,
            verdicts: former.verdicts,
            json: former.json,
            ..Self::default()
        }
    }
}

/// What is asked of a memory, if it can be asked of one.
fn request(args: &EditArgs) -> Result<(EditRequest, bool), CliError> {
    let (mut request, asks) = args.request()?;
    request.method = args.method.clone().unwrap_or_else(|| DEFAULT_MEMORY.to_owned());
    for fact in &mut request.facts {
        fact.locality.extend(args.locality.iter().cloned());
    }
    if MethodSpec::find(&request.method)?.is_memory() {
        return Ok((request, asks));
    }
    let reason =
        format!("{} changes weights; a memory is a method that keeps facts beside them", request.method);
    Err(CliError::Option { option: "--state", reason })
}

/// Teaches the memory at `state`.
pub(super) fn run(args: &EditArgs, state: &Path, session: &Session) -> Result<ExitCode, CliError> {
    let Some(name) = args.model() else {
        let reason = "a memory stands in front of a model; name it".to_owned();
        return Err(CliError::Option { option: "MODEL", reason });
    };
    let (request, asks) = request(args)?;
    let mut outputs = session.outputs(false);
    crate::cli::found(name)?.guard(&mut outputs)?;
    args.reads(&mut outputs)?;
    let output = outputs.continued(state, MEMORY)?;
    let told_in = args.verdicts.as_ref().map(|path| outputs.file(path, VERDICTS)).transpose()?;
    let terminal = Terminal::default();
    let open = || {
        let model = crate::cli::open_model(name, &Device::open(args.device)?, &terminal)?;
        args.chat(asks).applied(model)
    };
    let model = phase(&terminal, "open", open)?;
    let learned = recant_app::learn(request, &output, &model, &terminal)?;
    if let Some(file) = &told_in {
        file.write(learned.judged().lines().as_bytes())?;
    }
    show(args, state, &learned)?;
    Ok(verdict::exit(learned.judged()))
}

fn show(args: &EditArgs, state: &Path, learned: &Learned) -> Result<(), CliError> {
    let judged = learned.judged();
    let Learned { memory, known, notes, seconds, .. } = learned;
    let (edits, bytes) = (memory.facts().len(), memory.state_bytes());
    if args.json {
        return crate::cli::print_json(&json!({
            "edits": edits, "learned": judged.len(), "known": known, "seconds": seconds, "bytes": bytes,
            "state": memory.state()?.id().to_string(), "notes": notes, "facts": judged.json(),
            "holds": judged.held() == judged.len(),
        }));
    }
    say!("{}: {} learned in {seconds:.2} s, {known} known already", memory.name(), judged.len());
    verdict::print(judged);
    say!("{} holds {edits} edits in {bytes} bytes", state.display());
    notes.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}
