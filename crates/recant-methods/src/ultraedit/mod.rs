//! UltraEdit: many facts by one gradient each and one least-squares problem a layer.
//!
//! Gu et al., "UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Large Language Models" (arXiv
//! 2505.14679). `PAPER.md` beside this file maps every symbol.
//!
//! At every token of a fact, h is what a down-projection sees and g the gradient of the fact's loss by what it says.
//! Both are brought to mean 0 and spread 1 over all that was ever edited (ĥ, ĝ), and
//!
//! ```math
//! v = -\eta\,\lVert\hat h\rVert^2\,\hat g, \qquad \Delta = \Big(\big(H^\top H + \rho I\big)^{-1} H^\top V\Big)^\top
//! ```
//!
//! is the change that answers every h with its v as nearly as a ridge ρ lets it. There is no subject, no search and no
//! covariance: a fact costs one pass forward and one back.

mod change;
mod gradients;
mod running;

use std::collections::BTreeMap;

use recant_core::{Blobs, WeightPatch};
use recant_edit::{Carry, EditError, Editor, Fact, Plan, Trace, Watch, Work};
use recant_linalg::Rows;
use recant_model::Model;

use crate::batch::no_clash;
use crate::descent::of_one_part;
use crate::inputs::MethodInputs;
use crate::lesson::requests;
use crate::region::blocks_with_matrix;
use crate::settings::{Param, Setting, Tunable, field, layer_list};
use crate::spec::{LayerRule, Make, MethodSpec};

use change::Change;
use gradients::{Read, Reading, read};
use running::Running;

/// Settings of UltraEdit.
#[derive(Debug, Clone, PartialEq)]
pub struct UltraEditSettings {
    /// The written layers, ascending.
    pub layers: Vec<usize>,
    /// η d_key: how far a token's answer goes against its gradient, for a key as far from the mean as keys are.
    pub lr: f64,
    /// Facts that share a change; the next ones are read on the changed model.
    pub turn: usize,
    /// How often the facts of a turn are read and changed at most.
    pub passes: usize,
    /// ρ: the ridge.
    pub ridge: f64,
    /// A fact is left as it is where its loss is below this.
    pub enough: f64,
}

impl UltraEditSettings {
    /// Defaults at some layers.
    #[must_use]
    pub fn new(layers: Vec<usize>) -> Self {
        Self { layers, lr: 0.03, turn: 100, passes: 10, ridge: 1.0, enough: 0.05 }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        self.tune("ultraedit", setting)
    }

    /// Whether a fact is stated already.
    fn leaves(&self, read: &Read) -> bool {
        f64::from(read.loss) < self.enough
    }
}

impl Tunable for UltraEditSettings {
    fn params() -> Vec<Param<Self>> {
        vec![
            layer_list(|s: &Self| &s.layers, |s| &mut s.layers),
            field!(
                "lr",
                "η times the width of a key: how far answers go against the gradient",
                lr,
                float(f64::MIN_POSITIVE)
            ),
            field!("turn", "facts that share a change of weights", turn, count()),
            field!(
                "passes",
                "how often the facts of a turn are read at most; 1: as published",
                passes,
                count()
            ),
            field!("ridge", "ρ: the ridge", ridge, float(f64::MIN_POSITIVE)),
            field!(
                "enough",
                "a fact is left as it is where its loss is below this; 0: never, as published",
                enough,
                float(0.0)
            ),
        ]
    }
}

/// The UltraEdit editor.
#[derive(Debug, Clone)]
pub struct UltraEdit {
    settings: UltraEditSettings,
}

impl UltraEdit {
    /// An editor.
    #[must_use]
    pub fn new(settings: UltraEditSettings) -> Self {
        Self { settings }
    }
}

impl Editor for UltraEdit {
    fn name(&self) -> &str {
        "ultraedit"
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let settings = &self.settings;
        blocks_with_matrix(model, &settings.layers)?;
        no_clash(facts)?;
        let readings = requests(model, facts)?;
        let readings = readings.iter().map(|request| Reading::of(model, request));
        let readings = readings.collect::<Result<Vec<_>, _>>()?;
        let mut work = Progress::begin(model, &settings.layers, carry)?;
        let mut losses = vec![Vec::new(); facts.len()];
        for (turn, readings) in readings.chunks(settings.turn).enumerate() {
            let first = turn * settings.turn;
            for pass in 0..settings.passes {
                let done = |read: usize| first + (pass * readings.len() + read) / settings.passes;
                let goes_on = |read: usize| watch.tell(Work::Values, done(read), facts.len());
                let found = read(&work.now, &settings.layers, readings, &goes_on)?;
                found.iter().zip(&mut losses[first..]).for_each(|(found, losses)| losses.push(found.loss));
                if pass == 0 {
                    work.see(&found);
                }
                if found.iter().all(|found| settings.leaves(found)) {
                    break;
                }
                work.step(settings, &found)?;
            }
        }
        watch.tell(Work::Values, facts.len(), facts.len())?;
        let mut plan = Plan::new(work.patch);
        let trace = |losses: &Vec<f32>| Trace { losses: of_one_part(losses), ..Trace::default() };
        plan.traces = losses.iter().map(trace).collect();
        plan.carry = carry.clone();
        for (layer, seen) in &work.seen {
            plan.carry.matrices.extend([seen.kept(&seen_at(*layer))?]);
        }
        Ok(plan)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.settings.told()
    }
}

/// The name in a carry.
fn seen_at(layer: usize) -> String {
    format!("layers.{layer}.seen")
}

/// An edit under way.
struct Progress<'a> {
    base: &'a Model,
    layers: &'a [usize],
    /// The base with `patch`.
    now: Model,
    patch: WeightPatch,
    /// What every layer has been changed by, of those that have.
    changes: BTreeMap<usize, Change>,
    /// What every layer has seen.
    seen: BTreeMap<usize, Running>,
}

impl<'a> Progress<'a> {
    fn begin(model: &'a Model, layers: &'a [usize], carry: &Carry) -> Result<Self, EditError> {
        let width = model.spec().d_mlp + model.spec().d_model;
        let seen = |&layer: &usize| Ok((layer, Running::of(carry, &seen_at(layer), width)?));
        Ok(Self {
            base: model,
            layers,
            now: model.clone(),
            patch: WeightPatch::identity(),
            changes: BTreeMap::new(),
            seen: layers.iter().map(seen).collect::<Result<_, EditError>>()?,
        })
    }

    /// Takes the tokens of some facts into what was seen.
    fn see(&mut self, found: &[Read]) {
        for (layer, tokens) in found.iter().flat_map(|fact| &fact.layers) {
            let Some(seen) = self.seen.get_mut(layer) else { continue };
            let pairs = tokens.keys.iter().zip(tokens.gradients.iter());
            pairs.for_each(|(key, gradient)| seen.see(key.iter().chain(gradient)));
        }
    }

    /// Changes every layer by what was read there.
    fn step(&mut self, settings: &UltraEditSettings, found: &[Read]) -> Result<(), EditError> {
        let misfit = || EditError::Misfit { what: "the tokens' keys and gradients" };
        let mut patch = WeightPatch::identity();
        for &layer in self.layers {
            let seen = self.seen.get(&layer).ok_or_else(misfit)?;
            let (keys, values) = answers(settings, seen, found, layer).ok_or_else(misfit)?;
            let next = Change::of(&keys, &values, settings.ridge)?;
            let sum = match self.changes.remove(&layer) {
                Some(before) => before.plus(next).ok_or_else(misfit)?,
                None => next,
            };
            patch = patch.then(&sum.patch(self.base, layer)?)?;
            self.changes.insert(layer, sum);
        }
        self.patch = patch;
        self.now = self.base.apply(&self.patch, &Blobs::new())?.0;
        Ok(())
    }
}

/// H and V at a layer: every token's key, and how its answer should change: by v = −η ‖ĥ‖² ĝ, and not at all where the
/// fact is stated already.
fn answers(
    settings: &UltraEditSettings,
    seen: &Running,
    found: &[Read],
    layer: usize,
) -> Option<(Rows, Rows)> {
    let (mut keys, mut values, mut widths) = (Vec::new(), Vec::new(), None);
    for fact in found {
        let tokens = fact.layers.get(&layer)?;
        let (d_key, d_model) = (tokens.keys.width(), tokens.gradients.width());
        widths = Some((d_key, d_model));
        let rate = if settings.leaves(fact) { 0.0 } else { settings.lr / d_key as f64 };
        for (key, gradient) in tokens.keys.iter().zip(tokens.gradients.iter()) {
            let length: f64 = seen.normal(0, key).iter().map(|x| x * x).sum();
            values.extend(seen.normal(d_key, gradient).iter().map(|g| -rate * length * g));
        }
        keys.extend_from_slice(tokens.keys.data());
    }
    let (d_key, d_model) = widths?;
    Rows::new(d_key, keys).zip(Rows::new(d_model, values))
}

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: "ultraedit",
    summary: "many facts by one gradient each, a least-squares change of several layers",
    paper: Some("2505.14679"),
    needs_moments: false,
    needs_matrix: true,
    many: true,
    layers: LayerRule::Several,
    settings: || UltraEditSettings::new(Vec::new()).infos(),
    make: Make::Editor(make),
};

fn make(inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let mut settings = UltraEditSettings::new(inputs.layers());
    inputs.set(|setting| settings.set(setting))?;
    Ok(Box::new(UltraEdit::new(settings)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use gradients::Tokens;

    /// v by hand: keys 1 and 3 have mean 2 and spread √2, so ‖ĥ‖² = ½ for both; gradients 0 and 4 become ∓1/√2.
    #[test]
    fn an_answer_goes_against_its_gradient_unless_the_fact_is_stated() {
        let tokens = Tokens {
            keys: Rows::new(1, vec![1.0, 3.0]).unwrap(),
            gradients: Rows::new(1, vec![0.0, 4.0]).unwrap(),
        };
        let mut seen = Running::nothing(2);
        [[1.0, 0.0], [3.0, 4.0]].iter().for_each(|pair| seen.see(pair.iter()));
        let settings = UltraEditSettings { lr: 0.2, ..UltraEditSettings::new(vec![5]) };
        let answered = |loss| {
            let read = Read { loss, layers: BTreeMap::from([(5, tokens.clone())]) };
            answers(&settings, &seen, &[read], 5).unwrap()
        };
        let (keys, values) = answered(2.0);
        assert_eq!(keys, tokens.keys);
        let wanted = 0.2 * 0.5 / 2f64.sqrt();
        let near = |(value, wanted): (&f64, &f64)| (value - wanted).abs() < 1e-6;
        assert!(values.data().iter().zip(&[wanted, -wanted]).all(near), "{values:?}");
        assert_eq!(answered(0.01), (tokens.keys.clone(), Rows::new(1, vec![0.0, 0.0]).unwrap()));
    }
}
