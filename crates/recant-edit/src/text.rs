//! Text files that users give: facts, data sets, corpora, templates.
//!
//! One way to read them: a byte order mark is skipped, both line ends are known, and what is not UTF-8 is an
//! error with its line and byte. Records are JSON values, one a line or in one array, or the rows of a table (.csv,
//! .tsv) whose first row names their fields; each knows the line where it begins. `-` is the standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use recant_checkpoint::Foreign;
use serde_json::Value;

/// A text file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The system refuses.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not UTF-8.
    #[error("{path}, line {line}, byte {byte}: this is not UTF-8 but looks like {looks_like}")]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The byte of that line, counted from 1.
        byte: usize,
        /// What the bytes look like instead.
        looks_like: LooksLike,
    },
    /// The text is not the JSON that is expected.
    #[error("{path}, line {line}: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The text is not the table that is expected.
    #[error("{path}, line {line}: {reason}")]
    Table {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// What bytes that are not UTF-8 look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LooksLike {
    /// Two bytes a character: a mark at the beginning says so, or zero bytes stand between letters.
    Utf16,
    /// One byte a character.
    Latin1,
}

impl LooksLike {
    /// The name that converters such as iconv know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf16 => "UTF-16",
            Self::Latin1 => "LATIN1",
        }
    }
}

impl std::fmt::Display for LooksLike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Utf16 => "UTF-16 (or no text at all)",
            Self::Latin1 => "Latin-1",
        })
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of a text file with their numbers, counted from 1, read as they are asked for.
///
/// # Errors
/// [`TextError::Read`] when the file cannot be opened, or begins like what a download left in place of it; the items carry errors of single lines, and nothing comes
/// after one.
pub fn text_lines(path: &Path) -> Result<TextLines<BufReader<File>>, TextError> {
    let refuse = |source| TextError::Read { path: path.to_owned(), source };
    let mut input = BufReader::new(File::open(path).map_err(refuse)?);
    if let Some(kind) = Foreign::of(input.fill_buf().map_err(refuse)?) {
        return Err(refuse(kind.into()));
    }
    Ok(TextLines { path: path.to_owned(), input: Some(input), line: 0 })
}

/// See [`text_lines`].
#[derive(Debug)]
pub struct TextLines<R> {
    path: PathBuf,
    /// `None` after the end or an error.
    input: Option<R>,
    line: usize,
}

impl<R: BufRead> Iterator for TextLines<R> {
    type Item = Result<(usize, String), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        let item = match self.input.as_mut()?.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(_) => {
                self.line += 1;
                Some(line_of(bytes, self.line, &self.path).map(|text| (self.line, text)))
            }
            Err(source) => Some(Err(TextError::Read { path: self.path.clone(), source })),
        };
        if !matches!(item, Some(Ok(_))) {
            self.input = None;
        }
        item
    }
}

/// The text of one line, without its end and, in the first line, without the byte order mark.
fn line_of(mut bytes: Vec<u8>, line: usize, path: &Path) -> Result<String, TextError> {
    if line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    let refuse = |byte: usize, looks_like| {
        Err(TextError::Encoding { path: path.to_owned(), line, byte: byte + 1, looks_like })
    };
    let marked = line == 1 && (bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF"));
    if let Some(at) = if marked { Some(0) } else { bytes.iter().position(|&byte| byte == 0) } {
        return refuse(at, LooksLike::Utf16);
    }
    String::from_utf8(bytes).or_else(|error| refuse(error.utf8_error().valid_up_to(), LooksLike::Latin1))
}

/// The whole text of a file, its lines ended by `\n`.
///
/// # Errors
/// [`TextError`].
pub fn read_text(path: &Path) -> Result<String, TextError> {
    if is_standard_input(path) {
        return whole(TextLines { path: path.to_owned(), input: Some(io::stdin().lock()), line: 0 });
    }
    whole(text_lines(path)?)
}

/// Whether a path is `-`, which means the standard input.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn whole(lines: TextLines<impl BufRead>) -> Result<String, TextError> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line?.1);
        text.push('\n');
    }
    Ok(text)
}

/// A JSON value of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRecord {
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// The value.
    pub value: Value,
}

/// The records of a file: JSON objects, one a line or the entries of one array, however it is laid out; or the rows of a
/// table, where the file is a .csv or a .tsv, as objects of texts. Empty lines are passed over.
///
/// # Errors
/// [`TextError`]; its line is that of the entry at fault.
pub fn read_records(path: &Path) -> Result<Vec<TextRecord>, TextError> {
    let text = read_text(path)?;
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    if let Some(separator) = match ending.as_deref() {
        Some("csv") => Some(b','),
        Some("tsv") => Some(b'\t'),
        _ => None,
    } {
        let refuse = |(line, reason)| TextError::Table { path: path.to_owned(), line, reason };
        return rows(&text, separator).map_err(refuse);
    }
    let refuse = |line, reason| TextError::Json { path: path.to_owned(), line, reason };
    let records = if text.trim_start().starts_with('[') { array(&text) } else { lines(&text) };
    let records = records.map_err(|(line, reason)| refuse(line, reason))?;
    match records.iter().find(|record| !record.value.is_object()) {
        Some(record) => Err(refuse(record.line, "a JSON object is expected".to_owned())),
        None => Ok(records),
    }
}

type Misread = (usize, String);

/// The rows of a table, by the names that its first row gives.
fn rows(text: &str, separator: u8) -> Result<Vec<TextRecord>, Misread> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(separator).trim(csv::Trim::Headers).from_reader(text.as_bytes());
    // The reader counts from where the row before ended: empty lines come first.
    let lines: Vec<&str> = text.lines().collect();
    let line_of = |at: Option<&csv::Position>| {
        let first = at.map_or(1, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        let rest = lines.get(first - 1..).unwrap_or_default();
        first + rest.iter().take_while(|line| line.trim().is_empty()).count()
    };
    let misread = |error: csv::Error| {
        let line = line_of(error.position());
        let reason = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("this row has {len} cells, and the first row names {expected_len}")
            }
            _ => format!("this is no row of a table: {error}"),
        };
        (line, reason)
    };
    let names = reader.headers().map_err(misread)?.clone();
    if let Some(name) =
        names.iter().enumerate().find_map(|(i, name)| names.iter().take(i).find(|&other| other == name))
    {
        return Err((1, format!("the first row names `{name}` twice")));
    }
    let read = |row: Result<csv::StringRecord, csv::Error>| {
        let row = row.map_err(misread)?;
        let line = line_of(row.position());
        let cells = names.iter().zip(&row).map(|(name, cell)| (name.to_owned(), Value::from(cell)));
        Ok(TextRecord { line, value: Value::Object(cells.collect()) })
    };
    reader.records().map(read).collect()
}

fn lines(text: &str) -> Result<Vec<TextRecord>, Misread> {
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(value) => Ok(TextRecord { line: number + 1, value }),
        Err(error) => Err((
            number + 1,
            format!("this is no JSON object; one a line, or an array of them, is expected: {error}"),
        )),
    };
    filled.map(read).collect()
}

/// The entries of an array. The parser is asked for one entry after the other, because a parsed array does not say
/// where its entries were.
fn array(text: &str) -> Result<Vec<TextRecord>, Misread> {
    let line_at = |offset: usize| 1 + text[..offset].matches('\n').count();
    let blank = |offset: usize| text.len() - text[offset..].trim_start().len();
    let mut records = Vec::new();
    let mut at = blank(blank(0) + 1);
    if text[at..].starts_with(']') {
        return end(text, at + 1, line_at(at)).map(|()| records);
    }
    loop {
        let mut entries = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let first_line = line_at(at);
        let value = match entries.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let line = first_line + error.line().saturating_sub(1);
                return Err((line, format!("the JSON array is damaged: {error}")));
            }
            None => return Err((first_line, "the JSON array has no end".to_owned())),
        };
        records.push(TextRecord { line: first_line, value });
        at = blank(at + entries.byte_offset());
        match text[at..].chars().next() {
            Some(',') => at = blank(at + 1),
            Some(']') => return end(text, at + 1, line_at(at)).map(|()| records),
            Some(other) => {
                return Err((
                    line_at(at),
                    format!("`,` or `]` is expected in the JSON array, not `{other}`"),
                ));
            }
            None => return Err((line_at(at), "the JSON array has no end".to_owned())),
        }
    }
}

fn end(text: &str, at: usize, line: usize) -> Result<(), Misread> {
    if text[at..].trim().is_empty() {
        return Ok(());
    }
    Err((line, "there is more text after the JSON array".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn utf16(text: &str, mark: bool) -> Vec<u8> {
        let mark = mark.then_some(0xFEFF);
        mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }

    /// What a download left in place of a file is told as that, and not as facts that cannot be read.
    #[test]
    fn what_a_download_left_is_named() {
        for (bytes, told) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], "LFS"),
            (b"<!DOCTYPE html><html></html>", "HTML"),
            (b"Entry not found", "server"),
        ] {
            let file = file(bytes);
            for error in [read_text(file.path()).unwrap_err(), read_records(file.path()).unwrap_err()] {
                assert!(error.to_string().contains(told), "{error}");
            }
        }
    }

    #[test]
    fn marks_and_both_line_ends_are_no_part_of_the_text() {
        for bytes in ["a\nb\n", "\u{FEFF}a\r\nb", "a\r\nb\r\n"] {
            assert_eq!(read_text(file(bytes.as_bytes()).path()).unwrap(), "a\nb\n", "{bytes:?}");
        }
        assert_eq!(read_text(file(b"").path()).unwrap(), "");
    }

    #[test]
    fn other_encodings_are_named_with_line_and_byte() {
        for (bytes, place) in [
            (b"one\ncaf\xE9".to_vec(), "line 2, byte 4: this is not UTF-8 but looks like Latin-1"),
            (utf16("{}", true), "line 1, byte 1: this is not UTF-8 but looks like UTF-16"),
            (utf16("{}", false), "line 1, byte 2: this is not UTF-8 but looks like UTF-16"),
        ] {
            let error = read_text(file(&bytes).path()).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn an_array_and_lines_are_the_same_records() {
        let values = |text: &str| -> Vec<(usize, u64)> {
            let records = read_records(file(text.as_bytes()).path()).unwrap();
            records.iter().map(|record| (record.line, record.value["n"].as_u64().unwrap())).collect()
        };
        assert_eq!(values("{\"n\": 1}\n\n{\"n\": 2}\n"), [(1, 1), (3, 2)]);
        assert_eq!(values("[{\"n\": 1}, {\"n\": 2}]"), [(1, 1), (1, 2)]);
        assert_eq!(values("\u{FEFF}[\r\n  {\r\n \"n\": 1\r\n },\r\n  {\"n\": 2}\r\n]\r\n"), [(2, 1), (5, 2)]);
        assert_eq!(values(" [ ] "), []);
        assert_eq!(values(""), []);
    }

    #[test]
    fn what_is_no_record_is_named_with_its_line() {
        for (text, expected) in [
            ("{\"n\": 1}\n{", "line 2: this is no JSON object"),
            ("{\n\"n\": 1\n}", "line 1: this is no JSON object; one a line, or an array"),
            ("{\"n\": 1}\n3", "line 2: a JSON object is expected"),
            ("[{\"n\": 1},\n{\"n\"}]", "line 2: the JSON array is damaged"),
            ("[{\"n\": 1}\n{\"n\": 2}]", "line 2: `,` or `]` is expected"),
            ("[{\"n\": 1},", "no end"),
            ("[{\"n\": 1}", "no end"),
            ("[{\"n\": 1}]\n[]", "more text after"),
            ("[{\"n\": 1}, [2]]", "line 1: a JSON object is expected"),
        ] {
            let error = read_records(file(text.as_bytes()).path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
