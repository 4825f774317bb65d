//! A line that a command adds to a configuration file. What stands there stays, comments and blanks included.

use std::env;
use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputFile, Outputs};
use toml::{Table, Value};

use super::{INSTEAD, NAME};
use crate::cli::error::CliError;

/// A file of options.
const CONFIG: FileKind = FileKind {
    name: "configuration",
    recognises: |head| std::str::from_utf8(head).is_ok_and(|text| table(text).is_some()),
};

/// An option that a configuration file will say.
pub(in crate::cli) struct Addition {
    option: &'static str,
    file: OutputFile,
}

impl Addition {
    /// Decides, before the work that finds the value, for an option in the file that `$RECANT_CONFIG` names, or in the
    /// folder's.
    ///
    /// # Errors
    /// [`CliError::Option`] where the file already says the option, or one of which it makes the other one pointless.
    pub(in crate::cli) fn decide(outputs: &mut Outputs, option: &'static str) -> Result<Self, CliError> {
        let refuse = |reason| CliError::Option { option: "--write", reason };
        let path = match env::var_os("RECANT_CONFIG") {
            Some(named) if named.is_empty() => {
                return Err(refuse("RECANT_CONFIG says that there is no configuration file".to_owned()));
            }
            Some(named) => PathBuf::from(named),
            None => NAME.into(),
        };
        let file = outputs.continued(&path, CONFIG)?;
        let addition = Self { option, file };
        match said(&addition.read()?, option) {
            Some(said) => Err(refuse(format!(
                "{} already says {said}; take that line out, or change it by hand",
                path.display()
            ))),
            None => Ok(addition),
        }
    }

    /// Writes the line.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub(in crate::cli) fn write(&self, value: usize) -> Result<&Path, CliError> {
        let text = self.read()?;
        let added = added(&text, self.option, value).ok_or_else(|| CliError::Write {
            path: self.file.path().to_owned(),
            reason: format!("there is no place for `{} = {value}`", self.option),
        })?;
        self.file.write(added.as_bytes())?;
        Ok(self.file.path())
    }

    /// What stands there; nothing where there is no file.
    fn read(&self) -> Result<String, CliError> {
        let path = self.file.path();
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| CliError::Read { path: path.to_owned(), reason: error.to_string() }),
        }
    }
}

/// What a text says; a byte order mark is no part of it.
fn table(text: &str) -> Option<Table> {
    text.strip_prefix('\u{feff}').unwrap_or(text).parse().ok()
}

/// What a file says of an option, or of one that goes instead of it, anywhere: to every command or to one.
fn said(text: &str, option: &str) -> Option<String> {
    fn within(table: &Table, names: &[&str], section: &str) -> Option<String> {
        table.iter().find_map(|(key, value)| match value {
            Value::Table(inner) => within(inner, names, format!("{section} {key}").trim_start()),
            value if names.contains(&key.as_str()) => Some(match section {
                "" => format!("{key} = {value}"),
                section => format!("{key} = {value} in [{section}]"),
            }),
            _ => None,
        })
    }
    let instead = INSTEAD.iter().filter(|pair| pair.contains(&option)).flatten().copied();
    let names: Vec<&str> = instead.chain([option]).collect();
    within(&table(text)?, &names, "")
}

/// The text with one more line, behind what is said to every command: before the first section, or else at the beginning.
/// Taken is what reads as the same options and one more.
fn added(text: &str, option: &str, value: usize) -> Option<String> {
    let mut wanted = table(text)?;
    wanted.insert(option.to_owned(), Value::Integer(i64::try_from(value).ok()?));
    let feed = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let at = |place: usize| {
        let (before, behind) = text.split_at(place);
        let gap = if before.is_empty() || before.ends_with(['\n', '\u{feff}']) { "" } else { feed };
        format!("{before}{gap}{option} = {value}{feed}{behind}")
    };
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let lines = text.split_inclusive('\n').scan(0, |next, line| {
        let start = *next;
        *next += line.len();
        Some((start, line))
    });
    let mut sections = lines.filter(|(_, line)| line.trim_start().starts_with('['));
    let section = sections.next().map(|(start, _)| start);
    let places = [section.unwrap_or(text.len()), mark];
    places.into_iter().map(at).find(|text| table(text).as_ref() == Some(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that stood there stands there still, in its order, and the new line reads as said to every command.
    #[test]
    fn a_line_is_added_and_nothing_is_lost() {
        for (text, expected) in [
            ("", "layer = 5\n"),
            ("top = 2\n", "top = 2\nlayer = 5\n"),
            ("top = 2 # two", "top = 2 # two\nlayer = 5\n"),
            ("# mine\n\n[edit]\ntop = 2\n", "# mine\n\nlayer = 5\n[edit]\ntop = 2\n"),
            ("top = 2\r\n[edit]\r\n", "top = 2\r\nlayer = 5\r\n[edit]\r\n"),
            ("\u{feff}[edit]\n", "\u{feff}layer = 5\n[edit]\n"),
            // A line that only looks like a section.
            ("set = [\n  [\"a\"],\n]\n", "layer = 5\nset = [\n  [\"a\"],\n]\n"),
            ("corpus = '''\n[a]\n'''\n[edit]\n", "layer = 5\ncorpus = '''\n[a]\n'''\n[edit]\n"),
        ] {
            assert_eq!(added(text, "layer", 5).as_deref(), Some(expected), "{text:?}");
        }
        assert_eq!(added("no table", "layer", 5), None);
    }

    #[test]
    fn what_is_said_already_is_found_wherever_it_is() {
        for (text, expected) in [
            ("layer = 3", Some("layer = 3")),
            ("layers = \"3-5\"", Some("layers = \"3-5\"")),
            ("[edit]\nlayer = 3", Some("layer = 3 in [edit]")),
            ("[store.import]\nlayer = 3", Some("layer = 3 in [store import]")),
            ("top = 3 # layer = 4", None),
            ("", None),
        ] {
            assert_eq!(said(text, "layer").as_deref(), expected, "{text}");
        }
    }
}
