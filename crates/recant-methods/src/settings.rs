//! Hyper-parameters by their names in the literature.

use std::collections::BTreeMap;

use recant_edit::EditError;

/// What a person should know of a hyper-parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// Its name in the literature.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What it does, in one line.
    pub doc: &'static str,
    /// Its value where nobody says another; `None`: it depends on the model.
    pub default: Option<String>,
}

impl ParamInfo {
    /// Whether a name or an alias is meant.
    #[must_use]
    pub fn is_called(&self, key: &str) -> bool {
        self.name == key || self.aliases.contains(&key)
    }
}

type Read<S> = Box<dyn Fn(&mut S, &Setting) -> Result<(), EditError>>;
type Tell<S> = Box<dyn Fn(&S) -> String>;

/// A hyper-parameter of the settings `S`, declared once: names, meaning, how it is read and how it is told.
pub(crate) struct Param<S> {
    name: &'static str,
    aliases: &'static [&'static str],
    doc: &'static str,
    read: Read<S>,
    tell: Tell<S>,
}

/// Declares a hyper-parameter: name, meaning, how it is told, how it is read.
pub(crate) fn param<S: 'static>(
    name: &'static str,
    doc: &'static str,
    tell: impl Fn(&S) -> String + 'static,
    read: impl Fn(&mut S, &Setting) -> Result<(), EditError> + 'static,
) -> Param<S> {
    Param { name, aliases: &[], doc, read: Box::new(read), tell: Box::new(tell) }
}

/// The parameter `layers` of a method that edits one layer.
pub(crate) fn one_layer<S: 'static>(of: fn(&mut S) -> &mut usize, get: fn(&S) -> usize) -> Param<S> {
    let read = move |s: &mut S, set: &Setting| {
        *of(s) = set.one_layer()?;
        Ok(())
    };
    param("layers", "the layer that is edited", move |s| get(s).to_string(), read).alias(&["layer"])
}

/// The parameter `fact_token`: where a fact is looked up. There is one choice.
pub(crate) fn fact_token<S: 'static>() -> Param<S> {
    const ONLY: &str = "subject_last";
    param(
        "fact_token",
        "where a fact is looked up: subject_last",
        |_| ONLY.to_owned(),
        |_, set| {
            if set.value == ONLY { Ok(()) } else { Err(set.refuse("only subject_last is supported")) }
        },
    )
}

/// The parameter `norm_constraint`: a bound on how far any weight moves, or none.
pub(crate) fn norm_constraint<S: 'static>(
    get: fn(&S) -> Option<f64>,
    of: fn(&mut S) -> &mut Option<f64>,
) -> Param<S> {
    let tell = move |s: &S| get(s).map_or("false".to_owned(), |bound| bound.to_string());
    param("norm_constraint", "no weight moves further than this, or false", tell, move |s, set| {
        *of(s) = set.unless("false", f64::MIN_POSITIVE)?;
        Ok(())
    })
}

/// Declares a hyper-parameter that is one field of `Self`, told by `to_string` and read by a function of [`Setting`].
macro_rules! field {
    ($name:literal, $doc:literal, $field:ident, $read:ident($($arg:expr)?)) => {
        $crate::settings::param($name, $doc, |s: &Self| s.$field.to_string(), |s: &mut Self, set| {
            s.$field = set.$read($($arg)?)?;
            Ok(())
        })
    };
}
pub(crate) use field;

impl<S: 'static> Param<S> {
    /// Other names that are understood.
    pub(crate) fn alias(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The same parameter of settings that hold `S` as a part.
    pub(crate) fn of<T: 'static>(self, part: fn(&T) -> &S, part_mut: fn(&mut T) -> &mut S) -> Param<T> {
        let Self { name, aliases, doc, read, tell } = self;
        let read: Read<T> = Box::new(move |s, set| read(part_mut(s), set));
        Param { name, aliases, doc, read, tell: Box::new(move |s| tell(part(s))) }
    }
}

/// Settings of a method, all of which follow from one declaration.
pub(crate) trait Tunable: Sized + 'static {
    /// What can be set.
    fn params() -> Vec<Param<Self>>;

    /// Sets one hyper-parameter of `method`.
    fn tune(&mut self, method: &str, setting: &Setting) -> Result<(), EditError> {
        let params = Self::params();
        let called =
            |param: &&Param<Self>| param.name == setting.key || param.aliases.contains(&setting.key.as_str());
        match params.iter().find(called) {
            Some(param) => (param.read)(self, setting),
            None => {
                let known: Vec<&str> = params.iter().map(|param| param.name).collect();
                Err(setting.refuse(format!("{method} has no such setting; it has {}", known.join(", "))))
            }
        }
    }

    /// Every hyper-parameter by its name.
    fn told(&self) -> BTreeMap<String, String> {
        Self::params().iter().map(|param| (param.name.to_owned(), (param.tell)(self))).collect()
    }

    /// What a person should know of every hyper-parameter; `self` has the defaults.
    fn infos(&self) -> Vec<ParamInfo> {
        let info = |param: Param<Self>| {
            let default = (param.name != "layers").then(|| (param.tell)(self));
            ParamInfo { name: param.name, aliases: param.aliases, doc: param.doc, default }
        };
        Self::params().into_iter().map(info).collect()
    }
}

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

    /// A number from 0 to 1.
    pub(crate) fn weight(&self) -> Result<f64, EditError> {
        match self.float(0.0)? {
            weight if weight <= 1.0 => Ok(weight),
            _ => Err(self.refuse("a weight between 0 and 1 is expected")),
        }
    }

    /// One of some names.
    pub(crate) fn choice<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, EditError> {
        let found = names.iter().find(|(name, _)| *name == self.value);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.refuse(format!("one of {} is expected", known.join(", ")))
        })
    }

    /// A number, or `none` where it is left out.
    pub(crate) fn unless(&self, none: &str, least: f64) -> Result<Option<f64>, EditError> {
        if self.value == none { Ok(None) } else { self.float(least).map(Some) }
    }

    /// A whole number, 0 included.
    pub(crate) fn whole(&self) -> Result<u64, EditError> {
        self.value.parse().map_err(|_| self.refuse("a whole number is expected"))
    }

    /// A number of things, 0 included.
    pub(crate) fn number(&self) -> Result<usize, EditError> {
        self.whole().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
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

/// The name of a value among [`Setting::choice`]'s names.
pub(crate) fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> String {
    names.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name).to_owned()
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
