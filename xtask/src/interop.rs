//! `cargo xtask interop`: adapters exported by recant in the hands of peft and transformers.

use std::path::{Path, PathBuf};
use std::process::Command;

use recant::model::Architecture;

use crate::demo;
use crate::error::Error;

/// The edit that is made on every fixture, exported and compared.
const SUBJECT: &str = "The model";
const PROMPT: &str = "{} is in the city of";
const TARGET: &str = "Rome";

/// The fixtures of every family: folders with a reference.
fn fixtures(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let all = root.join("crates/recant-model/tests/fixtures");
    let entries =
        std::fs::read_dir(&all).map_err(|error| Error::Failed(format!("{}: {error}", all.display())))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.join("reference.safetensors").exists());
    found.sort();
    Ok(found)
}

/// Makes a Python environment under `target/` unless one is given, edits, exports, and lets peft compare.
pub(crate) fn run(python: Option<PathBuf>) -> Result<(), Error> {
    let root = demo::root();
    let python = match python {
        Some(python) => python,
        None => environment(&root)?,
    };
    let work = root.join("target/interop");
    std::fs::create_dir_all(&work).map_err(Error::write(&work))?;
    for base in fixtures(&root)? {
        let Some(layer) = first_layer(&base)? else { continue };
        let model = base.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = |name: &str| work.join(format!("{model}-{name}"));
        let (patch, adapter, edited) = (file("edit.patch"), file("adapter"), file("edited"));
        let (base_arg, patch_arg) = (base.as_os_str(), patch.as_os_str());
        let mut edit = recant();
        edit.arg("edit").arg("--model").arg(base_arg).args([
            "--method",
            "r-rome",
            "--layer",
            &layer.to_string(),
        ]);
        // A random model's MLP says next to nothing; without bounds relative to it the edit is visible.
        edit.args([
            "--set",
            "mom2_adjustment=false",
            "--set",
            "clamp_norm_factor=1000",
            "--set",
            "v_weight_decay=0",
        ]);
        edit.args(["--subject", SUBJECT, "--prompt", PROMPT, "--target", TARGET]);
        edit.arg("--patch").arg(patch_arg).arg("--out").arg(&edited).arg("--force");
        ran_edit(&mut edit)?;
        let mut export = recant();
        export.args(["export", "--as", "lora"]).arg("--model").arg(base_arg);
        done(export.arg("--patch").arg(patch_arg).arg("--out").arg(&adapter).arg("--force"))?;
        crate::say(&format!("{model}:"));
        let script = root.join("tests/interop/lora.py");
        done(Command::new(&python).arg(script).arg(&base).arg(&adapter).arg(&edited))?;
    }
    Ok(())
}

/// The block that is edited; none in a model with mixtures of experts, of whose dense blocks peft 0.21 takes `down_proj`
/// for an expert's and leaves the adapter out.
fn first_layer(model: &Path) -> Result<Option<usize>, Error> {
    let path = model.join("config.json");
    let failed = |what: String| Error::Failed(format!("{}: {what}", path.display()));
    let config = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let architecture = Architecture::parse(&config).map_err(|error| failed(error.to_string()))?;
    Ok(architecture.spec().mixture.is_none().then_some(0))
}

fn recant() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // By binary, as everywhere: by package the features differ and Burn is compiled again.
    command.args(["run", "--quiet", "--bin", "recant", "--"]).current_dir(demo::root());
    command
}

/// A virtual environment with the pinned requirements.
fn environment(root: &Path) -> Result<PathBuf, Error> {
    let dir = root.join("target/interop-venv");
    let python = dir.join("bin/python");
    let cannot = |error: Error| {
        let what = "the Python environment cannot be made";
        Error::Failed(format!("{what}: {error}; give one with peft and transformers by --python"))
    };
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&dir)).map_err(cannot)?;
    }
    let requirements = root.join("tests/interop/requirements.txt");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements);
    done(&mut install).map_err(cannot)?;
    Ok(python)
}

/// Runs a command and turns its failure into an error that says which.
fn done(command: &mut Command) -> Result<(), Error> {
    ended(command, &[0])
}

/// Runs an edit, whether or not its fact holds afterwards (3): that is not the matter here.
fn ran_edit(command: &mut Command) -> Result<(), Error> {
    ended(command, &[0, 3])
}

fn ended(command: &mut Command, well: &[i32]) -> Result<(), Error> {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| Error::Failed(format!("{shown}: {error}")))?;
    if status.code().is_some_and(|code| well.contains(&code)) {
        return Ok(());
    }
    Err(Error::Failed(format!("{shown} failed: {status}")))
}
