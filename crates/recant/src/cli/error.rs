//! Every error a command can end with, and what to try next.

use std::path::PathBuf;

use recant_app::{DialogueError, StoreError};
use recant_checkpoint::{Foreign, SourceError};
use recant_core::ModelDigest;
use recant_edit::{EditError, StatisticsError};
use recant_files::OutputError;
use recant_methods::lifelong::StateFileError;
use recant_methods::{MethodSpec, moments};
use recant_model::AskError;
use recant_records::RecordError;
use recant_remote::RemoteError;

/// An error of the binary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// A device cannot be opened.
    #[error(transparent)]
    Device(#[from] recant_backend::DeviceError),
    /// A model cannot be opened.
    #[error(transparent)]
    Open(#[from] recant_model::OpenError),
    /// Nothing has the name of a model.
    #[error(
        "there is no model {name}: no directory or file, no revision of a store, no name that the hub could have"
    )]
    NoModel {
        /// As it was said.
        name: PathBuf,
    },
    /// The model already says what it shall say.
    #[error("{0}")]
    AlreadySo(recant_app::EditFailure),
    /// An edit does not keep the bounds that it has to.
    #[error(transparent)]
    Gate(#[from] recant_app::Breach),
    /// A model of the hub cannot be had.
    #[error(transparent)]
    Hub(#[from] recant_hub::HubError),
    /// A model cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A model cannot be written.
    #[error(transparent)]
    Save(#[from] recant_model::SaveError),
    /// An output may not go where it was asked to go, or cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A dialogue has nothing to take back, or did not take it back exactly.
    #[error("{0}")]
    Dialogue(DialogueError),
    /// A line of a chat cannot be understood.
    #[error(transparent)]
    Line(#[from] super::chat::LineError),
    /// A prompt cannot be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Sampling settings are out of range.
    #[error(transparent)]
    Sampling(#[from] recant_model::SamplingError),
    /// A fact cannot be written.
    #[error(transparent)]
    Fact(#[from] recant_edit::FactError),
    /// A text file cannot be read.
    #[error(transparent)]
    Text(#[from] recant_edit::TextError),
    /// A file of facts cannot be used.
    #[error(transparent)]
    FactFile(#[from] recant_edit::FactFileError),
    /// An edit cannot be planned.
    #[error(transparent)]
    Edit(#[from] recant_edit::EditError),
    /// An edit cannot be applied.
    #[error(transparent)]
    Apply(#[from] recant_model::PatchError),
    /// Context templates cannot be used.
    #[error(transparent)]
    Contexts(#[from] recant_edit::ContextError),
    /// A data set cannot be read.
    #[error(transparent)]
    Dataset(#[from] recant_eval::DatasetError),
    /// A case cannot be scored.
    #[error(transparent)]
    Score(#[from] recant_eval::ScoreError),
    /// A report cannot be read.
    #[error(transparent)]
    ReadReport(#[from] recant_eval::report::ReadReportError),
    /// Two reports cannot be compared.
    #[error(transparent)]
    Compare(#[from] recant_eval::CompareError),
    /// Reports cannot be merged.
    #[error(transparent)]
    Merge(#[from] recant_eval::report::MergeError),
    /// A score fell short of what was asked.
    #[error("below what was asked: {}", .short.join("; "))]
    Shortfall {
        /// Every run that falls short.
        short: Vec<String>,
    },
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] recant_eval::report::ReportError),
    /// Second moments cannot be measured.
    #[error(transparent)]
    Collect(#[from] moments::CollectError),
    /// A measurement that was broken off cannot be gone on with.
    #[error(transparent)]
    Resume(#[from] moments::ResumeError),
    /// Statistics of the reference code cannot be imported.
    #[error(transparent)]
    Import(#[from] moments::ImportError),
    /// A measurement was broken off and kept.
    #[error("broken off after {tokens} tokens, which {path} keeps")]
    BrokenOff {
        /// The file.
        path: PathBuf,
        /// Tokens read.
        tokens: u64,
    },
    /// Second moments cannot be used.
    #[error(transparent)]
    Moments(#[from] StatisticsError),
    /// A statistics file cannot be read or written.
    #[error(transparent)]
    MomentsFile(#[from] moments::MomentsFileError),
    /// A memory's file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// An edit cannot be moved.
    #[error(transparent)]
    Transfer(#[from] recant_methods::transfer::TransferError),
    /// A value cannot be printed as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A tokenizer refuses.
    #[error(transparent)]
    Tokenizer(#[from] recant_model::TokenizerError),
    /// A store cannot do what was asked.
    #[error(transparent)]
    Store(StoreError),
    /// A remote cannot be used.
    #[error("{source}")]
    Remote {
        /// What is wrong.
        source: Box<RemoteError>,
    },
    /// A clone did not come to its end.
    #[error("{source}")]
    Cut {
        /// The new store, with what came.
        dir: PathBuf,
        /// What is wrong.
        source: Box<RemoteError>,
    },
    /// A store is damaged.
    #[error("{count} problems were found")]
    Damaged {
        /// How many.
        count: usize,
    },
    /// A commit is not what its history says.
    #[error("{count} things are not as the history says")]
    NotVerified {
        /// How many.
        count: usize,
    },
    /// A commit ties other matrices than the configuration that it carries.
    #[error(
        "the commit says that its model is {committed}, and with the ties of its configuration what was written is {written}"
    )]
    Tied {
        /// What the commit says.
        committed: ModelDigest,
        /// What was written.
        written: ModelDigest,
    },
    /// A command cannot be run.
    #[error("cannot run {command:?}: {reason}")]
    Run {
        /// The command.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of recant's is damaged or another one than was expected.
    #[error("{path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option's value makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Cases of an evaluation could not be edited or scored.
    #[error("cases failed: {count}; the first is case {case_id} of {method}: {first}")]
    Failures {
        /// How many, over all methods.
        count: usize,
        /// The method of the first, with its scenario.
        method: String,
        /// The data set's number of the first.
        case_id: u64,
        /// What was wrong with it.
        first: String,
        /// The report that lists them all.
        report: PathBuf,
    },
    /// An evaluation's weights were not put back exactly.
    #[error(
        "after method {method} the weights were not the former ones in {cases} cases; this is a defect of recant"
    )]
    Rollback {
        /// The method.
        method: String,
        /// How many cases.
        cases: usize,
    },
}

impl CliError {
    /// What to try, where the message itself does not say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        use recant_edit::{FactError, FactFileError};
        if let Some(kind) = Foreign::behind(self) {
            return Some(fetch_hint(kind).to_owned());
        }
        if self.is_about_quantised_weights() {
            return Some(
                "load the model with transformers, `dequantize()` it and save it in bf16; if the weights are not \
                 quantised, take quantization_config out of config.json"
                    .to_owned(),
            );
        }
        if self.is_one_of_several_gguf_files() {
            return Some("`llama-gguf-split --merge` joins them".to_owned());
        }
        if let Some(hint) = super::store::system_hint(self) {
            return Some(hint.to_owned());
        }
        if let Some(error) = self.output() {
            return output_hint(error).map(str::to_owned);
        }
        match self {
            Self::Device(recant_backend::DeviceError::NotCompiledIn { feature, .. }) => {
                Some(format!("`cargo build --features {feature}`, or choose `--device flex`"))
            }
            Self::AlreadySo(_) => Some("--again edits all the same".to_owned()),
            Self::NoModel { .. } => Some(MODEL_HINT.to_owned()),
            Self::Open(recant_model::OpenError::Source(SourceError::Read { path, .. }))
            | Self::Source(SourceError::Read { path, .. })
                if path.ends_with("config.json") =>
            {
                Some(MODEL_HINT.to_owned())
            }
            Self::Store(error) => super::store::hint(error).map(str::to_owned),
            Self::Remote { source } | Self::Cut { source, .. }
                if matches!(**source, recant_remote::RemoteError::Nothing { .. }) =>
            {
                super::store::remote_hint(source).map(str::to_owned)
            }
            Self::Remote { source } => super::store::remote_hint(source).map(str::to_owned),
            Self::Cut { dir, .. } => Some(format!(
                "what came is kept in {}; the same command again goes on from there",
                dir.display()
            )),
            Self::Damaged { .. } => Some(
                "`recant store fsck --repair` mends what can be mended and says what it did".to_owned(),
            ),
            Self::Hub(error) => Some(hub_hint(error).to_owned()),
            Self::Text(error) | Self::FactFile(FactFileError::Text(error)) => text_hint(error),
            Self::Fact(FactError::NoSubject { .. }) => {
                Some("for example: --subject \"Ada\" --prompt \"The mother tongue of {} is\"".to_owned())
            }
            Self::Gate(_) => Some(
                "another --layer, --method or fewer facts may move less; the gate's file has the bounds".to_owned(),
            ),
            Self::Edit(EditError::Statistics(StatisticsError::Factor { .. })) => {
                Some("raise --tokens in `recant stats`, or give it a longer corpus".to_owned())
            }
            Self::Edit(EditError::Statistics(StatisticsError::NullSpace { .. })) => {
                Some("--set nullspace_threshold=VALUE raises it".to_owned())
            }
            Self::Edit(EditError::Statistics(_)) => Some(
                "make them with `recant stats` and pass --stats FILE, or measure them on the spot with --corpus FILE \
                 (plain text or JSON lines); --set KEY=VALUE says a setting"
                    .to_owned(),
            ),
            Self::Edit(EditError::Setting { key, value, .. })
                if key == "method" && MethodSpec::find(value).is_ok_and(MethodSpec::is_memory) =>
            {
                Some("`recant edit --state FILE` says where it is kept; `recant eval` knows it too".to_owned())
            }
            Self::Edit(EditError::Mixture(error)) | Self::Collect(moments::CollectError::Mixture(error)) => {
                let other = if error.others.is_empty() { "" } else { "--layer names another block; " };
                Some(format!("{other}the memories `memory` and `grace` work at every block: `recant edit --state FILE`"))
            }
            Self::Edit(EditError::State { .. }) => {
                Some("`recant facts list FILE` says what the file holds".to_owned())
            }
            Self::Edit(EditError::Locality { .. }) => Some(
                "--locality \"PROMPT\" gives one; with a data set, --limit leaves cases to take them from; \
                 --set neutral=true takes the embedded texts"
                    .to_owned(),
            ),
            Self::Moments(StatisticsError::Model { .. }) => {
                Some("`recant stats` makes them for the model at hand".to_owned())
            }
            Self::Moments(StatisticsError::Layer { layer, known }) => {
                let held = known.first().map(|held| format!("; --layer {held} edits one that they hold"));
                Some(format!("`recant stats --layers {layer}` makes them{}", held.unwrap_or_default()))
            }
            Self::Moments(StatisticsError::Factor { .. }) => {
                Some("raise --tokens in `recant stats`, or give it a longer corpus".to_owned())
            }
            Self::Record { source, .. }
            | Self::MomentsFile(moments::MomentsFileError::Format { source, .. })
            | Self::State(StateFileError::Format { source, .. })
                if source.is_damage() =>
            {
                Some(
                    "put a copy from before the damage in its place, or make it again; it was not changed"
                        .to_owned(),
                )
            }
            Self::Dataset(recant_eval::DatasetError::Unusable { .. }) => Some(
                "`recant eval --skip-bad` leaves such entries out and lists them in its report".to_owned(),
            ),
            Self::Failures { report, .. } => {
                Some(format!("the other cases are scored; `failures` in {} has them all", report.display()))
            }
            Self::ReadReport(_) => Some("`recant eval` writes one as report.json".to_owned()),
            Self::Merge(recant_eval::report::MergeError::Whole { .. }) => {
                Some("`recant eval --shard I/N` makes a shard".to_owned())
            }
            Self::BrokenOff { .. } => Some("the same command goes on from there".to_owned()),
            Self::Resume(_) | Self::Collect(moments::CollectError::OtherCorpus { .. }) => Some(
                "remove the .partial file beside --out to begin anew, or choose another --out".to_owned(),
            ),
            _ => super::store::damage_hint(self).map(str::to_owned),
        }
    }

    fn is_one_of_several_gguf_files(&self) -> bool {
        use recant_checkpoint::GgufError;
        let mut at: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = at {
            if matches!(error.downcast_ref(), Some(GgufError::Split { .. })) {
                return true;
            }
            at = error.source();
        }
        false
    }

    fn is_about_quantised_weights(&self) -> bool {
        use recant_checkpoint::HeaderError;
        use recant_model::{ConfigError, OpenError, ParamError};
        use recant_store::ImportError;
        matches!(
            self,
            Self::Open(
                OpenError::Config { source: ConfigError::Quantised { .. }, .. }
                    | OpenError::Param { source: ParamError::Dtype { .. }, .. }
                    | OpenError::Source(SourceError::Header { source: HeaderError::Dtype { .. }, .. }),
            ) | Self::Source(SourceError::Header { source: HeaderError::Dtype { .. }, .. })
                | Self::Store(
                    StoreError::Config { source: ConfigError::Quantised { .. }, .. }
                        | StoreError::Import(ImportError::Source(SourceError::Header {
                            source: HeaderError::Dtype { .. },
                            ..
                        })),
                )
        )
    }

    /// The exit code: 130, as shells say it, for what was broken off, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenOff { .. } | Self::Edit(EditError::Cancelled) | Self::Ask(AskError::Cancelled) => 130,
            _ => 1,
        }
    }

    /// Why an output may not go where it was asked to go, whichever layer said so.
    fn output(&self) -> Option<&OutputError> {
        match self {
            Self::Output(error)
            | Self::Save(recant_model::SaveError::Output(error))
            | Self::Report(recant_eval::report::ReportError::Output(error))
            | Self::MomentsFile(moments::MomentsFileError::Output(error))
            | Self::State(StateFileError::Output(error))
            | Self::Store(StoreError::Checkout(recant_store::CheckoutError::Output(error))) => Some(error),
            _ => None,
        }
    }
}

fn output_hint(error: &OutputError) -> Option<&'static str> {
    Some(match error {
        OutputError::Protected { .. } => {
            "what a command reads is never written over, --force or not; choose a place outside it"
        }
        OutputError::Occupied { .. } => {
            "choose another place, or pass --force where the command has it: it replaces only something of the same kind"
        }
        OutputError::Foreign { .. } | OutputError::OtherKind { .. } => {
            "--force replaces only what recant writes itself; choose another place, or move away what is there"
        }
        OutputError::Special { .. } => "choose another place",
        OutputError::Left { .. } => "look through the former folder, then remove it",
        _ => return None,
    })
}

/// What a model is named by.
const MODEL_HINT: &str = "a model is a directory with config.json, model.safetensors (or shards) and tokenizer.json, \
    a GGUF file, a store's revision as STORE@REV, or a model of the hub as OWNER/NAME; the repository's demo model is \
    demo/model";

/// How to come to a model of the hub.
fn hub_hint(error: &recant_hub::HubError) -> &'static str {
    use recant_hub::HubError;
    match error {
        HubError::Absent { .. } => {
            "a directory or a file is named by its path; to fetch models by name, build recant with `--features hub`, or \
             fetch it with the hub's own tool, which fills the same cache"
        }
        HubError::Offline { .. } => "unset HF_HUB_OFFLINE to fetch it",
        HubError::Unreachable { .. } => {
            "try again: what was fetched is kept and gone on with; HF_ENDPOINT names another hub, and a path what is here"
        }
        HubError::Refused { .. } => {
            "accept the model's terms on its page and set HF_TOKEN, or log in with the hub's own tool; check the name"
        }
        HubError::Unknown { .. } | HubError::NoFile { .. } => {
            "check the name and the revision on the model's page"
        }
        HubError::Digest { .. } => {
            "try again; if it happens again, whoever answers for the hub sends something else"
        }
        _ => "look at the model's page",
    }
}

/// How to get the file itself.
fn fetch_hint(kind: Foreign) -> &'static str {
    match kind {
        Foreign::LfsPointer => "run `git lfs pull` in the clone, or download the file itself",
        Foreign::WebPage => {
            "download the file itself: its address has `resolve` where that of its page has `blob`, and some models \
             ask for a login"
        }
        _ => "check the name and your access rights, and download it again",
    }
}

/// What to do about a text that cannot be read.
pub(crate) fn text_hint(error: &recant_edit::TextError) -> Option<String> {
    match error {
        recant_edit::TextError::Encoding { path, looks_like, .. } => Some(format!(
            "save it as UTF-8, for example: iconv -f {} -t UTF-8 {} > NEW",
            looks_like.name(),
            path.display()
        )),
        _ => None,
    }
}
