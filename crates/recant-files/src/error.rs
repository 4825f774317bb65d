//! Why an output may not go where it was asked to go.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// How an output's path lies to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is the same place.
    Is,
    /// The other one lies inside it.
    Contains,
    /// It lies inside the other one.
    LiesIn,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Is => "is",
            Self::Contains => "contains",
            Self::LiesIn => "lies inside",
        })
    }
}

/// What a path is to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A model directory that is read.
    Model,
    /// A store.
    Store,
    /// The folder of a checkpoint that a store refers to instead of holding a copy.
    Linked,
    /// A file that is read.
    Input,
    /// Another output of the same command.
    Output,
    /// The folder that the process works in.
    CurrentDirectory,
}

impl Role {
    /// Whether it is a folder all of whose content is protected.
    pub(crate) fn guards_content(self) -> bool {
        matches!(self, Self::Model | Self::Store | Self::Linked | Self::Output)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "the model",
            Self::Store => "the store",
            Self::Linked => "the checkpoint that the store is linked to,",
            Self::Input => "the input",
            Self::Output => "another output,",
            Self::CurrentDirectory => "the current directory",
        })
    }
}

/// An output cannot be written. Nothing that was there before has changed, except for [`OutputError::Left`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The place is taken by something that must not be lost.
    #[error("cannot write {path}: it {relation} {role} {other}")]
    Protected {
        /// The output.
        path: PathBuf,
        /// How it lies to what is protected.
        relation: Relation,
        /// What that is.
        role: Role,
        /// Where that is.
        other: PathBuf,
    },
    /// Something is there, and replacing was not allowed.
    #[error("{path} already holds something")]
    Occupied {
        /// The output.
        path: PathBuf,
    },
    /// A folder holds something that its kind does not consist of.
    #[error("cannot replace {path}: it holds {entry}, which is no file of a {kind}")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What does not belong, relative to the folder.
        entry: PathBuf,
        /// What the folder would have to be.
        kind: &'static str,
    },
    /// What is there is no file or folder of the output's kind.
    #[error("cannot replace {path}: it is no {kind} of recant")]
    OtherKind {
        /// The output.
        path: PathBuf,
        /// What it would have to be.
        kind: &'static str,
    },
    /// Something is there that is never written to.
    #[error("cannot write {path}: it is {what}")]
    Special {
        /// The output.
        path: PathBuf,
        /// A symbolic link, a folder, a device and so on.
        what: &'static str,
    },
    /// The system refuses.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output is complete, but the folder that it replaced got other files meanwhile and was kept.
    #[error("{path} was replaced; the former folder holds more than a {kind} by now and is kept as {kept}")]
    Left {
        /// The output.
        path: PathBuf,
        /// What the folder was when it was replaced.
        kind: &'static str,
        /// Where the former folder is.
        kept: PathBuf,
    },
}

impl OutputError {
    /// Makes the system's error one that names its path.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
