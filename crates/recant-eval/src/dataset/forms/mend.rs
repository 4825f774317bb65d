//! zsRE in MEND's form.

use super::super::entry::{Fault, Place};
use super::easyedit::portability;
use super::{Form, Parts, pairs};

/// zsRE as MEND has it. `pred` is what another model said, `cond` is made of the other fields.
pub(super) const MEND: Form = Form {
    name: "zsRE of MEND",
    keys: "`subject`, `src`, `alt` (the new answer), `answers`, `rephrase`, `loc`, `loc_ans`; \
           `portability` with `New Question` and `New Answer`",
    marks: &["src", "alt"],
    tells: |entry| entry.get("src").is_some(),
    known: &[
        "case_id",
        "subject",
        "src",
        "pred",
        "rephrase",
        "alt",
        "answers",
        "loc",
        "loc_ans",
        "cond",
        "portability",
    ],
    read: mend,
};

fn mend(entry: Place<'_>) -> Result<Parts, Fault> {
    Ok(Parts {
        subject: Some(entry.text("subject")?),
        prompt: entry.text("src")?,
        target: entry.answer("alt")?,
        truth: entry.first("answers")?,
        paraphrases: entry.all("rephrase")?,
        neighbours: pairs(entry, "loc", "loc_ans")?,
        consequences: portability(entry)?,
    })
}
