//! `recant methods`.

use clap::Args;
use comfy_table::{Table, presets};
use recant_app::ModelName;
use recant_methods::{LayerRule, MethodSpec, ParamInfo, Wishes};
use recant_model::ModelSpec;
use serde_json::{Value, json};

use super::error::CliError;

/// Arguments of `recant methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// A method, to list its hyper-parameters.
    name: Option<String>,
    /// A model, to say where the method edits it: whatever MODEL of the other commands takes.
    model: Option<ModelName>,
    /// Print JSON: `name`, `summary`, `paper`, `memory`, `needs_moments`, `needs_matrix`, `many`, and of one method
    /// `settings[]` (`name`, `aliases`, `kind`, `values`, `default`, `doc`), and on a model `layers[]`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &MethodsArgs) -> Result<(), CliError> {
    let Some(name) = &args.name else { return list(args.json) };
    let method = MethodSpec::find(name)?;
    let layers = args.model.as_ref().map(|model| layers(method, model)).transpose()?;
    one(method, layers.as_deref(), args.json)
}

/// The layers that the method edits on a model where nobody says others.
fn layers(method: &MethodSpec, model: &ModelName) -> Result<Vec<usize>, CliError> {
    let (architecture, _) = recant_model::architecture(&*super::found(model)?.source()?)?;
    let spec: ModelSpec = architecture.spec();
    Ok(Wishes::default().of_all(&[method], &spec)?.remove(0).layers)
}

fn object(method: &MethodSpec) -> Value {
    json!({
        "name": method.name, "summary": method.summary, "paper": method.paper, "memory": method.is_memory(),
        "needs_moments": method.needs_moments, "needs_matrix": method.needs_matrix, "many": method.many,
    })
}

fn facts(method: &MethodSpec) -> &'static str {
    if method.many { "many" } else { "one" }
}

fn edited(method: &MethodSpec) -> &'static str {
    match method.layers {
        LayerRule::Several => "several",
        _ => "one",
    }
}

fn paper(method: &MethodSpec) -> String {
    method.paper.map_or("-".to_owned(), |paper| format!("arXiv {paper}"))
}

fn list(as_json: bool) -> Result<(), CliError> {
    if as_json {
        return super::print_json(&MethodSpec::all().map(object).collect::<Vec<_>>());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["method", "writes", "facts", "layers", "moments", "paper"]);
    for method in MethodSpec::all() {
        let writes = if method.is_memory() { "a memory" } else { "weights" };
        let moments = if method.needs_moments { "needed" } else { "-" };
        let cells = [method.name, writes, facts(method), edited(method), moments];
        table.add_row(cells.into_iter().map(str::to_owned).chain([paper(method)]));
    }
    for line in table.lines() {
        say!("{}", line.trim());
    }
    say!("");
    for method in MethodSpec::all() {
        say!("{:10} {}", method.name, method.summary);
    }
    say!("");
    say!("recant edit --method NAME changes weights, or teaches a memory: --state FILE keeps it;");
    say!("recant methods NAME [MODEL] lists what can be set");
    Ok(())
}

fn one(method: &MethodSpec, layers: Option<&[usize]>, as_json: bool) -> Result<(), CliError> {
    let settings = (method.settings)();
    let layers_text = layers.map(|layers| layers.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    let default = |set: &ParamInfo| match (set.name, &layers_text) {
        ("layers", Some(layers)) => Some(layers.clone()),
        _ => set.default.clone(),
    };
    if as_json {
        let setting = |set: &ParamInfo| {
            json!({
                "name": set.name, "aliases": set.aliases, "kind": set.kind.word(), "values": set.kind.to_string(),
                "default": default(set), "doc": set.doc,
            })
        };
        let mut object = object(method);
        object["settings"] = settings.iter().map(setting).collect();
        object["layers"] = json!(layers);
        return super::print_json(&object);
    }
    say!("{}: {} ({})", method.name, method.summary, paper(method));
    let count = if method.many { "many facts in one plan" } else { "one fact" };
    let moments =
        if method.needs_moments { "needs second moments of keys" } else { "needs no second moments" };
    say!("{count}, layers: {}, {moments}", edited(method));
    say!("--set KEY=VALUE:");
    for set in &settings {
        let default = default(set).unwrap_or_else(|| "by the model".to_owned());
        say!("  {:22} {default:14} {}", set.name, set.doc);
        let aliases = set.aliases.iter().map(|alias| format!("; also {alias}")).collect::<String>();
        say!("  {:22} {:14} {}{aliases}", "", "", set.kind);
    }
    Ok(())
}
