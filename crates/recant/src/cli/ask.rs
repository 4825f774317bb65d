//! `recant ask`.

use clap::Args;
use recant_model::Answer;
use serde::Serialize;

use super::args::{ChatArgs, ModelArgs, PromptArgs};
use super::error::CliError;
use super::phase::phase;

/// Arguments of `recant ask`.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// Answer with what a memory has learned (`recant learn`).
    #[arg(long, value_name = "FILE")]
    state: Option<std::path::PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// How many answers.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON: `answers[]` with `token`, `id`, `logprob`.
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
}

pub(crate) fn run(args: &AskArgs) -> Result<(), CliError> {
    let model = phase("open", || args.chat.applied(args.model.open(args.state.as_deref())?))?;
    let answers = phase("ask", || model.answers(args.prompt.text(), args.top as usize))?;
    if args.json {
        return super::print_json(&AskJson {
            prompt: args.prompt.text(),
            answers: answers.iter().map(AnswerJson::from).collect(),
        });
    }
    super::out::lines(args.prompt.text());
    for answer in &answers {
        say!("  {:>6.2} %  {}", 100.0 * answer.logprob.exp(), super::text::token(&answer.token));
    }
    Ok(())
}
