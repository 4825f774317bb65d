//! Checks of the step that puts special tokens around a text.

use serde_json::{Map, Value};

use crate::check::Part;
use crate::error::FormatError;

/// Special tokens that one template may add.
const MAX_ADDED: usize = 256;

/// A template holds the text once, and knows the special tokens that it names. Returns 1: a text is not changed.
pub(crate) fn step(part: &mut Part, kind: &str, fields: &Map<String, Value>) -> Result<usize, FormatError> {
    if kind != "TemplateProcessing" {
        return Ok(1);
    }
    let Some(pieces) = fields.get("single").and_then(Value::as_array) else {
        return part.refuse("has a template without `single`");
    };
    let (mut texts, mut added) = (0, 0);
    for piece in pieces {
        let id = |kind: &str| piece.get(kind)?.get("id")?.as_str();
        match (id("Sequence"), id("SpecialToken")) {
            (Some("A"), None) => texts += 1,
            (None, Some(name)) => added += special(part, fields, name)?,
            _ => return part.refuse(format!("has a template with an unknown piece: {piece}")),
        }
    }
    if texts != 1 {
        return part.refuse(format!("has a template with the text {texts} times; it must be there once"));
    }
    if added > MAX_ADDED {
        return part.refuse(format!("adds {added} special tokens to a text; at most {MAX_ADDED} are read"));
    }
    Ok(1)
}

/// How many tokens a special token of a template is.
fn special(part: &Part, fields: &Map<String, Value>, name: &str) -> Result<usize, FormatError> {
    let token = fields.get("special_tokens").and_then(|tokens| tokens.get(name));
    let count = |list: &str| token?.get(list)?.as_array().map(Vec::len);
    match (count("ids"), count("tokens")) {
        (Some(ids), Some(tokens)) if ids == tokens => Ok(ids),
        _ => part.refuse(format!("names the special token {name:?}, which is not described")),
    }
}
