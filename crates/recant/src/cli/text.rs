//! Text of others on a terminal: shown, never obeyed.
//!
//! Models, files, stores and remotes are made by strangers. A terminal obeys some characters instead of showing
//! them: it moves the cursor, hides lines, changes the title, reverses the order of what is read. They are printed
//! as escapes (`\u{1b}`), so that a person sees that they are there.

use std::borrow::Cow;

/// Whether a terminal or a reader's eye would obey this character: C0 and C1 controls, delete, the separators of
/// lines and paragraphs, and everything that changes the direction of writing.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
}

/// One line: line breaks are escaped too, so nothing in it can look like the next line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed, |c| c.escape_default().to_string())
}

/// A token in a list: with the blank that it begins with, which tells ` Paris` from `Paris`; one of blanks alone, or
/// with a blank at its end, in quotes.
pub(crate) fn token(text: &str) -> String {
    let safe = line(text);
    if safe.ends_with(' ') || safe.is_empty() { format!("\"{safe}\"") } else { safe.into_owned() }
}

/// Several lines, or a text that is shown as it was written: line feeds and tabulators stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// A JSON document: the same value, with such characters as JSON's own escapes. Outside strings there are none.
pub(crate) fn json(document: &str) -> Cow<'_, str> {
    escaped(document, |c| is_obeyed(c) && c != '\n', |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, obeyed: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if obeyed(c) {
            safe.push_str(&escape(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        let rows = [
            ("plain, tëxt → 漢字 👩‍🚀", "plain, tëxt → 漢字 👩‍🚀"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("bell \u{7}, delete \u{7f}", "bell \\u{7}, delete \\u{7f}"),
            ("over\rwritten", "over\\rwritten"),
            ("two\nlines\tapart", "two\\nlines\\tapart"),
            ("evil\u{202e}txt.exe\u{2066}", "evil\\u{202e}txt.exe\\u{2066}"),
            ("\u{2028}\u{200f}\u{feff}", "\\u{2028}\\u{200f}\\u{feff}"),
        ];
        for (text, shown) in rows {
            assert_eq!(line(text), shown);
            assert_eq!(line(shown), shown);
        }
        assert_eq!(lines("two\nlines\tapart\r\u{1b}"), "two\nlines\tapart\\r\\u{1b}");
    }

    #[test]
    fn tokens_differ_from_each_other() {
        let rows = [
            (" Paris", " Paris"),
            ("Paris", "Paris"),
            ("\n", "\\n"),
            ("\n\n ", "\"\\n\\n \""),
            (" ", "\" \""),
            ("", "\"\""),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ];
        for (text, shown) in rows {
            assert_eq!(token(text), shown);
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{202e}\u{1b}\n\r", { "b": "\u{7f}\u{2028}ü" }] });
        let printed = serde_json::to_string_pretty(&value).unwrap();
        let safe = json(&printed);
        assert!(safe.chars().all(|c| c == '\n' || !is_obeyed(c)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
