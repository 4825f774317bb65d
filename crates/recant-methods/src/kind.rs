//! Which values a hyper-parameter takes: said once, and read, refused, listed and documented from there.

use std::fmt;

/// The values of a hyper-parameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole {
        /// The smallest.
        least: u64,
    },
    /// A finite number, or a word where there is one.
    Number {
        /// The smallest; the smallest positive number stands for all above 0.
        least: f64,
        /// The largest; infinite where there is none.
        most: f64,
        /// What stands for no number.
        word: Option<&'static str>,
    },
    /// One of some names.
    Choice(Vec<&'static str>),
    /// The layer of a method that edits one.
    Layer,
    /// The layers of a method that edits several.
    Layers,
}

impl Kind {
    pub(crate) fn flag() -> Self {
        Self::Flag
    }

    pub(crate) fn count() -> Self {
        Self::Whole { least: 1 }
    }

    pub(crate) fn whole() -> Self {
        Self::Whole { least: 0 }
    }

    pub(crate) fn number() -> Self {
        Self::Whole { least: 0 }
    }

    pub(crate) fn float(least: f64) -> Self {
        Self::Number { least, most: f64::INFINITY, word: None }
    }

    /// A share: above 0, at most 1.
    pub(crate) fn share() -> Self {
        Self::Number { least: f64::MIN_POSITIVE, most: 1.0, word: None }
    }

    pub(crate) fn weight() -> Self {
        Self::Number { least: 0.0, most: 1.0, word: None }
    }

    pub(crate) fn cosine() -> Self {
        Self::Number { least: -1.0, most: 1.0, word: None }
    }

    /// The same, or a word.
    pub(crate) fn or(self, word: &'static str) -> Self {
        match self {
            Self::Number { least, most, .. } => Self::Number { least, most, word: Some(word) },
            other => other,
        }
    }

    pub(crate) fn of<T>(names: &[(&'static str, T)]) -> Self {
        Self::Choice(names.iter().map(|(name, _)| *name).collect())
    }

    /// One word for the kind: `flag`, `whole`, `number`, `choice`, `layer`, `layers`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Whole { .. } => "whole",
            Self::Number { .. } => "number",
            Self::Choice(_) => "choice",
            Self::Layer => "layer",
            Self::Layers => "layers",
        }
    }
}

/// As it stands in a sentence: "a number above 0".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Whole { least: 0 } => f.write_str("a whole number"),
            Self::Whole { least: 1 } => f.write_str("a whole number above 0"),
            Self::Whole { least } => write!(f, "a whole number of at least {least}"),
            Self::Number { least, most, word } => {
                f.write_str("a number ")?;
                match (*least == f64::MIN_POSITIVE, most.is_finite()) {
                    (true, true) => write!(f, "above 0 and at most {most}")?,
                    (true, false) => f.write_str("above 0")?,
                    (false, true) => write!(f, "from {least} to {most}")?,
                    (false, false) => write!(f, "of at least {least}")?,
                }
                word.map_or(Ok(()), |word| write!(f, ", or {word}"))
            }
            Self::Choice(names) => match names.split_last() {
                Some((last, [])) => f.write_str(last),
                Some((last, rest)) => write!(f, "{} or {last}", rest.join(", ")),
                None => f.write_str("nothing"),
            },
            Self::Layer => f.write_str("one layer, such as 3"),
            Self::Layers => f.write_str("layers, such as 3, 0,1,2 or 0-2"),
        }
    }
}

/// The one of some names that a word was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = |name: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase());
    let longest = |name: &str| name.len().max(word.len());
    let begun = |name: &str| word.len() > 2 && name.starts_with(word);
    let close = names.into_iter().filter(|name| 3 * far(name) <= longest(name) || begun(name));
    close.min_by_key(far)
}

/// [`nearest`] as the end of a sentence, or nothing.
pub(crate) fn meant<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_says_itself_in_a_sentence() {
        for (kind, said) in [
            (Kind::flag(), "true or false"),
            (Kind::count(), "a whole number above 0"),
            (Kind::float(0.0), "a number of at least 0"),
            (Kind::float(f64::MIN_POSITIVE).or("false"), "a number above 0, or false"),
            (Kind::share(), "a number above 0 and at most 1"),
            (Kind::cosine(), "a number from -1 to 1"),
            (Kind::Choice(vec!["sgd", "adam", "none"]), "sgd, adam or none"),
            (Kind::Layers, "layers, such as 3, 0,1,2 or 0-2"),
        ] {
            assert_eq!(kind.to_string(), said);
        }
    }

    #[test]
    fn a_typing_error_has_a_likely_meaning_and_nonsense_has_none() {
        let names = ["v_lr", "v_num_grad_steps", "kl_factor", "layers"];
        assert_eq!(nearest("v_num_grad_step", names), Some("v_num_grad_steps"));
        assert_eq!(nearest("KL_factor", names), Some("kl_factor"));
        assert_eq!(nearest("layer", names), Some("layers"));
        assert_eq!(nearest("v_num", names), Some("v_num_grad_steps"));
        assert_eq!(nearest("temperature", names), None);
    }
}
