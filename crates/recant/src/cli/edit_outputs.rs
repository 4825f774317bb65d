//! Where `recant edit` writes, decided before the work.

use std::path::Path;

use recant_core::CommitId;
use recant_edit::is_standard_input;
use recant_files::{MODEL_DIRECTORY, OutputDirectory, OutputFile, Outputs, Role};
use recant_methods::ledger::LEDGER;
use recant_model::Model;
use recant_records::Record;
use recant_store::Store;

use super::edit::{EditArgs, Outcome};
use super::error::CliError;
use super::kinds::{DUMP, PATCH, VERDICTS};
use super::session::Session;
use super::store::StoreError;
use super::verdict::Told;

/// The outputs that were asked for.
pub(super) struct EditOutputs {
    out: Option<OutputDirectory>,
    patch: Option<OutputFile>,
    dump: Option<OutputFile>,
    verdicts: Option<OutputFile>,
    ledger: Option<OutputFile>,
}

impl EditOutputs {
    /// Decides where each output may go.
    pub(super) fn decide(args: &EditArgs, session: &Session) -> Result<Self, CliError> {
        let replaced = [&args.out, &args.patch, &args.dump, &args.verdicts];
        if args.force && replaced.iter().all(|path| path.is_none()) {
            let reason = "it goes with --out, --patch, --dump or --verdicts".to_owned();
            return Err(CliError::Option { option: "--force", reason });
        }
        let mut outputs = session.outputs(args.force);
        let inputs = [&args.facts, &args.forget, &args.to.sign];
        let mut files = inputs.into_iter().flatten().filter(|path| !is_standard_input(path));
        files.try_for_each(|path| outputs.reads(Role::Input, path))?;
        args.with.guard(&mut outputs)?;
        if let Some(model) = args.model() {
            super::found(model)?.guard(&mut outputs)?;
        }
        // What a store is linked to is looked for in all of its objects: only where something is to be written.
        let written = [&args.out, &args.patch, &args.dump, &args.verdicts, &args.ledger];
        let writes = written.iter().any(|path| path.is_some());
        let place = args.place()?.filter(|_| writes);
        let store = place.as_deref().map(Store::open).transpose().map_err(StoreError::from)?;
        if let Some(store) = &store {
            store.guard(&mut outputs).map_err(StoreError::from)?;
        }
        let out = |outputs: &mut Outputs, path: &Path| -> Result<OutputDirectory, CliError> {
            let files = match (&store, args.model()) {
                (Some(store), _) => {
                    let head = store.resolve("HEAD").map_err(StoreError::from)?;
                    store.checkout_files(head).map_err(StoreError::from)?
                }
                (None, Some(model)) => super::found(model)?.files()?,
                (None, None) => Vec::new(),
            };
            Ok(outputs.directory(path, MODEL_DIRECTORY, files)?)
        };
        let out = args.out.as_ref().map(|path| out(&mut outputs, path)).transpose()?;
        Ok(Self {
            out,
            patch: args.patch.as_ref().map(|path| outputs.file(path, PATCH)).transpose()?,
            dump: args.dump.as_ref().map(|path| outputs.file(path, DUMP)).transpose()?,
            verdicts: args.verdicts.as_ref().map(|path| outputs.file(path, VERDICTS)).transpose()?,
            ledger: args.ledger.as_ref().map(|path| outputs.continued(path, LEDGER)).transpose()?,
        })
    }

    /// Writes what was asked for; the ledger last, so that it never says what a model that could not be written does
    /// not hold.
    pub(super) fn write(&self, outcome: &Outcome, model: &Model) -> Result<(), CliError> {
        let plan = &outcome.planned.plan;
        if let Some(dump) = &self.dump {
            dump.write(&super::edit::dump(plan, dump.path())?)?;
        }
        if let Some(patch) = &self.patch {
            patch.write(&plan.patch.to_file())?;
        }
        if let Some(verdicts) = &self.verdicts {
            verdicts.write(Told::new(&outcome.facts, &outcome.verdicts).lines().as_bytes())?;
        }
        if let Some(out) = &self.out {
            model.save_to(out)?;
        }
        if let (Some(file), Some(ledger)) = (&self.ledger, &outcome.planned.ledger) {
            file.write(&ledger.to_file())?;
        }
        Ok(())
    }

    /// Says what was written.
    pub(super) fn tell(&self, commit: Option<CommitId>) {
        if let Some(commit) = commit {
            say!("commit {commit}");
        }
        let files = [("patch", &self.patch), ("dump", &self.dump), ("verdicts", &self.verdicts)];
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
