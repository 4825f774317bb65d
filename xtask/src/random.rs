//! `cargo xtask random-model`: a model of a real size with made-up weights.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use recant_benches::random::{Shape, Stored, write};

use crate::error::Error;

/// The element types that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dtype {
    F32,
    Bf16,
}

pub(crate) fn shape_names() -> PossibleValuesParser {
    Shape::ALL.map(|(name, _)| name).into()
}

pub(crate) fn run(shape: &str, dtype: Dtype, out: &Path) -> Result<(), Error> {
    let known = Shape::ALL.into_iter().find(|(name, _)| *name == shape);
    let (_, shape) = known.ok_or_else(|| Error::Failed(format!("there is no shape `{shape}`")))?;
    let stored = match dtype {
        Dtype::F32 => Stored::F32,
        Dtype::Bf16 => Stored::Bf16,
    };
    crate::note(&format!("writing {}", out.display()));
    write(shape, stored, out).map_err(|source| Error::Write { path: out.to_owned(), source })?;
    crate::say(&out.display().to_string());
    Ok(())
}
