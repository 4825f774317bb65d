//! What became of facts: lines for a person, and the exit code.

use std::process::ExitCode;

use recant_app::Judged;
use recant_eval::Verdict;

/// The exit code of a command that did its work, where not every fact holds afterwards.
pub(crate) const NOT_ALL_HOLD: u8 = 3;
/// So many facts have a line each; of more, only those that do not hold.
const FEW: usize = 20;

/// A line for each fact, of many facts for each that does not hold.
pub(crate) fn print(judged: Judged<'_>) {
    let few = judged.len() <= FEW;
    let told: Vec<_> = judged.iter().filter(|(_, verdict)| few || !verdict.holds).collect();
    for (fact, verdict) in told.iter().take(FEW) {
        let Verdict { holds, probability_before, probability_after, best, continuation, .. } = verdict;
        let (was, is) = (percent(*probability_before), percent(*probability_after));
        let word = if *holds { "holds" } else { "does not hold" };
        let best = best.as_ref().map_or(String::new(), |best| {
            format!("; {:?} has {}", best.text.trim(), percent(best.probability))
        });
        let (text, target) = (fact.text(), &fact.target);
        say!("{word}: {text} -> {target}: {was} before, {is} now{best}; it writes {continuation:?}");
    }
    if told.len() > FEW {
        say!("and {} more that do not hold; --verdicts FILE has all", told.len() - FEW);
    }
}

/// The exit code, with a warning where a fact does not hold.
pub(crate) fn exit(judged: Judged<'_>) -> ExitCode {
    let (count, held) = (judged.len(), judged.held());
    if held == count {
        return ExitCode::SUCCESS;
    }
    let (verb, facts) =
        (if count - held == 1 { "does" } else { "do" }, if count == 1 { "fact" } else { "facts" });
    remark!("warning: {} of {count} {facts} {verb} not hold (exit code {NOT_ALL_HOLD})", count - held);
    remark!(
        "hint: another --layer, more steps or another --method may help; `recant methods NAME` lists what can be set"
    );
    ExitCode::from(NOT_ALL_HOLD)
}

/// A probability for a person.
fn percent(probability: f64) -> String {
    if probability > 0.0 && probability < 5e-5 {
        return "< 0.01 %".to_owned();
    }
    format!("{:.2} %", 100.0 * probability)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn small_probabilities_are_not_called_nothing() {
        let shown = [0.0, 1e-9, 5e-5, 0.5, 1.0].map(percent);
        assert_eq!(shown, ["0.00 %", "< 0.01 %", "0.01 %", "50.00 %", "100.00 %"]);
    }
}
