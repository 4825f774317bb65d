//! `cargo xtask eval`: `recant eval` with the demo model, the demo world and all methods as defaults.

use std::path::{Path, PathBuf};

use recant::backend::DeviceSpec;
use recant::cli::{ChatArgs, EvalArgs, MethodArgs, ModelArgs, ScenarioArg, Session};
use recant::methods::{LayerRule, MethodSpec};

use crate::demo;
use crate::error::Error;

/// Where the demo model's facts are looked up; found by trying every layer.
pub(crate) const DEMO_LAYER: usize = 1;
/// What ROME needs on the demo model, found by trying: a model this small reads a name's tokens at several
/// places, so that v* has to go farther than the published 4 ‖v₀‖ and 20 steps (ES 0.60, PS 0.65).
/// Given where only the methods of [`TUNED`] run, alone; any `--set` of the same key wins.
const DEMO_SETTINGS: [(&str, &str); 4] = [
    ("v_num_grad_steps", "40"),
    ("v_weight_decay", "0.01"),
    ("clamp_norm_factor", "10"),
    ("bare_weight", "0.5"),
];
/// The methods that the settings were found for, and those that have none of them.
const TUNED: [&str; 4] = ["r-rome", "rome", "ft-l", "ft-m"];
/// Those that write many facts; with all of the above, the methods whose keys are means over the demo's contexts.
const MANY: [&str; 4] = ["memit", "emmet", "alphaedit", "ledger"];
/// Layers of the methods that edit several.
const DEMO_LAYERS: &str = "0,1";
/// Cases of a quick run: a few seconds' worth.
const QUICK_CASES: usize = 12;
/// Cases of a full run.
const FULL_CASES: usize = 120;

/// Arguments of `cargo xtask eval`; those of `recant eval`, with defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoEvalArgs {
    /// Hugging Face directory [default: the demo model].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// CounterFact cases [default: the demo world's].
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Methods, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "r-rome,rome,ft-l,ft-m")]
    method: Vec<String>,
    /// Use only the first N cases [default: 120 of the demo's, all of --data].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// A small run that ends within a minute.
    #[arg(long, conflicts_with = "limit")]
    quick: bool,
    /// How facts are put in: single, batch, sequential.
    #[arg(long, value_enum, default_value = "single")]
    scenario: ScenarioArg,
    /// Facts a step, or several sizes, separated by commas.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    batch_size: Vec<usize>,
    /// Facts that no edit is about [default: the demo world's, except for single].
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Device.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
    #[command(flatten)]
    with: MethodArgs,
    /// Directory for report.json, report.html and report.csv.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a report in --out; the one under target/ always is.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: DemoEvalArgs) -> Result<(), Error> {
    let DemoEvalArgs { model, data, method, limit, quick, device, mut with, out, json, .. } = args;
    let demo_model = model.is_none();
    let demo_data = data.is_none();
    if demo_model {
        let named = with.from.set.iter().any(|set| set.starts_with("layer"));
        if with.layer.is_none() && with.layers.is_none() && !named {
            with.layers = Some(DEMO_LAYERS.to_owned());
        }
        let one = |name: &String| MethodSpec::find(name).is_ok_and(|info| info.layers == LayerRule::One);
        // A layer that no method would obey is refused.
        let asked = !named && (with.layers.as_deref() == Some(DEMO_LAYERS) || method.iter().any(one));
        with.layer = with.layer.or(asked.then_some(DEMO_LAYER));
        if with.from.stats.is_none() && with.from.corpus.is_empty() {
            with.from.corpus.push(demo::data_dir().join("corpus.txt"));
        }
    }
    let single = args.scenario == ScenarioArg::Single;
    let among = |name: &String, known: &[&str]| known.contains(&name.as_str());
    if demo_model && method.iter().all(|name| among(name, &TUNED) || among(name, &MANY)) {
        with.from.contexts.get_or_insert_with(|| demo::near(demo::root().join("demo/contexts.txt")));
    }
    if demo_model && single && method.iter().all(|name| among(name, &TUNED)) {
        tune(&method, &mut with);
    }
    let demo_probe = || demo::data_dir().join("retained.json");
    let probe = args.probe.or_else(|| (demo_model && demo_data && !single).then(demo_probe));
    let default_limit = if quick {
        Some(QUICK_CASES)
    } else {
        demo_data.then(|| args.batch_size.iter().copied().fold(FULL_CASES, usize::max))
    };
    let model = model.unwrap_or_else(demo::model_dir);
    let data = data.unwrap_or_else(|| demo::data_dir().join("cases.json"));
    let limit = limit.or(default_limit);
    announce(&model, &data, limit, &method);
    let args = EvalArgs {
        chat: ChatArgs::default(),
        model: ModelArgs::new(model.into(), device),
        data,
        method,
        after: Vec::new(),
        in_context: false,
        limit,
        skip_bad: false,
        scenario: args.scenario,
        batch_size: args.batch_size,
        shard: None,
        probe,
        with,
        resume: None,
        jobs: 1,
        force: args.force || out.is_none(),
        out: out.unwrap_or_else(|| demo::near(demo::root().join("target/recant-eval"))),
        json,
    };
    Ok(recant::cli::evaluate(&args, &Session::begin())?)
}

/// Says what is about to be done, before the first of it is.
fn announce(model: &Path, data: &Path, limit: Option<usize>, methods: &[String]) {
    let first = limit.map_or("every case".to_owned(), |count| format!("the first {count} cases"));
    let (model, data, methods) = (model.display(), data.display(), methods.join(", "));
    crate::note(&format!(
        "editing {first} of {data} into {model} with {methods}, each taken back after its scores"
    ));
}

/// Adds [`DEMO_SETTINGS`] where the user said nothing else.
fn tune(methods: &[String], with: &mut MethodArgs) {
    if !methods.iter().any(|name| name.ends_with("rome")) {
        return;
    }
    let set = |key: &str| with.from.set.iter().any(|given| given.split('=').next() == Some(key));
    let own: Vec<String> = DEMO_SETTINGS
        .iter()
        .filter(|(key, _)| !set(key))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    with.from.set.extend(own);
}
