//! Decoder language models with named activation sites, read from and written to Hugging Face directories.
//!
//! A [`Model`] is its weights ([`recant_core::Weights`], bytes as the checkpoint holds them), a forward
//! pass over device tensors made from exactly those bytes ([`LanguageModel`]), and a tokenizer. It is a
//! persistent value: [`Model::clone`] is a fork that shares every tensor, and [`Model::apply`] gives an
//! edited model that shares every tensor the edit does not touch. A model never changes under its holder.
//!
//! ```no_run
//! use recant_backend::{Device, DeviceSpec};
//! use recant_model::Model;
//!
//! let device = Device::open(DeviceSpec::Flex)?;
//! let model = Model::open("models/gpt2".as_ref(), &device)?;
//! for answer in model.answers("The mother tongue of Danielle Darrieux is", 3)? {
//!     println!("{:>6.2} %  {}", 100.0 * answer.logprob.exp(), answer.token);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod attention;
mod checkpoint;
mod family;
mod forward;
mod generate;
mod hook;
mod mixture;
mod model;
mod note;
mod params;
mod rope;
mod save;
mod stack;
mod weight;

pub use adapter::{Adapter, Session, replace_rows};
pub use attention::{KvCache, Past};
pub use checkpoint::{OpenError, architecture, chat_frame, source_at, tokenizer};
pub use family::{Activation, Architecture, ConfigError, EditDefaults, ModelSpec, Slot, families};
pub use forward::{ForwardInput, InputError, Positions, Source, TokenBatch, gather_rows};
pub use generate::{Generation, Row, SamplingError, Strategy};
pub use hook::{Flow, Hook, NoHook, Observer};
pub use mixture::{MixtureError, MixtureSpec};
pub use model::{Answer, AskError, LanguageModel, Model, PatchError};
pub use note::ModelNote;
pub use params::{ParamError, Params};
pub use recant_backend::Layout;
pub use recant_text::{ChatError, ChatFrame, Continuation, FormatError, Tokenizer, TokenizerError};
pub use save::{SaveError, SaveOptions};
