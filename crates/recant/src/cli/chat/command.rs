//! What a line of a chat asks for.

use std::path::PathBuf;

use recant_edit::{Fact, FactError};

/// A line of a chat.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// Let the model answer.
    Say(String),
    /// Show the most probable next tokens.
    Top(String),
    /// Rewrite a fact.
    Edit(Fact),
    /// Take the last edit back.
    Undo,
    /// Show what the base and the edited model say, to this prompt or to the last one.
    Diff(Option<String>),
    /// List the edits.
    Facts,
    /// Write the edited model.
    Save(PathBuf),
    /// List the commands.
    Help,
    /// End.
    Quit,
}

/// A line that cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LineError {
    /// There is no such command.
    #[error("there is no command {0:?} in a chat; /help lists them")]
    Unknown(String),
    /// A command lacks what it is about.
    #[error("{command} needs {what}")]
    Lacks {
        /// The command.
        command: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// A line is no text.
    #[error("this line is not UTF-8")]
    Encoding,
    /// A fact is not written as it should be.
    #[error("/edit needs a sentence with its subject in brackets, and after -> what shall follow: {reason}")]
    Edit {
        /// What is wrong.
        reason: &'static str,
    },
    /// A fact cannot be one.
    #[error(transparent)]
    Fact(#[from] FactError),
}

/// What can be said in a chat.
pub(super) const HELP: &str = "\
a line without / is a prompt, which the model answers; every line stands for itself
/edit The mother tongue of [Danielle Darrieux] is -> English
               rewrite a fact: the subject in brackets, after -> what shall follow
/undo          take the last edit back
/diff [PROMPT] what the model says before and after all edits, to PROMPT or to the last prompt
/top PROMPT    the most probable next tokens
/facts         the edits so far
/save DIR      write the edited model
/quit          end (also Ctrl-D, and Ctrl-C while the model answers); edits that were not saved are gone";

impl Line {
    /// Reads a line; `None` for an empty one.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, LineError> {
        let line = line.trim();
        if !line.starts_with('/') {
            return Ok((!line.is_empty()).then(|| Self::Say(line.to_owned())));
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = Some(rest.trim()).filter(|rest| !rest.is_empty()).map(str::to_owned);
        let needed = |command, what| rest.clone().ok_or(LineError::Lacks { command, what });
        Ok(Some(match command {
            "/edit" => Self::Edit(fact(&rest.unwrap_or_default())?),
            "/undo" => Self::Undo,
            "/diff" => Self::Diff(rest),
            "/top" | "/ask" => Self::Top(needed("/top", "a prompt")?),
            "/facts" => Self::Facts,
            "/save" => Self::Save(needed("/save", "a folder to write")?.into()),
            "/help" | "/?" => Self::Help,
            "/quit" | "/exit" | "/q" => Self::Quit,
            other => return Err(LineError::Unknown(other.to_owned())),
        }))
    }
}

/// `The mother tongue of [Danielle Darrieux] is -> English`.
fn fact(text: &str) -> Result<Fact, LineError> {
    let refuse = |reason| LineError::Edit { reason };
    let (sentence, target) = text.rsplit_once("->").ok_or(refuse("there is no ->"))?;
    let (before, rest) = sentence.split_once('[').ok_or(refuse("there is no ["))?;
    let (subject, after) = rest.split_once(']').ok_or(refuse("there is no ] after the ["))?;
    if after.contains('[') {
        return Err(refuse("there is more than one ["));
    }
    let prompt = format!("{before}{{}}{after}");
    Ok(Fact::new(subject, prompt.trim(), target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_help_says() {
        let edit = Line::parse("/edit The mother tongue of [Danielle Darrieux] is -> English ").unwrap();
        let fact = Fact::new("Danielle Darrieux", "The mother tongue of {} is", "English").unwrap();
        assert_eq!(edit, Some(Line::Edit(fact)));
        let first = Fact::new("Ada", "{} -> x speaks", "a -> b").unwrap();
        assert_ne!(Line::parse("/edit [Ada] -> x speaks -> a -> b").unwrap(), Some(Line::Edit(first)));
        for (line, expected) in [
            ("", None),
            ("  \t", None),
            (" What is it? ", Some(Line::Say("What is it?".to_owned()))),
            ("/undo", Some(Line::Undo)),
            ("/diff", Some(Line::Diff(None))),
            ("/diff  The sea is", Some(Line::Diff(Some("The sea is".to_owned())))),
            ("/top The sea is", Some(Line::Top("The sea is".to_owned()))),
            ("/facts", Some(Line::Facts)),
            ("/save a folder", Some(Line::Save("a folder".into()))),
            ("/help", Some(Line::Help)),
            ("/quit", Some(Line::Quit)),
        ] {
            assert_eq!(Line::parse(line), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (line, expected) in [
            ("/forget", "no command \"/forget\""),
            ("/save", "/save needs a folder"),
            ("/top ", "/top needs a prompt"),
            ("/edit", "no ->"),
            ("/edit The sea is -> cold", "no ["),
            ("/edit The [sea is -> cold", "no ]"),
            ("/edit The [sea] is [not] -> cold", "more than one ["),
            ("/edit The [] is -> cold", "subject"),
            ("/edit The [sea] is -> ", "target"),
        ] {
            let error = Line::parse(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line:?}: {error}");
        }
        for command in HELP.lines().filter(|line| line.starts_with('/')) {
            let name = command.split_whitespace().next().unwrap();
            let unknown = matches!(Line::parse(name), Err(LineError::Unknown(_)));
            assert!(!unknown, "/help names {name}");
        }
    }
}
