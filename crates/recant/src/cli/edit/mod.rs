//! `recant edit`.

mod check;
mod memory;
mod shown;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use recant_app::{
    EditFailure, EditFiles, EditPaths, EditPlace, EditRequest, EditSource, FactsRead, ModelName, edit,
    open_record, phase, read_facts,
};
use recant_backend::{Device, DeviceSpec};
use recant_edit::{Fact, is_standard_input};
use recant_files::{Outputs, Role};
use recant_methods::ledger::{Ledger, on_conflict_named};
use recant_methods::{DEFAULT_MEMORY, DEFAULT_METHOD, MEMORIES, METHODS, MethodSpec};
use recant_records::Record;
use recant_store::Store;

use self::shown::show;
use super::args::{ChatArgs, MethodArgs, said};
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;
use super::store::{StoreEditArgs, store_dir};
use super::verdict::exit;

pub(crate) use memory::LearnArgs;

/// Arguments of `recant edit`.
#[derive(Debug, Default, Args)]
pub(crate) struct EditArgs {
    /// Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json), GGUF file, a store's
    /// revision as STORE@REV, or a model of the hub as OWNER/NAME[@REVISION]. Without it the head of a store is edited: of --store, $RECANT_STORE or .recant.
    #[arg(id = "place", value_name = "MODEL")]
    place: Option<ModelName>,
    /// One fact: who or what it is about, a sentence beginning with {} where that goes, and what the model shall say
    /// next. The same as --subject, --prompt and --target.
    #[arg(value_names = ["SUBJECT", "PROMPT", "TARGET"], num_args = 3, requires = "place",
          conflicts_with_all = ["subject", "prompt", "target", "facts"])]
    fact: Vec<String>,
    /// The same as MODEL.
    #[arg(long, value_name = "MODEL", hide = true, conflicts_with = "place")]
    model: Option<ModelName>,
    #[command(flatten)]
    to: StoreEditArgs,
    /// Device: flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N, wgpu:integrated:N.
    #[arg(long, value_name = "DEVICE", default_value = "flex")]
    device: DeviceSpec,
    #[command(flatten)]
    chat: ChatArgs,
    /// Who or what the fact is about. Without it the prompt is a text as it stands, with no {}: what it is about is looked
    /// up at its last token.
    #[arg(long, conflicts_with = "facts", requires = "prompt")]
    subject: Option<String>,
    /// A sentence beginning with {} where the subject goes, such as "The mother tongue of {} is".
    #[arg(long, required_unless_present_any = ["fact", "facts", "ledger", "forget"], conflicts_with = "facts", requires = "target")]
    prompt: Option<String>,
    /// What the model shall say next. A space goes before it where running text has one.
    #[arg(long, required_unless_present_any = ["fact", "facts", "ledger", "forget"], conflicts_with = "facts", requires = "prompt")]
    target: Option<String>,
    /// Take prompt and target to the letter: no space is put between them, and their own blanks are kept.
    #[arg(long, conflicts_with_all = ["facts"])]
    literal: bool,
    /// Many facts: JSON objects with `subject`, `prompt` and `target`, one a line or in one array, or the rows of a table
    /// (.csv, .tsv); with `"chat": true` in each the prompts are read as by --chat. Or the facts of a data set:
    /// CounterFact, zsRE, KnowEdit and others. `-` reads the standard input.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    #[arg(long, help = method_help())]
    method: Option<String>,
    #[command(flatten)]
    with: MethodArgs,
    #[command(flatten)]
    check: check::CheckArgs,
    /// Change no weights, and keep the facts in a memory beside them: this file, which is read if it is there, begun by
    /// --method if not, and written after every fact. What the memory knows is passed over, so that an interrupted run
    /// goes on where it stopped. `recant ask MODEL --state FILE` asks with it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["store", "message", "sign", "ledger", "forget", "on_conflict",
          "out", "force", "patch", "dump", "check", "gate"])]
    state: Option<PathBuf>,
    /// With --state: a prompt that must be left alone; WISE learns from it (repeatable).
    #[arg(long, value_name = "PROMPT", requires = "state", conflicts_with = "facts")]
    locality: Vec<String>,
    /// With --state: only the first N facts of --facts. The other cases of a data set give the locality prompts.
    #[arg(long, value_name = "N", requires_all = ["state", "facts"])]
    limit: Option<usize>,
    /// With --method ledger and a MODEL: the ledger to go on from, which is written back; made where there is
    /// none. Without a fact its weights are made as it stands. A store keeps its ledger itself.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// With --method ledger and --ledger or --store: facts to take out, in the form of --facts.
    #[arg(long, value_name = "FILE")]
    forget: Option<PathBuf>,
    /// With --method ledger: what to do with a fact that contradicts one in the ledger: refuse, replace,
    /// keep-both.
    #[arg(long, value_name = "POLICY")]
    on_conflict: Option<String>,
    /// Write the edited model here, as a Hugging Face directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a model directory at --out, and files of the same kind at --patch, --dump and --verdicts.
    #[arg(long)]
    force: bool,
    /// Write the edit itself, for `recant export`.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// Write the method's intermediate quantities by the paper's names (k_star, v_star, u, lambda, losses)
    /// as safetensors.
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Write what became of every fact as JSON lines.
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// Edit also where the model already says what it shall say, or a memory knows it.
    #[arg(long)]
    again: bool,
    /// How many answers to show.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn method_help() -> String {
    let names = |infos: &[MethodSpec], is_named: fn(&MethodSpec) -> bool| {
        let names = infos.iter().filter(|info| is_named(info)).map(|info| info.name);
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "Method: of one fact {}; of many facts too {}; with --state {}, and a memory that is there knows its own; \
         `recant methods` says what they do [default: {DEFAULT_METHOD}; with --state {DEFAULT_MEMORY}]",
        names(&METHODS, |info| !info.many),
        names(&METHODS, |info| info.many),
        names(&MEMORIES, |_| true)
    )
}

impl EditArgs {
    /// The model, where one is named.
    fn model(&self) -> Option<&ModelName> {
        self.place.as_ref().or(self.model.as_ref())
    }

    /// The store to edit in: of --store, or where no model is named the one that every verb takes.
    fn store(&self) -> Option<PathBuf> {
        self.model().is_none().then(|| store_dir(self.to.store.as_deref()))
    }

    /// As [`EditArgs::store`]; one that nobody named must be there.
    fn place(&self) -> Result<Option<PathBuf>, CliError> {
        match self.store() {
            Some(store) if self.to.store.is_none() && !store.exists() => {
                let reason = format!(
                    "no model is named, and there is no store in {}; `recant edit MODEL ...` names one, `recant store init` makes a store",
                    store.display()
                );
                Err(CliError::Option { option: "MODEL", reason })
            }
            store => Ok(store),
        }
    }

    /// Whether prompts are read in the model's chat template, where the files of facts may ask for it.
    fn chat(&self, asked: bool) -> ChatArgs {
        ChatArgs { chat: self.chat.chat || asked, ..self.chat }
    }

    /// What is asked for, read from the arguments and the files they name, and whether a file asks for the model's
    /// chat template.
    fn request(&self) -> Result<(EditRequest, bool), CliError> {
        let mut request = EditRequest::new(Vec::new());
        let in_turn = match &self.fact[..] {
            [subject, prompt, target] => Some((Some(subject), prompt, target)),
            _ => None,
        };
        let by_flags = self.prompt.as_ref().zip(self.target.as_ref());
        let by_flags = by_flags.map(|(prompt, target)| (self.subject.as_ref(), prompt, target));
        if let Some((subject, prompt, target)) = by_flags.or(in_turn) {
            let subject = subject.map(String::as_str);
            request.facts.push(said((subject, prompt, target), self.literal, &mut request.notes)?);
        }
        let mut asks = false;
        let mut read = |path: &Path| -> Result<Vec<Fact>, CliError> {
            let FactsRead { facts, chat, notes } = read_facts(path, self.limit)?;
            request.notes.extend(notes);
            if chat && !self.chat.chat {
                asks = true;
                request.notes.push(format!("{} asks for the model's chat template", path.display()));
            }
            Ok(facts)
        };
        let facts = self.facts.as_deref().map(&mut read).transpose()?.unwrap_or_default();
        request.remove = self.forget.as_deref().map(&mut read).transpose()?.unwrap_or_default();
        request.facts.extend(facts);
        request.ledger = self.ledger(&mut request)?;
        if let Some(method) = &self.method {
            request.method.clone_from(method);
        }
        request.sources = self.with.sources()?;
        request.top = self.top as usize;
        request.again = self.again;
        request.on_conflict = match &self.on_conflict {
            None => None,
            Some(name) => Some(on_conflict_named(name).ok_or_else(|| CliError::Option {
                option: "--on-conflict",
                reason: "refuse, replace or keep-both is expected".to_owned(),
            })?),
        };
        Ok((request, asks))
    }

    /// The ledger of --ledger, if there is one yet.
    fn ledger(&self, request: &mut EditRequest) -> Result<Option<Ledger>, CliError> {
        let Some(path) = &self.ledger else { return Ok(None) };
        if !path.exists() {
            if request.facts.is_empty() {
                let reason = "there is none, and no fact was given to begin one".to_owned();
                return Err(CliError::Read { path: path.clone(), reason });
            }
            return Ok(None);
        }
        let opened = open_record(path, Ledger::from_file)?;
        request.notes.splice(0..0, opened.note(path));
        Ok(Some(opened.value))
    }

    /// Options that go with a ledger alone, and with one place for it.
    fn check(&self) -> Result<(), CliError> {
        let refuse = |option, reason: &str| Err(CliError::Option { option, reason: reason.to_owned() });
        let given = [
            ("--ledger", self.ledger.is_some()),
            ("--on-conflict", self.on_conflict.is_some()),
            ("--forget", self.forget.is_some()),
        ];
        let keeps = || {
            self.method.as_ref().is_some_and(|name| MethodSpec::find(name).is_ok_and(MethodSpec::is_ledger))
        };
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) if !keeps() => refuse(option, "it goes with --method ledger"),
            _ if self.ledger.is_some() && self.store().is_some() => {
                refuse("--ledger", "a store keeps its ledger itself; leave this out")
            }
            _ if self.forget.is_some() && self.ledger.is_none() && self.store().is_none() => {
                refuse("--forget", "say out of which ledger: --ledger FILE, or --store DIR")
            }
            _ => Ok(()),
        }
    }

    /// Names the files to `outputs` that are read.
    fn reads(&self, outputs: &mut Outputs) -> Result<(), CliError> {
        let inputs = [&self.facts, &self.forget, &self.to.sign];
        let mut files = inputs.into_iter().flatten().filter(|path| !is_standard_input(path));
        files.try_for_each(|path| outputs.reads(Role::Input, path))?;
        self.check.reads(outputs)?;
        Ok(self.with.guard(outputs)?)
    }

    /// Where each output may go.
    fn files(&self, from: EditSource<'_>, session: &Session) -> Result<EditFiles, CliError> {
        let replaced = [&self.out, &self.patch, &self.dump, &self.verdicts];
        if self.force && replaced.iter().all(|path| path.is_none()) {
            let reason = "it goes with --out, --patch, --dump or --verdicts".to_owned();
            return Err(CliError::Option { option: "--force", reason });
        }
        let mut outputs = session.outputs(self.force);
        self.reads(&mut outputs)?;
        let paths = EditPaths {
            out: self.out.as_deref(),
            patch: self.patch.as_deref(),
            dump: self.dump.as_deref(),
            verdicts: self.verdicts.as_deref(),
            ledger: self.ledger.as_deref(),
        };
        Ok(paths.decide(&mut outputs, from)?)
    }
}

pub(crate) fn run(args: &EditArgs, session: &Session) -> Result<ExitCode, CliError> {
    args.check()?;
    if let Some(state) = &args.state {
        return memory::run(args, state, session);
    }
    let terminal = Terminal::default();
    let store = args.place()?.as_deref().map(Store::open).transpose()?;
    let from = match (&store, args.model()) {
        (Some(store), _) => EditSource::Store(store),
        (None, Some(model)) => EditSource::Model(model.find(&terminal)?),
        (None, None) => unreachable!("a store is meant where no model is named"),
    };
    // Before minutes of work, not after them; a key that cannot be read too.
    let files = args.files(from, session)?;
    let sign = args.to.key()?;
    let (mut request, asks) = args.request()?;
    let gate = args.check.ask(&mut request)?;
    let method = request.check()?;
    let place = phase(&terminal, "open", || {
        let place = from.open(method, &Device::open(args.device)?, &terminal)?;
        Ok::<_, CliError>(EditPlace { model: args.chat(asks).applied(place.model)?, ..place })
    })?;
    args.check.fits(&request, gate.as_ref(), &place.model)?;
    let mut outcome = edit(&place, request, &terminal).map_err(|error| match error {
        EditFailure::Ledger(error) if store.is_some() => {
            CliError::Option { option: "--store", reason: error.to_string() }
        }
        error => error.into(),
    })?;
    if let Some(breach) = gate.and_then(|gate| outcome.pass(&gate).err()) {
        shown::refused(args, &outcome, &breach)?;
        return Err(breach.into());
    }
    let commit = phase(&terminal, "write", || {
        files.write(&outcome)?;
        let note = args.to.note(sign);
        Ok::<_, CliError>(place.head.map(|head| head.commit(&outcome, &note)).transpose()?)
    })?;
    show(args, &outcome, commit)?;
    Ok(exit(outcome.judged()))
}
