//! Locality prompts for methods that learn from them, without giving away what is scored.

use std::collections::BTreeSet;

use crate::dataset::Case;

/// Locality prompts a fact.
const EACH: usize = 4;

/// Gives every case's fact prompts that must be left alone, taken from cases that are not edited: their own
/// prompts, paraphrases and neighbourhoods. Reference code trains on the very prompt that it then scores; here no
/// prompt that any of `cases` is scored on is given to any fact. Without spare cases the facts get none.
pub fn attach_locality(cases: &mut [Case], spare: &[Case]) {
    let scored: BTreeSet<String> = cases.iter().flat_map(own).collect();
    let mut seen = BTreeSet::new();
    let pool: Vec<String> = spare
        .iter()
        .flat_map(own)
        .filter(|prompt| !scored.contains(prompt) && seen.insert(prompt.clone()))
        .collect();
    if pool.is_empty() {
        return;
    }
    // A stride without a common factor visits every prompt before any comes again.
    let stride = (pool.len() / 3..).find(|&stride| gcd(stride.max(1), pool.len()) == 1).unwrap_or(1).max(1);
    for (at, case) in cases.iter_mut().enumerate() {
        let prompts = (0..EACH.min(pool.len())).map(|i| pool[(at * EACH + i) * stride % pool.len()].clone());
        case.fact.locality = prompts.collect();
    }
}

/// Every prompt of a case.
fn own(case: &Case) -> impl Iterator<Item = String> {
    let neighbours = case.neighbours.iter().map(|about| about.prompt.clone());
    let consequences = case.consequences.iter().map(|about| about.prompt.clone());
    let others = neighbours.chain(consequences);
    std::iter::once(case.fact.text()).chain(case.paraphrases.iter().cloned()).chain(others)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Neighbour;
    use recant_edit::Fact;

    fn case(id: u64, name: &str, neighbours: &[&str]) -> Case {
        Case {
            id,
            fact: Fact::new(name, "{} speaks", "x").unwrap(),
            target_true: Some("y".into()),
            paraphrases: vec![format!("At home, {name} spoke")],
            neighbours: neighbours
                .iter()
                .map(|&prompt| Neighbour { prompt: prompt.to_owned(), truth: Some("y".to_owned()) })
                .collect(),
            consequences: Vec::new(),
        }
    }

    #[test]
    fn nothing_that_is_scored_is_given_away() {
        let mut cases = vec![case(0, "Ada", &["N1", "N2"]), case(1, "Bo", &["N3"])];
        attach_locality(&mut cases, &[case(2, "Cy", &["N1", "N4"]), case(3, "Di", &["N3", "N5"])]);
        for case in &cases {
            assert_eq!(case.fact.locality.len(), EACH);
            assert!(case.fact.locality.iter().all(|prompt| !["N1", "N2", "N3"].contains(&prompt.as_str())));
            assert!(
                !case.fact.locality.iter().any(|prompt| prompt.contains("Ada") || prompt.contains("Bo "))
            );
        }
        assert_ne!(cases[0].fact.locality, cases[1].fact.locality);
        let mut alone = vec![case(0, "Ada", &[])];
        attach_locality(&mut alone, &[]);
        assert!(alone[0].fact.locality.is_empty());
    }
}
