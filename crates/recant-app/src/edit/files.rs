//! The files of an edit: where they may go, decided before the work, and how they are written after it.

use std::path::{Path, PathBuf};

use recant_edit::{Plan, Trace};
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputError, OutputFile, Outputs};
use recant_methods::ledger::LEDGER;
use recant_model::SaveError;
use recant_records::Record;
use safetensors::SafeTensorError;

use super::{EditOutcome, EditSource};
use crate::kinds::{DUMP, PATCH, VERDICTS};
use crate::model_ref::ModelRefError;
use crate::sheet::{SheetTensor, sheet};

/// A file of an edit may not go where it was asked to go, or cannot.
#[derive(Debug, thiserror::Error)]
pub enum EditFilesError {
    /// Where it may go cannot be found out.
    #[error(transparent)]
    Source(#[from] ModelRefError),
    /// It may not go there, or cannot.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The model cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// Intermediate quantities cannot be written down.
    #[error("cannot write {path}: {source}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
}

/// Where the files of an edit shall go.
#[derive(Debug, Clone, Copy, Default)]
pub struct EditPaths<'a> {
    /// The edited model, as a directory.
    pub out: Option<&'a Path>,
    /// The edit itself.
    pub patch: Option<&'a Path>,
    /// The method's intermediate quantities by the paper's names, as safetensors.
    pub dump: Option<&'a Path>,
    /// What became of every fact, as JSON lines.
    pub verdicts: Option<&'a Path>,
    /// The ledger, which is gone on with.
    pub ledger: Option<&'a Path>,
}

impl EditPaths<'_> {
    /// Decides where each of them may go: not over what the edit begins from.
    ///
    /// # Errors
    /// [`EditFilesError`].
    pub fn decide(self, outputs: &mut Outputs, from: EditSource<'_>) -> Result<EditFiles, EditFilesError> {
        let Self { out, patch, dump, verdicts, ledger } = self;
        let writes = [out, patch, dump, verdicts, ledger].iter().any(Option::is_some);
        from.guard(outputs, writes)?;
        let directory = |outputs: &mut Outputs, path: &Path| -> Result<_, EditFilesError> {
            Ok(outputs.directory(path, MODEL_DIRECTORY, from.files()?)?)
        };
        Ok(EditFiles {
            out: out.map(|path| directory(outputs, path)).transpose()?,
            patch: patch.map(|path| outputs.file(path, PATCH)).transpose()?,
            dump: dump.map(|path| outputs.file(path, DUMP)).transpose()?,
            verdicts: verdicts.map(|path| outputs.file(path, VERDICTS)).transpose()?,
            ledger: ledger.map(|path| outputs.continued(path, LEDGER)).transpose()?,
        })
    }
}

/// The files of an edit, each where it may go.
#[derive(Debug, Clone)]
pub struct EditFiles {
    out: Option<OutputDirectory>,
    patch: Option<OutputFile>,
    dump: Option<OutputFile>,
    verdicts: Option<OutputFile>,
    ledger: Option<OutputFile>,
}

impl EditFiles {
    /// Writes what was asked for; the ledger last, so that it never says what a model that could not be written does
    /// not hold.
    ///
    /// # Errors
    /// [`EditFilesError`].
    pub fn write(&self, outcome: &EditOutcome) -> Result<(), EditFilesError> {
        let plan = &outcome.plan;
        if let Some(file) = &self.dump {
            let dump = dumped(plan);
            file.write(
                &dump.map_err(|source| EditFilesError::Dump { path: file.path().to_owned(), source })?,
            )?;
        }
        if let Some(file) = &self.patch {
            file.write(&plan.patch.to_file())?;
        }
        if let Some(file) = &self.verdicts {
            file.write(outcome.judged().lines().as_bytes())?;
        }
        if let Some(out) = &self.out {
            outcome.after.save_to(out)?;
        }
        if let (Some(file), Some(ledger)) = (&self.ledger, &outcome.ledger) {
            file.write(&ledger.to_file())?;
        }
        Ok(())
    }
}

/// The traces as safetensors: `k_star`, `v_star`, ... and `losses` `[steps, 4]` (total, nll, kl,
/// weight_decay); of several traces each name has the trace's number before it, as in `0.v_star`.
fn dumped(plan: &Plan) -> Result<Vec<u8>, SafeTensorError> {
    let mut tensors: Vec<SheetTensor> = Vec::new();
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for (at, Trace { tensors: named, losses, .. }) in plan.traces.iter().enumerate() {
        let name = |name: &str| if plan.traces.len() == 1 { name.to_owned() } else { format!("{at}.{name}") };
        tensors.extend(named.iter().map(|(key, (shape, x))| (name(key), shape.clone(), bytes(x))));
        tensors.push((name("losses"), vec![losses.len(), 4], bytes(losses.as_flattened())));
    }
    sheet(&tensors, ("loss_columns", "total,nll,kl,weight_decay"))
}
