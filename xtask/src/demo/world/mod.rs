//! An invented world for the demo: entities that exist nowhere, facts about them, and edits to those facts.
//!
//! A small model is trained on [`World::corpus`], [`World::facts`] measures what it learned, [`World::cases`]
//! rewrites some of it, and [`World::retained`] watches subjects that no case mentions. The names come from
//! invented syllables and nothing is taken from a data set, so a fact the model can recite is one it learned
//! here. One seed gives one world, on every machine.

mod cases;
mod corpus;
mod dice;
mod facts;
mod names;
mod neutral;
mod syllables;
mod vocabulary;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use dice::{Dice, Stage};

/// Everything that is generated from one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct World {
    /// The seed it came from.
    pub seed: u64,
    /// Every fact, ordered by subject and then by relation.
    pub facts: Vec<WorldFact>,
    /// The training text, one entry per line, shuffled.
    pub corpus: Vec<String>,
    /// The edits, in CounterFact's schema. Relations take turns, and no subject has two cases.
    pub cases: Vec<Case>,
    /// Facts about subjects that no prompt of any case mentions.
    pub retained: Vec<Retained>,
}

/// One fact and the ways to ask for it.
///
/// A prompt is complete text up to the object, without a trailing space: the answer is a space and `object`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorldFact {
    /// The full name of who or what the fact is about.
    pub subject: String,
    /// The relation, such as `D01`.
    pub relation_id: String,
    /// The object, without a leading space.
    pub object: String,
    /// Prompts that the corpus completes.
    pub train_prompts: Vec<String>,
    /// Prompts for the same fact that the corpus never contains.
    pub held_out_prompts: Vec<String>,
}

/// One edit. Serialises as an entry of CounterFact does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// The position of the case among the cases.
    pub case_id: usize,
    /// A field of CounterFact's schema; here always `case_id`.
    pub pararel_idx: usize,
    /// What to change.
    pub requested_rewrite: RequestedRewrite,
    /// The fact's held-out prompt: bare, and behind a neutral sentence.
    pub paraphrase_prompts: Vec<String>,
    /// Prompts about other subjects with the same true object, which the edit must leave alone.
    pub neighborhood_prompts: Vec<String>,
    /// Prompts about other subjects that already have the new object.
    pub attribute_prompts: Vec<String>,
    /// Prompts about the subject to let the model write on from.
    pub generation_prompts: Vec<String>,
}

/// The change that a case asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestedRewrite {
    /// A training phrasing of the fact, with `{}` where the subject goes.
    pub prompt: String,
    /// The relation, such as `D01`.
    pub relation_id: String,
    /// What the edited model shall answer.
    pub target_new: Target,
    /// What the world says.
    pub target_true: Target,
    /// The full name of the subject.
    pub subject: String,
}

/// An object, named by a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// The word, without a leading space.
    #[serde(rename = "str")]
    pub text: String,
    /// The object's id, such as `D01-07`.
    pub id: String,
}

/// A fact that every edit should leave as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retained {
    /// A training prompt, without a trailing space.
    pub prompt: String,
    /// The object, without the space that stands before it in text.
    pub answer: String,
}

/// Generates the world of `seed`.
pub(crate) fn generate(seed: u64) -> World {
    let subjects = names::subjects(&mut Dice::new(seed, Stage::Names));
    let facts = facts::assign(&subjects, &mut Dice::new(seed, Stage::Facts));
    let (cases, retained) = cases::draw(&facts, &mut Dice::new(seed, Stage::Cases));
    let corpus = corpus::write(&subjects, &facts, &mut Dice::new(seed, Stage::Corpus));
    World { seed, facts: facts.iter().map(facts::Fact::publish).collect(), corpus, cases, retained }
}
