//! `recant methods`.

use clap::Args;
use recant_methods::{LayerRule, MEMORIES, METHODS, MethodInfo, ParamInfo};
use serde_json::{Value, json};

use super::error::CliError;

/// Arguments of `recant methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// A method, to list its hyper-parameters.
    name: Option<String>,
    /// Print JSON: `name`, `summary`, `memory`, `needs_moments`, `many`, and of one method `settings[]`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &MethodsArgs) -> Result<(), CliError> {
    match &args.name {
        None => list(args.json),
        Some(name) => one(MethodInfo::find(name)?, args.json),
    }
}

fn is_memory(info: &MethodInfo) -> bool {
    MEMORIES.iter().any(|memory| memory.name == info.name)
}

fn object(info: &MethodInfo) -> Value {
    json!({
        "name": info.name, "summary": info.summary, "memory": is_memory(info), "needs_moments": info.needs_moments,
        "many": info.many,
    })
}

fn list(as_json: bool) -> Result<(), CliError> {
    if as_json {
        return super::print_json(&METHODS.iter().chain(&MEMORIES).map(object).collect::<Vec<_>>());
    }
    say!("recant edit --method NAME");
    METHODS.iter().for_each(|info| say!("  {:10}  {}", info.name, info.summary));
    say!("recant learn --method NAME");
    MEMORIES.iter().for_each(|info| say!("  {:10}  {}", info.name, info.summary));
    Ok(())
}

fn one(info: &MethodInfo, as_json: bool) -> Result<(), CliError> {
    let settings = (info.settings)();
    if as_json {
        let setting = |set: &ParamInfo| json!({ "name": set.name, "aliases": set.aliases, "default": set.default, "doc": set.doc });
        let mut object = object(info);
        object["settings"] = settings.iter().map(setting).collect();
        return super::print_json(&object);
    }
    say!("{}: {}", info.name, info.summary);
    let count = if info.many { "many facts in one plan" } else { "one fact" };
    let layers = match info.layers {
        LayerRule::One | LayerRule::Last => "one layer",
        _ => "several layers",
    };
    let moments = if info.needs_moments { "needs second moments of keys" } else { "needs no second moments" };
    say!("{count}, {layers}, {moments}");
    say!("--set KEY=VALUE:");
    for set in &settings {
        let default = set.default.as_deref().unwrap_or("by the model");
        say!("  {:22} {:14} {}", set.name, default, set.doc);
    }
    Ok(())
}
