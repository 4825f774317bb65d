//! `recant generate`.

use clap::Args;
use recant_app::phase;
use recant_model::{Model, Strategy};
use serde_json::json;

use super::args::{AgainstArgs, ChatArgs, ModelArgs, PromptArgs};
use super::error::CliError;
use super::progress::Terminal;

/// Arguments of `recant generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// Answer with what a memory has learned (`recant edit --state`).
    #[arg(long, value_name = "FILE")]
    state: Option<std::path::PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Largest number of new tokens.
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_new: usize,
    /// Draw from the K most probable tokens instead of taking the best (0: from all).
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Temperature of the draw.
    #[arg(long, value_name = "T", default_value_t = 1.0, requires = "top_k")]
    temperature: f32,
    /// Seed of the draw.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    against: AgainstArgs,
    /// Print JSON: `prompt`, `text`, `ids`, `prompt_tokens`, and of --against `against` with `model`, `text`, `ids`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<(), CliError> {
    let strategy = match args.top_k {
        Some(top_k) => Strategy::Sample { top_k, temperature: args.temperature, seed: args.seed }.check()?,
        None => Strategy::Greedy,
    };
    let terminal = Terminal::default();
    let model =
        phase(&terminal, "open", || args.chat.applied(args.model.open(args.state.as_deref(), &terminal)?))?;
    let write = |model: &Model| model.generate(args.prompt.text(), args.max_new, strategy);
    let written = phase(&terminal, "write", || write(&model))?;
    let other = args.against.open(&args.model, args.chat)?;
    let others = other.as_ref().map(|other| write(&other.model)).transpose()?;
    let other = other.as_ref().map(|other| &other.names).zip(others);
    if args.json {
        let mut object = json!({
            "prompt": args.prompt.text(), "text": written.text, "ids": written.ids,
            "prompt_tokens": written.prompt_tokens,
        });
        if let Some(([_, model], other)) = &other {
            object["against"] = json!({ "model": model, "text": other.text, "ids": other.ids });
        }
        return super::print_json(&object);
    }
    let between = if args.chat.chat { "\n" } else { "" };
    let print = |text: &str| super::out::lines(&format!("{}{between}{text}", args.prompt.text()));
    match other {
        None => print(&written.text),
        Some(([name, other], others)) => {
            for (name, text) in [(name, written.text), (other, others.text)] {
                say!("{name}:");
                print(&text);
            }
        }
    }
    Ok(())
}
