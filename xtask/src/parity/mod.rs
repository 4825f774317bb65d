//! `cargo xtask parity`: recomputes what the reference code computed, and compares.
//!
//! Reads any folder of this layout: `ref-gpt2/` (a Hugging Face directory), `goldens/base_logits.*`,
//! `goldens/rome.*`, `goldens/rome_cov.safetensors`, `goldens/memit.*`, `goldens/alphaedit.*`. The tolerances are those stated beside the goldens.

mod batch;
mod goldens;
mod rome;

use std::path::Path;

use recant::backend::{Device, host};
use recant::model::{ForwardInput, Model, NoHook, TokenBatch};
use serde::Serialize;

use crate::error::Error;
use goldens::Tensors;

/// One compared quantity.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// What is compared, such as `rome 3 k_star`.
    pub(crate) quantity: String,
    /// The largest difference found, in the tolerance's own measure.
    pub(crate) difference: f64,
    /// What is allowed.
    pub(crate) tolerance: f64,
    /// Whether it holds.
    pub(crate) holds: bool,
}

impl Check {
    fn new(quantity: impl Into<String>, difference: f64, tolerance: f64) -> Self {
        // NaN compares false, so it never passes.
        Self { quantity: quantity.into(), difference, tolerance, holds: difference <= tolerance }
    }
}

#[derive(Debug, Serialize)]
struct ParityReport<'a> {
    device: String,
    holds: bool,
    checks: &'a [Check],
}

/// Compares everything and prints one line a quantity (the worst over all edits).
pub(crate) fn run(baseline: &Path, json: Option<&Path>, device: &Device) -> Result<(), Error> {
    let model = Model::open(&baseline.join("ref-gpt2"), device)?;
    let goldens = baseline.join("goldens");
    let mut checks = logits(&model, &goldens)?;
    checks.extend(rome::compare(&model, &goldens)?);
    checks.extend(batch::compare(&model, &goldens)?);
    if let Some(path) = json {
        let holds = checks.iter().all(|check| check.holds);
        let report = ParityReport { device: device.spec().to_string(), holds, checks: &checks };
        let text = serde_json::to_string_pretty(&report)? + "\n";
        crate::output::write(path, text.as_bytes(), path.starts_with(crate::demo::root().join("target")))?;
    }
    for check in &checks {
        let verdict = if check.holds { "ok  " } else { "MISS" };
        crate::say(&format!(
            "{verdict} {:<44} {:>10.2e}  (allowed {:.0e})",
            check.quantity, check.difference, check.tolerance
        ));
    }
    let missed = checks.iter().filter(|check| !check.holds).count();
    crate::say(&format!("{} quantities compared, {missed} missed", checks.len()));
    if missed > 0 {
        Err(Error::Failed(format!("{missed} quantities are outside their tolerance")))
    } else {
        Ok(())
    }
}

/// Logits of the unedited model on the golden prompts.
fn logits(model: &Model, goldens: &Path) -> Result<Vec<Check>, Error> {
    let reference = Tensors::read(&goldens.join("base_logits.safetensors"))?;
    let prompts: Vec<serde_json::Value> = goldens::json(&goldens.join("base_logits.json"))?;
    let mut worst = 0.0f64;
    for (i, prompt) in prompts.iter().enumerate() {
        let ids: Vec<u32> = serde_json::from_value(prompt["ids"].clone())?;
        let text: String = serde_json::from_value(prompt["prompt"].clone())?;
        if model.tokenizer().encode(&text)? != ids {
            return Err(Error::Failed(format!("{text:?} has other tokens than the golden run's")));
        }
        let batch = TokenBatch::new(&[ids], model.spec())?;
        let input = ForwardInput::tokens(&batch, model.device());
        let hidden = model.net().forward(input, &mut NoHook).ok_or(Error::Stopped)?;
        let [_, tokens, width] = hidden.dims();
        let ours = host(&model.net().unembed(hidden.reshape([tokens, width])));
        worst = worst.max(max_abs(&ours, reference.get(&format!("logits.{i:02}"))?));
    }
    Ok(vec![Check::new("base logits, max abs", worst, 1e-3)])
}

/// ‖a − b‖ / ‖b‖.
fn relative(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let square = |x: f64| x * x;
    let difference: f64 = ours.iter().zip(theirs).map(|(a, b)| square(f64::from(a - b))).sum();
    let length: f64 = theirs.iter().map(|&b| square(f64::from(b))).sum();
    (difference / length).sqrt()
}

fn max_abs(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}
