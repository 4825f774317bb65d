//! `recant export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recant_app::{Base, ExportedModule, export_lora, open_record};
use recant_backend::{Device, DeviceSpec};
use recant_core::WeightPatch;
use recant_files::{ADAPTER_DIRECTORY, Role};
use recant_records::Record;
use serde_json::{Value, json};

use super::args::WhichModel;
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    model: WhichModel,
    /// The edit, as `recant edit --patch` writes it.
    #[arg(long, value_name = "FILE")]
    patch: PathBuf,
    /// The form: lora (PEFT's adapter_config.json and adapter_model.safetensors).
    #[arg(long = "as", value_enum)]
    form: Form,
    /// Largest rank a matrix may take; a larger edit is truncated by SVD, and the error is printed [default:
    /// none, exact].
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rank: Option<u32>,
    /// Directory for the adapter.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an adapter at --out.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A LoRA adapter for PEFT.
    Lora,
}

pub(crate) fn run(args: &ExportArgs, session: &Session) -> Result<(), CliError> {
    let Form::Lora = args.form;
    let mut outputs = session.outputs(args.force);
    let terminal = Terminal::default();
    let model = args.model.name().find(&terminal)?;
    let base = Base::of(model)?;
    model.guard(&mut outputs)?;
    outputs.reads(Role::Input, &args.patch)?;
    let output = outputs.directory(&args.out, ADAPTER_DIRECTORY, Vec::new())?;
    let model = model.open(&Device::open(DeviceSpec::Flex)?, &terminal)?;
    let opened = open_record(&args.patch, WeightPatch::from_file)?;
    let mut notes: Vec<String> = opened.note(&args.patch).into_iter().collect();
    let cap = args.rank.map(|rank| rank as usize);
    let exported = export_lora(&base, &model, &opened.value, cap, &output)?;
    notes.extend(exported.notes);
    if args.json {
        let line = |module: &ExportedModule| json!({ "module": module.name, "rank": module.rank, "truncation_error": module.error });
        let lines: Vec<Value> = exported.modules.iter().map(line).collect();
        return super::print_json(&json!({
            "out": args.out.display().to_string(), "modules": lines, "notes": notes,
        }));
    }
    for ExportedModule { name, rank, error } in &exported.modules {
        let exact = if *error == 0.0 {
            "exact".to_owned()
        } else {
            format!("truncated, {:.3} % of the update's norm is lost", 100.0 * error)
        };
        say!("{name}: rank {rank}, {exact}");
    }
    notes.iter().for_each(|note| say!("note: {note}"));
    say!("written to {}", args.out.display());
    Ok(())
}
