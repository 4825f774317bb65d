//! What the patterns of a tokenizer may be: a regular expression of a few bytes can ask for gigabytes.

use serde_json::Value;

/// Bytes of all patterns of a part; the longest known one has about a thousand.
const MAX_BYTES: usize = 1 << 13;
/// Product of the counted repetitions of a regular expression: `(a{3}b){2,5}` has 15.
const MAX_REPEATS: usize = 1 << 8;
/// Capturing groups of a regular expression.
const MAX_GROUPS: usize = 32;

/// What the patterns of a part have used so far, in bytes.
#[derive(Default)]
pub(crate) struct PatternBudget {
    bytes: usize,
}

/// Length of a fixed pattern in bytes; `None` for a regular expression. The error says what is wrong with it.
pub(crate) fn pattern_len(budget: &mut PatternBudget, pattern: &Value) -> Result<Option<usize>, String> {
    let text = |kind: &str| pattern.get(kind).and_then(Value::as_str);
    let (text, is_regex) = match (text("String"), text("Regex")) {
        (Some(text), None) => (text, false),
        (None, Some(text)) => (text, true),
        _ => return Err("has a step without a pattern".to_owned()),
    };
    if text.is_empty() {
        return Err("has an empty pattern".to_owned());
    }
    budget.bytes += text.len();
    if budget.bytes > MAX_BYTES {
        return Err(format!("has patterns of {} bytes; at most {MAX_BYTES} are read", budget.bytes));
    }
    if !is_regex {
        return Ok(Some(text.len()));
    }
    let (repeats, groups) = size(text);
    if repeats > MAX_REPEATS {
        return Err(format!("has a pattern that repeats {repeats} times; at most {MAX_REPEATS} are read"));
    }
    if groups > MAX_GROUPS {
        return Err(format!("has a pattern with {groups} groups; at most {MAX_GROUPS} are read"));
    }
    Ok(None)
}

/// The product of the counted repetitions of a regular expression, and its capturing groups. What stands in a class,
/// such as `[(]`, is counted too: that errs on the safe side.
fn size(regex: &str) -> (usize, usize) {
    let (mut repeats, mut groups) = (1usize, 0);
    let mut rest = regex;
    while let Some(at) = rest.find(['\\', '{', '(']) {
        let (found, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match found {
            b'\\' => rest = after_escape(after),
            b'{' => repeats = repeats.saturating_mul(count(after).max(1)),
            _ => groups += usize::from(!after.starts_with('?')),
        }
    }
    (repeats, groups)
}

/// What follows `\x`: after `\p{L}` or `\x{4e00}`, what follows the brace.
fn after_escape(text: &str) -> &str {
    let mut chars = text.chars();
    let braced = chars.next().is_some_and(|c| "pPxuU".contains(c)) && chars.as_str().starts_with('{');
    match chars.as_str().split_once('}') {
        Some((_, after)) if braced => after,
        _ => chars.as_str(),
    }
}

/// The larger bound of `3}`, `3,}`, `,3}` or `3,5}`; 0 for what is no counted repetition.
fn count(text: &str) -> usize {
    let Some((bounds, _)) = text.split_once('}') else { return 0 };
    let bound = |digits: &str| match digits.trim() {
        "" => Some(0),
        digits if digits.bytes().all(|c| c.is_ascii_digit()) => Some(digits.parse().unwrap_or(usize::MAX)),
        _ => None,
    };
    bounds.splitn(2, ',').map(bound).try_fold(0, |most, bound| Some(most.max(bound?))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_multiply_and_escapes_are_none() {
        assert_eq!(size(r"\p{L}{2,5}(a{3}b){4}"), (60, 1));
        assert_eq!(size(r"\x{4000}[\u{100}](?:a)(?!b)\(c\{9}"), (1, 0));
        assert_eq!(size(r"a{99999999999999999999999}"), (usize::MAX, 0));
        assert_eq!(size(r"a{,7}b{2,}c{x}d{"), (14, 0));
    }

    #[test]
    fn patterns_of_known_tokenizers_are_within_bounds() {
        let known = [
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"(?=(\d{3})+(?!\d))",
        ];
        for regex in known {
            let pattern = serde_json::json!({ "Regex": regex });
            assert_eq!(pattern_len(&mut PatternBudget::default(), &pattern), Ok(None), "{regex}");
        }
    }

    #[test]
    fn patterns_without_bounds_are_refused() {
        let refused = |kind: &str, text: &str| {
            pattern_len(&mut PatternBudget::default(), &serde_json::json!({ kind: text })).unwrap_err()
        };
        assert_eq!(refused("String", ""), "has an empty pattern");
        assert_eq!(
            refused("Regex", r"(\p{L}{99}){99}"),
            "has a pattern that repeats 9801 times; at most 256 are read"
        );
        assert_eq!(refused("Regex", &"(a)".repeat(33)), "has a pattern with 33 groups; at most 32 are read");
        assert_eq!(
            refused("String", &"a".repeat(MAX_BYTES + 1)),
            "has patterns of 8193 bytes; at most 8192 are read"
        );
        assert_eq!(refused("Other", "a"), "has a step without a pattern");
        let mut budget = PatternBudget::default();
        let half = serde_json::json!({ "String": "a".repeat(MAX_BYTES / 2 + 1) });
        assert!(pattern_len(&mut budget, &half).is_ok());
        assert!(pattern_len(&mut budget, &half).is_err(), "the bytes of all patterns of a part count");
    }
}
