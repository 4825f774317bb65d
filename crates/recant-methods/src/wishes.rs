//! What a user asks of one or several methods, and what each of them makes of it.
//!
//! One rule for everything: what is said to one method (`METHOD.KEY`) goes before what is said to all; `layer` is
//! another way to say the setting `layers` of the methods that edit one layer, and `layers` that of the others;
//! `seed` is the setting `seed` of all. Two different values said in the same way contradict each other and are
//! refused. Whatever prepares a method's inputs and the method itself obey the same [`Asked`].

use std::collections::BTreeMap;

use recant_edit::EditError;
use recant_model::ModelSpec;

use crate::kind::meant;
use crate::settings::{Setting, parse_layers};
use crate::spec::{LayerRule, MethodSpec};

/// What a user asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The layer of the methods that edit one; the default range of the others ends at it.
    pub layer: Option<usize>,
    /// The layers of the methods that edit several, ascending.
    pub layers: Option<Vec<usize>>,
    /// Seed of everything that is drawn; 0 where nobody says another.
    pub seed: Option<u64>,
    /// Hyper-parameters; the key `METHOD.KEY` is said to one method alone.
    pub settings: Vec<Setting>,
}

/// What is asked of one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The layers it edits, ascending; never empty.
    pub layers: Vec<usize>,
    /// Seed of everything that is drawn for it.
    pub seed: u64,
    /// Its hyper-parameters by their first names, each once.
    pub settings: Vec<Setting>,
}

impl Asked {
    /// The layer of a method that edits one, and the last of several.
    #[must_use]
    pub fn layer(&self) -> usize {
        self.layers.last().copied().unwrap_or(0)
    }

    /// The value of a setting, where one was asked for.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|set| set.key == key).map(|set| set.value.as_str())
    }
}

/// A setting as it was said: its words, for a message, and its value.
type Said = (String, String);

impl Wishes {
    /// What is asked of each of some methods on a model, in their order.
    ///
    /// # Errors
    /// [`EditError::Setting`] when no method has a setting of a name; [`EditError::Contradiction`];
    /// [`EditError::Layer`]; [`EditError::Mixture`] when a method needs the matrix of a block that has none.
    pub fn of_all(&self, methods: &[&MethodSpec], spec: &ModelSpec) -> Result<Vec<Asked>, EditError> {
        self.settings.iter().try_for_each(|set| known(set, methods))?;
        let asked: Vec<Asked> =
            methods.iter().map(|info| self.of(info, spec)).collect::<Result<_, EditError>>()?;
        self.check_layers(methods, &asked)?;
        let matrices = methods.iter().zip(&asked).filter(|(info, _)| info.needs_matrix);
        let mut layers = matrices.flat_map(|(_, asked)| &asked.layers);
        layers.try_for_each(|&layer| spec.check_matrix(layer))?;
        Ok(asked)
    }

    /// What is asked of one method on a model. Settings that it does not have are passed over.
    ///
    /// # Errors
    /// As [`Wishes::of_all`], but for unknown settings and for blocks without a matrix.
    pub fn of(&self, info: &MethodSpec, spec: &ModelSpec) -> Result<Asked, EditError> {
        let mut said = BTreeMap::new();
        self.join(&mut said, info)?;
        self.gather(&mut said, info, None)?;
        let mut own = BTreeMap::new();
        self.gather(&mut own, info, Some(info.name))?;
        // More particular: it replaces what is said to all.
        said.extend(own);
        let default = self.default_layers(info, spec);
        let layers = match said.get("layers") {
            None => default,
            Some((_, value)) => {
                let expected = "layers are expected, such as 3, 0,1,2 or 0-2";
                let set = Setting { key: "layers".to_owned(), value: value.clone() };
                parse_layers(value).ok_or_else(|| set.refuse(expected))?
            }
        };
        if let Some(&layer) = layers.iter().find(|&&layer| layer >= spec.layers) {
            return Err(EditError::Layer { layer, layers: spec.layers });
        }
        let seed = match said.get("seed") {
            Some((_, value)) => Setting { key: "seed".to_owned(), value: value.clone() }.whole()?,
            None => self.seed.unwrap_or(0),
        };
        let settings = said.into_iter().map(|(key, (_, value))| Setting { key: key.to_owned(), value });
        Ok(Asked { layers, seed, settings: settings.collect() })
    }

    /// Adds the settings said to `method` alone, or with `None` to all, by the parameters' first names.
    fn gather(
        &self,
        said: &mut BTreeMap<&'static str, Said>,
        info: &MethodSpec,
        method: Option<&str>,
    ) -> Result<(), EditError> {
        for set in &self.settings {
            let (name, key) = split(&set.key);
            let Some(param) = info.param(key).filter(|_| name == method) else { continue };
            let words = format!("{} = {}", set.key, set.value);
            insert(said, param.name, (words, set.value.clone()))?;
        }
        Ok(())
    }

    /// Puts `layer`, `layers` and `seed` among the settings that are said to all.
    fn join(&self, said: &mut BTreeMap<&'static str, Said>, info: &MethodSpec) -> Result<(), EditError> {
        let list = self.layers.as_ref().map(|layers| write(layers));
        let layers = match info.layers {
            LayerRule::One => self.layer.map(|layer| ("layer", layer.to_string())),
            LayerRule::Several => list.map(|list| ("layers", list)),
            // Its one layer is the last of them; more than one is a setting's business.
            LayerRule::Last => None,
        };
        if let Some((name, value)) = layers {
            insert(said, "layers", (format!("{name} {value}"), value))?;
        }
        match self.seed {
            Some(seed) if info.param("seed").is_some() => {
                insert(said, "seed", (format!("seed {seed}"), seed.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The layers where no setting names them.
    fn default_layers(&self, info: &MethodSpec, spec: &ModelSpec) -> Vec<usize> {
        let layer = self.layer.unwrap_or(spec.edit.layer);
        match (info.layers, &self.layers) {
            (LayerRule::One, _) | (LayerRule::Last, None) => vec![layer],
            (LayerRule::Last, Some(layers)) => layers.last().copied().into_iter().collect(),
            (LayerRule::Several, Some(layers)) => layers.clone(),
            (LayerRule::Several, None) => {
                // GPT-2 XL is edited at 13 to 17 of 48 in the MEMIT paper.
                let count = spec.layers.div_ceil(3).clamp(1, 5);
                let matrices = spec.blocks_with_matrix().into_iter().filter(|&block| block <= layer);
                let mut last: Vec<usize> = matrices.rev().take(count).collect();
                last.reverse();
                // Where a block has none, the method says so.
                if last.last() == Some(&layer) { last } else { vec![layer] }
            }
        }
    }

    /// Refuses a `layer` or `layers` that no method obeys.
    fn check_layers(&self, methods: &[&MethodSpec], asked: &[Asked]) -> Result<(), EditError> {
        let one = |info: &&MethodSpec| info.layers == LayerRule::One;
        let obeys = |layer: usize| asked.iter().any(|asked| asked.layer() == layer);
        let layer = self.layer.filter(|&layer| !methods.iter().any(one) && !obeys(layer));
        let layers = self
            .layers
            .as_ref()
            .filter(|layers| methods.iter().all(one) && !layers.last().is_some_and(|&layer| obeys(layer)));
        let words = match (layer, layers) {
            (Some(layer), _) => format!("layer {layer}"),
            (None, Some(layers)) => format!("layers {}", write(layers)),
            (None, None) => return Ok(()),
        };
        let first = methods.first().map_or("", |info| info.name);
        let edited = asked.first().map(|asked| write(&asked.layers)).unwrap_or_default();
        Err(EditError::Contradiction { one: words, other: format!("{first} at layers {edited}") })
    }
}

fn split(key: &str) -> (Option<&str>, &str) {
    key.split_once('.').map_or((None, key), |(method, key)| (Some(method), key))
}

fn write(layers: &[usize]) -> String {
    layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn insert(
    said: &mut BTreeMap<&'static str, Said>,
    name: &'static str,
    (words, value): Said,
) -> Result<(), EditError> {
    let same = |held: &str| match name {
        "layers" => parse_layers(held).is_some() && parse_layers(held) == parse_layers(&value),
        _ => held == value,
    };
    match said.get(name) {
        Some((earlier, held)) if !same(held) => {
            Err(EditError::Contradiction { one: earlier.clone(), other: words })
        }
        Some(_) => Ok(()),
        None => {
            said.insert(name, (words, value));
            Ok(())
        }
    }
}

/// A hyper-parameter that none of the methods has is a typing error, not a wish.
fn known(set: &Setting, methods: &[&MethodSpec]) -> Result<(), EditError> {
    let (method, key) = split(&set.key);
    let asked: Vec<_> =
        methods.iter().filter(|info| method.is_none_or(|method| method == info.name)).collect();
    if asked.iter().any(|info| info.param(key).is_some()) {
        return Ok(());
    }
    Err(set.refuse(match method {
        Some(method) if asked.is_empty() => format!("{method} is none of the methods asked for"),
        _ => {
            let names: Vec<&str> = asked.iter().map(|info| info.name).collect();
            let mut known: Vec<&str> =
                asked.iter().flat_map(|info| (info.settings)()).map(|param| param.name).collect();
            known.sort_unstable();
            known.dedup();
            let meant = meant(key, known.iter().copied());
            format!("{} has no such setting{meant}; known are {}", names.join(", "), known.join(", "))
        }
    }))
}
