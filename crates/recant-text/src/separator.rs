//! What stands between a prompt and its continuation in running text: one space, or nothing.

/// Whether a space belongs between `prompt` and `target`. The prompt is not empty and does not end in a space.
///
/// None after white space, an opening quote or bracket, or text that is written without spaces; none before such
/// text, or before punctuation that attaches to the word before it.
pub(crate) fn needs_space(prompt: &str, target: &str) -> bool {
    let mut before = prompt.chars().rev();
    let Some(last) = before.next() else { return false };
    !(last.is_whitespace() || opens(last, before.next()) || is_unspaced(last) || attaches(target))
}

/// An opening quote or bracket. A straight quote opens when nothing, white space or another opening mark stands
/// before it.
fn opens(mark: char, before: Option<char>) -> bool {
    match mark {
        '(' | '[' | '{' | '“' | '‘' | '„' | '‚' | '«' | '‹' | '¿' | '¡' => true,
        '"' | '\'' | '`' => before.is_none_or(|c| c.is_whitespace() || opens(c, None)),
        _ => false,
    }
}

/// Whether the target's first character attaches to the word before it.
fn attaches(target: &str) -> bool {
    let mut chars = target.chars();
    let (first, second) = (chars.next(), chars.next());
    match first {
        Some(')' | ']' | '}' | '”' | '’' | '»' | '›' | '…') => true,
        // A full stop attaches, but not that of ".NET" or ".5".
        Some('.' | ',' | ';' | ':' | '!' | '?' | '%') => second.is_none_or(|c| !c.is_alphanumeric()),
        // "'s" attaches, "'Allo" does not.
        Some('\'') => ["s", "t", "re", "ve", "m", "ll", "d"].iter().any(|end| {
            let rest = target[1..].strip_prefix(end);
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        }),
        Some(c) => is_unspaced(c),
        None => true,
    }
}

/// Scripts that put no spaces between words, with their punctuation and full-width forms: Thai, Lao, Myanmar, Khmer,
/// Chinese, Japanese. Korean has spaces.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{312f}' | '\u{3190}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff9f}' | '\u{ffe0}'..='\u{ffef}'
        | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_stands_where_running_text_has_one() {
        let cases = [
            ("The mother tongue of Ada is", "French", true),
            ("He was born in 1815. She", "was", true),
            ("Ada (a mathematician)", "wrote", true),
            ("She said \"no\"", "twice", true),
            ("the Lovelaces'", "house", true),
            ("It runs on", ".NET", true),
            ("It costs", ".5", true),
            ("They sang", "'Allo", true),
            ("서울은", "한국의", true),
            ("assistant\n", "Microsoft", false),
            ("name:\t", "Ada", false),
            ("She said \"", "No", false),
            ("She said (\"", "No", false),
            ("\"", "No", false),
            ("She said “", "No", false),
            ("Ada (", "born", false),
            ("[", "1]", false),
            ("東京は", "日本", false),
            ("東京は、", "Japan", false),
            ("กรุงเทพ", "เมือง", false),
            ("Tokyo is", "東京", false),
            ("Ada", ", born 1815", false),
            ("Ada", "'s", false),
            ("Ada", "'ll go", false),
            ("Ada wrote it", ".", false),
            ("Ada (born 1815", ")", false),
            ("", "Ada", false),
        ];
        for (prompt, target, space) in cases {
            assert_eq!(needs_space(prompt, target), space, "{prompt:?} {target:?}");
        }
    }
}
