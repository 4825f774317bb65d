//! Where the lines of a chat come from.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::command::LineError;
use crate::cli::error::CliError;

/// What stands before a line.
const PROMPT: &str = "> ";

/// Lines of a person, who can edit them and has those before at hand, or of a file or a pipe.
pub(super) enum Input {
    Person(Box<Editor<(), MemHistory>>),
    Pipe,
}

impl Input {
    /// A person's, where standard input and output are a terminal.
    pub(super) fn open() -> Result<Self, CliError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Pipe);
        }
        let editor = Editor::with_history(Config::default(), MemHistory::new()).map_err(unreadable)?;
        Ok(Self::Person(Box::new(editor)))
    }

    /// Whether somebody sits there.
    pub(super) fn is_person(&self) -> bool {
        matches!(self, Self::Person(_))
    }

    /// The next line, which may not be one of text; `None` at the end.
    pub(super) fn line(&mut self) -> Result<Option<Result<String, LineError>>, CliError> {
        match self {
            Self::Person(editor) => match editor.readline(PROMPT) {
                Ok(line) => {
                    let _unkept = editor.add_history_entry(&line);
                    Ok(Some(Ok(line)))
                }
                // Ctrl-C takes back the line that was begun, Ctrl-D ends.
                Err(ReadlineError::Interrupted) => Ok(Some(Ok(String::new()))),
                Err(ReadlineError::Eof) => Ok(None),
                Err(error) => Err(unreadable(error)),
            },
            Self::Pipe => {
                let mut line = Vec::new();
                let read = io::stdin().lock().read_until(b'\n', &mut line).map_err(unreadable)?;
                Ok((read > 0).then(|| String::from_utf8(line).map_err(|_| LineError::Encoding)))
            }
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> CliError {
    CliError::Read { path: PathBuf::from("standard input"), reason: error.to_string() }
}
