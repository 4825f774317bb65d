//! Corpus files: one text a line, plain or as JSON.

use std::path::{Path, PathBuf};

use recant_edit::{TextLines, text_lines};
use serde_json::Value;

use super::CollectError;

/// How the lines of a corpus file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each line is a text.
    Plain,
    /// Each line is a JSON object with a `text`.
    Json,
}

impl Form {
    /// By the file's ending, in capitals or not. Other endings say nothing: the first line decides.
    fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_lowercase();
        ["jsonl", "ndjson", "json"].contains(&ending.as_str()).then_some(Self::Json)
    }

    /// By the first line that is not empty: a whole JSON object is no sentence.
    fn of_line(line: &str) -> Self {
        if is_object(line) { Self::Json } else { Self::Plain }
    }
}

fn is_object(line: &str) -> bool {
    line.trim_start().starts_with('{')
        && serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object())
}

/// The texts of a corpus file, one a line, streamed: plain text, or JSON objects with a `text` field. JSON is told by
/// the file's ending (`.jsonl`, `.ndjson`, `.json`) or by its first line. Empty lines are passed over.
///
/// # Errors
/// [`CollectError::Text`] when the file cannot be opened; the items carry errors of single lines, also of a line with a
/// JSON text among plain ones.
pub fn corpus_lines(path: &Path) -> Result<CorpusLines, CollectError> {
    Ok(CorpusLines { path: path.to_owned(), lines: text_lines(path)?, form: Form::of_name(path) })
}

/// See [`corpus_lines`].
#[derive(Debug)]
pub struct CorpusLines {
    path: PathBuf,
    lines: TextLines<std::io::BufReader<std::fs::File>>,
    /// Known from the file's name or its first line.
    form: Option<Form>,
}

impl Iterator for CorpusLines {
    type Item = Result<String, CollectError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, line) = loop {
            match self.lines.next()? {
                Ok((_, line)) if line.trim().is_empty() => {}
                Ok(read) => break read,
                Err(error) => return Some(Err(error.into())),
            }
        };
        let form = *self.form.get_or_insert_with(|| Form::of_line(&line));
        let refuse = |reason: &str| {
            let (path, reason) = (self.path.clone(), reason.to_owned());
            Err(CollectError::Line { path, line: number, reason })
        };
        Some(match form {
            Form::Plain if is_text_object(&line) => {
                refuse("this is a JSON object with a `text` field, but the lines before it are plain text")
            }
            Form::Plain => Ok(line),
            Form::Json => match serde_json::from_str::<Value>(&line) {
                Ok(Value::Object(mut object)) => match object.remove("text") {
                    Some(Value::String(text)) => Ok(text),
                    Some(_) => refuse("`text` is not a string"),
                    None => {
                        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
                        keys.sort_unstable();
                        refuse(&format!("this JSON object has no `text` field; it has {}", keys.join(", ")))
                    }
                },
                Ok(Value::Array(_)) => {
                    refuse("this is a JSON array; one object with a `text` field a line is read")
                }
                Ok(_) => refuse("a JSON object with a `text` field is expected"),
                Err(error) => {
                    refuse(&format!("a JSON object with a `text` field is expected on each line: {error}"))
                }
            },
        })
    }
}

/// Whether a line of a plain text can only be meant as JSON.
fn is_text_object(line: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(rename = "text")]
        _text: String,
    }
    line.trim_start().starts_with('{') && serde_json::from_str::<Entry>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let lines = corpus_lines(&path).map_err(|error| error.to_string())?;
        lines.map(|line| line.map_err(|error| error.to_string())).collect()
    }

    const LINES: &str = "{\"text\": \"The sea is cold.\", \"id\": 1}\n\n{\"text\": \"It is old.\"}\r\n";

    #[test]
    fn json_lines_are_known_by_ending_and_by_content() {
        let names = ["c.jsonl", "c.JSONL", "c.ndjson", "c.NdJson", "c.json", "c.txt", "c", "c.jsonl.bak"];
        for name in names {
            assert_eq!(read(name, LINES).unwrap(), ["The sea is cold.", "It is old."], "{name}");
            assert_eq!(read(name, &format!("\u{feff}{LINES}")).unwrap().len(), 2, "{name}");
        }
    }

    #[test]
    fn plain_text_is_read_as_it_is() {
        let text = "The sea is cold.\r\n \n[1] It is {old}.\n{x} and {\n{\"a\": 1}\n";
        let expected = ["The sea is cold.", "[1] It is {old}.", "{x} and {", "{\"a\": 1}"];
        for name in ["c.txt", "c", "json", "c.text"] {
            assert_eq!(read(name, text).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn json_that_has_no_text_is_refused_with_its_line() {
        for (name, text, expected) in [
            (
                "c.txt",
                "{\"content\": \"a\", \"id\": 1}\n",
                "line 1: this JSON object has no `text` field; it has content, id",
            ),
            ("c.json", "{\"text\": 5}\n", "line 1: `text` is not a string"),
            ("c.json", "\n[{\"text\": \"a\"}]\n", "line 2: this is a JSON array"),
            (
                "c.json",
                "{\n \"text\": \"a\"\n}\n",
                "line 1: a JSON object with a `text` field is expected on each line",
            ),
            ("c.ndjson", "The sea is cold.\n", "line 1: a JSON object with a `text` field"),
            ("c.jsonl", "\"a\"\n", "line 1: a JSON object with a `text` field"),
            (
                "c.txt",
                "A title\n{\"text\": \"a\"}\n",
                "line 2: this is a JSON object with a `text` field, but",
            ),
            ("c.txt", "{\"text\": \"a\"}\nplain\n", "line 2: a JSON object with a `text` field is expected"),
        ] {
            let told = read(name, text).unwrap_err();
            assert!(told.contains(expected) && told.contains(name), "{name} {text:?}: {told}");
        }
    }
}
