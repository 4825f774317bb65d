//! How many facts a model knows.

#[cfg(test)]
use std::path::Path;

use recant::model::{Model, TokenBatch};
use serde::Serialize;

use super::world::WorldFact;
use crate::error::Error;

/// Share of prompts whose greedy continuation is the fact's object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Recall {
    /// Over phrasings the corpus completes.
    pub train: f64,
    /// Over phrasings that were held out.
    pub held_out: f64,
}

/// Reads `facts.jsonl`.
#[cfg(test)]
pub(crate) fn read_facts(path: &Path) -> Result<Vec<WorldFact>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Measures recall on all facts, `batch` prompts at a time.
pub(crate) fn measure(model: &Model, facts: &[WorldFact], batch: usize) -> Result<Recall, Error> {
    let prompts = |of: fn(&WorldFact) -> &[String]| {
        facts
            .iter()
            .flat_map(move |fact| of(fact).iter().map(move |prompt| (prompt.as_str(), fact.object.as_str())))
    };
    Ok(Recall {
        train: share(model, prompts(|fact| &fact.train_prompts).collect(), batch)?,
        held_out: share(model, prompts(|fact| &fact.held_out_prompts).collect(), batch)?,
    })
}

/// Greedy decoding gives the answer exactly when, with the answer fed, every one of its tokens is the most
/// probable one in its place.
fn share(model: &Model, asked: Vec<(&str, &str)>, batch: usize) -> Result<f64, Error> {
    let mut known = 0;
    for chunk in asked.chunks(batch) {
        let mut rows = Vec::new();
        let mut places = Vec::new();
        let mut wanted = Vec::new();
        for (row, (prompt, object)) in chunk.iter().enumerate() {
            let tokens = model.tokenizer().continuation(prompt, object, false)?;
            let (mut ids, target) = (tokens.prompt, tokens.target);
            let first = ids.len() - 1;
            ids.extend(&target);
            rows.push(ids);
            places.extend((0..target.len()).map(|i| (row, first + i)));
            wanted.push(target);
        }
        let batch = TokenBatch::new(&rows, model.spec())?;
        let mut best = model.log_probs(&batch, &places).into_iter().map(|row| {
            row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id as u32)
        });
        known += wanted
            .iter()
            .filter(|target| {
                // Every place is read, so that the iterator stays in step with the targets.
                target.iter().filter(|&&id| best.next() == Some(id)).count() == target.len()
            })
            .count();
    }
    Ok(known as f64 / asked.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recant::backend::{Device, DeviceSpec};

    /// The card's claim: the shipped model knows its world, also in words it never saw for that subject.
    #[test]
    fn the_demo_model_knows_its_world() {
        let device = Device::open(DeviceSpec::Flex).unwrap();
        let model = Model::open(&super::super::model_dir(), &device).unwrap();
        let facts = read_facts(&super::super::data_dir().join("facts.jsonl")).unwrap();
        let recall = measure(&model, &facts, 128).unwrap();
        assert!(recall.train >= 0.98, "{recall:?}");
        assert!(recall.held_out >= 0.90, "{recall:?}");
    }
}
