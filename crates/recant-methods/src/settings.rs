//! Hyper-parameters by their names in the literature.

use std::collections::BTreeMap;

use recant_edit::EditError;

use crate::kind::{Kind, meant};

/// What a person should know of a hyper-parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamInfo {
    /// Its name in the literature.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What it does, in one line.
    pub doc: &'static str,
    /// Which values it takes.
    pub kind: Kind,
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
    kind: Kind,
    read: Read<S>,
    tell: Tell<S>,
}

/// Declares a hyper-parameter: name, values, meaning, how it is told, how it is read.
pub(crate) fn param<S: 'static>(
    name: &'static str,
    kind: Kind,
    doc: &'static str,
    tell: impl Fn(&S) -> String + 'static,
    read: impl Fn(&mut S, &Setting) -> Result<(), EditError> + 'static,
) -> Param<S> {
    Param { name, aliases: &[], doc, kind, read: Box::new(read), tell: Box::new(tell) }
}

/// The parameter `layers` of a method that edits one layer.
pub(crate) fn one_layer<S: 'static>(of: fn(&mut S) -> &mut usize, get: fn(&S) -> usize) -> Param<S> {
    let read = move |s: &mut S, set: &Setting| {
        *of(s) = set.one_layer()?;
        Ok(())
    };
    param("layers", Kind::Layer, "the layer that is edited", move |s| get(s).to_string(), read)
        .alias(&["layer"])
}

/// The parameter `layers` of a method that edits several.
pub(crate) fn layer_list<S: 'static>(get: fn(&S) -> &[usize], of: fn(&mut S) -> &mut Vec<usize>) -> Param<S> {
    let tell = move |s: &S| get(s).iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let read = move |s: &mut S, set: &Setting| {
        *of(s) = set.layer_list()?;
        Ok(())
    };
    param("layers", Kind::Layers, "the layers that are written", tell, read).alias(&["layer"])
}

/// The parameter `fact_token`: where a fact is looked up. There is one choice.
pub(crate) fn fact_token<S: 'static>() -> Param<S> {
    const ONLY: [(&str, ()); 1] = [("subject_last", ())];
    let read = |_: &mut S, set: &Setting| set.choice(&ONLY);
    param("fact_token", Kind::of(&ONLY), "where a fact is looked up", |_| name_of(&ONLY, &()), read)
}

/// The parameter `norm_constraint`: a bound on how far any weight moves, or none.
pub(crate) fn norm_constraint<S: 'static>(
    get: fn(&S) -> Option<f64>,
    of: fn(&mut S) -> &mut Option<f64>,
) -> Param<S> {
    let tell = move |s: &S| get(s).map_or("false".to_owned(), |bound| bound.to_string());
    let kind = Kind::float(f64::MIN_POSITIVE).or("false");
    param("norm_constraint", kind.clone(), "no weight moves further than this", tell, move |s, set| {
        *of(s) = set.number_or_word(&kind)?;
        Ok(())
    })
}

/// A parameter that is one of some names.
pub(crate) fn choice<S: 'static, T: Copy + PartialEq + 'static>(
    name: &'static str,
    doc: &'static str,
    names: &'static [(&'static str, T)],
    get: fn(&S) -> T,
    of: fn(&mut S) -> &mut T,
) -> Param<S> {
    param(
        name,
        Kind::of(names),
        doc,
        move |s| name_of(names, &get(s)),
        move |s, set| {
            *of(s) = set.choice(names)?;
            Ok(())
        },
    )
}

/// Declares a hyper-parameter that is one field of `Self`, told by `to_string`, whose values are those of a function of
/// [`Kind`] and which is read by the function of [`Setting`] of the same name.
macro_rules! field {
    ($name:literal, $doc:literal, $field:ident, $read:ident($($arg:expr)?)) => {
        $crate::settings::param(
            $name,
            $crate::kind::Kind::$read($($arg)?),
            $doc,
            |s: &Self| s.$field.to_string(),
            |s: &mut Self, set| {
                s.$field = set.$read($($arg)?)?;
                Ok(())
            },
        )
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
        let Self { name, aliases, doc, kind, read, tell } = self;
        let read: Read<T> = Box::new(move |s, set| read(part_mut(s), set));
        Param { name, aliases, doc, kind, read, tell: Box::new(move |s| tell(part(s))) }
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
                let meant = meant(&setting.key, known.iter().copied());
                Err(setting
                    .refuse(format!("{method} has no such setting{meant}; it has {}", known.join(", "))))
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
            ParamInfo { name: param.name, aliases: param.aliases, doc: param.doc, kind: param.kind, default }
        };
        Self::params().into_iter().map(info).collect()
    }
}

/// What can be set, where making the defaults could fail.
pub(crate) fn infos(defaults: Result<impl Tunable, EditError>) -> Vec<ParamInfo> {
    defaults.map(|defaults| defaults.infos()).unwrap_or_default()
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

    /// The complaint that the value is none of a kind.
    fn outside(&self, kind: &Kind) -> EditError {
        self.refuse(format!("{kind} is expected"))
    }

    /// A number of a kind, or `None` for its word.
    pub(crate) fn number_or_word(&self, kind: &Kind) -> Result<Option<f64>, EditError> {
        let Kind::Number { least, most, word } = kind else { return Err(self.outside(kind)) };
        if *word == Some(self.value.as_str()) {
            return Ok(None);
        }
        let number: Option<f64> = self.value.parse().ok();
        let inside = number.filter(|number| number.is_finite() && number >= least && number <= most);
        inside.map(Some).ok_or_else(|| self.outside(kind))
    }

    fn within(&self, kind: &Kind) -> Result<f64, EditError> {
        self.number_or_word(kind)?.ok_or_else(|| self.outside(kind))
    }

    pub(crate) fn float(&self, least: f64) -> Result<f64, EditError> {
        self.within(&Kind::float(least))
    }

    /// A share: above 0, at most 1.
    pub(crate) fn share(&self) -> Result<f64, EditError> {
        self.within(&Kind::share())
    }

    /// A number from 0 to 1.
    pub(crate) fn weight(&self) -> Result<f64, EditError> {
        self.within(&Kind::weight())
    }

    /// A cosine.
    pub(crate) fn cosine(&self) -> Result<f64, EditError> {
        self.within(&Kind::cosine())
    }

    /// One of some names.
    pub(crate) fn choice<T: Copy>(&self, names: &[(&'static str, T)]) -> Result<T, EditError> {
        let found = names.iter().find(|(name, _)| *name == self.value);
        found.map(|(_, value)| *value).ok_or_else(|| self.outside(&Kind::of(names)))
    }

    /// A number of things, at least one.
    pub(crate) fn count(&self) -> Result<usize, EditError> {
        let number = self.value.parse().ok().filter(|&number: &usize| number > 0);
        number.ok_or_else(|| self.outside(&Kind::count()))
    }

    /// A whole number, 0 included.
    pub(crate) fn whole(&self) -> Result<u64, EditError> {
        self.value.parse().map_err(|_| self.outside(&Kind::whole()))
    }

    /// A number of things, 0 included.
    pub(crate) fn number(&self) -> Result<usize, EditError> {
        self.whole().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(crate) fn flag(&self) -> Result<bool, EditError> {
        self.value.parse().map_err(|_| self.outside(&Kind::Flag))
    }

    /// The layers of a method that edits several: `3`, `0,1,2`, `[0, 1, 2]` or `0-2`; ascending.
    pub(crate) fn layer_list(&self) -> Result<Vec<usize>, EditError> {
        parse_layers(&self.value).ok_or_else(|| self.outside(&Kind::Layers))
    }

    /// The layer of a method that edits one: `3` or `[3]`.
    pub(crate) fn one_layer(&self) -> Result<usize, EditError> {
        let inner = self.value.trim_start_matches('[').trim_end_matches(']').trim();
        inner.parse().map_err(|_| self.outside(&Kind::Layer))
    }
}

/// Layers as a user writes them: `3`, `0,1,2`, `[0, 1, 2]` or `0-2`. They come out ascending; `None` when the text
/// is something else, empty, or names a layer twice.
#[must_use]
pub fn parse_layers(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let mut layers = match inner.split_once('-') {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            // No model has more; a list of them all need not be made.
            (last <= usize::from(u16::MAX)).then(|| (first..=last).collect())?
        }
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
        for text in ["", "a", "1,1", "2-1", "0-1-2", "-1", "0-18446744073709551615"] {
            assert_eq!(parse_layers(text), None, "{text}");
        }
    }
}
