//! Facts of a file, in whichever form it has them.

use std::path::Path;

use recant_edit::{Fact, FactFile, FactFileError, TextError, facts_of, read_records};
use recant_eval::{Dataset, DatasetError, attach_locality};

/// A file of facts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// It cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It is no list of facts.
    #[error(transparent)]
    File(#[from] FactFileError),
    /// It is no data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct FactsRead {
    /// The facts, in its order.
    pub facts: Vec<Fact>,
    /// It asks for the model's chat template.
    pub chat: bool,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// Reads a file of facts: plain ones, or the cases of a data set. Cases behind `limit` give the others prompts that must
/// be left alone.
///
/// # Errors
/// [`FactsError`].
pub fn read_facts(path: &Path, limit: Option<usize>) -> Result<FactsRead, FactsError> {
    let records = read_records(path)?;
    if records.first().is_some_and(Dataset::has_case) {
        let mut data = Dataset::of(path, &records, limit)?.all_usable()?;
        attach_locality(&mut data.cases, &data.spare);
        let facts = data.cases.into_iter().map(|case| case.fact).collect();
        return Ok(FactsRead { facts, ..FactsRead::default() });
    }
    let mut file = facts_of(path, &records)?;
    let notes = trimmed(path, &file).into_iter().collect();
    file.facts.truncate(limit.unwrap_or(usize::MAX));
    Ok(FactsRead { facts: file.facts, chat: file.chat, notes })
}

/// What to know of a file of facts whose prompts were cut.
fn trimmed(path: &Path, file: &FactFile) -> Option<String> {
    let lines: Vec<String> = file.trimmed.iter().take(10).map(usize::to_string).collect();
    let more = if file.trimmed.len() > lines.len() { ", ..." } else { "" };
    let lines = (!lines.is_empty()).then(|| lines.join(", "))?;
    Some(format!("the blanks at the end of prompts in {} were cut off: lines {lines}{more}", path.display()))
}
