//! `cargo xtask integrity`: whether an edited model still knows how its subject is spelled.

use recant::app::{Dialogue, Silent};
use recant::eval::Case;
use recant::model::{Model, Strategy};

use crate::error::Error;
use crate::facts::FactArgs;

/// Tokens of an answer.
const ANSWER: usize = 32;

/// Arguments of `cargo xtask integrity`.
#[derive(Debug, clap::Args)]
pub(crate) struct IntegrityArgs {
    /// The facts, and a model with a chat template.
    #[command(flatten)]
    facts: FactArgs,
    /// Method of one fact.
    #[arg(long, value_name = "NAME", default_value = "r-rome")]
    method: String,
}

/// What a model says of a subject.
#[derive(Debug, Clone, Copy, Default)]
struct Says {
    /// The subject is in the answer to the prompt, asked in a chat.
    named: bool,
    /// The new answer is in it.
    new: bool,
    /// The subject is in what comes when the model is asked to repeat it.
    repeated: bool,
}

impl Says {
    /// `model` reads prompts as a user's messages.
    fn ask(model: &Model, case: &Case) -> Result<Self, Error> {
        let fact = &case.fact;
        let said = |prompt: &str| Ok::<_, Error>(model.generate(prompt, ANSWER, Strategy::Greedy)?.text);
        let answer = said(&fact.text())?;
        let again = said(&format!("Repeat this name three times: {}", fact.subject))?;
        Ok(Self {
            named: answer.contains(&fact.subject),
            new: answer.contains(fact.target.trim()),
            repeated: again.contains(&fact.subject),
        })
    }
}

pub(crate) fn run(args: &IntegrityArgs) -> Result<(), Error> {
    let (base, cases, sources) = args.facts.open()?;
    let mut dialogue = Dialogue::new(base.clone(), &args.method, sources)?;
    let mut rows: Vec<[Says; 2]> = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        crate::note(&format!("{} of {}: {}", at + 1, cases.len(), case.fact.subject));
        let before = Says::ask(&base.in_chat(false)?, case)?;
        dialogue.edit(case.fact.clone(), &Silent)?;
        let after = Says::ask(&dialogue.model().in_chat(false)?, case)?;
        dialogue.undo()?;
        rows.push([before, after]);
    }
    let count = |of: fn(&Says) -> bool, at: usize| rows.iter().filter(|row| of(&row[at])).count();
    let line = |what: &str, of: fn(&Says) -> bool| {
        crate::say(&format!("{what:<44} {:>6} {:>6}", count(of, 0), count(of, 1)));
    };
    let title = format!("{}, {} facts", args.method, rows.len());
    crate::say(&format!("{title:<44} {:>6} {:>6}", "before", "after"));
    line("the answer in a chat spells the subject", |says| says.named);
    line("asked to repeat the name, it is spelled", |says| says.repeated);
    line("the answer in a chat says the new fact", |says| says.new);
    Ok(())
}
