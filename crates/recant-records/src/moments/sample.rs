//! A sample of the corpus that was measured.

use std::collections::BTreeMap;

/// Pieces that are kept.
const TEXTS: usize = 256;
/// Tokens that are kept of a piece.
const TOKENS: usize = 32;

/// Beginnings of texts, drawn by their digests: those with the smallest ones are kept. That is a fair draw
/// without replacement, and it depends on what the corpus holds alone, not on the order in which it was read
/// or on how often a text comes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    kept: BTreeMap<[u8; 32], Vec<u32>>,
}

impl Sample {
    /// The sample that these texts leave.
    #[must_use]
    pub fn of(texts: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let mut sample = Self::default();
        texts.into_iter().for_each(|text| sample.offer(&text));
        sample
    }

    /// One more text; of a single token nothing can be predicted, so it is passed over.
    pub fn offer(&mut self, ids: &[u32]) {
        let ids = &ids[..ids.len().min(TOKENS)];
        if ids.len() < 2 {
            return;
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let digest = recant_core::bytes_digest(&bytes);
        let last = self.kept.last_key_value().filter(|_| self.kept.len() >= TEXTS);
        if last.is_some_and(|(last, _)| *last <= digest) {
            return;
        }
        self.kept.insert(digest, ids.to_vec());
        if self.kept.len() > TEXTS {
            self.kept.pop_last();
        }
    }

    /// The sample that was written as these texts; `None` when they are not the texts of a sample in their order.
    pub(crate) fn of_written(texts: Vec<Vec<u32>>) -> Option<Self> {
        let count = texts.len();
        let sample = Self::of(texts.iter().cloned());
        (sample.kept.len() == count && sample.texts().eq(texts.iter().map(Vec::as_slice))).then_some(sample)
    }

    /// The texts' tokens, in the order of their digests: any beginning of it is a fair draw too.
    pub fn texts(&self) -> impl Iterator<Item = &[u32]> {
        self.kept.values().map(Vec::as_slice)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// BLAKE3 of the texts' digests.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let digests: Vec<u8> = self.kept.keys().flatten().copied().collect();
        recant_core::bytes_digest(&digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_depends_on_the_set_of_texts_alone(
            mut texts in prop::collection::vec(prop::collection::vec(0u32..40, 0..5), 0..400),
        ) {
            let once = Sample::of(texts.clone());
            texts.extend(texts.clone());
            texts.reverse();
            prop_assert_eq!(&once, &Sample::of(texts.clone()));
            let distinct: std::collections::BTreeSet<_> = texts.iter().filter(|text| text.len() > 1).collect();
            prop_assert_eq!(once.texts().count(), distinct.len().min(TEXTS));
            prop_assert_eq!(&once, &Sample::of(once.texts().map(<[u32]>::to_vec)));
        }
    }
}
