//! `recant ask`.

use clap::Args;
use recant_app::phase;
use recant_model::{Answer, Model};
use serde::Serialize;

use super::args::{AgainstArgs, ChatArgs, ModelArgs, PromptArgs};
use super::error::CliError;
use super::progress::Terminal;

/// Arguments of `recant ask`.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// Answer with what a memory has learned (`recant edit --state`).
    #[arg(long, value_name = "FILE")]
    state: Option<std::path::PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// How many answers.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    #[command(flatten)]
    against: AgainstArgs,
    /// Print JSON: `answers[]` with `token`, `id`, `logprob`, and of --against `against` with `model`, `answers[]`.
    #[arg(long)]
    json: bool,
}

/// An answer as JSON shows it.
#[derive(Debug, Serialize)]
pub(crate) struct AnswerJson {
    token: String,
    id: u32,
    logprob: f32,
}

impl From<&Answer> for AnswerJson {
    fn from(answer: &Answer) -> Self {
        Self { token: answer.token.clone(), id: answer.id, logprob: answer.logprob }
    }
}

#[derive(Debug, Serialize)]
struct AskJson<'a> {
    prompt: &'a str,
    answers: Vec<AnswerJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<OtherJson<'a>>,
}

#[derive(Debug, Serialize)]
struct OtherJson<'a> {
    model: &'a str,
    answers: Vec<AnswerJson>,
}

pub(crate) fn run(args: &AskArgs) -> Result<(), CliError> {
    let terminal = Terminal::default();
    let model =
        phase(&terminal, "open", || args.chat.applied(args.model.open(args.state.as_deref(), &terminal)?))?;
    let ask = |model: &Model| model.answers(args.prompt.text(), args.top as usize);
    let answers = phase(&terminal, "ask", || ask(&model))?;
    let other = args.against.open(&args.model, args.chat)?;
    let others = other.as_ref().map(|other| ask(&other.model)).transpose()?;
    let other = other.as_ref().map(|other| &other.names).zip(others);
    if args.json {
        let json = |answers: &[Answer]| answers.iter().map(AnswerJson::from).collect();
        return super::print_json(&AskJson {
            prompt: args.prompt.text(),
            answers: json(&answers),
            against: other.as_ref().map(|([_, model], answers)| OtherJson { model, answers: json(answers) }),
        });
    }
    super::out::lines(args.prompt.text());
    match other {
        None => print(&answers),
        Some(([name, other], others)) => super::side_by_side::print([name, other], &[answers, others]),
    }
    Ok(())
}

/// Prints answers with their probabilities.
pub(super) fn print(answers: &[Answer]) {
    for answer in answers {
        say!("  {:>6.2} %  {}", 100.0 * answer.logprob.exp(), super::text::token(&answer.token));
    }
}
