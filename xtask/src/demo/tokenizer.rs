//! The demo model's own byte-level BPE tokenizer, trained on the corpus.

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::error::Error;

/// The token that ends a text; id 0.
pub(crate) const END: &str = "<|endoftext|>";

/// Trains a tokenizer of at most `vocab` tokens on lines of text and returns its `tokenizer.json`.
pub(crate) fn train(lines: &[String], vocab: usize) -> Result<String, Error> {
    let refuse = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::<BPE, NFC, ByteLevel, ByteLevel, ByteLevel>::default()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(Some(byte_level.trim_offsets(false)))
        .with_decoder(Some(byte_level))
        .build()
        .map_err(refuse)?;
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab)
        .initial_alphabet(alphabet.into_iter().collect())
        .special_tokens(vec![AddedToken::from(END, true)])
        .build();
    tokenizer.train(&mut trainer, lines.iter().map(String::as_str)).map_err(refuse)?;
    let tokenizer: Tokenizer = tokenizer.into();
    tokenizer.to_string(true).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_is_deterministic_and_ends_with_token_zero() {
        let lines: Vec<String> = super::super::world::generate(3).corpus.into_iter().take(500).collect();
        let first = train(&lines, 400).unwrap();
        assert_eq!(first, train(&lines, 400).unwrap());
        let tokenizer: Tokenizer = first.parse().unwrap();
        assert_eq!(tokenizer.token_to_id(END), Some(0));
        let text = "The mother tongue of Älva is";
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(ids.get_ids(), true).unwrap(), text);
    }
}
