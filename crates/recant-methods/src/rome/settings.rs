//! ROME's hyper-parameters, named as in the reference code.

use recant_edit::EditError;

use crate::kind::Kind;
use crate::search::SearchSettings;
use crate::settings::{Param, Setting, Tunable, fact_token, field, one_layer, param};

/// Which key k' stands in the divisor and in W k'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRule {
    /// The mean over all contexts, the same as in u: R-ROME.
    Mean,
    /// The bare prompt's: the original ROME code.
    Bare,
}

impl KeyRule {
    /// The rule for the divisor k'ᵀu, where the bare prompt's key has the component `bare` along u and the mean key `mean`:
    /// a bare component below `least` of the mean one would make the update many times too long.
    pub(super) fn for_divisor(self, least: f64, bare: f64, mean: f64) -> Self {
        if self == Self::Bare && bare < least * mean { Self::Mean } else { self }
    }
}

/// Settings of ROME and R-ROME.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RomeSettings {
    /// The edited layer.
    pub layer: usize,
    /// Which key the divisor uses.
    pub keys: KeyRule,
    /// The v* search.
    pub search: SearchSettings,
    /// Weight of the bare prompt in the mean key; the other contexts share the rest. `None`: all alike, as
    /// published. MEMIT's rule is 0.5.
    pub bare_weight: Option<f64>,
    /// Where k' is the bare prompt's key: the least share of the mean key's component along u that it has to have, or the mean
    /// key takes its place. 0: always the bare prompt's, as published.
    pub least_bare: f64,
    /// Whether the prompt inside the model's chat template, with an answer that repeats it, is a context too.
    pub chat_context: bool,
    /// Contexts beside the bare prompt that one step of the search reads; the steps take turns. 0: all of them, as
    /// published.
    pub contexts_per_step: usize,
    /// Whether the search asks for a full stop behind the target, so that the answer ends there.
    pub full_stop: bool,
    /// Whether C⁻¹ is used; `false` means C = I.
    pub mom2_adjustment: bool,
}

impl RomeSettings {
    /// The published defaults for GPT-2 XL, at a layer.
    #[must_use]
    pub fn new(layer: usize, keys: KeyRule) -> Self {
        let search = SearchSettings::published();
        Self {
            layer,
            keys,
            search,
            bare_weight: None,
            least_bare: 0.0,
            chat_context: false,
            contexts_per_step: 0,
            full_stop: false,
            mom2_adjustment: true,
        }
    }

    /// What an edit of a user's model is made with: the published values, and a search that keeps the subject's name
    /// and reads the chat form too, where the model has one.
    #[must_use]
    pub fn standard(layer: usize, keys: KeyRule) -> Self {
        let published = Self::new(layer, keys);
        let search = SearchSettings { name_factor: 5.0, ..published.search };
        Self { search, chat_context: true, least_bare: 0.25, ..published }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("rome", setting)
    }
}

impl Tunable for RomeSettings {
    fn params() -> Vec<Param<Self>> {
        let alike = || Kind::weight().or("alike");
        let weight = |s: &Self| s.bare_weight.map_or("alike".to_owned(), |weight| weight.to_string());
        let mut params = vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            param(
                "bare_weight",
                alike(),
                "weight of the bare prompt in the mean key; alike: that of each context",
                weight,
                move |s: &mut Self, set| {
                    s.bare_weight = set.number_or_word(&alike())?;
                    Ok(())
                },
            ),
            field!(
                "least_bare",
                "ROME: the least share of the mean key's component along C⁻¹k_star that the bare key has, or the mean key \
                 stands in the divisor; 0: as published",
                least_bare,
                weight()
            ),
            field!(
                "chat_context",
                "whether the prompt in the model's chat template is a context too; false: as published",
                chat_context,
                flag()
            ),
            field!(
                "contexts_per_step",
                "contexts beside the bare prompt that one step reads, in turns, which is faster and worse; 0: all, as published",
                contexts_per_step,
                number()
            ),
            field!(
                "full_stop",
                "whether the search asks for a full stop behind the target too; false: as published",
                full_stop,
                flag()
            ),
            field!("mom2_adjustment", "whether C is used; false: C = I", mom2_adjustment, flag()),
            fact_token(),
        ];
        params.extend(
            SearchSettings::params()
                .into_iter()
                .chain([SearchSettings::of_names()])
                .map(|p| p.of(|s: &Self| &s.search, |s| &mut s.search)),
        );
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bare key that is nearly orthogonal to u would make the update as long as 1 / 0.
    #[test]
    fn a_bare_key_without_the_direction_gives_way() {
        use KeyRule::{Bare, Mean};
        for (rule, least, bare, expected) in [
            (Bare, 0.25, 0.26, Bare),
            (Bare, 0.25, 0.24, Mean),
            (Bare, 0.25, -0.9, Mean),
            (Bare, 0.0, 0.01, Bare),
            (Mean, 0.25, 0.9, Mean),
        ] {
            assert_eq!(rule.for_divisor(least, bare, 1.0), expected, "{rule:?} {least} {bare}");
        }
    }
}
