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
    /// Whether the prompt inside the model's chat template, with an answer that repeats it, is a context too.
    pub chat_context: bool,
    /// Whether C⁻¹ is used; `false` means C = I.
    pub mom2_adjustment: bool,
}

impl RomeSettings {
    /// The published defaults for GPT-2 XL, at a layer.
    #[must_use]
    pub fn new(layer: usize, keys: KeyRule) -> Self {
        let search = SearchSettings::published();
        Self { layer, keys, search, bare_weight: None, chat_context: false, mom2_adjustment: true }
    }

    /// What an edit of a user's model is made with: the published values, and a search that keeps the subject's name
    /// and reads the chat form too, where the model has one.
    #[must_use]
    pub fn standard(layer: usize, keys: KeyRule) -> Self {
        let published = Self::new(layer, keys);
        let search = SearchSettings { name_factor: 5.0, ..published.search };
        Self { search, chat_context: true, ..published }
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
                "chat_context",
                "whether the prompt in the model's chat template is a context too; false: as published",
                chat_context,
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
