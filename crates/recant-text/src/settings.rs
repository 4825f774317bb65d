//! What `tokenizer_config.json` changes about a tokenizer: `add_prefix_space`, where transformers heeds it.
//!
//! Some tokenizer classes of transformers do not take the blank rule of tokenizer.json but make one from this key.
//! The other keys, `add_bos_token` among them, make no difference to transformers 5 when there is a tokenizer.json.

use serde_json::{Map, Value};

/// Classes that make a byte-level pre-tokenizer of their own, without a blank in front unless the key says so.
const BYTE_LEVEL: [&str; 3] = ["GPT2Tokenizer", "CodeGenTokenizer", "Qwen2Tokenizer"];

/// Changes a tokenizer.json as transformers would with this tokenizer_config.json and config.json.
pub(crate) fn apply(file: &mut Value, config: &Value, model: Option<&Value>) {
    let asked = config.get("add_prefix_space").and_then(Value::as_bool);
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    let class = class.map(|class| class.strip_suffix("Fast").unwrap_or(class));
    let is_gpt2 = || model.and_then(|model| model.get("model_type")).and_then(Value::as_str) == Some("gpt2");
    match (class, asked) {
        (Some(class), _) if BYTE_LEVEL.contains(&class) => byte_level(file, asked.unwrap_or(false)),
        // Without a class, that of the architecture is taken.
        (None, Some(asked)) if is_gpt2() => byte_level(file, asked),
        (Some("LlamaTokenizer"), Some(false)) => without_prefix(file),
        _ => {}
    }
}

/// The steps of a part: itself, or those of a sequence.
fn steps<'a>(file: &'a mut Value, part: &str, list: &str) -> Vec<&'a mut Map<String, Value>> {
    let Some(part) = file.get_mut(part) else { return Vec::new() };
    if part.get(list).is_none() {
        return part.as_object_mut().into_iter().collect();
    }
    let list = part.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut).collect()
}

fn is(step: &Map<String, Value>, kind: &str) -> bool {
    step.get("type").and_then(Value::as_str) == Some(kind)
}

fn byte_level(file: &mut Value, prefix: bool) {
    for step in steps(file, "pre_tokenizer", "pretokenizers") {
        if is(step, "ByteLevel") {
            step.insert("add_prefix_space".to_owned(), prefix.into());
        }
    }
}

/// A SentencePiece tokenizer that puts no ▁ before a text, and so takes none away when it decodes.
fn without_prefix(file: &mut Value) {
    let prepends = |step: &Value| step.as_object().is_some_and(|step| is(step, "Prepend"));
    match file.get_mut("normalizer") {
        Some(step) if prepends(step) => *step = Value::Null,
        Some(part) => {
            let list = part.get_mut("normalizers").and_then(Value::as_array_mut);
            list.into_iter().for_each(|list| list.retain(|step| !prepends(step)));
        }
        None => {}
    }
    for (part, list) in [("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")] {
        for step in steps(file, part, list) {
            if is(step, "Metaspace") {
                step.remove("add_prefix_space");
                step.insert("prepend_scheme".to_owned(), "never".into());
            } else if is(step, "Strip") {
                step.insert("start".to_owned(), 0.into());
            }
        }
    }
}
