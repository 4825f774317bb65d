//! `recant.toml`: what options are where nobody says them, and `recant config`, which shows it.
//!
//! What a file says is put behind the arguments as if it had been typed, unless the command line says that option, or
//! one that goes against it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use serde_json::json;
use toml::{Table, Value};

use super::error::CliError;

/// Options that a file may say: what is chosen once for a model or a machine. Never what a command is about, nor
/// what it writes.
const OPTIONS: [&str; 15] = [
    "chat",
    "contexts",
    "corpus",
    "device",
    "layer",
    "layers",
    "max-new",
    "method",
    "on-conflict",
    "plain",
    "seed",
    "set",
    "stats",
    "store",
    "top",
];
/// Options that mean something else from command to command.
const OF_ONE_COMMAND: [&str; 2] = ["method", "on-conflict"];
/// The name of a file in a folder.
const NAME: &str = "recant.toml";

/// Arguments of `recant config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print JSON: `files[]` with `path` and `found`, `options[]` with `option`, `command`, `value`, `path`, `holds`.
    #[arg(long)]
    json: bool,
}

/// What a file says of an option.
struct Entry {
    path: PathBuf,
    /// The command, such as `store import`; empty for all that have the option.
    command: String,
    option: String,
    value: Value,
}

/// What the files say, the nearest first.
pub(super) struct Config {
    /// Every place that was looked at, and whether there is a file.
    places: Vec<(PathBuf, bool)>,
    entries: Vec<Entry>,
}

/// `$RECANT_CONFIG` alone where it is set, otherwise the folder's file and the user's.
fn places() -> Vec<PathBuf> {
    if let Some(named) = env::var_os("RECANT_CONFIG") {
        return if named.is_empty() { Vec::new() } else { vec![named.into()] };
    }
    let var = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user =
        var("XDG_CONFIG_HOME").or_else(|| var("APPDATA")).or_else(|| Some(var("HOME")?.join(".config")));
    [Some(NAME.into()), user.map(|folder| folder.join("recant").join(NAME))].into_iter().flatten().collect()
}

impl Config {
    /// Reads the files that are there and checks them against what commands take.
    pub(super) fn read(root: &Command) -> Result<Self, CliError> {
        let named = env::var_os("RECANT_CONFIG").is_some();
        let mut config = Self { places: Vec::new(), entries: Vec::new() };
        for path in places() {
            let found = named || path.is_file();
            if found {
                config.entries.extend(entries(&path, root)?);
            }
            config.places.push((path, found));
        }
        Ok(config)
    }

    /// What an option of a command is by the files: said of the command before of all, nearer before farther.
    fn value(&self, command: &str, option: &str) -> Option<&Entry> {
        let of = |path: &Path, command: &str| {
            let mut entries = self.entries.iter();
            entries.find(|entry| entry.path == path && entry.command == command && entry.option == option)
        };
        self.places.iter().find_map(|(path, _)| of(path, command).or_else(|| of(path, "")))
    }

    /// The arguments with what the files say.
    pub(super) fn added(&self, root: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
        if self.entries.is_empty() {
            return args;
        }
        // What is missing may be in a file.
        let Ok(matches) = root.clone().ignore_errors(true).try_get_matches_from(&args) else { return args };
        let (mut command, mut matches, mut name) = (root, &matches, String::new());
        while let Some((sub, inner)) = matches.subcommand()
            && let Some(next) = command.find_subcommand(sub)
        {
            name = format!("{name} {sub}").trim_start().to_owned();
            (command, matches) = (next, inner);
        }
        let mut more = Vec::new();
        for arg in command.get_arguments() {
            let Some(entry) = arg.get_long().and_then(|long| self.value(&name, long)) else { continue };
            more.extend(typed(entry, command, matches, arg).into_iter().map(OsString::from));
        }
        let end = args.iter().position(|arg| arg == OsStr::new("--")).unwrap_or(args.len());
        args.splice(end..end, more);
        args
    }
}

/// What a file says of an option, as it would be typed; nothing where the command line goes before it.
fn typed(entry: &Entry, command: &Command, matches: &ArgMatches, arg: &Arg) -> Vec<String> {
    let said = |arg: &Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let against = |other: &&Arg| {
        let conflicts =
            |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id());
        said(other) && (conflicts(arg, other) || conflicts(other, arg))
    };
    let long = &entry.option;
    if long != "set" && said(arg) || command.get_arguments().find(against).is_some() {
        return Vec::new();
    }
    // Of the settings, those of other keys are added.
    let keys: Vec<&str> = match long.as_str() {
        "set" => matches.get_many::<String>("set").into_iter().flatten().map(|text| key(text)).collect(),
        _ => Vec::new(),
    };
    let one = |value: &Value| match value {
        Value::Boolean(true) => Some(format!("--{long}")),
        Value::String(text) if keys.contains(&key(text)) => None,
        Value::String(text) => Some(format!("--{long}={text}")),
        Value::Integer(number) => Some(format!("--{long}={number}")),
        Value::Float(number) => Some(format!("--{long}={number}")),
        _ => None,
    };
    match &entry.value {
        Value::Array(values) => values.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

fn key(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(key, _)| key)
}

/// What a file says, checked.
fn entries(path: &Path, root: &Command) -> Result<Vec<Entry>, CliError> {
    let refuse = |reason: String| CliError::Read { path: path.to_owned(), reason };
    let text = recant_edit::read_text(path)?;
    let table: Table =
        text.parse().map_err(|error: toml::de::Error| refuse(error.to_string().trim_end().to_owned()))?;
    let mut found = Vec::new();
    gather(path, root, "", &table, &mut found).map_err(refuse)?;
    Ok(found)
}

fn gather(
    path: &Path,
    command: &Command,
    name: &str,
    table: &Table,
    found: &mut Vec<Entry>,
) -> Result<(), String> {
    for (key, value) in table {
        if let Value::Table(inner) = value {
            let sub = command.find_subcommand(key).filter(|sub| !sub.is_hide_set());
            let sub = sub.ok_or_else(|| format!("[{key}]: there is no such command"))?;
            gather(path, sub, format!("{name} {key}").trim_start(), inner, found)?;
            continue;
        }
        check(command, name, key, value)?;
        let (path, command, option) = (path.to_owned(), name.to_owned(), key.clone());
        found.push(Entry { path, command, option, value: value.clone() });
    }
    Ok(())
}

fn check(command: &Command, name: &str, option: &str, value: &Value) -> Result<(), String> {
    if !OPTIONS.contains(&option) {
        return Err(format!("{option}: a file can say only {}", OPTIONS.join(", ")));
    }
    if name.is_empty() && OF_ONE_COMMAND.contains(&option) {
        return Err(format!(
            "{option}: it means something else for each command; say it of one, such as [edit]"
        ));
    }
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(option));
    if !name.is_empty() && arg.is_none() {
        return Err(format!("{option}: `recant {name}` has no such option"));
    }
    let plain = |value: &Value| matches!(value, Value::String(_) | Value::Integer(_) | Value::Float(_));
    let takes = arg.is_none_or(|arg| arg.get_action().takes_values());
    let fits = match value {
        Value::Boolean(_) => !takes || arg.is_none(),
        Value::Array(values) => values.iter().all(plain) && takes,
        value => plain(value) && takes,
    };
    if fits { Ok(()) } else { Err(format!("{option}: {value} is not a value that it takes")) }
}

pub(super) fn run(args: &ConfigArgs) -> Result<(), CliError> {
    let config = Config::read(&super::commands::Cli::grouped())?;
    let holds = |entry: &Entry| {
        let first = config.value(&entry.command, &entry.option);
        first.is_some_and(|first| std::ptr::eq(first, entry))
    };
    if args.json {
        let files = config
            .places
            .iter()
            .map(|(path, found)| json!({ "path": path.display().to_string(), "found": found }));
        let options = config.entries.iter().map(|entry| {
            json!({
                "option": entry.option, "command": entry.command, "value": entry.value.to_string(), "path": entry.path.display().to_string(),
                "holds": holds(entry),
            })
        });
        let (files, options): (Vec<_>, Vec<_>) = (files.collect(), options.collect());
        return super::print_json(&json!({ "files": files, "options": options }));
    }
    for (path, found) in &config.places {
        say!("{}: {}", path.display(), if *found { "read" } else { "there is none" });
    }
    for entry in &config.entries {
        let of = if entry.command.is_empty() { "every command" } else { &entry.command };
        let after = if holds(entry) { "" } else { "  (a nearer file says it otherwise)" };
        say!("{:12} --{} {}  from {}{after}", of, entry.option, entry.value, entry.path.display());
    }
    if config.entries.is_empty() {
        say!("no option is said; a file can say {}", OPTIONS.join(", "));
    }
    Ok(())
}
