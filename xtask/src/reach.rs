//! `cargo xtask reach`: how far a rank-one rewrite is felt by other prompts, and which of their answers it changes.
//!
//! ROME adds `Λuᵀ` to one matrix, so a token with the key k moves by `k·u / (k'·u)` of what the subject's last token moves
//! by. That share is measured before anything else can blur it; whether the answer changes then shows how much a model
//! bears.

use std::fmt::Write as _;
use std::path::PathBuf;

use recant::app::{MethodSources, ModelName, Resources, Silent};
use recant::backend::{Device, DeviceSpec, host};
use recant::core::Blobs;
use recant::eval::{Case, Dataset};
use recant::methods::region::Observed;
use recant::methods::{Setting, Wishes, method};
use recant::model::Model;

use crate::error::Error;

const METHOD: &str = "rome";
/// Bounds of the groups of the table.
const BOUNDS: [f64; 5] = [0.0, 0.05, 0.1, 0.3, 0.6];

/// Arguments of `cargo xtask reach`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReachArgs {
    /// Hugging Face directory or GGUF file.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Cases with prompts about other subjects.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Second moments, made by `recant stats`.
    #[arg(long, value_name = "FILE")]
    stats: PathBuf,
    /// Context templates.
    #[arg(long, value_name = "FILE")]
    contexts: Option<PathBuf>,
    /// The edited layer.
    #[arg(long, value_name = "L")]
    layer: Option<usize>,
    /// Settings of ROME.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only the first N cases.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Draw every prompt here, as an SVG image.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Device.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
}

/// A prompt that is not the edited one.
#[derive(Debug)]
struct Felt {
    prompt: String,
    /// Asks for the fact in other words, and is no neighbour.
    same: bool,
    /// The greatest share of the displacement that one of its tokens feels.
    share: f64,
    /// The most probable token before and after, with its probability.
    before: (String, f64),
    after: (String, f64),
}

impl Felt {
    fn changed(&self) -> bool {
        self.before.0 != self.after.0
    }
}

pub(crate) fn run(args: &ReachArgs) -> Result<(), Error> {
    args.svg.as_deref().map_or(Ok(()), crate::output::check)?;
    let found = ModelName::from(args.model.clone());
    let model = found.find(&Silent)?.open(&Device::open(args.device)?, &Silent)?;
    let cases = Dataset::read(&args.cases, args.limit)?.all_usable()?.cases;
    let sources = MethodSources {
        wishes: Wishes {
            layer: args.layer,
            settings: args.set.iter().map(|text| Setting::parse(text)).collect::<Result<_, _>>()?,
            ..Wishes::default()
        },
        contexts: args.contexts.clone(),
        stats: Some(args.stats.clone()),
        corpus: Vec::new(),
    };
    let resources = Resources::gather(&sources, &[METHOD.to_owned()], &model, &Silent)?;
    let mut felt = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        crate::note(&format!("{} of {}: {}", at + 1, cases.len(), case.fact.subject));
        felt.extend(of_case(&model, &resources, case)?);
    }
    table(&felt);
    if let Some(path) = &args.svg {
        crate::output::write(path, drawn(&felt).as_bytes(), false)?;
    }
    Ok(())
}

/// Edits the case's fact and asks its other prompts before and after.
fn of_case(model: &Model, resources: &Resources, case: &Case) -> Result<Vec<Felt>, Error> {
    let inputs = resources.inputs(METHOD)?;
    let plan = method(METHOD, &inputs)?.plan(model, std::slice::from_ref(&case.fact))?;
    let (edited, _) = model.apply(&plan.patch, &Blobs::new())?;
    let vector = |name: &str| -> &[f32] {
        plan.traces.first().and_then(|trace| trace.tensors.get(name)).map_or(&[], |(_, values)| values)
    };
    let (u, divisor) = (vector("u"), along(vector("k_prime"), vector("u")));
    let same = case.paraphrases.iter().map(|prompt| (prompt, true));
    let asked = same.chain(case.neighbours.iter().map(|neighbour| (&neighbour.prompt, false)));
    let felt = |(prompt, same): (&String, bool)| {
        let seen = Observed::of(model, inputs.layer, &[model.tokenizer().encode(prompt)?])?;
        let keys = host(&seen.keys);
        let shares = keys.chunks(u.len().max(1)).map(|key| along(key, u) / divisor);
        Ok(Felt {
            prompt: prompt.clone(),
            same,
            share: shares.fold(0.0, |most: f64, share| if share.abs() > most.abs() { share } else { most }),
            before: top(model, prompt)?,
            after: top(&edited, prompt)?,
        })
    };
    asked.map(felt).collect()
}

fn along(key: &[f32], u: &[f32]) -> f64 {
    key.iter().zip(u).map(|(k, u)| f64::from(*k) * f64::from(*u)).sum()
}

fn top(model: &Model, prompt: &str) -> Result<(String, f64), Error> {
    let first = model.answers(prompt, 1)?.into_iter().next();
    Ok(first.map_or_else(Default::default, |answer| (answer.token, f64::from(answer.logprob).exp())))
}

fn table(felt: &[Felt]) {
    crate::say(&format!(
        "{:<26} {:>7} {:>8} {:>24} {:>22}",
        "share of the displacement", "prompts", "changed", "former answer, changed", "former answer, kept"
    ));
    let mean = |of: &[&Felt]| match of.len() {
        0 => "-".to_owned(),
        count => format!("{:.2}", of.iter().map(|felt| felt.before.1).sum::<f64>() / count as f64),
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
        let ((before, p), (after, q)) = (&felt.before, &felt.after);
        crate::say(&format!("{:.2}  {}: {before:?} {p:.2} -> {after:?} {q:.2}", felt.share, felt.prompt));
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
        let (x, y) = place(felt.share.abs(), felt.before.1);
        let class = if felt.changed() { "c" } else { "k" };
        let _written = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
    svg + "</svg>\n"
}
