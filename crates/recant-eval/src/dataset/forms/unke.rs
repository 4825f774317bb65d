//! UnKE.

use super::super::entry::{Fault, Place};
use super::{Form, Parts, answered, pairs};

/// UnKE: a question without a subject, a long answer, and questions about parts of it.
pub(super) const UNKE: Form = Form {
    name: "UnKE",
    keys: "`question`, `answer`, `para_question`, `sub_question`, `sub_answer`; the facts are about no \
           subject",
    marks: &["question", "para_question"],
    tells: |entry| entry.get("para_question").is_some(),
    known: &["case_id", "id", "question", "answer", "para_question", "sub_question", "sub_answer"],
    read: unke,
};

fn unke(entry: Place<'_>) -> Result<Parts, Fault> {
    Ok(Parts {
        subject: None,
        prompt: entry.text("question")?,
        target: entry.answer("answer")?,
        truth: None,
        paraphrases: entry.all("para_question")?,
        neighbours: Vec::new(),
        consequences: answered(pairs(entry, "sub_question", "sub_answer")?),
    })
}
