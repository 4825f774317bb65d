//! What a tokenizer.json has to hold to before the `tokenizers` library sees it.
//!
//! The library panics on some files, and others make it grow a text without bound: a chain of replacements that
//! double it, for instance. Each part is looked at here, and the product of what its steps can do to the length of a
//! text is kept, so that a text can be refused before it is encoded.

use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::pattern::{PatternBudget, pattern_len};
use crate::template;

/// Bytes of the longest token.
const MAX_TOKEN: usize = 1 << 14;
/// Bytes of the longest token of a Unigram model: the library keeps them in a tree that is as deep as that.
const MAX_UNIGRAM_TOKEN: usize = 1 << 10;
/// Bytes of all tokens of a Unigram model; the tree has a node for each.
const MAX_UNIGRAM: usize = 8 << 20;
/// Bytes of all added tokens after normalisation.
const MAX_ADDED: usize = 64 << 20;
/// Steps of a part.
const MAX_STEPS: usize = 64;
/// How many times longer all steps of a part may make a text.
const MAX_GROWTH: usize = 1 << 12;
/// Ids are below this.
const MAX_ID: u64 = 1 << 31;

/// What a checked tokenizer can do to lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// At most so many bytes come of a byte of text on the way to tokens.
    pub(crate) encode: usize,
    /// At most so many bytes of text come of a token.
    pub(crate) token: usize,
}

/// Checks a file, and takes out what recant does by itself: padding, truncation and random dropout of merges.
pub(crate) fn check(file: &mut Value) -> Result<Bounds, FormatError> {
    let Value::Object(file) = file else {
        return Err(FormatError::part("tokenizer.json", "is not a JSON object"));
    };
    for name in ["padding", "truncation"] {
        file.insert(name.to_owned(), Value::Null);
    }
    let part = |name: &str| file.get(name).unwrap_or(&Value::Null);
    let growth = |kinds, step| Part::new(kinds).growth(part(kinds.part), step);
    let normalizer = growth(&NORMALIZERS, normalizer_step)?;
    let split = growth(&PRE_TOKENIZERS, split_step)?;
    let decoder = growth(&DECODERS, decoder_step)?;
    growth(&POST_PROCESSORS, template::step)?;
    let encode = bounded("pre_tokenizer", normalizer, split)?;
    let longest = added(part("added_tokens"), normalizer)?.max(model(file.get_mut("model"))?);
    Ok(Bounds { encode, token: longest * decoder })
}

/// The types of steps that a part can have.
///
/// Only these are let through: the library guesses what a step of another type is by the fields that it has, and
/// would run a sequence that was not looked at here.
struct Kinds {
    part: &'static str,
    /// The field that holds the steps of a sequence.
    list: &'static str,
    types: &'static [&'static str],
}

const NORMALIZERS: Kinds = Kinds {
    part: "normalizer",
    list: "normalizers",
    types: &[
        "BertNormalizer",
        "ByteLevel",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Nmt",
        "Precompiled",
        "Prepend",
        "Replace",
        "Sequence",
        "Strip",
        "StripAccents",
    ],
};

const PRE_TOKENIZERS: Kinds = Kinds {
    part: "pre_tokenizer",
    list: "pretokenizers",
    types: &[
        "BertPreTokenizer",
        "ByteLevel",
        "Delimiter",
        "CharDelimiterSplit",
        "Digits",
        "FixedLength",
        "Metaspace",
        "Punctuation",
        "Sequence",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    ],
};

const DECODERS: Kinds = Kinds {
    part: "decoder",
    list: "decoders",
    types: &[
        "BPEDecoder",
        "ByteFallback",
        "ByteLevel",
        "CTC",
        "Fuse",
        "Metaspace",
        "Replace",
        "Sequence",
        "Strip",
        "WordPiece",
    ],
};

const POST_PROCESSORS: Kinds = Kinds {
    part: "post_processor",
    list: "processors",
    types: &["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"],
};

/// Fields by which the library could take a step for one of another type, and the types that have them.
const TELLING_FIELDS: [(&str, &[&str]); 8] = [
    ("normalizers", &["Sequence"]),
    ("pretokenizers", &["Sequence"]),
    ("decoders", &["Sequence"]),
    ("processors", &["Sequence"]),
    ("pattern", &["Replace", "Split"]),
    ("prepend", &["Prepend"]),
    ("precompiled_charsmap", &["Precompiled"]),
    ("single", &["TemplateProcessing"]),
];

/// Checks a step of a kind, by its fields, and says how many times longer it can make a text.
type Step = fn(&mut Part, &str, &Map<String, Value>) -> Result<usize, FormatError>;

/// A part that is one step or a sequence of steps.
pub(crate) struct Part {
    kinds: &'static Kinds,
    steps: usize,
    patterns: PatternBudget,
}

impl Part {
    fn new(kinds: &'static Kinds) -> Self {
        Self { kinds, steps: 0, patterns: PatternBudget::default() }
    }

    /// An error about this part.
    pub(crate) fn refuse<T>(&self, what: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError::part(self.kinds.part, what))
    }

    /// How many times longer the steps can make a text.
    fn growth(&mut self, value: &Value, step: Step) -> Result<usize, FormatError> {
        let Value::Object(fields) = value else {
            return if value.is_null() { Ok(1) } else { self.refuse("is neither an object nor null") };
        };
        let Some(kind) = fields.get("type").and_then(Value::as_str) else {
            return self.refuse("has a step without `type`");
        };
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return self.refuse(format!("has more than {MAX_STEPS} steps"));
        }
        self.known(kind, fields)?;
        let part = self.kinds.part;
        if kind != "Sequence" {
            return bounded(part, 1, step(self, kind, fields)?);
        }
        let list = self.kinds.list;
        let Some(list) = fields.get(list).and_then(Value::as_array) else {
            return self.refuse(format!("is a sequence without `{list}`"));
        };
        let mut growth = 1;
        for value in list {
            let next = self.growth(value, step)?;
            growth = bounded(part, growth, next)?;
        }
        Ok(growth)
    }

    /// A step is of a known type, and has no field that is another type's.
    fn known(&self, kind: &str, fields: &Map<String, Value>) -> Result<(), FormatError> {
        if !self.kinds.types.contains(&kind) {
            return self.refuse(format!("has a step of the unknown type {kind:?}"));
        }
        let strange =
            |(field, owners): &&(&str, &[&str])| fields.contains_key(*field) && !owners.contains(&kind);
        match TELLING_FIELDS.iter().find(strange) {
            Some((field, _)) => {
                self.refuse(format!("has a step of the type {kind} with the field `{field}`"))
            }
            None => Ok(()),
        }
    }

    /// Length of a fixed pattern of a step; `None` for a regular expression.
    fn pattern(&mut self, fields: &Map<String, Value>) -> Result<Option<usize>, FormatError> {
        let found = pattern_len(&mut self.patterns, fields.get("pattern").unwrap_or(&Value::Null));
        found.or_else(|what| self.refuse(what))
    }
}

/// The product of two growths, if it is within bounds.
fn bounded(part: &str, a: usize, b: usize) -> Result<usize, FormatError> {
    let growth = a.saturating_mul(b);
    if growth > MAX_GROWTH {
        let what = format!("could make a text more than {MAX_GROWTH} times longer");
        return Err(FormatError::part(part, what));
    }
    Ok(growth)
}

fn normalizer_step(part: &mut Part, kind: &str, fields: &Map<String, Value>) -> Result<usize, FormatError> {
    Ok(match kind {
        "Replace" => replacement(part, fields)?,
        "Prepend" => 1 + text(fields, "prepend").len(),
        "Precompiled" => match longest_replacement(text(fields, "precompiled_charsmap")) {
            Some(longest) => longest.max(1),
            None => return part.refuse("has a `precompiled_charsmap` that is damaged"),
        },
        // The longest decompositions of Unicode: U+FDFA and U+1D160, and U+0390 in lower case.
        "NFKC" | "NFKD" => 11,
        "NFC" | "NFD" | "Lowercase" | "BertNormalizer" => 3,
        "ByteLevel" => 2,
        _ => 1,
    })
}

fn split_step(part: &mut Part, kind: &str, fields: &Map<String, Value>) -> Result<usize, FormatError> {
    Ok(match kind {
        "ByteLevel" => 2 + usize::from(fields.get("add_prefix_space") == Some(&Value::Bool(true))),
        // Each blank becomes ▁, and each piece gets one in front.
        "Metaspace" => 6,
        "Split" => {
            part.pattern(fields)?;
            1
        }
        "FixedLength" if fields.get("length") == Some(&0.into()) => {
            return part.refuse("cuts a text into pieces of length 0");
        }
        _ => 1,
    })
}

fn decoder_step(part: &mut Part, kind: &str, fields: &Map<String, Value>) -> Result<usize, FormatError> {
    Ok(match kind {
        "Replace" => replacement(part, fields)?,
        "WordPiece" => 2,
        "BPEDecoder" if text(fields, "suffix").is_empty() => 3,
        "CTC" if text(fields, "word_delimiter_token").is_empty() => 3,
        _ => 1,
    })
}

/// How many times longer a replacement can make a text.
fn replacement(part: &mut Part, fields: &Map<String, Value>) -> Result<usize, FormatError> {
    let content = text(fields, "content").len();
    Ok(match part.pattern(fields)? {
        Some(fixed) => content.div_ceil(fixed).max(1),
        // A regular expression can match between any two bytes.
        None => 1 + content,
    })
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Bytes of the longest replacement in SentencePiece's table: base64 of the length of a trie (u32), the trie, and
/// texts that each end in a zero.
fn longest_replacement(base64: &str) -> Option<usize> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    for group in base64.as_bytes().chunks(4) {
        let digits = group.iter().filter(|&&c| c != b'=');
        let mut number = 0u32;
        let mut count = 0;
        for &c in digits {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            number = number << 6 | u32::from(digit);
            count += 1;
        }
        let number = number << (6 * (4 - count));
        bytes.extend(&number.to_be_bytes()[1..count.max(1)]);
    }
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let trie = usize::try_from(u32::from_le_bytes(*head)).ok().filter(|&len| len >= 4)?;
    let texts = rest.get(trie..)?;
    texts.split(|&byte| byte == 0).map(<[u8]>::len).max()
}

/// Checks the added tokens and returns the length of the longest in bytes.
fn added(tokens: &Value, growth: usize) -> Result<usize, FormatError> {
    let refuse = |what: String| Err(FormatError::part("added_tokens", what));
    let list = match tokens {
        Value::Null => return Ok(0),
        Value::Array(list) => list,
        _ => return refuse("is not a list".to_owned()),
    };
    let (mut all, mut longest) = (0, 0);
    for token in list {
        let len = token.get("content").and_then(Value::as_str).map_or(0, str::len);
        (all, longest) = (all + len, longest.max(len));
    }
    // The library keeps what the normalizer makes of each of them.
    if longest > MAX_TOKEN || all.saturating_mul(growth) > MAX_ADDED {
        return refuse(format!("has {all} bytes of tokens, the longest of {longest}, which is too much"));
    }
    Ok(longest)
}

/// Checks the model and returns the length of its longest token in bytes.
fn model(model: Option<&mut Value>) -> Result<usize, FormatError> {
    let refuse = |what: String| Err(FormatError::part("model", what));
    let Some(Value::Object(model)) = model else { return refuse("is not an object".to_owned()) };
    // Each merge could be left out at random; the same text then has other ids each time.
    if model.contains_key("dropout") {
        model.insert("dropout".to_owned(), Value::Null);
    }
    let lengths: Vec<usize> = match model.get("vocab") {
        Some(Value::Object(vocab)) => {
            if let Some((token, id)) = vocab.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id >= MAX_ID))
            {
                return refuse(format!("gives the token {token:?} the id {id}"));
            }
            vocab.keys().map(String::len).collect()
        }
        Some(Value::Array(vocab)) => {
            let len = |piece: &Value| piece.get(0).and_then(Value::as_str).map_or(0, str::len);
            let lengths: Vec<usize> = vocab.iter().map(len).collect();
            let (all, longest) = (lengths.iter().sum::<usize>(), lengths.iter().max().copied().unwrap_or(0));
            if all > MAX_UNIGRAM || longest > MAX_UNIGRAM_TOKEN {
                return refuse(format!(
                    "has {all} bytes of tokens, the longest of {longest}, which is too much"
                ));
            }
            lengths
        }
        _ => return refuse("has no `vocab`".to_owned()),
    };
    let longest = lengths.into_iter().max().unwrap_or(0);
    if longest > MAX_TOKEN {
        return refuse(format!("has a token of {longest} bytes; at most {MAX_TOKEN} are read"));
    }
    merges(model, longest)?;
    Ok(longest)
}

/// The right side of a merge begins with the prefix of continuing tokens, and what comes of a merge is a token.
fn merges(model: &Map<String, Value>, longest: usize) -> Result<(), FormatError> {
    let Some(Value::Array(merges)) = model.get("merges") else { return Ok(()) };
    let prefix = text(model, "continuing_subword_prefix");
    let is_comment = |merge: &&Value| merge.as_str().is_some_and(|line| line.starts_with("#version"));
    for merge in merges.iter().filter(|merge| !is_comment(merge)) {
        let pair = match merge {
            Value::String(pair) => pair.split_once(' '),
            pair => pair.get(0).and_then(Value::as_str).zip(pair.get(1).and_then(Value::as_str)),
        };
        let Some((left, right)) = pair else {
            return Err(FormatError::part("model", format!("has a merge that is not a pair: {merge}")));
        };
        let whole = right.strip_prefix(prefix).map(|right| left.len() + right.len());
        if whole.is_none_or(|len| len > longest) {
            return Err(FormatError::part("model", format!("has a merge that gives no token: {merge}")));
        }
    }
    Ok(())
}
