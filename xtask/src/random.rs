//! `cargo xtask random-model`: a model of a real size with made-up weights.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use recant::core::Dtype;
use recant_benches::random::{Shape, write};

use crate::error::Error;

/// The element types that a model can be written in, as they are said.
pub(crate) const DTYPES: [&str; 3] = ["f32", "f16", "bf16"];

pub(crate) fn shape_names() -> PossibleValuesParser {
    Shape::ALL.map(|(name, _)| name).into()
}

pub(crate) fn run(shape: &str, dtype: &str, out: &Path) -> Result<(), Error> {
    let known = Shape::ALL.into_iter().find(|(name, _)| *name == shape);
    let (_, shape) = known.ok_or_else(|| Error::Failed(format!("there is no shape `{shape}`")))?;
    let dtype = Dtype::from_name(&dtype.to_uppercase()).map_err(|error| Error::Failed(error.to_string()))?;
    crate::note(&format!("writing {}", out.display()));
    write(shape, dtype, out).map_err(|source| Error::Write { path: out.to_owned(), source })?;
    crate::say(&out.display().to_string());
    Ok(())
}
