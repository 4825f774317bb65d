//! CounterFact cases, in the original form and in EasyEdit's flattened one.
//!
//! Original: Meng et al. 2022. Flattened: `prompt`, `target_new`, `ground_truth`, `subject`,
//! `rephrase_prompt`, `locality_prompt`, `locality_ground_truth`, as EasyEdit redistributes it.

use std::path::{Path, PathBuf};

use recant_edit::{Fact, FactError};
use serde::Deserialize;

/// One edit and the prompts that judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The data set's own number.
    pub id: u64,
    /// What to write.
    pub fact: Fact,
    /// What the unedited model should say.
    pub target_true: String,
    /// Other ways to ask for the fact.
    pub paraphrases: Vec<String>,
    /// Prompts about other subjects that should not move, each with its own true answer.
    pub neighbours: Vec<(String, String)>,
}

/// A fact that no edit is about, and that a model should go on answering.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Retained {
    /// The prompt.
    pub prompt: String,
    /// What the unedited model should answer, without a leading space.
    pub answer: String,
}

/// A data set cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a JSON array of objects.
    #[error("{path} is not a JSON array of cases: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An entry is in neither form.
    #[error("{path}, entry {index}: {reason}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry, counted from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// An entry's fact cannot be used.
    #[error("{path}, entry {index}: {source}")]
    Fact {
        /// The file.
        path: PathBuf,
        /// The entry, counted from 0.
        index: usize,
        /// What is wrong.
        source: FactError,
    },
    /// There are no cases.
    #[error("{path} holds no cases")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct Target {
    str: String,
}

#[derive(Deserialize)]
struct Rewrite {
    prompt: String,
    target_new: Target,
    target_true: Target,
    subject: String,
}

#[derive(Deserialize)]
struct Original {
    case_id: u64,
    requested_rewrite: Rewrite,
    #[serde(default)]
    paraphrase_prompts: Vec<String>,
    #[serde(default)]
    neighborhood_prompts: Vec<String>,
}

#[derive(Deserialize)]
struct Flattened {
    case_id: Option<u64>,
    prompt: String,
    target_new: String,
    ground_truth: String,
    subject: String,
    rephrase_prompt: Option<String>,
    locality_prompt: Option<String>,
    locality_ground_truth: Option<String>,
}

impl Original {
    fn case(self) -> Result<Case, FactError> {
        let Rewrite { prompt, target_new, target_true, subject } = self.requested_rewrite;
        let neighbours = self.neighborhood_prompts.into_iter();
        Ok(Case {
            id: self.case_id,
            fact: Fact::new(subject, prompt, target_new.str)?,
            paraphrases: self.paraphrase_prompts,
            neighbours: neighbours.map(|prompt| (prompt, target_true.str.trim().to_owned())).collect(),
            target_true: target_true.str.trim().to_owned(),
        })
    }
}

impl Flattened {
    fn case(self, index: usize) -> Result<Case, FactError> {
        let truth = self.locality_ground_truth.unwrap_or_else(|| self.ground_truth.clone());
        Ok(Case {
            id: self.case_id.unwrap_or(index as u64),
            fact: Fact::new(self.subject, self.prompt, self.target_new)?,
            target_true: self.ground_truth.trim().to_owned(),
            paraphrases: self.rephrase_prompt.into_iter().collect(),
            neighbours: self
                .locality_prompt
                .map(|prompt| (prompt, truth.trim().to_owned()))
                .into_iter()
                .collect(),
        })
    }
}

/// Reads the cases of a JSON file; the two forms may even be mixed.
///
/// # Errors
/// [`DatasetError`] names the entry and the field.
pub fn read_cases(path: &Path) -> Result<Vec<Case>, DatasetError> {
    let bytes = std::fs::read(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&bytes)
        .map_err(|source| DatasetError::Json { path: path.to_owned(), source })?;
    if entries.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    let read = |(index, entry): (usize, serde_json::Value)| {
        let malformed = |error: serde_json::Error| DatasetError::Entry {
            path: path.to_owned(),
            index,
            reason: error.to_string(),
        };
        let case = if entry.get("requested_rewrite").is_some() {
            serde_json::from_value::<Original>(entry).map_err(malformed)?.case()
        } else {
            serde_json::from_value::<Flattened>(entry).map_err(malformed)?.case(index)
        };
        let case = case.map_err(|source| DatasetError::Fact { path: path.to_owned(), index, source })?;
        if case.target_true.is_empty() {
            let reason = "the true target is empty".to_owned();
            return Err(DatasetError::Entry { path: path.to_owned(), index, reason });
        }
        Ok(case)
    };
    entries.into_iter().enumerate().map(read).collect()
}

/// Reads facts to be retained: a JSON array of objects with `prompt` and `answer`.
///
/// # Errors
/// [`DatasetError`] names the entry and the field.
pub fn read_retained(path: &Path) -> Result<Vec<Retained>, DatasetError> {
    let bytes = std::fs::read(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&bytes)
        .map_err(|source| DatasetError::Json { path: path.to_owned(), source })?;
    if entries.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    let read = |(index, entry): (usize, serde_json::Value)| {
        let refuse = |reason: String| DatasetError::Entry { path: path.to_owned(), index, reason };
        let fact: Retained = serde_json::from_value(entry).map_err(|error| refuse(error.to_string()))?;
        if fact.prompt.trim().is_empty() || fact.answer.trim().is_empty() {
            return Err(refuse("`prompt` or `answer` is empty".to_owned()));
        }
        Ok(Retained { answer: fact.answer.trim().to_owned(), ..fact })
    };
    entries.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<Case>, DatasetError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cases.json");
        std::fs::write(&path, json).unwrap();
        read_cases(&path)
    }

    const ORIGINAL: &str = r#"{"case_id": 7, "requested_rewrite": {"prompt": "{} speaks", "relation_id": "P1",
        "target_new": {"str": "Veltish", "id": "a"}, "target_true": {"str": "Tashic", "id": "b"},
        "subject": "Ada"}, "paraphrase_prompts": ["At home, Ada spoke"],
        "neighborhood_prompts": ["Bob speaks", "Cy speaks"]}"#;
    const FLATTENED: &str = r#"{"case_id": 7, "prompt": "Ada speaks", "target_new": "Veltish", "subject": "Ada",
        "ground_truth": "Tashic", "rephrase_prompt": "At home, Ada spoke", "locality_prompt": "Bob speaks",
        "locality_ground_truth": "Tashic"}"#;

    #[test]
    fn both_forms_say_the_same() {
        let original = read(&format!("[{ORIGINAL}]")).unwrap().remove(0);
        let flattened = read(&format!("[{FLATTENED}]")).unwrap().remove(0);
        assert_eq!(original.fact, flattened.fact);
        assert_eq!((original.id, &original.paraphrases), (flattened.id, &flattened.paraphrases));
        assert_eq!(original.neighbours[..1], flattened.neighbours[..]);
    }

    #[test]
    fn retained_facts_have_a_prompt_and_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("retained.json");
        let read = |json: &str| {
            std::fs::write(&path, json).unwrap();
            read_retained(&path).map_err(|error| error.to_string())
        };
        let one = read(r#"[{"prompt": "The sea is", "answer": " cold"}]"#).unwrap();
        assert_eq!(one, [Retained { prompt: "The sea is".into(), answer: "cold".into() }]);
        assert!(read("[]").unwrap_err().contains("no cases"));
        assert!(
            read(r#"[{"prompt": "a", "answer": "b"}, {"prompt": "a"}]"#).unwrap_err().contains("entry 1")
        );
        assert!(read(r#"[{"prompt": "a", "answer": " "}]"#).unwrap_err().contains("empty"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let message = |json: &str| read(json).unwrap_err().to_string();
        assert!(message("{}").contains("not a JSON array"));
        assert!(message("[]").contains("no cases"));
        assert!(message(&format!("[{ORIGINAL}, {{\"case_id\": 1}}]")).contains("entry 1: missing field"));
        let twice = FLATTENED.replace("Ada speaks", "Ada and Ada speak");
        assert!(message(&format!("[{twice}]")).contains("2 times"));
        let nobody = FLATTENED.replace("Ada speaks", "She speaks");
        assert!(message(&format!("[{nobody}]")).contains("nowhere"));
    }
}
