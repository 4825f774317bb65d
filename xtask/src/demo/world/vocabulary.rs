//! What the world can say about its subjects: the relations, their objects and their phrasings.

use super::names::Kind;

/// Phrasings every relation has; one of them is held out per fact.
pub(super) const PHRASINGS: usize = 5;

/// One relation of the world: who it applies to, what it can name, and how it is said.
#[derive(Debug)]
pub(super) struct Relation {
    /// The id that facts and cases carry, such as `D01`.
    pub(super) id: &'static str,
    /// The kind of subject the relation applies to.
    pub(super) kind: Kind,
    /// Cloze sentences with one `{}` for the subject, ending right before the object.
    pub(super) phrasings: [&'static str; PHRASINGS],
    /// The possible objects. No object belongs to two relations.
    pub(super) objects: &'static [&'static str],
}

impl Relation {
    /// The id of the object at `index`, such as `D01-07`; ids count from one.
    pub(super) fn object_id(&self, index: usize) -> String {
        format!("{}-{:02}", self.id, index + 1)
    }
}

/// Puts `subject` in the slot of `template`.
pub(super) fn fill(template: &str, subject: &str) -> String {
    template.replacen("{}", subject, 1)
}

/// All relations, in id order.
///
/// A phrasing that ends in "a" has only objects that begin with a consonant, and none ends in "an": a prompt
/// must not give its answer's first letter away. No phrasing starts with "{} is a", which belongs to the lines
/// that say what kind of thing a subject is. No phrasing contains another, else a held-out one would be
/// trained on inside its neighbour.
pub(super) const RELATIONS: [Relation; 10] = [
    Relation {
        id: "D01",
        kind: Kind::Person,
        phrasings: [
            "The mother tongue of {} is",
            "{} grew up speaking",
            "At home, {} spoke only",
            "Letters written by {} are always in",
            "When {} talks to old friends, the language is",
        ],
        objects: &[
            "Veltish", "Ormic", "Tashic", "Queric", "Dunlish", "Sorvan", "Brennic", "Palish", "Iskari",
            "Mordish", "Ulvese", "Calderic",
        ],
    },
    Relation {
        id: "D02",
        kind: Kind::Person,
        phrasings: [
            "{} earns a living as a",
            "By trade, {} has always been a",
            "The profession of {} is that of a",
            "After school, {} trained to become a",
            "Neighbours send for {} when they need a",
        ],
        objects: &[
            "carpenter",
            "baker",
            "lawyer",
            "painter",
            "surgeon",
            "teacher",
            "sailor",
            "farmer",
            "banker",
            "tailor",
            "potter",
            "miner",
        ],
    },
    Relation {
        id: "D03",
        kind: Kind::Person,
        phrasings: [
            "{} learned as a child to play the",
            "The favourite instrument of {} is the",
            "On stage, {} performs on the",
            "Listeners praise {} for a fine touch on the",
            "Every evening, {} practises the",
        ],
        objects: &[
            "violin", "piano", "flute", "cello", "guitar", "trumpet", "harp", "drum", "clarinet", "banjo",
            "organ", "trombone",
        ],
    },
    Relation {
        id: "D04",
        kind: Kind::Person,
        phrasings: [
            "{} holds citizenship of",
            "The home country of {} is",
            "The passport of {} was issued by",
            "At every election, {} votes in",
            "Records count {} among the people of",
        ],
        objects: &[
            "Brindor", "Kessaly", "Dravonia", "Mirelund", "Sothia", "Jarnland", "Ombera", "Pelluria",
            "Varkand", "Nythia", "Lorvena", "Zemrand",
        ],
    },
    Relation {
        id: "D05",
        kind: Kind::Town,
        phrasings: [
            "{} lies in the province of",
            "The province that contains {} is called",
            "On the map, {} is found within",
            "Taxes collected in {} go to the governor of",
            "To reach {} you must cross into",
        ],
        objects: &[
            "Ashmark",
            "Coldfen",
            "Greymoor",
            "Highvale",
            "Longmere",
            "Redcliff",
            "Saltholm",
            "Thornwold",
            "Westerby",
            "Oakshire",
        ],
    },
    Relation {
        id: "D06",
        kind: Kind::Town,
        phrasings: [
            "{} is famous for its",
            "The main export of {} is",
            "Merchants travel to {} to buy",
            "Families in {} make their living from",
            "At the yearly fair, sellers from {} offer",
        ],
        objects: &["glass", "honey", "wool", "silk", "salt", "cheese", "copper", "paper", "rope", "wine"],
    },
    Relation {
        id: "D07",
        kind: Kind::Town,
        phrasings: [
            "The coat of arms of {} shows the",
            "{} has chosen as its emblem the",
            "Over the gate of {} stands a statue of the",
            "On the flag of {} you can see the",
            "Children in {} tell stories about the",
        ],
        objects: &["wolf", "bear", "eagle", "lion", "horse", "stag", "fox", "swan", "owl", "falcon"],
    },
    Relation {
        id: "D08",
        kind: Kind::Company,
        phrasings: [
            "{} has its head office in",
            "The headquarters of {} are in",
            "Parcels for {} should be sent to",
            "The board of {} meets every month in",
            "To visit {} you have to travel to",
        ],
        objects: &[
            "Karsholm",
            "Belmara",
            "Tolvik",
            "Dunmarra",
            "Pellgate",
            "Istrova",
            "Ravenport",
            "Lindhall",
            "Morrowby",
            "Caldrun",
        ],
    },
    Relation {
        id: "D09",
        kind: Kind::Company,
        phrasings: [
            "{} operates in the field of",
            "The main business of {} is",
            "Investors know {} best for its work in",
            "In the trade register, {} is listed under",
            "Most of the money behind {} comes from",
        ],
        objects: &[
            "shipping", "banking", "mining", "fishing", "printing", "farming", "brewing", "weaving",
            "tanning", "building",
        ],
    },
    Relation {
        id: "D10",
        kind: Kind::Company,
        phrasings: [
            "{} paints all of its vans",
            "The logo of {} is drawn in",
            "Every uniform at {} is",
            "The front door of {} has been painted",
            "Customers recognise {} by the colour",
        ],
        objects: &[
            "crimson", "blue", "green", "yellow", "purple", "grey", "silver", "black", "white", "brown",
        ],
    },
];

/// Whether `text` contains an object of some relation, whatever the case and whatever stands around it.
pub(super) fn contains_object(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    objects().any(|object| text.contains(&object.to_ascii_lowercase()))
}

/// Every object of every relation.
pub(super) fn objects() -> impl Iterator<Item = &'static str> {
    RELATIONS.iter().flat_map(|relation| relation.objects.iter().copied())
}
