//! `recant chat`: a model that is asked, edited, compared with its base and taken back.

mod command;
mod input;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use recant_app::{Dialogue, DialogueError, Held, Judged, Observer, phase};
use recant_files::MODEL_DIRECTORY;
use recant_methods::DEFAULT_METHOD;
use recant_model::{AskError, ChatError, Model, OpenError};
use serde_json::{Value, json};

pub(super) use self::command::LineError;
use self::command::{HELP, Line};
use self::input::Input;
use super::args::{MethodArgs, ModelArgs};
use super::ask::AnswerJson;
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;
use super::verdict::{self, NOT_ALL_HOLD};
use super::{out, side_by_side};

/// Arguments of `recant chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "In the chat:\n  /help lists what can be said; from a pipe every line is a prompt or a command.\n\n\
    Example:\n  recant chat demo/model --corpus demo/data/corpus.txt"
)]
pub(crate) struct ChatCommand {
    #[command(flatten)]
    model: ModelArgs,
    /// Read every line as it stands, which the model then continues, also where it has a chat template.
    #[arg(long)]
    plain: bool,
    /// Method of /edit; `recant methods` says what they do.
    #[arg(long, default_value = DEFAULT_METHOD)]
    method: String,
    #[command(flatten)]
    with: MethodArgs,
    /// Largest number of new tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 60)]
    max_new: usize,
    /// How many next tokens /top and /diff show.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON: an object a line and command, with `command` and what came of it, or `error`.
    #[arg(long)]
    json: bool,
}

/// A chat that goes on.
struct Chat<'a> {
    args: &'a ChatCommand,
    session: &'a Session,
    terminal: Terminal,
    dialogue: Dialogue,
    /// What was asked last.
    last: Option<String>,
    /// Whether somebody sits there, who sees answers as they come.
    person: bool,
}

pub(crate) fn run(args: &ChatCommand, session: &Session) -> Result<ExitCode, CliError> {
    let mut input = Input::open()?;
    let terminal = Terminal::stopped_by(session.asked());
    let model = phase(&terminal, "open", || args.model.open(None, &terminal))?;
    let (model, in_chat) = framed(model, args.plain)?;
    let dialogue = Dialogue::new(model, &args.method, args.with.sources()?)?;
    let person = input.is_person() && !args.json;
    if person {
        let how = if in_chat { "in its chat template" } else { "as they stand" };
        say!("{}; prompts are read {how}; /help says what can be said", args.model.name().said().display());
    }
    let mut chat = Chat { args, session, terminal, dialogue, last: None, person };
    let mut failed = false;
    while let Some(line) = input.line()? {
        let shown = line.as_deref().unwrap_or_default().trim();
        if !input.is_person() && !args.json && !shown.is_empty() {
            say!("> {shown}");
        }
        let done = match line.and_then(|line| Line::parse(&line)) {
            Ok(None) => Ok(()),
            Ok(Some(Line::Quit)) => break,
            // Ctrl-C ends the answer and not the chat.
            Ok(Some(line)) if input.is_person() => session.interruptible(|| chat.answer(line)),
            Ok(Some(line)) => chat.answer(line),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = done {
            failed = true;
            chat.refuse(&error)?;
        }
    }
    let unheld = chat.dialogue.edits().iter().any(|held| !held.verdict.holds);
    // A person has seen it all.
    Ok(match (input.is_person(), failed, unheld) {
        (false, true, _) => ExitCode::FAILURE,
        (false, false, true) => ExitCode::from(NOT_ALL_HOLD),
        _ => ExitCode::SUCCESS,
    })
}

/// The model in its chat template, where it has one and nobody says otherwise.
fn framed(model: Model, plain: bool) -> Result<(Model, bool), CliError> {
    if plain {
        return Ok((model, false));
    }
    match model.in_chat(true) {
        Ok(framed) => Ok((framed, true)),
        Err(OpenError::Chat { source: ChatError::None, .. }) => Ok((model, false)),
        Err(error) => Err(error.into()),
    }
}

impl Chat<'_> {
    /// Does what a line asks for.
    fn answer(&mut self, line: Line) -> Result<(), CliError> {
        match line {
            Line::Say(prompt) => self.say(prompt),
            Line::Top(prompt) => self.top(prompt),
            Line::Edit(fact) => {
                phase(&self.terminal, "resources", || self.dialogue.prepare(&self.terminal))?;
                edited(
                    phase(&self.terminal, "edit", || self.dialogue.edit(fact, &self.terminal))?,
                    self.args.json,
                )
            }
            Line::Undo => self.undo(),
            Line::Diff(prompt) => self.diff(prompt),
            Line::Facts => self.facts(),
            Line::Save(dir) => self.save(&dir),
            Line::Help if self.args.json => self.print(json!({ "command": "help", "text": HELP })),
            Line::Help => {
                out::lines(HELP);
                Ok(())
            }
            Line::Quit => Ok(()),
        }
    }

    /// Says what went wrong; the chat goes on.
    fn refuse(&self, error: &CliError) -> Result<(), CliError> {
        if self.args.json {
            return self.print(json!({ "error": error.to_string(), "hint": error.hint() }));
        }
        let _goes_on = super::complain(error);
        Ok(())
    }

    fn print(&self, value: Value) -> Result<(), CliError> {
        Ok(out::json_line(&value)?)
    }

    fn say(&mut self, prompt: String) -> Result<(), CliError> {
        // A person reads along; elsewhere an answer is one piece.
        let person = self.person;
        let mut begun = false;
        let terminal = &self.terminal;
        let text = self.dialogue.say(&prompt, self.args.max_new, &mut |piece| {
            if person {
                let piece = if begun { piece } else { piece.trim_start() };
                begun |= !piece.is_empty();
                out::piece(piece);
            }
            if terminal.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let text = match text {
            Err(DialogueError::Ask(AskError::Cancelled)) => String::new(),
            text => text?,
        };
        match (self.args.json, person) {
            (true, _) => self.print(json!({ "command": "say", "prompt": prompt, "text": text }))?,
            (false, true) => say!(""),
            (false, false) => out::lines(text.trim()),
        }
        self.last = Some(prompt);
        Ok(())
    }

    fn top(&mut self, prompt: String) -> Result<(), CliError> {
        let answers = self.dialogue.model().answers(&prompt, self.args.top as usize)?;
        if self.args.json {
            let answers: Vec<AnswerJson> = answers.iter().map(AnswerJson::from).collect();
            self.print(json!({ "command": "top", "prompt": prompt, "answers": answers }))?;
        } else {
            super::ask::print(&answers);
        }
        self.last = Some(prompt);
        Ok(())
    }

    fn undo(&mut self) -> Result<(), CliError> {
        let held = phase(&self.terminal, "undo", || self.dialogue.undo())?;
        let (model, left) = (self.dialogue.model().digest(), self.dialogue.edits().len());
        if self.args.json {
            let fact = &held.fact;
            return self.print(json!({
                "command": "undo", "fact": fact, "edits": left, "model": model.to_string(), "exact": true,
            }));
        }
        say!("taken back: {} -> {}", held.fact.text(), held.fact.target);
        say!("the model is the one before it, bit for bit: {}", model.short());
        Ok(())
    }

    fn diff(&mut self, prompt: Option<String>) -> Result<(), CliError> {
        let Some(prompt) = prompt.or_else(|| self.last.clone()) else {
            return Err(
                LineError::Lacks { command: "/diff", what: "a prompt, as none was asked so far" }.into()
            );
        };
        let (top, max_new) = (self.args.top as usize, self.args.max_new);
        let [before, after] =
            phase(&self.terminal, "diff", || self.dialogue.compare(&prompt, top, max_new, &self.terminal))?;
        if self.args.json {
            let side = |reply: &recant_app::Reply| {
                let answers: Vec<AnswerJson> = reply.answers.iter().map(AnswerJson::from).collect();
                json!({ "text": reply.text, "answers": answers })
            };
            let (before, after) = (side(&before), side(&after));
            self.print(json!({ "command": "diff", "prompt": prompt, "before": before, "after": after }))?;
        } else {
            out::lines(&prompt);
            side_by_side::print(["before", "after"], &[before.answers, after.answers]);
            out::lines(&format!("before: {}", before.text.trim()));
            out::lines(&format!("after:  {}", after.text.trim()));
        }
        self.last = Some(prompt);
        Ok(())
    }

    fn facts(&self) -> Result<(), CliError> {
        let edits = self.dialogue.edits();
        if self.args.json {
            let edits: Vec<Value> = edits.iter().flat_map(|held| told(held).json()).collect();
            return self.print(json!({ "command": "facts", "edits": edits }));
        }
        if edits.is_empty() {
            say!("no edits so far");
        }
        for (at, held) in edits.iter().enumerate() {
            let word = if held.verdict.holds { "" } else { " (did not hold)" };
            say!("{:>3}  {} -> {}{word}", at + 1, held.fact.text(), held.fact.target);
        }
        Ok(())
    }

    fn save(&self, dir: &Path) -> Result<(), CliError> {
        let mut outputs = self.session.outputs(false);
        let base = super::found(self.args.model.name())?;
        base.guard(&mut outputs)?;
        let out = outputs.directory(dir, MODEL_DIRECTORY, base.files()?)?;
        phase(&self.terminal, "save", || self.dialogue.model().save_to(&out))?;
        let edits = self.dialogue.edits().len();
        if self.args.json {
            let dir = out.path().display().to_string();
            return self.print(json!({ "command": "save", "out": dir, "edits": edits }));
        }
        say!("model with {} written to {}", super::store::count(edits, "edit"), out.path().display());
        Ok(())
    }
}

/// An edit with its verdict.
fn told(held: &Held) -> Judged<'_> {
    Judged::new(std::slice::from_ref(&held.fact), std::slice::from_ref(&held.verdict))
}

fn edited(held: &Held, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let mut object = told(held).json().remove(0);
        object["command"] = "edit".into();
        object["seconds"] = held.seconds.into();
        object["notes"] = json!(held.notes);
        return Ok(out::json_line(&object)?);
    }
    verdict::print(told(held));
    held.notes.iter().for_each(|note| say!("note: {note}"));
    Ok(())
}
