//! What decided a ledger's keys and residuals, as one digest.

use std::collections::BTreeMap;

/// Everything beside the model and its sizes that decides the entries of a ledger and what is made from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipe {
    /// Every setting by name.
    pub settings: BTreeMap<String, String>,
    /// Settings that did not exist when ledgers were first stored, each with the value that does what was done then. At
    /// that value they are no part of the digest, so a setting that is added leaves all stored ledgers as they are.
    pub since: &'static [(&'static str, &'static str)],
    /// Context templates, in order.
    pub contexts: Vec<String>,
    /// The statistics; `None` where C = I was taken on purpose.
    pub statistics: Option<Statistics>,
}

/// Which statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Digest of their corpus.
    pub corpus: [u8; 32],
    /// Their tokens.
    pub tokens: u64,
    /// Digest of the sample of the corpus, where ordinary text has a say in the values.
    pub sample: Option<[u8; 32]>,
}

impl Recipe {
    /// BLAKE3 of `recant ledger recipe 2\n`; the count of settings, each key and value by key; the count of contexts,
    /// each; then a byte 0, or 1 and corpus, tokens, and a byte 0, or 1 and the sample. Counts, tokens and the lengths
    /// that go before texts are u64, little-endian. Different recipes have different bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let at_first =
            |(key, value): &(&String, &String)| self.since.contains(&(key.as_str(), value.as_str()));
        let settings: Vec<_> = self.settings.iter().filter(|pair| !at_first(pair)).collect();
        let mut bytes = b"recant ledger recipe 2\n".to_vec();
        put(&mut bytes, settings.len());
        settings.iter().flat_map(|(key, value)| [key, value]).for_each(|text| put_text(&mut bytes, text));
        put(&mut bytes, self.contexts.len());
        self.contexts.iter().for_each(|text| put_text(&mut bytes, text));
        bytes.push(u8::from(self.statistics.is_some()));
        if let Some(Statistics { corpus, tokens, sample }) = &self.statistics {
            bytes.extend_from_slice(corpus);
            bytes.extend_from_slice(&tokens.to_le_bytes());
            bytes.push(u8::from(sample.is_some()));
            bytes.extend(sample.iter().flatten());
        }
        recant_core::bytes_digest(&bytes)
    }

    /// The digest that recipes had at first, which ledgers of then carry: of the settings' debug form, and everything
    /// else without separators. `None` when a later setting is at another value than what was done then.
    #[must_use]
    pub fn former_digest(&self) -> Option<[u8; 32]> {
        let mut settings = self.settings.clone();
        for &(key, at_first) in self.since {
            if settings.remove(key).is_some_and(|value| value != at_first) {
                return None;
            }
        }
        let mut bytes = format!("{settings:?}").into_bytes();
        self.contexts.iter().for_each(|template| bytes.extend_from_slice(template.as_bytes()));
        if let Some(Statistics { corpus, tokens, sample }) = &self.statistics {
            bytes.extend_from_slice(corpus);
            bytes.extend_from_slice(&tokens.to_le_bytes());
            bytes.extend(sample.iter().flatten());
        }
        Some(recant_core::bytes_digest(&bytes))
    }
}

fn put(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&(number as u64).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let settings = BTreeMap::from([("layers".to_owned(), "1,2".to_owned())]);
        let statistics = Some(Statistics { corpus: [9; 32], tokens: 41, sample: None });
        Recipe { settings, since: &[], contexts: vec!["{}".to_owned(), "So. {}".to_owned()], statistics }
    }

    /// A digest that moves makes every stored ledger another one.
    #[test]
    fn digests_of_recipes_are_frozen() {
        let found = [Some(recipe().digest()), recipe().former_digest()];
        let frozen = [
            "fe2ff2fc2c9f9c1f2a63d0de72c5378adec9edafff59a671b4b7f2c46c489aaf",
            "b032991ee3a8d9591a85309e8aea09bbda925df28e55032bc0878e0b0e485f43",
        ];
        assert_eq!(
            found.map(|digest| digest.map(|digest| recant_core::hex(&digest))),
            frozen.map(|hex| Some(hex.to_owned()))
        );
    }

    /// A setting that comes later changes nothing at the value that does what was done before, and something at another.
    #[test]
    fn a_setting_that_is_added_leaves_stored_ledgers_alone() {
        let later = |value: &str| {
            let mut later = Recipe { since: &[("whiten", "true")], ..recipe() };
            later.settings.insert("whiten".to_owned(), value.to_owned());
            later
        };
        assert_eq!(later("true").digest(), recipe().digest());
        assert_eq!(later("true").former_digest(), recipe().former_digest());
        assert_ne!(later("false").digest(), recipe().digest());
        assert_eq!(later("false").former_digest(), None);
    }

    /// What only moves between neighbours, or into a text, is another recipe.
    #[test]
    fn different_recipes_have_different_digests() {
        let with = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = recipe();
            change(&mut recipe);
            recipe.digest()
        };
        let settings = |pairs: &[(&str, &str)]| {
            let pairs: BTreeMap<_, _> =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            with(&move |recipe| recipe.settings = pairs.clone())
        };
        let contexts =
            |texts: &[&str]| with(&|recipe| recipe.contexts = texts.iter().map(|&t| t.to_owned()).collect());
        let statistics = |statistics| with(&|recipe| recipe.statistics = statistics);
        let digests = [
            recipe().digest(),
            settings(&[]),
            settings(&[("layers1", ",2")]),
            settings(&[("layers", "1,2"), ("x", "")]),
            settings(&[("layers", "1,2\", \"x\": \"")]),
            contexts(&["{}", "So. ", "{}"]),
            contexts(&["{}So. {}"]),
            contexts(&["So. {}", "{}"]),
            statistics(None),
            statistics(Some(Statistics { corpus: [9; 32], tokens: 42, sample: None })),
            statistics(Some(Statistics { corpus: [9; 32], tokens: 41, sample: Some([9; 32]) })),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
