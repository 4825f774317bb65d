//! Where an output may go, and how it is written. Every writer of recant asks this crate.
//!
//! **Where.** [`Outputs`] knows what a command reads and what it was allowed to replace, and decides for each output.
//! Refused in any case: a path that is, contains or lies inside something that the command reads; a path inside a
//! store; a folder that holds anything but the files of its kind; a file of another kind; a symbolic link. What is
//! there already is replaced only if that was allowed.
//!
//! **How.** An output is made in a temporary folder beside its place (mode 0700, see [`Temporaries`]), written to the
//! disk, and put in its place by one atomic step: a kill at any moment leaves the former content or the new one. A
//! folder is replaced by an atomic exchange where the system has one (Linux, macOS); elsewhere the former folder is
//! renamed first, and a kill between the two renames leaves it in the temporary folder, which is then never removed.
//!
//! ```
//! use recant_files::{FileKind, Outputs, Role, Temporaries};
//!
//! const NOTE: FileKind = FileKind { name: "note", recognises: |head| head.starts_with(b"note") };
//!
//! # let dir = tempfile::tempdir()?;
//! # let (model, note) = (dir.path().join("model"), dir.path().join("note"));
//! # std::fs::create_dir(&model)?;
//! let mut outputs = Outputs::new(&Temporaries::default());
//! outputs.reads(Role::Model, &model)?;
//! assert!(outputs.file(&model.join("note"), NOTE).is_err(), "inside what is read");
//! outputs.file(&note, NOTE)?.write(b"note 1")?;
//! assert!(outputs.file(&note, NOTE).is_err(), "it exists, and replacing was not allowed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod kind;
mod model_files;
mod outputs;
mod paths;
mod place;
mod staging;

pub use error::{OutputError, Relation, Role};
pub use kind::{ADAPTER_DIRECTORY, DirectoryKind, FileKind, MODEL_DIRECTORY};
pub use model_files::{carried_files, copy, model_files, set_mode_of, write_new};
pub use outputs::{OutputDirectory, OutputFile, Outputs};
pub use staging::{Temporaries, TemporaryFolder};
