//! Rows of tokens for a fact, and where in them the subject ends.

use std::ops::Range;

use recant_edit::{Contexts, Fact, Request, RequestError};
use recant_model::{Model, Tokenizer};

use crate::names::NameRow;

/// A text in tokens, with the place where the fact is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Index of the token that holds the last character of the subject.
    pub lookup: usize,
    /// The same of every further mention of the subject, ascending.
    pub again: Vec<usize>,
}

impl Row {
    /// Where the subject is looked up: at the end of each of its mentions, ascending.
    pub fn mentions(&self) -> impl Iterator<Item = usize> + '_ {
        [self.lookup].into_iter().chain(self.again.iter().copied())
    }
}

/// Tokenises `template` with the subject in its slot and finds the subject's last token.
///
/// The token is found by the text it covers, not by counting the tokens of a prefix: a tokenizer may merge
/// characters across the slot's border, and then a count is off by one.
///
/// # Errors
/// [`RequestError::Lookup`] when no token covers the subject's end, [`RequestError::Tokenizer`].
pub fn row(tokenizer: &Tokenizer, template: &str, subject: &str) -> Result<Row, RequestError> {
    let (ids, subject) = subject_tokens(tokenizer, template, subject)?;
    Ok(Row { ids, lookup: subject.end - 1, again: Vec::new() })
}

/// As [`row`], with every token that covers a part of the subject; never none.
///
/// # Errors
/// As [`row`].
pub fn subject_tokens(
    tokenizer: &Tokenizer,
    template: &str,
    subject: &str,
) -> Result<(Vec<u32>, Range<usize>), RequestError> {
    let text = template.replacen("{}", subject, 1);
    let missing = || RequestError::Lookup { text: text.clone() };
    let start = template.find("{}").ok_or_else(missing)?;
    let last_byte = (start + subject.trim_end().len()).checked_sub(1).ok_or_else(missing)?;
    let spans = tokenizer.encode_with_spans(&text)?;
    let lookup = spans.iter().rposition(|(_, span)| span.contains(&last_byte)).ok_or_else(missing)?;
    // A token may begin with the blank before the subject.
    let first = spans.iter().position(|(_, span)| span.end > start && !span.is_empty()).unwrap_or(lookup);
    Ok((spans.into_iter().map(|(id, _)| id).collect(), first.min(lookup)..lookup + 1))
}

/// The rows of a v* search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRows {
    /// One row per context: the prompt in that context, followed by the target without its last token.
    pub rewriting: Vec<Row>,
    /// Tokens of each rewriting row that belong to the prompt.
    pub prompt_lengths: Vec<usize>,
    /// `{subject} is a`: what the model thinks the subject is, which should not drift.
    pub essence: Row,
    /// Texts that say the subject again, which the model should go on spelling as it does; see [`crate::names`].
    pub names: Vec<NameRow>,
    /// Target tokens.
    pub target: Vec<u32>,
}

impl FactRows {
    /// Every row, in the order of a pass: the rewriting ones, the essence, the names.
    pub fn all(&self) -> impl Iterator<Item = &Row> {
        let names = self.names.iter().map(|name| &name.row);
        self.rewriting.iter().chain([&self.essence]).chain(names)
    }

    /// The rows in parts that steps of a search read in turn: the bare prompt and the essence in each, at most `contexts`
    /// of the other rewriting rows, and the names shared out as evenly. 0: one part with all.
    #[must_use]
    pub fn in_turns(&self, contexts: usize) -> Vec<Self> {
        let others = self.rewriting.len().saturating_sub(1);
        let turns = if contexts == 0 { 1 } else { others.div_ceil(contexts).max(1) };
        let part = |turn: usize| {
            let own = |row: &usize| *row == 0 || Self::turn(*row, turns).0 == turn;
            let rows: Vec<usize> = (0..self.rewriting.len()).filter(own).collect();
            Self {
                rewriting: rows.iter().map(|&row| self.rewriting[row].clone()).collect(),
                prompt_lengths: rows.iter().map(|&row| self.prompt_lengths[row]).collect(),
                essence: self.essence.clone(),
                names: self.names.iter().skip(turn).step_by(turns).cloned().collect(),
                target: self.target.clone(),
            }
        };
        (0..turns).map(part).collect()
    }

    /// The turn at which the rewriting row at a place is read, and its place there. The bare prompt, which every turn
    /// reads, counts for the first.
    #[must_use]
    pub fn turn(place: usize, turns: usize) -> (usize, usize) {
        place.checked_sub(1).map_or((0, 0), |other| (other % turns, 1 + other / turns))
    }
}

/// Lays out the rows of a request.
///
/// # Errors
/// [`RequestError`]; [`RequestError::TooLong`] when a row does not fit the model's context.
pub fn fact_rows(model: &Model, request: &Request, contexts: &Contexts) -> Result<FactRows, RequestError> {
    let Request { fact, target } = request;
    let tokenizer = model.tokenizer();
    let mut rewriting = contexts
        .fill(&fact.prompt)
        .iter()
        .map(|template| row(tokenizer, template, &fact.subject))
        .collect::<Result<Vec<_>, _>>()?;
    let prompt_lengths = rewriting.iter().map(|row| row.ids.len()).collect();
    for row in &mut rewriting {
        row.ids.extend(&target[..target.len() - 1]);
    }
    let essence = row(tokenizer, "{} is a", &fact.subject)?;
    let tokens = rewriting.iter().chain([&essence]).map(|row| row.ids.len()).max().unwrap_or(0);
    let context = model.spec().context;
    if tokens > context {
        return Err(RequestError::TooLong { tokens, context });
    }
    Ok(FactRows { rewriting, prompt_lengths, essence, names: Vec::new(), target: target.clone() })
}

/// Tokenises one fact and lays out its rows.
///
/// # Errors
/// As [`fact_rows`].
pub fn rows_of(model: &Model, fact: &Fact, contexts: &Contexts) -> Result<FactRows, RequestError> {
    fact_rows(model, &Request::new(model, fact)?, contexts)
}
