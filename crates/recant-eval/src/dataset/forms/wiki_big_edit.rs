//! WikiBigEdit.

use super::super::entry::{Fault, Place};
use super::{Form, Parts, answered, pairs};

/// WikiBigEdit: questions about what changed between two snapshots of Wikidata. A persona asks the same in its own words.
pub(super) const WIKI_BIG_EDIT: Form = Form {
    name: "WikiBigEdit",
    keys: "`subject`, `update`, `ans`, `rephrase`, `personas` (both are other ways to ask), `mhop`, \
           `mhop_ans`, `loc`, `loc_ans`",
    marks: &["update", "ans"],
    tells: |entry| entry.get("update").is_some(),
    known: &[
        "case_id", "subject", "update", "ans", "rephrase", "personas", "mhop", "mhop_ans", "loc", "loc_ans",
        "tag", "relation", "object",
    ],
    read: wiki_big_edit,
};

fn wiki_big_edit(entry: Place<'_>) -> Result<Parts, Fault> {
    let mut paraphrases = entry.all("rephrase")?;
    paraphrases.extend(entry.all("personas")?);
    Ok(Parts {
        subject: Some(entry.text("subject")?),
        prompt: entry.text("update")?,
        target: entry.answer("ans")?,
        truth: None,
        paraphrases,
        neighbours: pairs(entry, "loc", "loc_ans")?,
        consequences: answered(pairs(entry, "mhop", "mhop_ans")?),
    })
}
