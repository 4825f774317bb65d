//! Fields of a JSON object. An empty text is as good as none.

use serde_json::{Map, Value};

use super::EntryError;

pub(super) type Object = Map<String, Value>;

/// What is wrong, and with which field.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) field: Option<String>,
    pub(super) reason: EntryError,
}

impl Fault {
    pub(super) fn at(field: &str, reason: EntryError) -> Self {
        Self { field: Some(field.to_owned()), reason }
    }
}

/// A text with the name of the field that it comes from, such as `paraphrase_prompts[1]`.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) field: String,
    pub(super) text: String,
}

/// An object, by its name within its entry (`""`: the entry itself).
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) object: &'a Object,
    pub(super) within: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn name(&self, key: &str) -> String {
        if self.within.is_empty() { key.to_owned() } else { format!("{}.{key}", self.within) }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.get(key).is_some())
    }

    /// A text that has to be there.
    pub(super) fn text(&self, key: &str) -> Result<Named, Fault> {
        let field = self.name(key);
        match self.get(key) {
            None => Err(Fault::at(&field, EntryError::Missing)),
            Some(Value::String(text)) if text.trim().is_empty() => Err(Fault::at(&field, EntryError::Empty)),
            Some(Value::String(text)) => Ok(Named { field, text: text.clone() }),
            Some(other) => Err(unlike(&field, other, "a string")),
        }
    }

    /// The first answer under a key: a text, or the first text of a list, however deep. Lists are other ways to say
    /// the same.
    pub(super) fn first(&self, key: &str) -> Result<Option<Named>, Fault> {
        self.get(key).map_or(Ok(None), |value| first(&self.name(key), value))
    }

    /// As [`Place::first`], where there has to be one.
    pub(super) fn answer(&self, key: &str) -> Result<Named, Fault> {
        let reason = if self.get(key).is_some() { EntryError::Empty } else { EntryError::Missing };
        self.first(key)?.ok_or_else(|| Fault::at(&self.name(key), reason))
    }

    /// Every text under a key that has a text or a list of texts.
    pub(super) fn all(&self, key: &str) -> Result<Vec<Named>, Fault> {
        let slots = self.get(key).map_or(Ok(Vec::new()), |value| slots(&self.name(key), value))?;
        Ok(slots.into_iter().flatten().collect())
    }
}

/// See [`Place::first`].
pub(super) fn first(field: &str, value: &Value) -> Result<Option<Named>, Fault> {
    match value {
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Named { field: field.to_owned(), text: text.trim().to_owned() })),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if let Some(found) = first(&format!("{field}[{at}]"), item)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        other => Err(unlike(field, other, "a string or a list of strings")),
    }
}

/// The texts of a field that is a text or a list of texts, with `None` for each empty one.
pub(super) fn slots(field: &str, value: &Value) -> Result<Vec<Option<Named>>, Fault> {
    let one = |field: String, value: &Value| match value {
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Named { field, text: text.clone() })),
        other => Err(unlike(&field, other, "a string")),
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| one(format!("{field}[{at}]"), item)).collect()
        }
        other => one(field.to_owned(), other).map(|text| vec![text]),
    }
}

/// The complaint about a value of another type.
pub(super) fn unlike(field: &str, value: &Value, wanted: &'static str) -> Fault {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Fault::at(field, EntryError::Type { found, wanted })
}
