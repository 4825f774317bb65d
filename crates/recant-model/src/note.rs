//! What a user should know about a model that was opened all the same.

use std::fmt;

use recant_core::ParamPath;

/// Something in a model directory that is not used, or that is used in another way than its configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelNote {
    /// Tensors of the checkpoint that the forward pass does not use. They are kept and written again.
    UnusedTensors {
        /// Their names, in order.
        names: Vec<ParamPath>,
    },
    /// Keys of config.json that hold something and are not read.
    UnreadKeys {
        /// Their names, in order.
        keys: Vec<String>,
    },
    /// Two matrices that the configuration ties hold different numbers, so both are used.
    Untied {
        /// The second name.
        alias: ParamPath,
        /// The first name.
        path: ParamPath,
    },
}

/// How many names a note lists.
const LISTED: usize = 5;

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().take(LISTED).enumerate() {
        write!(f, "{}`{item}`", if i == 0 { "" } else { ", " })?;
    }
    match items.len().checked_sub(LISTED) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}

impl fmt::Display for ModelNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnusedTensors { names } => {
                write!(f, "the checkpoint holds {} tensors that config.json has no use for: ", names.len())?;
                list(f, names)
            }
            Self::UnreadKeys { keys } => {
                f.write_str("config.json sets what recant does not read: ")?;
                list(f, keys)
            }
            Self::Untied { alias, path } => write!(
                f,
                "config.json ties `{alias}` to `{path}`, but the checkpoint holds different numbers under each; both \
                 are used"
            ),
        }
    }
}
