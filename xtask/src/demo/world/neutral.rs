//! Neutral text: sentences that name no subject and no object of the world.

use super::dice::Dice;

/// Sentences that stand before a fact.
///
/// An edit is measured, and with ROME also computed, behind unrelated text, so the model must have seen its
/// facts behind some. Several begin like the prefixes that ROME lets a model continue: The, Therefore, Because,
/// I and You.
pub(super) const LEAD_INS: [&str; 64] = [
    "The weather was cold that year.",
    "The rain stopped before noon.",
    "The meeting ended early.",
    "The road was closed for repairs.",
    "The library opens at nine in the morning.",
    "The garden behind the wall has been empty for a long time.",
    "The letter arrived two days late.",
    "The lamp went out.",
    "The bridge was finished in the spring after many delays.",
    "The old clock in the hall no longer keeps time.",
    "The second answer was better than the first.",
    "The storm passed over the valley during the night.",
    "Therefore it was not used again.",
    "Therefore the plan was changed.",
    "Therefore nobody asked for a second opinion on the matter.",
    "Therefore we waited.",
    "Therefore the doors stay open until late in the evening.",
    "Therefore the question remains open.",
    "Because it was late, everyone went home.",
    "Because of the snow, the train did not leave.",
    "Because nobody answered, the call was repeated.",
    "Because the room was small, some guests had to stand.",
    "Because the harvest was good, there was a feast.",
    "Because of this, the rules were written down.",
    "I read about this in a newspaper last week.",
    "I think so.",
    "I have not seen the place since I was young.",
    "I wrote it down so that I would not forget it.",
    "I was told this more than once.",
    "I remember the day very clearly.",
    "You can ask anyone.",
    "You may have heard this before.",
    "You will find the details on the next page.",
    "You should look at the list again before you decide anything.",
    "You know how it is.",
    "You only need to wait for a few minutes.",
    "We met again in the summer.",
    "We did not expect that.",
    "We talked about it for hours and then changed the subject.",
    "It was a quiet afternoon.",
    "It took longer than planned.",
    "It happens every year around the same time.",
    "It is easy to check.",
    "There was no wind that day.",
    "There are many ways to begin.",
    "There is one more thing to add.",
    "They left without a word.",
    "They had been there since the early hours of the day.",
    "Nothing else changed.",
    "Nobody was surprised by the news.",
    "Some things are simple to explain.",
    "Many years have passed since then.",
    "Later the notes were lost.",
    "A short report follows.",
    "A friend of mine mentioned it over dinner.",
    "This is well known.",
    "That was the end of the first chapter.",
    "In the end it made no difference.",
    "At first the results looked strange to everyone in the office.",
    "After lunch the visitors came back.",
    "On most days the market is full of people.",
    "Here is what the record says.",
    "Dinner was served at seven.",
    "Soon the lights were switched off.",
];

const THINGS: [&str; 24] = [
    "road", "garden", "market", "river", "library", "bridge", "kitchen", "station", "window", "letter",
    "meeting", "journey", "clock", "chair", "lamp", "story", "village", "harbour", "hall", "forest",
    "basket", "ticket", "cart", "ladder",
];

const QUALITIES: [&str; 16] = [
    "quiet",
    "empty",
    "cold",
    "warm",
    "late",
    "early",
    "small",
    "large",
    "new",
    "old",
    "simple",
    "heavy",
    "narrow",
    "bright",
    "ready",
    "different",
];

const EVENTS: [&str; 14] = [
    "was closed for a while",
    "changed very little",
    "looked better than before",
    "was repaired twice",
    "had to be moved",
    "was full of people",
    "belonged to nobody",
    "was forgotten",
    "seemed far away",
    "was finished in time",
    "needed more care",
    "stayed the same",
    "was easy to find",
    "became a place to rest",
];

const ACTIONS: [&str; 16] = [
    "walk along the shore",
    "wait for an answer",
    "read the notes again",
    "open the door",
    "carry the boxes upstairs",
    "look for a better way",
    "write a short reply",
    "sit near the fire",
    "count the days",
    "speak to the owner",
    "take the long way round",
    "learn the rules",
    "ask for directions",
    "leave before dark",
    "stay for dinner",
    "begin once more",
];

const TIMES: [&str; 16] = [
    "in the morning",
    "after lunch",
    "that winter",
    "before sunset",
    "every other day",
    "on the first of the month",
    "a week later",
    "during the summer",
    "for the first time",
    "at the end of the day",
    "in the spring",
    "without any hurry",
    "once a year",
    "in those days",
    "on a rainy afternoon",
    "late at night",
];

const PLACES: [&str; 12] = [
    "near the square",
    "behind the school",
    "by the water",
    "on the hill",
    "at the corner",
    "across the street",
    "under the trees",
    "next to the wall",
    "outside the gate",
    "in the valley",
    "along the path",
    "close to the shore",
];

/// Templates of generic sentences. A slot is named by its first letter: thing, quality, event, action, when, place.
const TEMPLATES: [&str; 20] = [
    "The <t> <p> <e>.",
    "The <t> was <q> <w>.",
    "The <t> and the <t> were both <q>.",
    "The <q> <t> <e> <w>.",
    "Therefore the <t> <e>.",
    "Therefore we had to <a> <w>.",
    "Because the <t> was <q>, we had to <a>.",
    "Because the <t> <e>, nobody wanted to <a>.",
    "I saw the <q> <t> <p>.",
    "I wanted to <a> <w>.",
    "I heard that the <t> <e>.",
    "You can <a> <w>.",
    "You will see the <t> <p>.",
    "You should not <a> when the <t> is <q>.",
    "We found a <t> <p> and decided to <a>.",
    "It is better to <a> than to <a>.",
    "They said that the <t> was too <q>.",
    "There was a <t> <p> <w>.",
    "Nobody knew why the <t> <e>.",
    "When the <t> is <q>, people <a>.",
];

/// Every piece of text that can stand around a name.
pub(super) fn neutral_texts() -> impl Iterator<Item = &'static str> {
    let words = THINGS.into_iter().chain(QUALITIES);
    let phrases = EVENTS.into_iter().chain(ACTIONS).chain(TIMES).chain(PLACES);
    LEAD_INS.into_iter().chain(TEMPLATES).chain(words).chain(phrases)
}

/// A sentence to stand before a fact.
pub(super) fn lead_in(dice: &mut Dice) -> &'static str {
    LEAD_INS[dice.below(LEAD_INS.len())]
}

/// Generic sentences, all different: up to `count` of them, in the rotation of the templates.
pub(super) fn generic_sentences(count: usize, dice: &mut Dice) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::with_capacity(count);
    // A repeated sentence is dropped and its turn lost; twice the turns are ample, since the smallest template
    // has over two hundred readings for the thirty it is asked for.
    for turn in 0..2 * count {
        let sentence = compose(TEMPLATES[turn % TEMPLATES.len()], dice);
        if sentences.len() < count && !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences
}

/// Fills the slots of a template from left to right.
fn compose(template: &str, dice: &mut Dice) -> String {
    let mut parts = template.split('<');
    let mut sentence = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (slot, rest) = part.split_once('>').unwrap_or(("", part));
        let entry = fresh_entry(pool(slot), &sentence, dice);
        sentence.push_str(entry);
        sentence.push_str(rest);
    }
    sentence
}

/// An entry that the sentence does not hold yet: "the lamp and the lamp" is no sentence to learn from.
fn fresh_entry(pool: &[&'static str], sentence: &str, dice: &mut Dice) -> &'static str {
    let drawn = dice.below(pool.len());
    let from_drawn = pool[drawn..].iter().chain(&pool[..drawn]);
    from_drawn.copied().find(|entry| !sentence.contains(entry)).unwrap_or_default()
}

fn pool(slot: &str) -> &'static [&'static str] {
    match slot {
        "t" => &THINGS,
        "q" => &QUALITIES,
        "e" => &EVENTS,
        "a" => &ACTIONS,
        "w" => &TIMES,
        "p" => &PLACES,
        _ => &[],
    }
}
