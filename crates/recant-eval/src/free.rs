//! Free generation: what the model writes by itself, beside what it would say if its answer were dictated.
//!
//! Teacher forcing feeds the right answer token by token and so never punishes a wrong first one. Here the model
//! reads only the prompt and continues greedily.

use recant_model::{AskError, Generation, Model, Row, Strategy, TokenBatch};

use crate::dataset::Case;
use crate::probe::{ScoreError, mean};

/// Tokens beyond the target's own in which an answer that is the target and no more has ended; some are for a target that is
/// written in other tokens.
const ENDED_WITHIN: usize = 4;

/// Shares of a case's prompts that are answered with exactly the target, in 0..=1; `None` of no prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeScores {
    /// The rewrite prompt, read up to the target's length.
    pub rewrite: Option<f64>,
    /// Paraphrases, read up to the target's length.
    pub rephrase: Option<f64>,
    /// The rewrite prompt, read up to the answer's own end: an end-of-text token, a full stop or a line break.
    pub rewrite_natural: Option<f64>,
    /// Paraphrases, read up to the answer's own end.
    pub rephrase_natural: Option<f64>,
}

/// Scores what a model writes behind every prompt of each of some cases.
///
/// # Errors
/// [`ScoreError`] names the prompt that cannot be asked.
pub fn free_scores(model: &Model, cases: &[Case]) -> Result<Vec<FreeScores>, ScoreError> {
    free_scores_behind(model, cases, |_| String::new())
}

/// The same with something before the prompts of each case.
///
/// # Errors
/// As [`free_scores`].
pub(crate) fn free_scores_behind(
    model: &Model,
    cases: &[Case],
    before: impl Fn(&Case) -> String,
) -> Result<Vec<FreeScores>, ScoreError> {
    let of_case = |case: &Case| {
        let before = before(case);
        let prompts = [case.fact.text()].into_iter().chain(case.paraphrases.iter().cloned());
        let asked = |prompt| (format!("{before}{prompt}"), case.fact.target.clone());
        prompts.map(asked).collect::<Vec<_>>()
    };
    let mut judged = judge(model, &cases.iter().flat_map(of_case).collect::<Vec<_>>())?.into_iter();
    let scores = cases.iter().map(|case| {
        let rewrite = judged.next();
        let rephrase: Vec<[f64; 2]> = judged.by_ref().take(case.paraphrases.len()).collect();
        FreeScores {
            rewrite: rewrite.map(|both| both[0]),
            rephrase: mean(rephrase.iter().map(|both| both[0])),
            rewrite_natural: rewrite.map(|both| both[1]),
            rephrase_natural: mean(rephrase.iter().map(|both| both[1])),
        }
    });
    Ok(scores.collect())
}

/// Whether the model's own continuation of each prompt is its target: up to the target's length, and up to its own end.
fn judge(model: &Model, asked: &[(String, String)]) -> Result<Vec<[f64; 2]>, ScoreError> {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (prompt, target) in asked {
        let ask = |source: AskError| ScoreError::Ask { prompt: prompt.clone(), source };
        let tokens = model.tokenizer().continuation(prompt, target, false);
        let tokens = tokens.map_err(|error| ask(error.into()))?;
        let max_new = tokens.target.len() + ENDED_WITHIN;
        rows.push(Row { prompt: tokens.prompt, max_new, strategy: Strategy::Greedy });
        targets.push(tokens.target);
    }
    let written = written(model, &rows, |at| asked[at].0.clone())?;
    let one = |((written, ids), (_, target)): ((Generation, Vec<u32>), &(String, String))| {
        let said = &written.ids[written.prompt_tokens..];
        let natural = written.text.split(['.', '\n']).next().unwrap_or_default().trim() == target;
        [said.starts_with(&ids), natural].map(f64::from)
    };
    Ok(written.into_iter().zip(targets).zip(asked).map(one).collect())
}

/// What a model writes in rows; an error names the prompt of the first row that it does not take.
pub(crate) fn written(
    model: &Model,
    rows: &[Row],
    prompt: impl Fn(usize) -> String,
) -> Result<Vec<Generation>, ScoreError> {
    let unfit = |row: &Row| TokenBatch::new(std::slice::from_ref(&row.prompt), model.spec()).is_err();
    model.generate_rows(rows, true).map_err(|source| {
        let at = rows.iter().position(unfit).unwrap_or_default();
        ScoreError::Ask { prompt: prompt(at), source }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use recant_backend::{Device, DeviceSpec};
    use recant_edit::Fact;

    /// A target that is what the model writes anyway is found, another one is not.
    #[test]
    fn the_model_s_own_words_are_its_answer() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures/gpt2-tiny");
        let model = Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
        let prompt = "The sea is";
        let own = model.answers(prompt, 300).unwrap();
        // A token whose text, with a space before it, is that token again: the others cannot be targets.
        let target = |rank: usize| {
            let text = own[rank].token.trim().to_owned();
            let ids = model.tokenizer().continuation(prompt, &text, false).unwrap().target;
            (ids == [own[rank].id]).then_some(text)
        };
        let rank = (0..own.len()).find(|&rank| target(rank).is_some_and(|text| !text.is_empty())).unwrap();
        let case = Case {
            id: 0,
            fact: Fact::new("The sea", "{} is", target(rank).unwrap()).unwrap(),
            target_true: Some("x".into()),
            paraphrases: vec![],
            neighbours: vec![],
            consequences: vec![],
        };
        let scores = free_scores(&model, std::slice::from_ref(&case)).unwrap()[0];
        assert_eq!(scores.rewrite, Some(f64::from(rank == 0)));
        assert_eq!(scores.rephrase, None);
        let written = model.generate(prompt, 2, Strategy::Greedy).unwrap();
        let ids = model.tokenizer().continuation(prompt, written.text.trim(), false).unwrap().target;
        let same = ids[..] == written.ids[written.prompt_tokens..];
        let fact = Fact::new("The sea", "{} is", written.text.trim()).unwrap();
        let scores = free_scores(&model, &[Case { fact, ..case }]).unwrap()[0];
        assert_eq!(scores.rewrite, Some(f64::from(same)));
    }
}
