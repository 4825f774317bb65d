//! Rows in which the subject is said a second time.
//!
//! A rewrite moves the residual stream at the last token of the subject's name, and that token is also what a model
//! copies when it says the name again: a search that looks at the new fact alone ends where "Danielle Darrieux" has
//! become "Danielle Darjevy". So the search also reads texts that repeat the name, with the displacement at every
//! mention, as the edited model would have it, and counts each token of the name that the model spelled rightly before
//! and spells with less probability now.
//!
//! In a chat the answer repeats the question, and the fact is asked for behind a second mention. With a chat template
//! that form is one more context of the search.

use std::ops::Range;

use recant_edit::{Request, RequestError};
use recant_model::{ChatFrame, Model, Tokenizer};

use crate::lookup::{FactRows, Row};

/// Messages of a user that are answered with a name, around it.
const ASKED: [(&str, &str); 2] = [("Who or what is ", "?"), ("Write this name: ", "")];

/// A text that says the subject twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRow {
    /// Its tokens, up to the end of the second mention.
    pub row: Row,
    /// Tokens that spell the second mention.
    pub spelled: Range<usize>,
}

impl NameRow {
    /// Where the model is asked for each token of the name, and the token.
    pub fn asked(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.spelled.clone().filter(|&token| token > 0).map(|token| (token - 1, self.row.ids[token]))
    }
}

impl FactRows {
    /// With rows that say the subject's name again, alone and, where the model has a chat template, in an answer.
    ///
    /// # Errors
    /// [`RequestError::Lookup`], [`RequestError::Tokenizer`].
    pub fn with_names(mut self, model: &Model, request: &Request) -> Result<Self, RequestError> {
        let name = request.fact.subject.trim();
        let plain = model.tokenizer().plain();
        let mut names = vec![twice(&plain, ["", ". "], name)?];
        if let Some(frame) = frame(model) {
            let literal = in_no_frame(model)?;
            for (before, behind) in ASKED {
                let [head, between] = [format!("{}{before}", frame.head), format!("{behind}{}", frame.tail)];
                names.push(twice(&literal, [&head, &between], name)?);
            }
            let [head, between] = around(&frame, &request.fact.prompt);
            names.push(twice(&literal, [&head, &between], name)?);
        }
        let context = model.spec().context;
        self.names.extend(names.into_iter().filter(|name| name.row.ids.len() <= context));
        Ok(self)
    }

    /// With one more rewriting row where the model has a chat template and prompts are not read in it already: the
    /// prompt as a user's message, and the answer that begins with it.
    ///
    /// # Errors
    /// [`RequestError::Lookup`], [`RequestError::Tokenizer`].
    pub fn with_chat(mut self, model: &Model, request: &Request) -> Result<Self, RequestError> {
        let Some(frame) = frame(model).filter(|_| model.tokenizer().chat().is_none()) else {
            return Ok(self);
        };
        let fact = &request.fact;
        let [head, between] = around(&frame, &fact.prompt);
        let end = fact.prompt.split_once("{}").unwrap_or_default().1;
        let mut row = mentioned(&in_no_frame(model)?, [&head, &between, end], fact.subject.trim())?.0;
        let prompt = row.ids.len();
        row.ids.extend(&self.target[..self.target.len() - 1]);
        if row.ids.len() <= model.spec().context {
            self.rewriting.push(row);
            self.prompt_lengths.push(prompt);
        }
        Ok(self)
    }
}

/// Whether the model has a chat template that can be used. One that has none is asked to go on with a text, and not for
/// an answer that repeats a name.
#[must_use]
pub fn answers(model: &Model) -> bool {
    frame(model).is_some()
}

/// The frame of the model's chat template; `None` where it has none that can be used.
fn frame(model: &Model) -> Option<ChatFrame> {
    match model.tokenizer().chat() {
        Some(frame) => Some(frame.clone()),
        None => model.in_chat(false).ok().and_then(|model| model.tokenizer().chat().cloned()),
    }
}

/// A tokenizer that reads a whole chat as it is written: the special tokens are in the text.
fn in_no_frame(model: &Model) -> Result<Tokenizer, RequestError> {
    let empty = || "".into();
    let frame = ChatFrame { head: empty(), tail: empty(), end: empty() };
    Ok(model.tokenizer().in_chat(frame, false)?)
}

/// The text before the first mention, and that between the two, of an answer that repeats the question.
fn around(frame: &ChatFrame, prompt: &str) -> [String; 2] {
    let (before, behind) = prompt.split_once("{}").unwrap_or_default();
    [format!("{}{before}", frame.head), format!("{behind}{}{before}", frame.tail)]
}

/// A text that says a name twice and ends there.
fn twice(tokenizer: &Tokenizer, [head, between]: [&str; 2], name: &str) -> Result<NameRow, RequestError> {
    let (row, spelled) = mentioned(tokenizer, [head, between, ""], name)?;
    Ok(NameRow { row, spelled })
}

/// `head name between name end`, with the tokens that spell the second mention.
fn mentioned(
    tokenizer: &Tokenizer,
    [head, between, end]: [&str; 3],
    name: &str,
) -> Result<(Row, Range<usize>), RequestError> {
    let text = format!("{head}{name}{between}{name}{end}");
    let first = head.len() + name.len();
    let second = first + between.len()..first + between.len() + name.len();
    let spans = tokenizer.encode_with_spans(&text)?;
    let missing = || RequestError::Lookup { text: text.clone() };
    let covers = |byte: usize| spans.iter().rposition(|(_, span)| span.contains(&byte)).ok_or_else(missing);
    let last = |end: usize| covers(end.checked_sub(1).ok_or_else(missing)?);
    let (lookup, again) = (last(first)?, last(second.end)?);
    let spelled = covers(second.start)?..again + 1;
    let ids = spans.iter().map(|(id, _)| *id).collect();
    Ok((Row { ids, lookup, again: vec![again] }, spelled))
}
