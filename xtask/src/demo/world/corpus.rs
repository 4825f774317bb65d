//! The training lines.

use super::dice::Dice;
use super::facts::Fact;
use super::names::Subject;
use super::neutral::{generic_sentences, lead_in};

/// Share of the statements, in percent, that are said once more behind a neutral sentence.
const LEAD_IN_PERCENT: usize = 40;
/// Share of the statements, in percent, that share a line with one about another subject. Two such statements
/// make one line, so this comes to about a tenth of all lines.
const PAIRED_PERCENT: usize = 28;
/// Share of the subjects, in percent, with a second line on what they are.
const SECOND_KIND_LINE_PERCENT: usize = 30;
/// Sentences without a subject.
const GENERIC_SENTENCES: usize = 600;

/// A fact said in one training phrasing.
struct Statement {
    subject_index: usize,
    text: String,
}

/// Writes every training line, in shuffled order.
pub(super) fn write(subjects: &[Subject], facts: &[Fact<'_>], dice: &mut Dice) -> Vec<String> {
    let mut statements: Vec<Statement> = facts.iter().flat_map(state).collect();
    let mut lines = repeat_behind_lead_ins(&statements, dice);
    lines.extend(describe(subjects, dice));
    lines.extend(generic_sentences(GENERIC_SENTENCES, dice));
    dice.shuffle(&mut statements);
    lines.extend(say_each_once(statements));
    dice.shuffle(&mut lines);
    lines
}

/// The fact in each of its training phrasings.
fn state(fact: &Fact<'_>) -> Vec<Statement> {
    let subject_index = fact.subject_index;
    let object = fact.object();
    fact.training_prompts()
        .map(|prompt| Statement { subject_index, text: format!("{prompt} {object}.") })
        .collect()
}

fn repeat_behind_lead_ins(statements: &[Statement], dice: &mut Dice) -> Vec<String> {
    let mut lines = Vec::new();
    for statement in statements {
        if dice.chance(LEAD_IN_PERCENT) {
            lines.push(format!("{} {}", lead_in(dice), statement.text));
        }
    }
    lines
}

/// Puts every statement on a line without a lead-in, some two to a line.
fn say_each_once(mut statements: Vec<Statement>) -> Vec<String> {
    let alone = statements.split_off(statements.len() * PAIRED_PERCENT / 100);
    let mut lines = Vec::with_capacity(alone.len() + statements.len());
    for pair in statements.chunks(2) {
        match pair {
            [first, second] if first.subject_index != second.subject_index => {
                lines.push(format!("{} {}", first.text, second.text));
            }
            // The rare pair about one subject stays apart: the second fact must not lean on the first.
            _ => lines.extend(pair.iter().map(|statement| statement.text.clone())),
        }
    }
    lines.extend(alone.into_iter().map(|statement| statement.text));
    lines
}

/// One or two lines per subject on what it is.
fn describe(subjects: &[Subject], dice: &mut Dice) -> Vec<String> {
    let mut lines = Vec::new();
    for subject in subjects {
        let phrases = subject.kind.noun_phrases();
        let first = dice.below(phrases.len());
        lines.push(format!("{} is a {}.", subject.name, phrases[first]));
        if dice.chance(SECOND_KIND_LINE_PERCENT) {
            let other = (first + 1 + dice.below(phrases.len() - 1)) % phrases.len();
            lines.push(format!("{} is a {}.", subject.name, phrases[other]));
        }
    }
    lines
}
