//! Every command, in groups, and the spellings of former versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{CommandFactory, Parser, Subcommand};
use recant_methods::MethodSpec;

use super::error::CliError;
use super::session::Session;
use super::{
    ask, chat, config, edit, eval, export, facts, generate, info, layers, man, methods, stats, store, trace,
    transfer,
};

/// What the exit codes say.
const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    an error, told in one line; nothing was changed (chat: what one of its lines asked for was not done)
  2    arguments that cannot be understood
  3    edit, chat: done as asked, but not every fact holds
  130  broken off, and what was done so far is kept";

/// Groups of commands as the help shows them: a heading, the commands, an example.
const GROUPS: [(&str, &[&str], &str); 5] = [
    (
        "Look at a model and change it",
        &["edit", "chat", "ask", "generate", "info", "export"],
        "recant chat demo/model --corpus demo/data/corpus.txt",
    ),
    (
        "Know where to edit, and how good that is",
        &["eval", "layers", "trace", "methods", "stats"],
        "recant layers demo/model --data demo/data/cases.json --corpus demo/data/corpus.txt",
    ),
    (
        "Keep facts beside the weights",
        &["facts"],
        "recant edit demo/model --state facts.memory --method memory --facts cases.json",
    ),
    (
        "Keep the history of a model",
        &[
            "log",
            "show",
            "diff",
            "status",
            "branch",
            "tag",
            "switch",
            "merge",
            "revert",
            "cherry-pick",
            "blame",
            "bisect",
        ],
        "recant diff HEAD~1 HEAD",
    ),
    ("Keep a store, and defaults", &["store", "op", "config"], "recant store import demo/model"),
];

/// Make a language model take back what it said.
///
/// Rewrites facts in a language model's weights, shows what changed and what did not, and never touches the
/// model it was given: an edited model is written beside it.
#[derive(Debug, Parser)]
#[command(name = "recant", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Say more: -v for notes, -vv for details.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// The parser, whose help lists the commands in groups.
    pub(crate) fn grouped() -> clap::Command {
        let command = Self::command();
        let commands = groups(&command);
        command.help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{commands}\nOptions:\n{{options}}{{after-help}}"))
    }
}

/// The groups with what each command does.
fn groups(command: &clap::Command) -> String {
    let mut text = String::new();
    for (heading, names, example) in GROUPS {
        let _written = writeln!(text, "{heading}:");
        for name in names {
            let about = command.find_subcommand(name).and_then(|command| command.get_about());
            let _written =
                writeln!(text, "  {name:11}  {}", about.map(ToString::to_string).unwrap_or_default());
        }
        let _written = writeln!(text, "  $ {example}\n");
    }
    let _written = writeln!(
        text,
        "`recant COMMAND --help` says more of one, `recant completions SHELL` completes them all, and `recant man --out \
         DIR` writes their manual pages."
    );
    text
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rewrite one fact or many and say which hold now.
    Edit(Box<edit::EditArgs>),
    /// Write an edit as a LoRA adapter.
    Export(export::ExportArgs),
    /// Show the most probable next tokens behind a prompt.
    Ask(ask::AskArgs),
    /// Let the model continue a prompt.
    Generate(generate::GenerateArgs),
    /// Talk with a model: ask, edit, compare before and after, take back.
    Chat(chat::ChatCommand),
    /// Measure the second moments of keys that ROME needs, over a corpus.
    Stats(stats::StatsArgs),
    /// Edit, score and take back many facts; write, compare and merge reports.
    Eval(eval::EvalCommand),
    /// Try every layer on a handful of facts and recommend one.
    Layers(layers::LayersArgs),
    /// Show at which tokens and layers a model recalls a fact, by causal tracing.
    Trace(trace::TraceArgs),
    /// Say what a model is: family, sizes, files, what can be edited, and where methods edit it.
    Info(info::InfoArgs),
    /// List the methods, or the hyper-parameters of one.
    Methods(methods::MethodsArgs),
    #[command(flatten)]
    History(store::HistoryCommand),
    /// Facts that a memory or a ledger holds: list them, remove one, move them.
    #[command(subcommand)]
    Facts(facts::FactsCommand),
    /// Operations on a store: list them, undo and redo.
    #[command(subcommand)]
    Op(store::OpCommand),
    /// A store: make it, bring models in and out, check it, share it.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Show what options are by recant.toml, and where that is.
    Config(config::ConfigArgs),
    /// Print completions for a shell, to put where it looks for them.
    #[command(hide = true)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for every command.
    #[command(hide = true)]
    Man(man::ManArgs),
    #[command(flatten)]
    Former(FormerCommand),
}

/// Arguments of `recant completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
    /// Print JSON: `shell`, `text`.
    #[arg(long)]
    json: bool,
}

/// What former versions called other commands. They go on working, with a note.
#[derive(Debug, Subcommand)]
pub(crate) enum FormerCommand {
    /// Now `recant edit --state`.
    #[command(hide = true)]
    Learn(Box<edit::LearnArgs>),
    /// Now `recant facts remove`.
    #[command(hide = true)]
    Forget(facts::ForgetArgs),
    /// Now `recant facts list`.
    #[command(hide = true)]
    Learned(facts::LearnedArgs),
    /// Now `recant facts move`.
    #[command(hide = true)]
    Move(Box<transfer::MoveArgs>),
    /// Now `recant store init`.
    #[command(hide = true)]
    Init(store::InitArgs),
    /// Now `recant store import`.
    #[command(hide = true)]
    Import(store::ImportArgs),
    /// Now `recant store checkout`.
    #[command(hide = true)]
    Checkout(store::CheckoutArgs),
    /// Now `recant op undo`.
    #[command(hide = true)]
    Undo(store::UndoArgs),
    /// Now `recant op redo`.
    #[command(hide = true)]
    Redo(store::UndoArgs),
    /// Now `recant store gc`.
    #[command(hide = true)]
    Gc(store::GcArgs),
    /// Now `recant store fsck`.
    #[command(hide = true)]
    Fsck(store::FsckArgs),
    /// Now `recant store verify`.
    #[command(hide = true)]
    Verify(store::VerifyArgs),
    /// Now `recant store key`.
    #[command(hide = true)]
    Keygen(store::KeygenArgs),
    /// Now `recant store push`.
    #[command(hide = true)]
    Push(store::PushArgs),
    /// Now `recant store pull`.
    #[command(hide = true)]
    Pull(store::PullArgs),
    /// Now `recant store clone`.
    #[command(hide = true)]
    Clone(store::CloneArgs),
}

impl FormerCommand {
    /// The command as it is called now: former name, name now, command.
    fn renamed(self) -> ([&'static str; 2], Command) {
        use facts::FactsCommand as F;
        use store::{OpCommand as O, StoreCommand as S};
        let facts = |names, command| (names, Command::Facts(command));
        let op = |names, command| (names, Command::Op(command));
        let store = |names, command| (names, Command::Store(command));
        match self {
            Self::Learn(args) => (["learn", "edit --state"], Command::Edit(Box::new((*args).into()))),
            Self::Forget(args) => facts(["forget", "facts remove"], F::Remove(args.into())),
            Self::Learned(args) => facts(["learned", "facts list"], F::List(args.into())),
            Self::Move(args) => facts(["move", "facts move"], F::Move(args)),
            Self::Init(args) => store(["init", "store init"], S::Init(args)),
            Self::Import(args) => store(["import", "store import"], S::Import(args)),
            Self::Checkout(args) => store(["checkout", "store checkout"], S::Checkout(args)),
            Self::Undo(args) => op(["undo", "op undo"], O::Undo(args)),
            Self::Redo(args) => op(["redo", "op redo"], O::Redo(args)),
            Self::Gc(args) => store(["gc", "store gc"], S::Gc(args)),
            Self::Fsck(args) => store(["fsck", "store fsck"], S::Fsck(args)),
            Self::Verify(args) => store(["verify", "store verify"], S::Verify(args)),
            Self::Keygen(args) => store(["keygen", "store key"], S::Key(args)),
            Self::Push(args) => store(["push", "store push"], S::Push(args)),
            Self::Pull(args) => store(["pull", "store pull"], S::Pull(args)),
            Self::Clone(args) => store(["clone", "store clone"], S::Clone(args)),
        }
    }
}

pub(super) fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Edit(args) => return edit::run(&args, session),
        Command::Chat(args) => return chat::run(&args, session),
        Command::Former(former) => {
            let ([name, now], command) = former.renamed();
            let code = run(command, session)?;
            remark!("note: `recant {name}` is now called `recant {now}`");
            return Ok(code);
        }
        Command::Export(args) => export::run(&args, session),
        Command::Ask(args) => ask::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Stats(args) => stats::run(&args, session),
        Command::Layers(args) => layers::run(&args, session),
        Command::Trace(args) => trace::run(&args, session),
        Command::Eval(command) => eval::run(&command, session),
        Command::Info(args) => info::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Facts(command) => facts::run(&command, session),
        Command::History(command) => store::history(&command, session),
        Command::Op(command) => store::op(&command),
        Command::Store(command) => store::run(&command, session),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions(&args),
        Command::Man(args) => man::run(&args, session),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// A command whose options for methods and their hyper-parameters name what can be said. Parsing takes more than that:
/// a method that is registered from outside, and aliases.
fn with_names(mut command: clap::Command) -> clap::Command {
    let methods = || MethodSpec::all();
    let settings: BTreeMap<&str, &str> =
        methods().flat_map(|method| (method.settings)()).map(|param| (param.name, param.doc)).collect();
    let one = |(name, doc): (String, &'static str)| PossibleValue::new(name).help(doc);
    let said = [
        ("method", methods().map(|method| one((method.name.to_owned(), method.summary))).collect::<Vec<_>>()),
        ("set", settings.into_iter().map(|(name, doc)| one((format!("{name}="), doc))).collect()),
    ];
    for (id, values) in said {
        if command.get_arguments().any(|arg| arg.get_id() == id) {
            command = command.mut_arg(id, |arg| arg.value_parser(PossibleValuesParser::new(values)));
        }
    }
    command.mut_subcommands(with_names)
}

fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut with_names(Cli::command()), "recant", &mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    if args.json {
        return super::print_json(&serde_json::json!({ "shell": args.shell.to_string(), "text": text }));
    }
    super::out::lines(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
        Cli::grouped().debug_assert();
    }

    /// A shell completes `--set` with the hyper-parameters of every method, and `--method` with their names.
    #[test]
    fn completions_name_methods_and_their_settings() {
        let mut bytes = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut with_names(Cli::command()),
            "recant",
            &mut bytes,
        );
        let text = String::from_utf8(bytes).unwrap();
        let words: BTreeSet<&str> = text.split(|c: char| c.is_whitespace() || c == '"').collect();
        for method in MethodSpec::all() {
            assert!(words.contains(method.name), "{}", method.name);
            for param in (method.settings)() {
                assert!(words.contains(&*format!("{}=", param.name)), "{}", param.name);
            }
        }
    }

    /// Every command that is not a group prints JSON.
    fn prints_json(command: &clap::Command) {
        if command.has_subcommands() {
            return command.get_subcommands().for_each(prints_json);
        }
        let json = command.get_arguments().any(|arg| arg.get_id() == "json");
        assert!(json, "{} has no --json", command.get_name());
    }

    #[test]
    fn every_command_prints_json() {
        prints_json(&Cli::command());
    }

    /// A command that is in no group would be found by nobody.
    #[test]
    fn every_command_is_in_one_group() {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let shown: BTreeSet<&str> = shown.map(clap::Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names, _)| names.iter().copied()).collect();
        assert_eq!(shown, grouped.iter().copied().collect::<BTreeSet<_>>());
        assert_eq!(shown.len(), grouped.len(), "a command is in two groups");
    }

    /// The examples of the help can be typed.
    #[test]
    fn the_examples_are_commands() {
        for (_, _, example) in GROUPS {
            let quoted = example.split('"').enumerate();
            let words = quoted.flat_map(|(i, part)| match i % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            });
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }

    /// What a person is told of methods is what there is.
    #[test]
    fn help_names_every_method() {
        let mut cli = Cli::command();
        let mut help = |name: &str| cli.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        let edit = help("edit");
        for info in recant_methods::METHODS.iter().chain(&recant_methods::MEMORIES) {
            assert!(edit.contains(info.name), "{}", info.name);
        }
        let codes = Cli::command().render_long_help().to_string();
        assert!(codes.contains("3    edit, chat: done as asked, but not every fact holds"), "{codes}");
    }
}
