//! Hyper-parameters by their names in the literature.

use recant_edit::EditError;

/// One `KEY=VALUE` from the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name, such as `v_lr`.
    pub key: String,
    /// Value as typed.
    pub value: String,
}

impl Setting {
    /// Splits `KEY=VALUE`.
    ///
    /// # Errors
    /// [`EditError::Setting`] when there is no `=`.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        match text.split_once('=') {
            Some((key, value)) => Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() }),
            None => Err(EditError::Setting {
                key: text.to_owned(),
                value: String::new(),
                reason: "write it as KEY=VALUE".to_owned(),
            }),
        }
    }

    pub(crate) fn refuse(&self, reason: impl Into<String>) -> EditError {
        EditError::Setting { key: self.key.clone(), value: self.value.clone(), reason: reason.into() }
    }

    pub(crate) fn unknown(&self, method: &str, known: &[&str]) -> EditError {
        self.refuse(format!("{method} has no such setting; it has {}", known.join(", ")))
    }

    pub(crate) fn float(&self, least: f64) -> Result<f64, EditError> {
        let number: f64 = self.value.parse().map_err(|_| self.refuse("a number is expected"))?;
        if number.is_finite() && number >= least {
            return Ok(number);
        }
        Err(self.refuse(format!("a finite number of at least {least} is expected")))
    }

    pub(crate) fn count(&self) -> Result<usize, EditError> {
        let number = self.value.parse().ok().filter(|&number: &usize| number > 0);
        number.ok_or_else(|| self.refuse("a whole number above 0 is expected"))
    }

    /// A share: above 0, at most 1.
    pub(crate) fn share(&self) -> Result<f64, EditError> {
        let number = self.float(f64::MIN_POSITIVE)?;
        if number <= 1.0 {
            Ok(number)
        } else {
            Err(self.refuse("a number above 0 and at most 1 is expected"))
        }
    }

    /// A whole number, 0 included.
    pub(crate) fn whole(&self) -> Result<u64, EditError> {
        self.value.parse().map_err(|_| self.refuse("a whole number is expected"))
    }

    pub(crate) fn flag(&self) -> Result<bool, EditError> {
        self.value.parse().map_err(|_| self.refuse("true or false is expected"))
    }

    /// The layers of a method that edits several: `3`, `0,1,2`, `[0, 1, 2]` or `0-2`; ascending.
    pub(crate) fn layer_list(&self) -> Result<Vec<usize>, EditError> {
        parse_layers(&self.value).ok_or_else(|| self.refuse("layers are expected, such as 3, 0,1,2 or 0-2"))
    }

    /// The layer of a method that edits one: `3` or `[3]`.
    pub(crate) fn one_layer(&self) -> Result<usize, EditError> {
        let inner = self.value.trim_start_matches('[').trim_end_matches(']').trim();
        inner.parse().map_err(|_| self.refuse("one layer number is expected; this method edits one layer"))
    }
}

/// Layers as a user writes them: `3`, `0,1,2`, `[0, 1, 2]` or `0-2`. They come out ascending; `None` when the text
/// is something else, empty, or names a layer twice.
#[must_use]
pub fn parse_layers(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let mut layers = match inner.split_once('-') {
        Some((first, last)) => (first.trim().parse().ok()?..=last.trim().parse().ok()?).collect(),
        None => inner.split(',').map(|layer| layer.trim().parse().ok()).collect::<Option<Vec<usize>>>()?,
    };
    layers.sort_unstable();
    let distinct = layers.windows(2).all(|pair| pair[0] < pair[1]);
    (distinct && !layers.is_empty()).then_some(layers)
}

#[cfg(test)]
mod tests {
    use super::parse_layers;

    #[test]
    fn layers_have_four_spellings() {
        assert_eq!(parse_layers("3"), Some(vec![3]));
        for text in ["0,1,2", "[2, 0, 1]", "0-2", " 0 - 2 "] {
            assert_eq!(parse_layers(text), Some(vec![0, 1, 2]), "{text}");
        }
        for text in ["", "a", "1,1", "2-1", "0-1-2", "-1"] {
            assert_eq!(parse_layers(text), None, "{text}");
        }
    }
}
