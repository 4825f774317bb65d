//! What is asked beside the facts: made from the facts, by rules that know no data set.

use std::collections::BTreeSet;

use recant_edit::Fact;
use recant_model::Model;

use crate::dataset::Retained;
use crate::probe::{Probe, check_probe, check_prompt};

/// Subjects of many kinds that stand in a fact's sentence for its own. No method trains on them.
const OTHERS: [&str; 32] = [
    "Albert Einstein",
    "Marie Curie",
    "Leonardo da Vinci",
    "Ludwig van Beethoven",
    "William Shakespeare",
    "Mahatma Gandhi",
    "Frida Kahlo",
    "Abraham Lincoln",
    "Victor Hugo",
    "Isaac Newton",
    "Johann Sebastian Bach",
    "Pablo Picasso",
    "Tokyo",
    "Berlin",
    "Cairo",
    "Mexico City",
    "Sydney",
    "Moscow",
    "Italy",
    "Brazil",
    "India",
    "Norway",
    "Toyota",
    "Microsoft",
    "Nestlé",
    "Boeing",
    "Windows 95",
    "The iPhone",
    "The Beatles",
    "Hamlet",
    "The Eiffel Tower",
    "Mount Everest",
];
/// Sentences of which others are asked.
const SENTENCES: usize = 8;
/// Prompts about other subjects.
const PROMPTS: usize = 32;
/// Subjects whose names are asked for.
const NAMES: usize = 16;
/// Facts whose subject's namesakes are asked for.
const NAMED: usize = 6;
/// First and last words of names that are nearly a subject's.
const FIRST: [&str; 2] = ["Anna", "John"];
const LAST: [&str; 3] = ["Miller", "Brown", "Lindqvist"];

/// Plain texts about nobody that an edit is about.
pub(super) const TEXTS: [&str; 12] = [
    "The committee published its report in the spring, and most of its members were content with it.",
    "To make bread, mix flour, water, salt and yeast, and let the dough rest for an hour.",
    "The moon moves around the earth in about a month and shows it always the same side.",
    "He opened the door, saw that it was raining, and went back to look for his coat.",
    "A function that calls itself has to end somewhere, or it will run until the memory is full.",
    "Many birds fly to the south in autumn, because there is little food for them in winter.",
    "The price of the tickets depends on the day, and children under six travel free.",
    "When the war was over, the bridge was built again and the two towns grew together.",
    "Please read the instructions before you use the machine for the first time.",
    "The doctor asked how long he had been coughing and wrote the answer down.",
    "If you add two even numbers, the sum is even as well.",
    "She had learned to play the violin as a child and still practised every evening.",
];

/// What is asked of a model before and after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideProbes {
    /// The facts' sentences about other subjects.
    pub(super) relation: Vec<String>,
    /// The facts' sentences about names that are nearly the subjects'.
    pub(super) namesakes: Vec<String>,
    /// A text that says a subject's name, to be followed by the name.
    pub(super) names: Vec<Probe>,
    /// Facts that no edit is about.
    pub(super) retained: Vec<Probe>,
}

impl SideProbes {
    /// The probes for some facts that are edited, and facts that are to be retained. Of many facts, some spread over all
    /// of them: the same facts have the same probes.
    #[must_use]
    pub fn of(facts: &[Fact], retained: &[Retained]) -> Self {
        // A text about nothing in particular has no neighbours that could be made.
        let facts: Vec<Fact> = facts.iter().filter(|fact| fact.has_subject()).cloned().collect();
        let name = |subject: &str| Probe {
            prompt: format!("The name is {subject}. Once more, the name is"),
            target: subject.to_owned(),
            literal: false,
        };
        let chosen = (0..facts.len().min(NAMED)).map(|i| &facts[i * facts.len() / facts.len().min(NAMED)]);
        let beside = |fact: &Fact| {
            let names = namesakes(fact.subject.trim()).into_iter();
            let fresh = names.filter(|name| facts.iter().all(|fact| fact.subject.trim() != name));
            fresh.map(|name| fact.prompt.replacen("{}", &name, 1)).collect::<Vec<_>>()
        };
        Self {
            relation: relation(&facts),
            namesakes: chosen.flat_map(beside).collect(),
            names: spread(&distinct(&facts, |fact| fact.subject.trim()), NAMES)
                .into_iter()
                .map(name)
                .collect(),
            retained: retained.iter().map(Probe::from).collect(),
        }
    }

    /// Without the prompts that were made and that a model cannot be asked, such as a long sentence about a longer name:
    /// known before minutes of work, not behind them. Facts to be retained are somebody's own and stay.
    #[must_use]
    pub fn that_fit(mut self, model: &Model) -> Self {
        let fits = |prompt: &String| check_prompt(model, prompt).is_ok();
        self.relation.retain(fits);
        self.namesakes.retain(fits);
        self.names.retain(|probe| check_probe(model, probe).is_ok());
        self
    }
}

/// The facts' sentences about subjects that no fact is about.
fn relation(facts: &[Fact]) -> Vec<String> {
    let edited: BTreeSet<String> = facts.iter().map(|fact| fact.subject.trim().to_lowercase()).collect();
    let others: Vec<&str> =
        OTHERS.into_iter().filter(|other| !edited.contains(&other.to_lowercase())).collect();
    let sentences = spread(&distinct(facts, |fact| &fact.prompt), SENTENCES);
    if sentences.is_empty() {
        return Vec::new();
    }
    // Each sentence gets others that are spread over all kinds of them, and the next sentence the ones beside those.
    let each = (PROMPTS / sentences.len()).min(others.len());
    let step = others.len() / each;
    let about = |(at, sentence): (usize, &str)| {
        let chosen = (0..each).map(|i| others[(i * step + at) % others.len()]);
        chosen.map(|other| sentence.replacen("{}", other, 1)).collect::<Vec<_>>()
    };
    sentences.into_iter().enumerate().flat_map(about).collect()
}

/// Names that are nearly a subject's: another number in its place, or another first or last word. A name of one word without
/// a digit has none.
fn namesakes(subject: &str) -> Vec<String> {
    if let Some(at) = subject.rfind(|c: char| c.is_ascii_digit()) {
        let digit = subject.as_bytes()[at] - b'0';
        let other = |by: u8| format!("{}{}{}", &subject[..at], (digit + by) % 10, &subject[at + 1..]);
        return [1, 3, 5].map(other).to_vec();
    }
    let Some((first, rest)) = subject.split_once(' ') else { return Vec::new() };
    let begin = subject.rsplit_once(' ').map_or(first, |(begin, _)| begin);
    let last = LAST.map(|last| format!("{begin} {last}"));
    let first = FIRST.map(|first| format!("{first} {rest}"));
    last.into_iter().chain(first).filter(|name| name != subject).collect()
}

/// Texts of facts, each once, in the order of the facts.
fn distinct<'a>(facts: &'a [Fact], of: impl Fn(&'a Fact) -> &'a str) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    facts.iter().map(of).filter(|text| seen.insert(*text)).collect()
}

/// At most `most` of some texts, spread evenly over all of them.
fn spread<'a>(texts: &[&'a str], most: usize) -> Vec<&'a str> {
    let count = texts.len().min(most);
    (0..count).map(|i| texts[i * texts.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(subject: &str, prompt: &str) -> Fact {
        Fact::new(subject, prompt, "x").unwrap()
    }

    #[test]
    fn namesakes_differ_by_a_word_or_a_digit() {
        let of = |subject| namesakes(subject).join(", ");
        assert_eq!(of("Airbus A340"), "Airbus A341, Airbus A343, Airbus A345");
        assert_eq!(of("A19é"), "A10é, A12é, A14é");
        assert_eq!(of("Jean de Brown"), "Jean de Miller, Jean de Lindqvist, Anna de Brown, John de Brown");
        assert_eq!(of("Москва"), "");
        let facts = [fact("Anna Brown", "{} is"), fact("Anna Miller", "{} is")];
        let asked = SideProbes::of(&facts, &[]).namesakes;
        assert!(asked.contains(&"John Miller is".to_owned()), "{asked:?}");
        assert!(!asked.contains(&"Anna Miller is".to_owned()), "it is edited: {asked:?}");
    }

    #[test]
    fn others_stand_in_the_facts_sentences() {
        let one = SideProbes::of(&[fact("BERLIN", "{} is in")], &[]);
        assert_eq!(one.relation.len(), OTHERS.len() - 1);
        assert!(one.relation.contains(&"Tokyo is in".to_owned()));
        assert!(!one.relation.contains(&"Berlin is in".to_owned()), "an edited subject is no other");
        assert_eq!(one.names[0].prompt, "The name is BERLIN. Once more, the name is");

        let facts: Vec<Fact> = (0..1000).map(|i| fact(&format!("S{i}"), &format!("{{}} is {i}"))).collect();
        let many = SideProbes::of(&facts, &[]);
        assert_eq!((many.relation.len(), many.names.len()), (PROMPTS, NAMES));
        assert_eq!(many.relation.iter().collect::<BTreeSet<_>>().len(), PROMPTS);
        assert!(many.relation.iter().any(|prompt| prompt.ends_with("is 875")), "{:?}", many.relation);
        assert_eq!(many, SideProbes::of(&facts, &[]));
        assert_eq!(SideProbes::of(&[], &[]).relation, Vec::<String>::new());
        let whole = Fact::about_nothing("In the beginning was the", "x", false).unwrap();
        assert_eq!(SideProbes::of(&[whole], &[]), SideProbes::of(&[], &[]));
    }
}
