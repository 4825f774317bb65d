//! The token ids of a prompt and of what continues it.

use crate::chat::ChatFrame;
use crate::error::TokenizerError;
use crate::separator::needs_space;
use crate::tokenizer::Tokenizer;

/// A prompt and its continuation, in tokens. A model that has read `prompt` says the continuation when it says
/// `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The prompt, with the special tokens that the tokenizer puts before a text.
    pub prompt: Vec<u32>,
    /// The target as it follows the prompt, without special tokens after it.
    pub target: Vec<u32>,
}

impl Tokenizer {
    /// The ids of `prompt` and of `target` as it follows the prompt in running text.
    ///
    /// *What stands between them.* One space, as between words; nothing where running text has nothing: after white
    /// space, a special token, an opening quote or bracket, or text that is written without spaces, and before such
    /// text or punctuation that attaches. A `literal` target follows the prompt to the letter. Blanks at the end
    /// of the prompt are the separator: they count as the target's, because tokenizers put a word's blank into the
    /// word's token.
    ///
    /// *Which ids.* Prompt and target are encoded together, and the target has the ids after the prompt's. A
    /// SentencePiece tokenizer, which puts a blank before whatever it encodes, thus gives `▁English` and not
    /// `▁ ▁English`. If the encoding of the prompt alone is not the beginning of the joint one, the border is found
    /// by the text that the tokens cover. If one token covers text on both sides, the model could only say that
    /// token with a part of the prompt, so the target is encoded by itself, after a line break.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn continuation(
        &self,
        prompt: &str,
        target: &str,
        literal: bool,
    ) -> Result<Continuation, TokenizerError> {
        if let Some(frame) = self.chat() {
            return self.answer(frame, prompt, target);
        }
        let stem = prompt.trim_end_matches(' ');
        let own = self.pieces(stem)?;
        let between = match &prompt[stem.len()..] {
            blanks if literal => blanks,
            "" if self.ends_specially(stem, &own) || !needs_space(stem, target) => "",
            _ => " ",
        };
        let joint = self.pieces(&format!("{stem}{between}{target}"))?;
        let same = joint.iter().zip(&own).take_while(|(a, b)| a.id == b.id).count();
        let target = if same == own.len() {
            joint[same..].iter().map(|piece| piece.id).collect()
        } else if let Some(first) = border(&joint, stem.len()) {
            joint[first..].iter().map(|piece| piece.id).collect()
        } else {
            self.alone(&format!("{between}{target}"))?
        };
        Ok(Continuation { prompt: own.into_iter().map(|piece| piece.id).collect(), target })
    }

    /// The answer in a chat: it begins where the frame ends, without a blank, and ends with the frame's token if the
    /// tokenizer was made so.
    fn answer(&self, frame: &ChatFrame, prompt: &str, target: &str) -> Result<Continuation, TokenizerError> {
        let ids = |pieces: Vec<Piece>| pieces.into_iter().map(|piece| piece.id).collect::<Vec<u32>>();
        let own = ids(self.framed(&frame.head, prompt, &frame.tail)?);
        let joint = ids(self.framed(&frame.head, prompt, &format!("{}{target}", frame.tail))?);
        let mut target = match joint.strip_prefix(&own[..]) {
            Some(rest) => rest.to_vec(),
            None => self.alone(target)?,
        };
        target.extend(self.end_token());
        Ok(Continuation { prompt: own, target })
    }

    /// Whether a text ends in a special token, or in an added one that is no word.
    fn ends_specially(&self, text: &str, pieces: &[Piece]) -> bool {
        let last = pieces.iter().rev().find(|piece| !piece.span.is_empty());
        last.is_some_and(|last| last.span.end == text.len() && self.is_mark(last.id))
    }

    /// A text that continues another one, encoded without it: after a line break, with which nothing merges.
    fn alone(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        const BREAK: &str = "\n";
        let plain = self.plain();
        let pieces = plain.pieces(&format!("{BREAK}{text}"))?;
        match border(&pieces, BREAK.len()) {
            Some(first) => Ok(pieces[first..].iter().map(|piece| piece.id).collect()),
            None => self.encode_bare(text),
        }
    }
}

/// A token and the bytes of the text that it covers; none for a special token that was put before the text.
pub(crate) struct Piece {
    pub(crate) id: u32,
    pub(crate) span: std::ops::Range<usize>,
}

/// Index of the first piece that covers text at or after a byte; `None` when there is none, or when the one before it
/// covers text on both sides.
fn border(pieces: &[Piece], at: usize) -> Option<usize> {
    let first = pieces.iter().position(|piece| piece.span.end > at)?;
    (pieces[first].span.start >= at).then_some(first)
}
