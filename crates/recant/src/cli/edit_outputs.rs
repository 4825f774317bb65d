//! Where `recant edit` writes, decided before the work.

use std::path::Path;

use recant_core::CommitId;
use recant_edit::Plan;
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputFile, Outputs, Role};
use recant_methods::ledger::{LEDGER, Ledger};
use recant_model::Model;
use recant_records::Record;
use recant_store::Store;

use super::edit::EditArgs;
use super::error::CliError;
use super::kinds::{DUMP, PATCH};
use super::session::Session;
use super::store::StoreError;

/// The outputs that were asked for.
pub(super) struct EditOutputs {
    out: Option<OutputDirectory>,
    patch: Option<OutputFile>,
    dump: Option<OutputFile>,
    ledger: Option<OutputFile>,
}

impl EditOutputs {
    /// Decides where each output may go.
    pub(super) fn decide(args: &EditArgs, session: &Session) -> Result<Self, CliError> {
        if args.force && args.out.is_none() && args.patch.is_none() && args.dump.is_none() {
            let reason = "it goes with --out, --patch or --dump".to_owned();
            return Err(CliError::Option { option: "--force", reason });
        }
        let mut outputs = session.outputs(args.force);
        let inputs = [&args.facts, &args.forget, &args.to.sign];
        inputs.into_iter().flatten().try_for_each(|path| outputs.reads(Role::Input, path))?;
        args.with.guard(&mut outputs)?;
        if let Some(model) = &args.model {
            outputs.reads(Role::Model, model)?;
        }
        // What a store is linked to is looked for in all of its objects: only where something is to be written.
        let writes =
            args.out.is_some() || args.patch.is_some() || args.dump.is_some() || args.ledger.is_some();
        let store = args.to.store.as_deref().filter(|_| writes).map(Store::open).transpose();
        let store = store.map_err(StoreError::from)?;
        if let Some(store) = &store {
            store.guard(&mut outputs).map_err(StoreError::from)?;
        }
        let out = |outputs: &mut Outputs, path: &Path| -> Result<OutputDirectory, CliError> {
            let files = match (&store, &args.model) {
                (Some(store), _) => {
                    let head = store.resolve("HEAD").map_err(StoreError::from)?;
                    store.checkout_files(head).map_err(StoreError::from)?
                }
                (None, Some(model)) => super::model_files(model)?,
                (None, None) => Vec::new(),
            };
            Ok(outputs.directory(path, MODEL_DIRECTORY, files)?)
        };
        let out = args.out.as_ref().map(|path| out(&mut outputs, path)).transpose()?;
        Ok(Self {
            out,
            patch: args.patch.as_ref().map(|path| outputs.file(path, PATCH)).transpose()?,
            dump: args.dump.as_ref().map(|path| outputs.file(path, DUMP)).transpose()?,
            ledger: args.ledger.as_ref().map(|path| outputs.continued(path, LEDGER)).transpose()?,
        })
    }

    /// Writes what was asked for; the ledger last, so that it never says what a model that could not be written does
    /// not hold.
    pub(super) fn write(&self, plan: &Plan, model: &Model, ledger: Option<&Ledger>) -> Result<(), CliError> {
        if let Some(dump) = &self.dump {
            dump.write(&super::edit::dump(plan, dump.path())?)?;
        }
        if let Some(patch) = &self.patch {
            patch.write(&plan.patch.to_file())?;
        }
        if let Some(out) = &self.out {
            model.save_to(out)?;
        }
        if let (Some(file), Some(ledger)) = (&self.ledger, ledger) {
            file.write(&ledger.to_file())?;
        }
        Ok(())
    }

    /// Says what was written.
    pub(super) fn tell(&self, commit: Option<CommitId>) {
        if let Some(commit) = commit {
            say!("commit {commit}");
        }
        let files = [("patch", &self.patch), ("dump", &self.dump)];
        for (what, file) in files.into_iter().filter_map(|(what, file)| Some((what, file.as_ref()?))) {
            say!("{what} written to {}", file.path().display());
        }
        match &self.out {
            Some(out) => say!("model written to {}", out.path().display()),
            None if commit.is_some() => {}
            None => say!("no model was written; pass --out DIR to keep the edited one"),
        }
    }
}
