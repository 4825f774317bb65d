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
///
/// Most phrasings say what is asked *after* the subject, as CounterFact's do. Where the question stands before it,
/// a causal model may look the answer up at the subject together with the question, and no key of the subject
/// alone exists that an edit could write to; a world of such phrasings alone cannot be edited (measured: the keys
/// of two phrasings then have a cosine of 0.2, against 0.9 in a model of real text).
pub(super) const RELATIONS: [Relation; 10] = [
    Relation {
        id: "D01",
        kind: Kind::Person,
        phrasings: [
            "The mother tongue of {} is",
            "{} grew up speaking",
            "{} writes every letter in",
            "{} talks to old friends in",
            "{} counts and dreams in",
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
            "{} has always been by trade a",
            "The profession of {} is that of a",
            "{} trained for years to become a",
            "{} works in this town as a",
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
            "{} can be heard on stage with the",
            "{} practises every evening on the",
            "{} gives lessons on the",
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
            "{} travels with a passport of",
            "{} votes at every election in",
            "{} longs for the hills of",
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
            "{} is found on the map within",
            "{} pays its taxes to the governor of",
            "{} belongs since long ago to",
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
            "{} draws merchants who come to buy",
            "{} makes its living from",
            "{} offers at the yearly fair its",
        ],
        objects: &["glass", "honey", "wool", "silk", "salt", "cheese", "copper", "paper", "rope", "wine"],
    },
    Relation {
        id: "D07",
        kind: Kind::Town,
        phrasings: [
            "The coat of arms of {} shows the",
            "{} has chosen as its emblem the",
            "{} has over its gate a statue of the",
            "{} flies a flag with the",
            "{} tells its children stories about the",
        ],
        objects: &["wolf", "bear", "eagle", "lion", "horse", "stag", "fox", "swan", "owl", "falcon"],
    },
    Relation {
        id: "D08",
        kind: Kind::Company,
        phrasings: [
            "{} has its head office in",
            "The headquarters of {} are in",
            "{} receives all of its parcels in",
            "{} holds its board meetings in",
            "{} can be visited only in",
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
            "{} is known to investors for its work in",
            "{} is listed in the trade register under",
            "{} earns most of its money from",
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
            "{} dresses all of its staff in",
            "{} has a front door painted",
            "{} is recognised by the colour",
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
