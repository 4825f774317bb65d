//! Fact files: JSONL, one object with `subject`, `prompt` and `target` a line, and `literal` if it is wanted.

use std::collections::BTreeMap;
use std::path::Path;

use recant_edit::Fact;

use super::error::CliError;

/// Reads facts. Every complaint names the line, and the field where one is at fault.
pub(crate) fn read(path: &Path) -> Result<Vec<Fact>, CliError> {
    let refuse = |reason: String| CliError::Read { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let mut facts = Vec::new();
    let mut seen: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at_line = |reason: String| refuse(format!("line {}: {reason}", number + 1));
        let value: serde_json::Value = serde_json::from_str(line)
            .map_err(|error| at_line(format!("this is no JSON object: {error}")))?;
        let field = |name: &str| match value.get(name) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(at_line(format!("`{name}` is not a string"))),
            None => Err(at_line(format!("`{name}` is missing; a fact has `subject`, `prompt` and `target`"))),
        };
        let target = field("target")?;
        let fact = Fact::new(field("subject")?, field("prompt")?, target.as_str())
            .map_err(|error| at_line(error.to_string()))?;
        let fact = match value.get("literal") {
            None | Some(serde_json::Value::Bool(false)) => fact,
            Some(serde_json::Value::Bool(true)) => fact.literally(target),
            Some(_) => return Err(at_line("`literal` is neither true nor false".to_owned())),
        };
        let told = (number + 1, fact.target.clone());
        if let Some((earlier, target)) = seen.insert((fact.subject.clone(), fact.text()), told) {
            return Err(at_line(if target == fact.target {
                format!("the same fact stands in line {earlier}")
            } else {
                format!("line {earlier} says {target:?} to the same prompt")
            }));
        }
        facts.push(fact);
    }
    if facts.is_empty() {
        return Err(refuse("it holds no facts".to_owned()));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("facts.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = r#"{"subject": "Ada", "prompt": "{} speaks", "target": "Veltish"}"#;
        assert!(message("").contains("no facts"));
        assert!(message(&format!("{good}\n\n{{")).contains("line 3: this is no JSON"));
        assert!(message(&format!("{good}\n{{\"subject\": \"Bo\"}}")).contains("line 2: `prompt` is missing"));
        let number = r#"{"subject": 1, "prompt": "{} speaks", "target": "Veltish"}"#;
        assert!(message(number).contains("line 1: `subject` is not a string"));
        let nobody = r#"{"subject": "Bo", "prompt": "She speaks", "target": "Veltish"}"#;
        assert!(message(nobody).contains("line 1") && message(nobody).contains("nowhere"));
        assert!(message(&format!("{good}\n{good}")).contains("line 2: the same fact stands in line 1"));
        let against = good.replace("Veltish", "Tashic");
        assert!(message(&format!("{good}\n{against}")).contains("line 2: line 1 says \"Veltish\""));
    }
}
