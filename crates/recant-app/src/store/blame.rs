//! Which commit is to blame.

use recant_backend::Device;
use recant_core::CommitId;
use recant_model::{Answer, AskError, Model};
use recant_store::{History, Store};

use super::StoreError;
use super::models::{moved, open_at};
use crate::observer::Observer;

/// How one commit moved the answer to a prompt.
#[derive(Debug, Clone)]
pub struct Shift {
    /// The commit.
    pub id: CommitId,
    /// What it is for.
    pub message: String,
    /// Log-probability of the answer before it.
    pub before: f32,
    /// The same after it.
    pub after: f32,
    /// The most probable answer after it.
    pub top: String,
}

/// The answer to a prompt, and who moved it.
#[derive(Debug, Clone)]
pub struct Blame {
    /// The most probable answer at the newest commit.
    pub answer: Answer,
    /// Every commit on the way there, the oldest first.
    pub shifts: Vec<Shift>,
}

/// How each commit up to `rev` moved the answer that its model gives to a prompt; `None` where it gives none.
///
/// # Errors
/// [`StoreError`].
pub fn blame(
    store: &Store,
    rev: CommitId,
    prompt: &str,
    device: &Device,
    observer: &dyn Observer,
) -> Result<Option<Blame>, StoreError> {
    let mut history = History::new(store.odb());
    let mut line = history.first_parents(rev)?;
    line.reverse();
    let import = line[0];
    let base = open_at(store, import, device, observer)?;
    // The whole way once, for the answer that is asked about; then again for its probability at each step.
    let newest = moved(store, &base, import, rev)?;
    let Some(answer) = newest.answers(prompt, 1)?.into_iter().next() else { return Ok(None) };
    let vocab = base.spec().vocab;
    let ask = |model: &Model| -> Result<(f32, String), AskError> {
        let answers = model.answers(prompt, vocab)?;
        let own = answers.iter().find(|known| known.id == answer.id).map_or(f32::NEG_INFINITY, |a| a.logprob);
        Ok((own, answers.into_iter().next().map(|a| a.token).unwrap_or_default()))
    };
    let (mut model, mut at) = (base.clone(), import);
    let (mut before, _) = ask(&model)?;
    let mut shifts = Vec::new();
    for &id in &line[1..] {
        let commit = history.commit(id)?;
        model = moved(store, &model, at, id)?;
        at = id;
        let (after, top) = ask(&model)?;
        shifts.push(Shift { id, message: commit.message.clone(), before, after, top });
        before = after;
    }
    Ok(Some(Blame { answer, shifts }))
}

/// Judges commits.
pub trait Probe {
    /// Why it cannot judge at all.
    type Error: From<StoreError>;

    /// Whether all is well at a commit; `None` when it cannot be told there.
    ///
    /// # Errors
    /// Ends the search.
    fn is_well(&mut self, store: &Store, id: CommitId) -> Result<Option<bool>, Self::Error>;
}

/// The commit from which on all is not well.
#[derive(Debug, Clone)]
pub struct Bisected {
    /// The commit.
    pub first_bad: CommitId,
    /// What it is for.
    pub message: String,
    /// How many commits were judged.
    pub runs: usize,
}

/// Finds the first commit between `good` (or the import) and `bad` at which all is not well.
///
/// # Errors
/// [`StoreError::NotBetween`], [`StoreError::Skipped`], and what `probe` says.
pub fn bisect<P: Probe>(
    store: &Store,
    good: Option<CommitId>,
    bad: CommitId,
    probe: &mut P,
) -> Result<Bisected, P::Error> {
    let mut history = History::new(store.odb());
    let line = history.first_parents(bad).map_err(StoreError::from)?;
    let good = good.unwrap_or(line[line.len() - 1]);
    let Some(n_suspects) = line.iter().position(|&id| id == good).filter(|&n| n > 0) else {
        return Err(StoreError::NotBetween { good: good.short(), bad: bad.short() }.into());
    };
    // Oldest first; the last one is known to be bad.
    let mut suspects: Vec<CommitId> = line[..n_suspects].iter().rev().copied().collect();
    let mut runs = 0;
    let mut skipped = Vec::new();
    while suspects.len() > 1 {
        let testable: Vec<usize> =
            (0..suspects.len() - 1).filter(|&i| !skipped.contains(&suspects[i])).collect();
        let Some(&middle) = testable.get(testable.len() / 2) else { return Err(StoreError::Skipped.into()) };
        let id = suspects[middle];
        runs += 1;
        match probe.is_well(store, id)? {
            Some(true) => drop(suspects.drain(..=middle)),
            Some(false) => suspects.truncate(middle + 1),
            None => skipped.push(id),
        }
    }
    let first_bad = suspects[0];
    let message = history.commit(first_bad).map_err(StoreError::from)?.message.clone();
    Ok(Bisected { first_bad, message, runs })
}
