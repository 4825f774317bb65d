//! The rows of an edit: the fact in its contexts, some earlier edits, and what must be left alone.

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use recant_edit::{Contexts, EditError, Fact, Request};
use recant_model::Model;

use super::neutral::{NEUTRAL, STRANGERS};
use super::settings::WiseSettings;
use super::side::Rows;
use crate::lookup::{Row, row};

/// Locality prompts of earlier edits that are repeated for each earlier edit that is.
const OUTSIDE_REPLAYS: usize = 8;
/// Neutral texts beside one edit.
const NEUTRAL_ROWS: usize = 4;

/// Whether embedded neutral texts are among what a fact must leave alone: where they are asked for, and where nobody said
/// anything else. The reference code knows none.
pub(super) fn takes_neutral(settings: &WiseSettings, fact: &Fact) -> bool {
    settings.neutral || fact.locality.is_empty() && !settings.reference
}

/// Prompts that an edit must leave alone: the fact's own, its sentence about strangers, and neutral ones.
pub(super) fn outside(
    model: &Model,
    settings: &WiseSettings,
    fact: &Fact,
) -> Result<Vec<Vec<u32>>, EditError> {
    let neutral = takes_neutral(settings, fact);
    if fact.locality.is_empty() && !neutral {
        return Err(EditError::Locality { text: fact.prompt.clone() });
    }
    let strangers = STRANGERS.iter().take(settings.strangers).filter(|name| **name != fact.subject);
    let mut texts: Vec<String> = fact.locality.clone();
    texts.extend(strangers.map(|name| fact.prompt.replacen("{}", name, 1)));
    if neutral {
        texts.extend(NEUTRAL.map(str::to_owned));
    }
    let encode = |text: &String| Ok(model.tokenizer().encode(text)?);
    texts.iter().map(encode).collect()
}

/// The rows of the edit at `index` of `facts`: a function of the facts up to it and of the seed.
pub(super) fn of_edit(
    model: &Model,
    settings: &WiseSettings,
    contexts: &Contexts,
    facts: &[Fact],
    index: usize,
) -> Result<Rows, EditError> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(u64::MAX - index as u64);
    let fact = &facts[index];
    let from = index / settings.save_freq * settings.save_freq;
    let mut rows = Rows::default();
    for template in contexts.fill(&fact.prompt) {
        put(model, &mut rows, fact, &template)?;
    }
    // The same shard's earlier edits are said again; other memories' edits must not come here.
    for at in sample(&mut rng, index - from, settings.replay.min(index - from)) {
        let earlier = &facts[from + at];
        put(model, &mut rows, earlier, &earlier.prompt)?;
    }
    rows.outside = outside(model, settings, fact)?;
    if takes_neutral(settings, fact) {
        let own = rows.outside.len() - NEUTRAL.len();
        let drawn = sample(&mut rng, NEUTRAL.len(), NEUTRAL_ROWS);
        let kept: Vec<Vec<u32>> = drawn.iter().map(|at| rows.outside[own + at].clone()).collect();
        rows.outside.truncate(own);
        rows.outside.extend(kept);
    }
    for at in sample(&mut rng, from, settings.replay.min(from)) {
        rows.outside.push(model.tokenizer().encode(&facts[at].text())?);
    }
    // What any earlier edit must leave alone is to be left alone here too. Such rows need no layer above the side memory,
    // so many of them cost little.
    let earlier: Vec<&String> = facts[..index].iter().flat_map(|fact| &fact.locality).collect();
    let count = earlier.len().min(OUTSIDE_REPLAYS * settings.replay);
    for at in sample(&mut rng, earlier.len(), count) {
        rows.outside.push(model.tokenizer().encode(earlier[at])?);
    }
    Ok(rows)
}

fn put(model: &Model, rows: &mut Rows, fact: &Fact, template: &str) -> Result<(), EditError> {
    let target = Request::to_edit(model, fact)?.target;
    let Row { mut ids, lookup, .. } =
        row(model.tokenizer(), template, &fact.subject).map_err(EditError::about(fact))?;
    rows.prompts.push(ids.len());
    rows.lookups.push(lookup);
    ids.extend(&target[..target.len() - 1]);
    rows.inside.push(ids);
    rows.targets.push(target);
    Ok(())
}
