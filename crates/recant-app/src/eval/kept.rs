//! Runs that are written down as they go: a line for each case that was put in alone, and one for each other run that is
//! finished. A run that was broken off, even by a power cut, goes on behind the last whole line.

use std::collections::BTreeMap;

use recant_core::{bytes_digest, hex};
use recant_eval::report::IN_CONTEXT;
use recant_eval::scores::COLUMNS;
use recant_eval::{Case, Event, Retained, Run, Single};
use recant_files::OutputFile;
use recant_model::Model;
use serde::{Deserialize, Serialize};

use super::journal::differing;
use super::{EvalRequest, JournalError};
use crate::observer::Observer;
use crate::resources::Resources;

/// How the file begins. Behind it every line is 16 hexadecimal digits of its BLAKE3, a blank, and JSON; the first one says
/// what is evaluated.
const MAGIC: &[u8] = b"recant-resume-3\n";

/// A line behind the first one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A case of the run at a place.
    Single(usize, Box<Single>),
    /// The run at a place.
    Run(usize, Box<Run>),
}

/// What is known of runs, by their place among the methods and scenarios.
#[derive(Debug, Default)]
struct Known {
    singles: BTreeMap<usize, Vec<Single>>,
    runs: BTreeMap<usize, Run>,
}

/// The file of runs, and what it held when it was opened.
pub(super) struct KeptRuns {
    file: OutputFile,
    known: Known,
    /// The first write that failed.
    failed: Option<JournalError>,
}

impl KeptRuns {
    /// Reads the file, or begins it; `observer` hears what there is to know about it.
    pub(super) fn open(
        file: OutputFile,
        about: &BTreeMap<String, String>,
        observer: &dyn Observer,
    ) -> Result<Self, JournalError> {
        let path = file.path().to_owned();
        let refuse = |reason: String| JournalError::Read { path: path.clone(), reason };
        let first = line(about)?;
        if !path.exists() {
            // Before hours of work, not after them.
            file.write(&[MAGIC, &first].concat())?;
            return Ok(Self { file, known: Known::default(), failed: None });
        }
        let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
        let (whole, lines) = lines(&bytes).map_err(refuse)?;
        let Some((of, rest)) = lines.split_first() else {
            return Err(refuse("it does not say what was evaluated".to_owned()));
        };
        let of: BTreeMap<String, String> = parsed(of).map_err(refuse)?;
        if let Some(what) = differing(&of, about) {
            return Err(refuse(format!("it is the record of a run with another {what}")));
        }
        let mut known = Known::default();
        for text in rest {
            match parsed(text).map_err(refuse)? {
                Line::Single(at, single) => known.singles.entry(at).or_default().push(*single),
                Line::Run(at, run) => drop(known.runs.insert(at, *run)),
            }
        }
        if whole < bytes.len() {
            observer.note(&format!("the last line of {} was cut off and is done again", path.display()));
            file.write(&bytes[..whole])?;
        }
        Ok(Self { file, known, failed: None })
    }

    /// The cases of a run that were done before.
    pub(super) fn singles(&mut self, at: usize) -> Vec<Single> {
        self.known.singles.remove(&at).unwrap_or_default()
    }

    /// A run that was finished before.
    pub(super) fn run(&mut self, at: usize) -> Option<Run> {
        self.known.runs.remove(&at)
    }

    /// Writes a case down.
    pub(super) fn note(&mut self, at: usize, event: &Event<'_>) {
        if let Event::Single { single, .. } = event {
            self.add(&Line::Single(at, Box::new((*single).clone())));
        }
    }

    /// Writes a run down.
    pub(super) fn finish(&mut self, at: usize, run: &Run) {
        self.add(&Line::Run(at, Box::new(run.clone())));
    }

    /// The first write that failed.
    pub(super) fn failed(&mut self) -> Option<JournalError> {
        self.failed.take()
    }

    /// Adds a line, unless one before it is missing.
    fn add(&mut self, said: &Line) {
        if self.failed.is_some() {
            return;
        }
        let written = line(said).and_then(|line| Ok(self.file.append(&line)?));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }
}

/// Everything that decides the runs of a request, by name.
pub(super) fn about(
    request: &EvalRequest,
    model: &Model,
    cases: &[Case],
    retained: &[Retained],
    resources: &Resources,
) -> BTreeMap<String, String> {
    let digest = |text: String| hex(&bytes_digest(text.as_bytes()));
    let statistics = resources.moments().map(|(moments, _)| (moments.corpus, moments.tokens));
    let given = request.given.iter().map(|(name, model)| (name, model.digest().to_string()));
    let in_context = request.in_context.then_some(IN_CONTEXT);
    let methods: Vec<&str> = request.methods.iter().map(String::as_str).chain(in_context).collect();
    let pairs = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("model", model.digest().to_string()),
        ("chat template", format!("{:?}", model.tokenizer().chat())),
        ("device", model.device().spec().to_string()),
        ("set of cases", digest(format!("{cases:?}"))),
        ("set of facts that no edit is about", digest(format!("{retained:?}"))),
        ("list of methods", methods.join(",")),
        ("list of models that are given", format!("{:?}", given.collect::<Vec<_>>())),
        ("scenario", format!("{:?}", request.steps)),
        ("list of scores", COLUMNS.iter().map(|column| column.key).collect::<Vec<_>>().join(",")),
        ("setting", digest(format!("{:?}", request.sources.wishes))),
        ("set of context templates", digest(format!("{:?}", resources.contexts().templates()))),
        ("set of statistics", digest(format!("{statistics:?}"))),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn line<T: Serialize>(said: &T) -> Result<Vec<u8>, JournalError> {
    let json = serde_json::to_string(said)?;
    Ok(format!("{} {json}\n", checksum(&json)).into_bytes())
}

fn checksum(json: &str) -> String {
    hex(&bytes_digest(json.as_bytes())[..8])
}

fn parsed<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| format!("it is damaged: {error}"))
}

/// The JSON of every whole line, and how many bytes they take with what is before them. The last line may have been cut
/// off; every other one has to be what was written.
fn lines(bytes: &[u8]) -> Result<(usize, Vec<&str>), String> {
    let body = bytes.strip_prefix(MAGIC);
    let body = body.ok_or("it is not a record of runs of this kind that goes on")?;
    let (mut whole, mut found) = (MAGIC.len(), Vec::new());
    for (at, line) in body.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let Some(line_text) = line.strip_suffix(b"\n") else { break };
        let json = std::str::from_utf8(line_text).ok().and_then(|text| text.split_once(' '));
        match json {
            Some((sum, json)) if sum == checksum(json) => found.push(json),
            _ => return Err(format!("line {} is damaged", at + 2)),
        }
        whole += line.len();
    }
    Ok((whole, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;
    use recant_files::{Outputs, Temporaries};
    use std::path::Path;

    fn open(path: &Path, about: &str) -> Result<KeptRuns, String> {
        let mut outputs = Outputs::new(&Temporaries::default());
        let file = outputs.continued(path, crate::kinds::JOURNAL).map_err(|error| error.to_string())?;
        let about = [("model".to_owned(), about.to_owned())].into();
        KeptRuns::open(file, &about, &Silent).map_err(|error| error.to_string())
    }

    fn single(id: u64) -> Single {
        let json = format!(
            r#"{{"result": {{"case_id": {id}, "subject": "s", "target_new": "t", "target_true": null,
                "scores": {{"ES": 1.0, "EM": 0.1, "PS": null, "PM": null, "NS": null, "NM": null, "rewrite_acc": 0.3,
                    "rephrase_acc": null, "locality_acc": null}},
                "seconds": 0.1, "rollback_exact": true,
                "prompts": [{{"kind": "rewrite", "prompt": "p", "before": {{"p_new": 0.7, "p_true": 0.2, "top": []}},
                    "after": {{"p_new": 0.3, "p_true": null, "top": [["a", 0.1]]}}}}]}},
                "failures": [], "notes": ["n"], "state_bytes": null}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_record_goes_on_behind_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let mut kept = open(&path, "a").unwrap();
        (0..3).for_each(|id| kept.note(1, &Event::Single { method: "m", single: &single(id) }));
        assert!(kept.failed().is_none());
        let whole = std::fs::read(&path).unwrap();
        assert!((crate::kinds::JOURNAL.recognises)(&whole));
        let known = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            open(&path, "a").map(|mut kept| kept.singles(1))
        };
        let all: Vec<Single> = (0..3).map(single).collect();
        assert_eq!(known(&whole).unwrap(), all);
        let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            assert_eq!(known(&whole[..cut]).unwrap(), all[..2], "{cut}");
            assert_eq!(std::fs::read(&path).unwrap(), whole[..last], "the torn line is gone");
        }
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(known(&damaged).is_err(), "byte {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(open(&path, "b").err().unwrap().contains("another model"));
    }
    /// An edit that broke the model has probabilities that are no numbers, which JSON does not have.
    #[test]
    fn a_case_without_numbers_is_read_back() {
        let mut broken = single(1);
        let after = &mut broken.result.prompts[0].after;
        (after.p_new, after.top[0].1) = (f64::NAN, f64::NAN);
        let json = serde_json::to_string(&broken).unwrap();
        let back: Single = serde_json::from_str(&json).unwrap();
        assert!(back.result.prompts[0].after.top[0].1.is_nan());
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
}
