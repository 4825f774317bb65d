//! The subjects of the world and their invented names.

use super::dice::Dice;
use super::neutral::neutral_texts;
use super::syllables::{
    COMPANY_PREFIXES, COMPANY_SYLLABLES, GIVEN_NAMES, SURNAME_SYLLABLES, Syllables, TOWN_SYLLABLES,
};
use super::vocabulary::{RELATIONS, contains_object, objects};

/// What a subject is; it decides which relations apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person: a shared given name and a surname of their own.
    Person,
    /// A town: one word of its own.
    Town,
    /// A company: a shared first word and a word of its own.
    Company,
}

impl Kind {
    /// Every kind, in the order in which subjects are invented.
    pub(super) const ALL: [Self; 3] = [Self::Person, Self::Town, Self::Company];

    /// How many subjects of the kind there are.
    ///
    /// People have a relation each to spare, so a relation of theirs covers 216 of the 288: with 12 objects,
    /// 18 people share one. The others have 10 objects and 13 subjects to each. Both leave ten neighbours to
    /// an edited subject after the retained subjects are set aside.
    pub(super) fn population(self) -> usize {
        match self {
            Self::Person => 288,
            Self::Town | Self::Company => 130,
        }
    }

    /// How "{subject} is a" goes on, without the full stop.
    pub(super) fn noun_phrases(self) -> &'static [&'static str] {
        match self {
            Self::Person => &[
                "person from the coast",
                "person from the hills",
                "quiet person",
                "well known person",
                "friend of the family",
                "guest at the dinner",
                "member of the club",
                "person of few words",
            ],
            Self::Town => &[
                "town in the hills",
                "town by the river",
                "town near the sea",
                "small town",
                "busy town",
                "place with narrow streets",
                "town with a large square",
                "town on the old road",
            ],
            Self::Company => &[
                "company",
                "large company",
                "company with many workers",
                "family company",
                "firm with a long history",
                "respected firm",
                "company on the rise",
                "business with two owners",
            ],
        }
    }

    fn syllables(self) -> &'static Syllables {
        match self {
            Self::Person => &SURNAME_SYLLABLES,
            Self::Town => &TOWN_SYLLABLES,
            Self::Company => &COMPANY_SYLLABLES,
        }
    }

    /// The words that stand before a subject's own word, shared by many subjects; empty for a bare word.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Person => &GIVEN_NAMES,
            Self::Town => &[],
            Self::Company => &COMPANY_PREFIXES,
        }
    }
}

/// An invented entity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subject {
    /// The full name.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// Invents every subject, kind by kind.
pub(super) fn subjects(dice: &mut Dice) -> Vec<Subject> {
    let mut words = Words::new();
    Kind::ALL.into_iter().flat_map(|kind| subjects_of(kind, &mut words, dice)).collect()
}

fn subjects_of(kind: Kind, words: &mut Words, dice: &mut Dice) -> Vec<Subject> {
    let prefixes = kind.prefixes();
    words
        .claim(kind.syllables(), kind.population(), dice)
        .into_iter()
        .enumerate()
        .map(|(turn, word)| match prefixes {
            [] => Subject { name: word, kind },
            // The words come shuffled, so taking the prefixes in turn is fair and still shares them evenly.
            _ => Subject { name: format!("{} {word}", prefixes[turn % prefixes.len()]), kind },
        })
        .collect()
}

/// The words that names have taken so far.
///
/// Every name ends in a word of its own. When no such word contains another, and none occurs in a shared word or
/// in the text around it, then no name occurs in another name, and a prompt contains its subject exactly once.
struct Words {
    taken: Vec<String>,
    surroundings: Vec<String>,
}

impl Words {
    fn new() -> Self {
        let shared = GIVEN_NAMES.iter().chain(&COMPANY_PREFIXES).copied();
        let phrasings = RELATIONS.iter().flat_map(|relation| relation.phrasings);
        let nouns = Kind::ALL.into_iter().flat_map(|kind| kind.noun_phrases().iter().copied());
        let fixed = shared.chain(phrasings).chain(nouns).chain(objects()).chain(neutral_texts());
        Self { taken: Vec::new(), surroundings: fixed.map(str::to_ascii_lowercase).collect() }
    }

    /// Takes up to `count` new words out of the shuffled combinations of the syllables.
    ///
    /// Going through the combinations once, rather than drawing until enough are found, always ends.
    fn claim(&mut self, syllables: &Syllables, count: usize, dice: &mut Dice) -> Vec<String> {
        let mut combinations = syllables.combinations();
        dice.shuffle(&mut combinations);
        combinations.into_iter().filter(|word| self.accept(word)).take(count).collect()
    }

    fn accept(&mut self, word: &str) -> bool {
        let lower = word.to_ascii_lowercase();
        let clashes = contains_object(word)
            || self.surroundings.iter().any(|text| text.contains(&lower))
            || self.taken.iter().any(|other| other.contains(&lower) || lower.contains(other.as_str()));
        if !clashes {
            self.taken.push(lower);
        }
        !clashes
    }
}
