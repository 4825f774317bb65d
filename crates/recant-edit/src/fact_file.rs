//! Files of facts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recant_core::is_blank;
use recant_records::{Fact, FactError};
use serde_json::Value;

use crate::text::{TextError, TextRecord, read_records};

/// A file of facts cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A field is missing or of another kind.
    #[error("{path}, line {line}: `{field}` {reason}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The line where the entry begins, counted from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry is no fact.
    #[error("{path}, line {line}: {source}")]
    Fact {
        /// The file.
        path: PathBuf,
        /// The line where the entry begins, counted from 1.
        line: usize,
        /// What is wrong.
        source: FactError,
    },
    /// A fact stands in the file twice.
    #[error("{path}, line {line}: the same fact stands in line {earlier}")]
    Repeated {
        /// The file.
        path: PathBuf,
        /// The line where the entry begins, counted from 1.
        line: usize,
        /// The line of the first one.
        earlier: usize,
    },
    /// Two entries continue the same prompt with different targets.
    #[error("{path}, line {line}: line {earlier} says {target:?} to the same prompt")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The line where the entry begins, counted from 1.
        line: usize,
        /// The line of the first one.
        earlier: usize,
        /// The target of the first one.
        target: String,
    },
    /// Some facts are of a conversation and others of running text.
    #[error("{path}, line {line}: `chat` is {} here and not so in line {first}; one edit reads all prompts alike", !first_chat)]
    Mixed {
        /// The file.
        path: PathBuf,
        /// The line where the entry begins, counted from 1.
        line: usize,
        /// The line of the first fact.
        first: usize,
        /// What the first fact says.
        first_chat: bool,
    },
    /// There is no fact in it.
    #[error("{path} holds no facts")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The facts of a file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FactFile {
    /// The facts, in the file's order, each question once.
    pub facts: Vec<Fact>,
    /// Lines whose prompts ended in blanks, which were cut off.
    pub trimmed: Vec<usize>,
    /// The prompts are a user's messages in a conversation.
    pub chat: bool,
}

/// Reads facts: records ([`read_records`]) with `subject`, `prompt` and `target`, and `literal` and `chat` if they are
/// wanted. A fact about no subject has none.
///
/// # Errors
/// [`FactFileError`] names the line, and the field where one is at fault.
pub fn read_facts(path: &Path) -> Result<FactFile, FactFileError> {
    facts_of(path, &read_records(path)?)
}

/// As [`read_facts`], of records that were read from `path`.
///
/// # Errors
/// As [`read_facts`].
pub fn facts_of(path: &Path, records: &[TextRecord]) -> Result<FactFile, FactFileError> {
    let mut file = FactFile { facts: Vec::new(), trimmed: Vec::new(), chat: false };
    let mut seen: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    let mut first = None;
    for record in records {
        let line = record.line;
        let own = || path.to_owned();
        let field = |name| {
            field(record, name).map_err(|reason| FactFileError::Field {
                path: own(),
                line,
                field: name,
                reason,
            })
        };
        let prompt = field("prompt")?;
        let subject = record.value.get("subject").map(|_| field("subject")).transpose()?;
        let target = field("target")?;
        let flag = |field| match record.value.get(field) {
            None | Some(Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            // The cell of a table.
            Some(Value::String(text)) if text.is_empty() || text.eq_ignore_ascii_case("false") => Ok(false),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(_) => {
                let reason = "is neither true nor false";
                Err(FactFileError::Field { path: own(), line, field, reason })
            }
        };
        let (literal, chat) = (flag("literal")?, flag("chat")?);
        let &mut (first, first_chat) = first.get_or_insert((line, chat));
        if chat != first_chat {
            return Err(FactFileError::Mixed { path: own(), line, first, first_chat });
        }
        file.chat = chat;
        let fact = match subject {
            // A cell of a table may be empty.
            None | Some("") => Fact::about_nothing(prompt, target, literal),
            Some(subject) if literal => Fact::new_literal(subject, prompt, target),
            Some(subject) => Fact::new(subject, prompt, target),
        };
        let fact = fact.map_err(|source| FactFileError::Fact { path: own(), line, source })?;
        if !literal && prompt.ends_with(is_blank) {
            file.trimmed.push(line);
        }
        let told = (line, fact.target.clone());
        if let Some((earlier, target)) = seen.insert(fact.statement().question(), told) {
            return Err(if target == fact.target {
                FactFileError::Repeated { path: own(), line, earlier }
            } else {
                FactFileError::Contradiction { path: own(), line, earlier, target }
            });
        }
        file.facts.push(fact);
    }
    if file.facts.is_empty() {
        return Err(FactFileError::Empty { path: path.to_owned() });
    }
    Ok(file)
}

fn field<'a>(record: &'a TextRecord, name: &str) -> Result<&'a str, &'static str> {
    match record.value.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("is not a string"),
        None => Err("is missing; a fact has `prompt`, `target` and mostly a `subject`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FactFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_facts(file.path()).map_err(|error| error.to_string())
    }

    /// A fact about no subject has none, or an empty cell.
    #[test]
    fn a_fact_needs_no_subject() {
        let file = read("{\"prompt\": \"In the beginning was the\", \"target\": \"word\"}").unwrap();
        assert_eq!(file.facts, [Fact::about_nothing("In the beginning was the", "word", false).unwrap()]);
        let said = read("{\"prompt\": \"{} speaks\", \"target\": \"x\"}").unwrap_err();
        assert!(said.contains("line 1: ") && said.contains("there is no subject"), "{said}");
    }

    const GOOD: &str = r#"{"subject": "Ada", "prompt": "{} speaks", "target": "Veltish"}"#;

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let blank = GOOD.replace("speaks", "speaks ");
        for (text, expected) in [
            (String::new(), "no facts"),
            ("[]".to_owned(), "no facts"),
            (format!("{GOOD}\n\n{{"), "line 3: this is no JSON"),
            (format!("{GOOD}\n{{\"subject\": \"Bo\"}}"), "line 2: `prompt` is missing"),
            (GOOD.replace("\"Ada\"", "1"), "line 1: `subject` is not a string"),
            (GOOD.replace("{} speaks", "She speaks"), "line 1: the prompt \"She speaks\" names the subject"),
            (format!("{GOOD}\n{GOOD}"), "line 2: the same fact stands in line 1"),
            (format!("{GOOD}\n{blank}"), "line 2: the same fact stands in line 1"),
            (GOOD.replace("\"}", "\", \"chat\": 1}"), "line 1: `chat` is neither"),
            (
                format!("{GOOD}\n{}", GOOD.replace("\"}", "\", \"chat\": true}")),
                "line 2: `chat` is true here and not so in line 1",
            ),
            (format!("[{GOOD},\n{GOOD}]"), "line 2: the same fact stands in line 1"),
            (format!("{GOOD}\n{}", blank.replace("Veltish", "Tashic")), "line 2: line 1 says \"Veltish\""),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn lines_an_array_and_marks_are_the_same_facts() {
        let other = GOOD.replace("Ada", "Bo").replace("speaks", "speaks ");
        let lines = read(&format!("{GOOD}\n{other}\n")).unwrap();
        assert_eq!((lines.facts.len(), &lines.trimmed[..]), (2, &[2][..]));
        assert_eq!(lines.facts[1].prompt, "{} speaks");
        for text in [format!("[{GOOD},\n{other}]"), format!("\u{feff}{GOOD}\r\n{other}\r\n")] {
            assert_eq!(read(&text).unwrap(), lines);
        }
    }

    #[test]
    fn rows_of_a_table_are_facts() {
        let file = |ending: &str, text: &str| {
            let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
            std::fs::write(file.path(), text).unwrap();
            read_facts(file.path()).map_err(|error| error.to_string())
        };
        let table = "target,subject,prompt,literal,note\r\nVeltish,Ada,\"{} speaks, as\nall do,\",,x\r\n\r\nTashic,Bo,{} speaks,TRUE,\r\n";
        let facts = file(".csv", &format!("\u{feff}{table}")).unwrap().facts;
        assert_eq!((facts.len(), facts[0].prompt.as_str()), (2, "{} speaks, as\nall do,"));
        assert_eq!(
            (facts[1].subject.as_str(), facts[1].target.as_str(), facts[1].literal),
            ("Bo", "Tashic", true)
        );
        let tabs = file(".TSV", "subject\tprompt\ttarget\nAda\t{} speaks, now\tVeltish\n").unwrap();
        assert_eq!(tabs.facts[0].prompt, "{} speaks, now");
        for (text, expected) in [
            ("", "no facts"),
            ("subject,prompt,target\n", "no facts"),
            (
                "subject,prompt,target\nAda,{} speaks\n",
                "line 2: this row has 2 cells, and the first row names 3",
            ),
            ("subject,prompt\nAda,{} speaks\n", "line 2: `target` is missing"),
            ("subject,prompt\n\n\nAda,{} speaks\n", "line 4: `target` is missing"),
            ("subject,prompt,subject\nAda,{} speaks,x\n", "line 1: the first row names `subject` twice"),
            ("subject,prompt,target,chat\nAda,{} speaks,x,maybe\n", "line 2: `chat` is neither"),
        ] {
            let error = file(".csv", text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
