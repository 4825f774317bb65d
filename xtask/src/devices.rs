//! `cargo xtask devices`: the same edit on every device.

use std::time::Instant;

use recant::backend::{Adapter, Device, DeviceSpec};
use recant::core::{Addend, Blobs, Delta};
use recant::edit::{Contexts, Editor, Fact};
use recant::eval::Dataset;
use recant::methods::moments::Moments;
use recant::methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant::model::Model;

use crate::demo;
use crate::error::Error;

/// Largest relative difference of ΔW from the first device's.
const TOLERANCE: f64 = 1e-3;

struct Outcome {
    delta: Vec<f64>,
    answer: String,
    undo_exact: bool,
    seconds: f64,
}

pub(crate) fn run() -> Result<(), Error> {
    let data = Dataset::read(&demo::data_dir().join("cases.json"), Some(1))
        .map_err(|error| Error::Failed(error.to_string()))?;
    let fact = data
        .cases
        .first()
        .map(|case| case.fact.clone())
        .ok_or_else(|| Error::Failed("no demo cases".into()))?;
    crate::say(&format!("r-rome: {:?} -> {:?}", fact.text(), fact.target));
    crate::say("| device | relative ΔW difference | top answer | undo | seconds |");
    crate::say("|---|---|---|---|---|");
    let mut first: Option<Outcome> = None;
    let mut failed = Vec::new();
    let all = [
        DeviceSpec::Flex,
        DeviceSpec::Ndarray,
        DeviceSpec::Wgpu(Adapter::Best),
        DeviceSpec::Wgpu(Adapter::Cpu),
    ];
    for spec in all {
        let device = match Device::open(spec) {
            Ok(device) => device,
            Err(error) => {
                crate::say(&format!("| {spec} | not run: {error} | | | |"));
                continue;
            }
        };
        let outcome = edit(&device, &fact)?;
        let difference = first.as_ref().map(|first| relative(&outcome.delta, &first.delta));
        let same_answer = first.as_ref().is_none_or(|first| first.answer == outcome.answer);
        let shown = difference.map_or("(compared with)".to_owned(), |difference| format!("{difference:.1e}"));
        let undo = if outcome.undo_exact { "exact" } else { "NOT EXACT" };
        crate::say(&format!(
            "| {spec} | {shown} | {} | {undo} | {:.1} |",
            outcome.answer.trim(),
            outcome.seconds
        ));
        if difference.is_some_and(|x| x > TOLERANCE || x.is_nan()) || !same_answer || !outcome.undo_exact {
            failed.push(spec.to_string());
        }
        first.get_or_insert(outcome);
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Failed(format!("{} disagree with the first device", failed.join(", "))))
    }
}

fn edit(device: &Device, fact: &Fact) -> Result<Outcome, Error> {
    let started = Instant::now();
    let model = Model::open(&demo::model_dir(), device)?;
    let settings = RomeSettings::new(crate::eval::DEMO_LAYER, KeyRule::Mean);
    let corpus = demo::data_dir().join("corpus.txt");
    let moments = Moments::measure(&model, &[settings.layer], &[corpus], None, |_| ())?;
    let covariance = Covariance::measured(moments.into(), &model)?;
    // Fixed contexts: sampled ones could differ between devices by a near tie.
    let templates = ["{}", "The weather was cold that year. {}", "Therefore it was not used again. {}"];
    let contexts = Contexts::new(templates.map(str::to_owned).to_vec())?;
    let plan = Rome::new(settings, contexts, covariance).plan(&model, std::slice::from_ref(fact))?;
    let (edited, applied) = model.apply(&plan.patch, &Blobs::new())?;
    let answer = edited.answers(&fact.text(), 1)?.pop().map(|answer| answer.token).unwrap_or_default();
    let back = edited.undo(&applied)?;
    let undo_exact = back.digest() == model.digest() && back.device_digest() == model.device_digest();
    let addends = plan.patch.changes().values().filter_map(|change| match &change.delta {
        Delta::Add(addend) => Some(addend),
        Delta::Swap { .. } => None,
    });
    let delta = addends.flat_map(Addend::to_dense).collect();
    Ok(Outcome { delta, answer, undo_exact, seconds: started.elapsed().as_secs_f64() })
}

fn relative(ours: &[f64], theirs: &[f64]) -> f64 {
    let square: f64 = ours.iter().zip(theirs).map(|(a, b)| (a - b) * (a - b)).sum();
    (square / theirs.iter().map(|b| b * b).sum::<f64>()).sqrt()
}
