//! HalluEditBench.

use super::super::entry::{Fault, Place};
use super::{Form, Parts, answered, pairs};

/// HalluEditBench (Huang et al. 2024): questions that a model answers wrongly, one table a model and topic.
pub(super) const HALLU_EDIT: Form = Form {
    name: "HalluEditBench",
    keys: "`subject`, `question`, `object` (the new answer), `paraphrased_question`, \
           `locality_question`, `question_2hop` with `answer_2hop` to `question_6hop`",
    marks: &["subject", "object", "question", "locality_question"],
    tells: |entry| entry.has(&["object", "question", "locality_question"]),
    known: &[
        "case_id",
        "topic",
        "subject",
        "relation",
        "object",
        "question",
        "paraphrased_question",
        "locality_question",
        "multiple_choices",
        "multiple_choice_with_letters",
        "multiple_choice_labels",
        "yes_question",
        "no_question",
        "reversed_relation_question",
        "question_2hop",
        "answer_2hop",
        "question_3hop",
        "answer_3hop",
        "question_4hop",
        "answer_4hop",
        "question_5hop",
        "answer_5hop",
        "question_6hop",
        "answer_6hop",
    ],
    read: hallu_edit,
};

/// What the neighbour's answer is, the table does not tell.
fn hallu_edit(entry: Place<'_>) -> Result<Parts, Fault> {
    let mut hops = Vec::new();
    for steps in 2..=6 {
        hops.extend(pairs(entry, &format!("question_{steps}hop"), &format!("answer_{steps}hop"))?);
    }
    Ok(Parts {
        subject: Some(entry.text("subject")?),
        prompt: entry.text("question")?,
        target: entry.answer("object")?,
        truth: None,
        paraphrases: entry.all("paraphrased_question")?,
        neighbours: entry.all("locality_question")?.into_iter().map(|asked| (asked, None)).collect(),
        consequences: answered(hops),
    })
}
