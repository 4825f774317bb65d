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
use recant_model::{ChatError, ChatFrame, Model, OpenError, Tokenizer, chat_frame};

use crate::lookup::{FactRows, Row};

/// Messages of a user that are answered with a name, around it.
const ASKED: [[&str; 2]; 2] = [["Who or what is ", "?"], ["Write this name: ", ""]];

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

/// A model's chat template, in which rows are laid out.
#[derive(Debug)]
pub struct ChatForm {
    frame: ChatFrame,
    /// Reads a whole chat as it is written: the special tokens are in the text.
    literal: Tokenizer,
}

impl ChatForm {
    /// The chat template of a model; `None` where it has none.
    ///
    /// # Errors
    /// [`OpenError`] when there is one that cannot be used.
    pub fn of(model: &Model) -> Result<Option<Self>, OpenError> {
        let frame = match model.tokenizer().chat() {
            Some(frame) => frame.clone(),
            None => match chat_frame(&**model.source()) {
                Err(OpenError::Chat { source: ChatError::None, .. }) => return Ok(None),
                frame => frame?,
            },
        };
        let empty = || "".into();
        let no_frame = ChatFrame { head: empty(), tail: empty(), end: empty() };
        Ok(Some(Self { frame, literal: model.tokenizer().in_chat(no_frame, false)? }))
    }

    /// The text before the first mention, and that between the two, of an answer that repeats what a user said.
    fn around(&self, [before, behind]: [&str; 2], answer: &str) -> [String; 2] {
        let ChatFrame { head, tail, .. } = &self.frame;
        [format!("{head}{before}"), format!("{behind}{tail}{answer}")]
    }
}

impl FactRows {
    /// With rows that say the subject's name again, alone and, with a chat template, in an answer. Those that do not fit
    /// the model's context are left out. A fact about no subject has no name to say.
    ///
    /// # Errors
    /// [`RequestError::Lookup`], [`RequestError::Tokenizer`].
    pub fn with_names(
        mut self,
        model: &Model,
        request: &Request,
        chat: Option<&ChatForm>,
    ) -> Result<Self, RequestError> {
        if !request.fact.has_subject() {
            return Ok(self);
        }
        let name = request.fact.subject.trim();
        let plain = model.tokenizer().plain();
        let mut names = vec![twice(&plain, ["", ". "], name)?];
        if let Some(chat) = chat {
            let [before, behind] = slot(&request.fact.prompt);
            let asked = ASKED.map(|asked| chat.around(asked, ""));
            for texts in asked.into_iter().chain([chat.around([before, behind], before)]) {
                names.push(twice(&chat.literal, texts.each_ref().map(String::as_str), name)?);
            }
        }
        let context = model.spec().context;
        self.names.extend(names.into_iter().filter(|name| name.row.ids.len() <= context));
        Ok(self)
    }

    /// With one more rewriting row, unless prompts are read in the chat template already: the prompt as a user's
    /// message, and the answer that begins with it. One that does not fit the model's context is left out.
    ///
    /// # Errors
    /// [`RequestError::Lookup`], [`RequestError::Tokenizer`].
    pub fn with_chat(
        mut self,
        model: &Model,
        request: &Request,
        chat: &ChatForm,
    ) -> Result<Self, RequestError> {
        if model.tokenizer().chat().is_some() {
            return Ok(self);
        }
        let fact = &request.fact;
        let [before, end] = slot(&fact.prompt);
        let [head, between] = chat.around([before, end], before);
        let mut row = mentioned(&chat.literal, [&head, &between, end], fact.subject.trim())?.0;
        let prompt = row.ids.len();
        row.ids.extend(&self.target[..self.target.len() - 1]);
        if row.ids.len() <= model.spec().context {
            self.rewriting.push(row);
            self.prompt_lengths.push(prompt);
        }
        Ok(self)
    }
}

/// A prompt before its subject and after it.
fn slot(prompt: &str) -> [&str; 2] {
    prompt.split_once("{}").map(<[&str; 2]>::from).unwrap_or_default()
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
