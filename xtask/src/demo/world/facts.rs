//! Which subject has which object, and which phrasing of it is held out.

use super::WorldFact;
use super::dice::Dice;
use super::names::{Kind, Subject};
use super::vocabulary::{PHRASINGS, RELATIONS, Relation, fill};

/// A fact before it is written out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact<'world> {
    /// Who or what it is about.
    pub(super) subject: &'world Subject,
    /// The position of the subject in the world, which is cheaper to compare than its name.
    pub(super) subject_index: usize,
    /// What is said about it.
    pub(super) relation: &'static Relation,
    /// The position of the relation in [`RELATIONS`].
    pub(super) relation_index: usize,
    /// The position of the object in the relation's objects.
    pub(super) object_index: usize,
    /// The phrasing that training never shows for this fact.
    pub(super) held_out: usize,
}

impl Fact<'_> {
    /// The object in words.
    pub(super) fn object(&self) -> &'static str {
        self.relation.objects[self.object_index]
    }

    /// The phrasings that training shows, with their slot.
    pub(super) fn training_templates(&self) -> impl Iterator<Item = &'static str> {
        let held_out = self.held_out;
        let numbered = self.relation.phrasings.into_iter().enumerate();
        numbered.filter(move |(index, _)| *index != held_out).map(|(_, phrasing)| phrasing)
    }

    /// The training prompts.
    pub(super) fn training_prompts(&self) -> impl Iterator<Item = String> {
        self.training_templates().map(|template| fill(template, &self.subject.name))
    }

    /// One of the phrasings that training shows.
    pub(super) fn any_training_template(&self, dice: &mut Dice) -> &'static str {
        let drawn = dice.below(PHRASINGS - 1);
        let index = if drawn < self.held_out { drawn } else { drawn + 1 };
        self.relation.phrasings[index]
    }

    /// One of the training prompts.
    pub(super) fn any_training_prompt(&self, dice: &mut Dice) -> String {
        fill(self.any_training_template(dice), &self.subject.name)
    }

    /// The prompt that training never shows.
    pub(super) fn held_out_prompt(&self) -> String {
        fill(self.relation.phrasings[self.held_out], &self.subject.name)
    }

    /// Whether both facts give the same object to the same relation.
    pub(super) fn shares_object_with(&self, other: &Fact<'_>) -> bool {
        self.relation_index == other.relation_index && self.object_index == other.object_index
    }

    /// The fact as the world publishes it.
    pub(super) fn publish(&self) -> WorldFact {
        WorldFact {
            subject: self.subject.name.clone(),
            relation_id: self.relation.id.to_owned(),
            object: self.object().to_owned(),
            train_prompts: self.training_prompts().collect(),
            held_out_prompts: vec![self.held_out_prompt()],
        }
    }
}

/// Gives every subject its facts, ordered by subject and then by relation.
pub(super) fn assign<'world>(subjects: &'world [Subject], dice: &mut Dice) -> Vec<Fact<'world>> {
    let skipped = skipped_relations(subjects, dice);
    let mut facts = Vec::new();
    for (relation_index, relation) in RELATIONS.iter().enumerate() {
        let mut holders: Vec<usize> = (0..subjects.len())
            .filter(|&index| subjects[index].kind == relation.kind && skipped[index] != Some(relation_index))
            .collect();
        dice.shuffle(&mut holders);
        for (turn, subject_index) in holders.into_iter().enumerate() {
            let (round, object_index) = (turn / relation.objects.len(), turn % relation.objects.len());
            facts.push(Fact {
                subject: &subjects[subject_index],
                subject_index,
                relation,
                relation_index,
                object_index,
                // Along the diagonals, the held-out phrasing is even over the relation and over each object.
                held_out: (round + object_index) % PHRASINGS,
            });
        }
    }
    facts.sort_by_key(|fact| (fact.subject_index, fact.relation_index));
    facts
}

/// The relation of its kind that each subject goes without, if any.
///
/// People have four relations and take three, each relation being left out equally often.
fn skipped_relations(subjects: &[Subject], dice: &mut Dice) -> Vec<Option<usize>> {
    let personal: Vec<usize> =
        (0..RELATIONS.len()).filter(|&index| RELATIONS[index].kind == Kind::Person).collect();
    let mut people: Vec<usize> =
        (0..subjects.len()).filter(|&index| subjects[index].kind == Kind::Person).collect();
    dice.shuffle(&mut people);
    let mut skipped = vec![None; subjects.len()];
    for (turn, person) in people.into_iter().enumerate() {
        skipped[person] = Some(personal[turn % personal.len()]);
    }
    skipped
}
