//! `recant.toml`: what options are where nobody says them, and `recant config`, which shows it.
//!
//! What a file says is put behind the arguments as if it had been typed, unless the command line says that option, or
//! one that goes against it.

mod add;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use serde_json::json;
use toml::{Table, Value};

pub(super) use self::add::Addition;
use super::error::CliError;

/// Options that a file may say: what is chosen once for a model or a machine. Never what a command is about, nor
/// what it writes.
const OPTIONS: [&str; 13] = [
    "chat", "contexts", "corpus", "device", "layer", "layers", "max-new", "method", "plain", "seed", "set",
    "stats", "top",
];
/// Options that mean something else from command to command, or are named like one.
const OF_ONE_COMMAND: [&str; 2] = ["chat", "method"];
/// Options of which one makes the other one pointless.
const INSTEAD: [[&str; 2]; 2] = [["layer", "layers"], ["stats", "corpus"]];
/// Options by which one command means something else than the others: a file says them in its own section or not at all.
const APART: [(&str, &str); 1] = [("layers", "layers")];
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

    /// What an option of a command is by the files, with how near that was said: of the command before of all, in a
    /// nearer file before a farther one.
    fn value(&self, command: &str, option: &str) -> Option<(usize, &Entry)> {
        let of = |path: &Path, command: &str| {
            let mut entries = self.entries.iter();
            entries.find(|entry| entry.path == path && entry.command == command && entry.option == option)
        };
        let ranks = self.places.iter().flat_map(|(path, _)| [(path, command), (path, "")]).enumerate();
        let mut found = ranks.filter_map(|(rank, (path, command))| Some((rank, of(path, command)?)));
        let apart = APART.contains(&(command, option));
        found.find(|(_, entry)| !apart || !entry.command.is_empty())
    }

    /// The arguments with what the files say.
    pub(super) fn added(&self, root: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
        if self.entries.is_empty() {
            return args;
        }
        // What is missing may be in a file.
        let Ok(matches) = root.clone().ignore_errors(true).try_get_matches_from(&args) else { return args };
        let (mut command, mut matches, mut path) = (root, &matches, Vec::new());
        while let Some((sub, inner)) = matches.subcommand()
            && let Some(next) = command.find_subcommand(sub)
        {
            path.extend(group_of(root, next));
            path.push(sub);
            (command, matches) = (next, inner);
        }
        let name = path.join(" ");
        let mut chosen: Vec<(usize, &Entry)> =
            command.get_arguments().filter_map(|arg| self.value(&name, arg.get_long()?)).collect();
        chosen.sort_by_key(|(rank, _)| *rank);
        let mut said = Said::of(command, matches);
        let more: Vec<String> = chosen.into_iter().flat_map(|(_, entry)| said.typed(entry)).collect();
        let end = args.iter().position(|arg| arg == OsStr::new("--")).unwrap_or(args.len());
        args.splice(end..end, more.into_iter().map(OsString::from));
        args
    }
}

/// The group that has a command of a former spelling now.
fn group_of<'a>(root: &'a Command, former: &Command) -> Option<&'a str> {
    let mut groups = root.get_subcommands().filter(|group| former.is_hide_set() && !group.is_hide_set());
    groups.find(|group| group.find_subcommand(former.get_name()).is_some()).map(Command::get_name)
}

/// What is said so far, typed or by a nearer file: options by their names, and the keys of `--set`, where `--layer 3` and
/// `--set layer=3` are the same.
struct Said<'a> {
    command: &'a Command,
    names: Vec<String>,
}

impl<'a> Said<'a> {
    /// What was typed.
    fn of(command: &'a Command, matches: &ArgMatches) -> Self {
        let typed =
            |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let options = command.get_arguments().filter(typed).filter_map(Arg::get_long);
        let settings = matches.try_get_many::<String>("set").ok().flatten().into_iter().flatten();
        let names = options.filter(|&long| long != "set").chain(settings.map(|text| key(text)));
        Self { command, names: names.map(str::to_owned).collect() }
    }

    /// Whether something was said that goes before an option or a setting.
    fn goes_before(&self, name: &str) -> bool {
        let instead = |other: &str| INSTEAD.iter().any(|pair| pair.contains(&name) && pair.contains(&other));
        self.names.iter().any(|said| said == name || instead(said) || self.excludes(said, name))
    }

    /// Whether two options cannot both be typed.
    fn excludes(&self, one: &str, other: &str) -> bool {
        let arg = |long: &str| self.command.get_arguments().find(|arg| arg.get_long() == Some(long));
        let against = |a: &Arg, b: &Arg| {
            self.command.get_arg_conflicts_with(a).iter().any(|conflict| conflict.get_id() == b.get_id())
        };
        arg(one).zip(arg(other)).is_some_and(|(a, b)| against(a, b) || against(b, a))
    }

    /// What a file says of an option, as it would be typed; nothing where something goes before it.
    fn typed(&mut self, entry: &Entry) -> Vec<String> {
        let long = entry.option.as_str();
        let values = entry.value.as_array().map_or(std::slice::from_ref(&entry.value), Vec::as_slice);
        let texts = values.iter().filter_map(text);
        if long == "set" {
            let texts: Vec<String> = texts.filter(|text| !self.goes_before(key(text))).collect();
            self.names.extend(texts.iter().map(|text| key(text).to_owned()));
            return texts.iter().map(|text| format!("--set={text}")).collect();
        }
        if self.goes_before(long) {
            return Vec::new();
        }
        self.names.push(long.to_owned());
        match (&entry.value, long) {
            (Value::Boolean(true), _) => vec![format!("--{long}")],
            (_, "layers") => vec![format!("--layers={}", texts.collect::<Vec<_>>().join(","))],
            _ => texts.map(|text| format!("--{long}={text}")).collect(),
        }
    }
}

/// A value as it is typed.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The key of a setting, without the method that it is said to.
fn key(setting: &str) -> &str {
    let key = setting.split_once('=').map_or(setting, |(key, _)| key).trim();
    key.rsplit_once('.').map_or(key, |(_, key)| key)
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
    let arg = arg_of(command, option, name.is_empty());
    let Some(arg) = arg else { return Err(format!("{option}: `recant {name}` has no such option")) };
    let takes = arg.get_action().takes_values();
    let many = matches!(arg.get_action(), ArgAction::Append) || option == "layers";
    let fits = match value {
        Value::Boolean(_) => !takes,
        Value::Array(values) => many && values.iter().all(|value| text(value).is_some()),
        value => takes && text(value).is_some(),
    };
    if fits { Ok(()) } else { Err(format!("{option}: {value} is not a value that it takes")) }
}

/// The argument of an option: of the command, or for the top of a file of any command that has it.
fn arg_of<'a>(command: &'a Command, option: &str, of_all: bool) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(option));
    let mut inner = command.get_subcommands().filter(|_| of_all);
    own.or_else(|| inner.find_map(|command| arg_of(command, option, true)))
}

pub(super) fn run(args: &ConfigArgs) -> Result<(), CliError> {
    let config = Config::read(&super::commands::Cli::grouped())?;
    let holds = |entry: &Entry| {
        let first = config.value(&entry.command, &entry.option);
        first.is_some_and(|(_, first)| std::ptr::eq(first, entry))
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
