//! `cargo xtask reach`: how far a rank-one rewrite is felt by other prompts, and which of their answers it changes.
//!
//! ROME adds `Λuᵀ` to one matrix, so a token with the key k moves by `k·u / (k'·u)` of what the subject's last token moves
//! by. That share is measured before anything else can blur it; whether the answer changes then shows how much a model
//! bears.

use std::fmt::Write as _;
use std::path::PathBuf;

use recant::app::{Resources, Silent};
use recant::backend::host;
use recant::core::Blobs;
use recant::edit::Editor;
use recant::eval::Case;
use recant::methods::method;
use recant::methods::region::Observed;
use recant::model::{Answer, AskError, Model};

use crate::error::Error;
use crate::facts::FactArgs;

const METHOD: &str = "rome";
/// Bounds of the groups of the table.
const BOUNDS: [f64; 5] = [0.0, 0.05, 0.1, 0.3, 0.6];

/// Arguments of `cargo xtask reach`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReachArgs {
    #[command(flatten)]
    facts: FactArgs,
    /// Draw every prompt here, as an SVG image.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A prompt that is not the edited one.
#[derive(Debug)]
struct Felt {
    prompt: String,
    /// Asks for the fact in other words, and is no neighbour.
    same: bool,
    /// The greatest share of the displacement that one of its tokens feels.
    share: f64,
    /// The most probable next token before and after.
    before: Answer,
    after: Answer,
}

impl Felt {
    fn changed(&self) -> bool {
        self.before.id != self.after.id
    }
}

pub(crate) fn run(args: &ReachArgs) -> Result<(), Error> {
    args.svg.as_deref().map_or(Ok(()), crate::output::check)?;
    let (model, cases, sources) = args.facts.open()?;
    let inputs = Resources::gather(&sources, &[METHOD.to_owned()], &model, &Silent)?.inputs(METHOD)?;
    let editor = method(METHOD, &inputs)?;
    let mut felt = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        crate::note(&format!("{} of {}: {}", at + 1, cases.len(), case.fact.subject));
        felt.extend(of_case(&model, &*editor, inputs.layer, case)?);
    }
    table(&felt);
    if let Some(path) = &args.svg {
        crate::output::write(path, drawn(&felt).as_bytes(), false)?;
    }
    Ok(())
}

/// Edits the case's fact and asks its other prompts before and after.
fn of_case(model: &Model, editor: &dyn Editor, layer: usize, case: &Case) -> Result<Vec<Felt>, Error> {
    let plan = editor.plan(model, std::slice::from_ref(&case.fact))?;
    let (edited, _) = model.apply(&plan.patch, &Blobs::new())?;
    let vector = |name: &str| -> &[f32] {
        plan.traces.first().and_then(|trace| trace.tensors.get(name)).map_or(&[], |(_, values)| values)
    };
    let (u, divisor) = (vector("u"), along(vector("k_prime"), vector("u")));
    let same = case.paraphrases.iter().map(|prompt| (prompt, true));
    let asked = same.chain(case.neighbours.iter().map(|neighbour| (&neighbour.prompt, false)));
    let mut felt = Vec::new();
    for (prompt, same) in asked {
        let (Some(before), Some(after)) = (top(model, prompt)?, top(&edited, prompt)?) else { continue };
        let keys = host(&Observed::of(model, layer, &[model.tokenizer().encode(prompt)?])?.keys);
        let shares = keys.chunks(u.len().max(1)).map(|key| along(key, u) / divisor);
        let share = shares.fold(0.0, |most: f64, share| if share.abs() > most.abs() { share } else { most });
        felt.push(Felt { prompt: prompt.clone(), same, share, before, after });
    }
    Ok(felt)
}

fn along(key: &[f32], u: &[f32]) -> f64 {
    key.iter().zip(u).map(|(k, u)| f64::from(*k) * f64::from(*u)).sum()
}

fn top(model: &Model, prompt: &str) -> Result<Option<Answer>, AskError> {
    Ok(model.answers(prompt, 1)?.into_iter().next())
}

/// A token's probability.
fn p(answer: &Answer) -> f64 {
    f64::from(answer.logprob).exp()
}

fn table(felt: &[Felt]) {
    crate::say(&format!(
        "{:<26} {:>7} {:>8} {:>24} {:>22}",
        "share of the displacement", "prompts", "changed", "former answer, changed", "former answer, kept"
    ));
    let mean = |of: &[&Felt]| match of.len() {
        0 => "-".to_owned(),
        count => format!("{:.2}", of.iter().map(|felt| p(&felt.before)).sum::<f64>() / count as f64),
    };
    let line = |name: String, of: Vec<&Felt>| {
        let (changed, kept): (Vec<&Felt>, Vec<&Felt>) = of.iter().partition(|felt| felt.changed());
        let (moved, stayed) = (mean(&changed), mean(&kept));
        crate::say(&format!("{name:<26} {:>7} {:>8} {moved:>24} {stayed:>22}", of.len(), changed.len()));
    };
    for (at, &low) in BOUNDS.iter().enumerate() {
        let high = BOUNDS.get(at + 1).copied().unwrap_or(f64::INFINITY);
        let within = |felt: &&Felt| !felt.same && (low..high).contains(&felt.share.abs());
        let name = if high.is_finite() {
            format!("neighbours, {low} to {high}")
        } else {
            format!("neighbours, from {low}")
        };
        line(name, felt.iter().filter(within).collect());
    }
    let same: Vec<&Felt> = felt.iter().filter(|felt| felt.same).collect();
    let share = same.iter().map(|felt| felt.share).sum::<f64>() / same.len().max(1) as f64;
    line(format!("paraphrases, mean {share:.2}"), same);
    for felt in felt.iter().filter(|felt| !felt.same && felt.changed()) {
        let told = |answer: &Answer| format!("{:?} {:.2}", answer.token, p(answer));
        let (before, after) = (told(&felt.before), told(&felt.after));
        crate::say(&format!("{:.2}  {}: {before} -> {after}", felt.share, felt.prompt));
    }
}

/// Share against the former answer's probability, a mark a neighbour: filled where the answer changed.
fn drawn(felt: &[Felt]) -> String {
    const SIZE: [f64; 2] = [640.0, 400.0];
    const LEFT: f64 = 60.0;
    const TOP: f64 = 40.0;
    let place = |share: f64, p: f64| (LEFT + SIZE[0] * share.clamp(0.0, 1.0), TOP + SIZE[1] * (1.0 - p));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 500\" width=\"760\" height=\"500\">\n\
         <title>recant: how far an edit is felt by its neighbours</title>\n\
         <style>text{{font:13px sans-serif;fill:#374151}}.o{{fill:none;stroke:#9CA3AF}}.k{{fill:none;stroke:#0072B2}}\
         .c{{fill:#D55E00}}@media(prefers-color-scheme:dark){{text{{fill:#D1D5DB}}}}</style>\n\
         <rect class=\"o\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>\n",
        SIZE[0], SIZE[1]
    );
    for tenth in (0..=10).step_by(2) {
        let value = f64::from(tenth) / 10.0;
        let (x, y) = place(value, value);
        let _written = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"458\" text-anchor=\"middle\">{value}</text>\
             <text x=\"52\" y=\"{:.0}\" text-anchor=\"end\">{value}</text>",
            y + 4.0
        );
    }
    svg += "<text x=\"380\" y=\"484\" text-anchor=\"middle\">share of the displacement that the prompt feels</text>\n\
            <text x=\"60\" y=\"24\">probability of the most probable token before the edit; filled: another one after it</text>\n";
    for felt in felt.iter().filter(|felt| !felt.same) {
        let (x, y) = place(felt.share.abs(), p(&felt.before));
        let class = if felt.changed() { "c" } else { "k" };
        let _written = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
    svg + "</svg>\n"
}
