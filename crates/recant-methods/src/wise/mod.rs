//! WISE: a side memory for what was edited, and a router in front of it (Wang et al., "WISE: Rethinking the
//! Knowledge Memory for Lifelong Model Editing of Large Language Models", NeurIPS 2024, arXiv 2405.14768).
//!
//! One MLP's down-projection W₀ gets a copy W' that learns; W₀ never moves. A prompt is answered from W' when it
//! drives the two apart, `‖A(x) (W' − W₀)‖ > θ`, and training keeps texts out of scope below that. Edits are sharded
//! over random masks, each shard moving its own share of the weights, and full shards are merged. `PAPER.md`
//! beside this file maps symbols to code and lists what differs from the reference code.
//!
//! **What the state is.** A fold over the facts: edit `j` moves shard `j / save_freq` and depends on the base
//! model, the settings and the facts up to `j`, and on nothing else. So taking out edit `i` trains the facts from
//! the beginning of its shard on again, without it, and gives bit for bit what would have been learned without it.

mod adapter;
mod held;
pub mod merge;
mod neutral;
mod rows;
mod settings;
pub mod side;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;
use recant_backend::{host, upload_f32};
use recant_core::AdapterState;
use recant_edit::{Contexts, EditError, Fact, Lifelong, Memory, Watch, refuse_adapters};
use recant_model::{Model, Slot};

pub use merge::MergeAlg;
pub use settings::{Focus, Optim, Pool, WiseSettings};

use crate::inputs::MethodInputs;
use crate::lifelong::Lessons;
use crate::region::{Observed, block, block_with_matrix, no_matrix};
use crate::settings::Tunable;
use crate::spec::{LayerRule, Make, MethodSpec};
use adapter::{SideMemory, WiseAdapter};
use held::{Held, Seen};
use side::{Lesson, mask, sigma};

/// A lifelong model with side memories.
pub struct Wise {
    settings: WiseSettings,
    contexts: Contexts,
    base: Model,
    now: Model,
    lessons: Lessons,
    /// Δ of each shard at the places that it may move.
    shards: Vec<Arc<Vec<f32>>>,
    /// After each step: facts so far, and the shard that the last of them went to.
    points: Vec<(usize, Arc<Vec<f32>>)>,
    /// Activations of each fact's own prompt and of what it must leave alone.
    seen: Vec<Seen>,
    /// Memories as they answer, with what is known of their activations.
    held: Vec<Held>,
    /// Loss of each step of the last edit: total, edit, margin.
    losses: Vec<[f32; 3]>,
    /// Known prompts on the wrong side of a threshold.
    misplaced: usize,
}

impl Wise {
    /// A WISE that knows nothing yet.
    ///
    /// # Errors
    /// [`EditError::Adapters`], [`EditError::Layer`], [`EditError::Mixture`], [`EditError::Setting`].
    pub fn begin(base: Model, settings: WiseSettings, contexts: Contexts) -> Result<Self, EditError> {
        refuse_adapters("wise", &base)?;
        block_with_matrix(&base, settings.layer)?;
        settings.check()?;
        Ok(Self {
            settings,
            contexts,
            now: base.clone(),
            base,
            lessons: Lessons::default(),
            shards: Vec::new(),
            points: Vec::new(),
            seen: Vec::new(),
            held: Vec::new(),
            losses: Vec::new(),
            misplaced: 0,
        })
    }

    /// WISE as it stands in a state.
    ///
    /// # Errors
    /// [`EditError::State`] when the state is another model's or method's, or is incomplete.
    pub fn open(base: Model, state: &AdapterState) -> Result<Self, EditError> {
        store::open(base, state)
    }

    /// Loss of each step of the last edit: `[total, edit, margin]`.
    #[must_use]
    pub fn losses(&self) -> &[[f32; 3]] {
        &self.losses
    }

    /// Whether the routing thresholds part every known prompt in scope from every known one out of scope.
    #[must_use]
    pub fn separates(&self) -> bool {
        self.misplaced == 0
    }

    /// Δ of a shard `[d_model, d_mlp]` in row order: 0 outside its mask.
    #[must_use]
    pub fn delta(&self, shard: usize) -> Option<Vec<f32>> {
        let packed = self.shards.get(shard)?;
        let mut delta = vec![0.0; self.len()];
        self.places(shard).into_iter().zip(packed.iter()).for_each(|(at, &x)| delta[at] = x);
        Some(delta)
    }

    /// Weights of the side memory.
    fn len(&self) -> usize {
        self.base.spec().d_model * self.base.spec().d_mlp
    }

    /// The places that a shard stores: those of its mask; all of them in reference mode, whose decay has none.
    fn places(&self, shard: usize) -> Vec<usize> {
        let WiseSettings { seed, mask_ratio, reference, .. } = self.settings;
        let may = mask(seed, shard, mask_ratio, self.len());
        may.iter().enumerate().filter(|&(_, &may)| may || reference).map(|(at, _)| at).collect()
    }

    fn matrix(&self, numbers: Vec<f32>) -> Tensor<2> {
        let spec = self.base.spec();
        upload_f32(numbers, [spec.d_model, spec.d_mlp], self.base.device())
    }

    /// Trains the fact at `index`, which is in `self.lessons`.
    fn train(&mut self, index: usize, watch: &dyn Watch) -> Result<(), EditError> {
        let settings = self.settings;
        let shard = index / settings.save_freq;
        let rows = rows::of_edit(&self.base, &settings, &self.contexts, self.lessons.facts(), index)?;
        let lesson = Lesson::new(&self.base, &settings, &rows)?;
        let delta = self.delta(shard).unwrap_or_else(|| vec![0.0; self.len()]);
        let may = mask(settings.seed, shard, settings.mask_ratio, self.len());
        let may = self.matrix(may.into_iter().map(|one| if one { 1.0 } else { 0.0 }).collect());
        let no_layer = || no_matrix(&self.base, settings.layer);
        let main = self.base.weight(Slot::MlpDown(settings.layer)).ok_or_else(no_layer)?;
        let (learned, losses) = lesson.learn(self.matrix(delta), &may, &main, watch)?;
        let learned = host(&learned);
        if let Some(&x) = learned.iter().find(|x| !x.is_finite()) {
            return Err(EditError::NonFinite { step: losses.len(), loss: x });
        }
        let packed = Arc::new(self.places(shard).into_iter().map(|at| learned[at]).collect::<Vec<f32>>());
        match self.shards.get_mut(shard) {
            Some(held) => *held = packed,
            None => self.shards.push(packed),
        }
        self.losses = losses;
        Ok(())
    }

    /// Trains every fact from `from` on; they stand in `self.lessons` already.
    fn train_from(&mut self, from: usize, watch: &dyn Watch) -> Result<(), EditError> {
        self.see()?;
        (from..self.lessons.facts().len()).try_for_each(|index| self.train(index, watch))
    }

    /// Looks once at the prompts of facts that were not looked at yet.
    fn see(&mut self) -> Result<(), EditError> {
        for fact in &self.lessons.facts()[self.seen.len()..] {
            let inside = self.base.tokenizer().encode(&fact.text())?;
            let outside = rows::outside(&self.base, &self.settings, fact)?;
            let layer = self.settings.layer;
            self.seen.push(Seen {
                inside: Observed::of(&self.base, layer, &[inside])?,
                first: Observed::of(&self.base, layer, &outside[..1])?,
                outside: Observed::of(&self.base, layer, &outside)?,
            });
        }
        Ok(())
    }

    /// Memories as they answer: merged groups of full shards, full shards that wait for their group, the open one.
    /// Each as its shards' numbers.
    fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let WiseSettings { save_freq, merge_freq, retrieve, .. } = self.settings;
        let full = self.lessons.facts().len() / save_freq;
        let group = if retrieve { merge_freq / save_freq } else { full.max(1) };
        let merged = full / group * group;
        let groups = (0..merged).step_by(group).map(|first| first..first + group);
        groups.chain((merged..self.shards.len()).map(|shard| shard..shard + 1)).collect()
    }

    /// The memory of some shards, with nobody's activations yet.
    fn memory(&self, shards: std::ops::Range<usize>) -> Held {
        let WiseSettings { save_freq, merge_alg, density, seed, .. } = self.settings;
        let facts = shards.start * save_freq..(shards.end * save_freq).min(self.lessons.facts().len());
        let deltas: Vec<Vec<f32>> = shards.clone().filter_map(|shard| self.delta(shard)).collect();
        let merged = match deltas.len() {
            1 => deltas.into_iter().next().unwrap_or_default(),
            _ => merge::merge(merge_alg, &deltas, density, seed.wrapping_add(shards.start as u64)),
        };
        Held::new(self.shards[shards].to_vec(), facts, self.matrix(merged))
    }

    /// Puts the memories with their thresholds in front of the base model, and says what does not separate.
    fn rebuild(&mut self) -> Vec<String> {
        let settings = self.settings;
        let sigma = sigma(&settings, &self.base);
        let mut former = std::mem::take(&mut self.held).into_iter().peekable();
        self.misplaced = 0;
        let mut memories = Vec::new();
        for shards in self.groups() {
            let facts = shards.start * settings.save_freq
                ..(shards.end * settings.save_freq).min(self.lessons.facts().len());
            let same =
                former.next_if(|held| held.is_of(&self.shards[shards.clone()], &facts, self.seen.len()));
            // One that is not the same is of no use later either.
            let mut held = same.unwrap_or_else(|| {
                former.next();
                self.memory(shards)
            });
            held.look(&settings, sigma, &self.seen);
            let (threshold, wrong) = threshold(&held.inside, &held.outside, settings.act_ratio);
            self.misplaced += wrong;
            memories.push(SideMemory { delta: held.delta.clone(), threshold });
            self.held.push(held);
        }
        self.now = match memories.is_empty() {
            true => self.base.clone(),
            false => self.base.with_adapter(Arc::new(WiseAdapter {
                settings,
                memories,
                sigma,
                // Checked when the memory was begun.
                layer: block(&self.base, settings.layer).unwrap_or(u16::MAX),
                device: self.base.device().clone(),
            })),
        };
        // No numbers: a sequence says it once, not once a step.
        let note = "a routing threshold has known prompts on its wrong side: the margins are not met";
        if self.separates() { Vec::new() } else { vec![note.to_owned()] }
    }

    fn mark(&mut self) {
        if let Some(last) = self.shards.last() {
            self.points.push((self.lessons.facts().len(), Arc::clone(last)));
        }
    }

    /// Runs `change`; when it fails, everything is as it was before.
    fn whole_or_not<R>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<R, EditError>,
    ) -> Result<R, EditError> {
        let former = (self.lessons.clone(), self.shards.clone(), self.points.clone(), self.seen.clone());
        change(self).inspect_err(|_| (self.lessons, self.shards, self.points, self.seen) = former)
    }
}

/// Relative difference of a prompt's activation in one batch and in another, generously.
const ROUNDING: f64 = 1e-5;

/// The threshold of a memory, and how many known prompts it gets wrong. `act_ratio · min` of the activations in
/// scope, raised above the largest out of scope where the two are apart; where they are not, the split with the
/// fewest errors.
fn threshold(inside: &[f64], outside: &[f64], act_ratio: f64) -> (f64, usize) {
    let least = inside.iter().copied().fold(f64::INFINITY, f64::min);
    let most = outside.iter().copied().fold(0.0, f64::max);
    if most < least {
        // Another batch shape rounds a prompt's activation otherwise, so `most` itself would let it through.
        let above = (most * (1.0 + ROUNDING)).min(f64::midpoint(most, least));
        return ((act_ratio * least).max(above).max(f64::MIN_POSITIVE), 0);
    }
    let wrong =
        |at: f64| inside.iter().filter(|&&x| x <= at).count() + outside.iter().filter(|&&x| x > at).count();
    // Every error count is reached at some activation or just below all of them.
    let candidates = inside.iter().chain(outside).copied().chain([f64::MIN_POSITIVE]);
    let best = candidates.map(|at| (wrong(at), at)).min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map_or((f64::INFINITY, 0), |(wrong, at)| (at.max(f64::MIN_POSITIVE), wrong))
}

impl Lifelong for Wise {
    fn name(&self) -> &str {
        "wise"
    }

    fn contexts(&self) -> &[String] {
        self.contexts.templates()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.settings.told();
        settings.insert(store::CONTEXTS.to_owned(), crate::lifelong::write_contexts(&self.contexts));
        settings
    }

    fn learn_watched(&mut self, facts: &[Fact], watch: &dyn Watch) -> Result<Vec<String>, EditError> {
        let (from, capacity) = (self.lessons.facts().len(), self.settings.capacity);
        if from + facts.len() > capacity {
            let hint = "take edits out, or begin with a larger capacity";
            return Err(EditError::Full { capacity, hint });
        }
        let bare = || facts.iter().filter(|fact| fact.locality.is_empty());
        if let Some(fact) = bare().find(|fact| !rows::takes_neutral(&self.settings, fact)) {
            return Err(EditError::Locality { text: fact.prompt.clone() });
        }
        self.whole_or_not(|this| {
            this.lessons.push(facts);
            this.train_from(from, watch)
        })?;
        self.mark();
        let mut notes = self.rebuild();
        if !self.settings.neutral && bare().next().is_some() {
            notes.push("no locality prompts were given; embedded neutral texts stand in for them".to_owned());
        }
        Ok(notes)
    }

    fn model(&self) -> &Model {
        &self.now
    }

    fn steps(&self) -> usize {
        self.lessons.steps()
    }

    fn roll_back(&mut self, steps: usize) -> Result<(), EditError> {
        let kept = self.lessons.within(steps);
        if kept == self.lessons.facts().len() {
            return Ok(());
        }
        let shard = kept.div_ceil(self.settings.save_freq);
        let point = self.points.iter().find(|(facts, _)| *facts == kept).map(|(_, held)| Arc::clone(held));
        self.whole_or_not(|this| {
            this.lessons.truncate(kept);
            this.seen.truncate(kept);
            this.points.retain(|(facts, _)| *facts <= kept);
            this.shards.truncate(shard);
            match (this.shards.last_mut(), point) {
                (None, _) => Ok(()),
                (Some(last), Some(point)) => {
                    *last = point;
                    Ok(())
                }
                // A state that came from a file remembers no points: its last shard is trained again.
                (Some(_), None) => {
                    this.shards.pop();
                    this.train_from((shard - 1) * this.settings.save_freq, &())
                }
            }
        })?;
        self.rebuild();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state().map_or(0, |state| state.encode().len())
    }

    fn loss(&self) -> Option<f32> {
        self.losses.last().map(|loss| loss[0])
    }
}

impl Memory for Wise {
    fn state(&self) -> Result<AdapterState, EditError> {
        store::state(self)
    }

    fn facts(&self) -> &[Fact] {
        self.lessons.facts()
    }

    fn forget(&mut self, index: usize) -> Result<(), EditError> {
        self.lessons.check(index)?;
        let shard = index / self.settings.save_freq;
        let from = shard * self.settings.save_freq;
        self.whole_or_not(|this| {
            this.lessons.remove(index);
            this.seen.remove(index);
            this.held.clear();
            this.shards.truncate(shard);
            // Later points lead to states that knew the edit.
            this.points.retain(|(facts, _)| *facts <= from);
            this.train_from(from, &())
        })?;
        self.rebuild();
        Ok(())
    }
}

/// How the method is declared.
pub(crate) const METHOD: MethodSpec = MethodSpec {
    name: "wise",
    summary: "a side memory of one MLP behind a router",
    paper: Some("2405.14768"),
    needs_moments: false,
    needs_matrix: true,
    many: true,
    layers: LayerRule::One,
    settings: || WiseSettings::new(0).infos(),
    make: Make::Memory(begin, |state, base| Ok(Box::new(Wise::open(base, state)?))),
};

fn begin(inputs: &MethodInputs, base: Model) -> Result<Box<dyn Memory>, EditError> {
    let mut settings = WiseSettings { seed: inputs.seed, ..WiseSettings::new(inputs.layer) };
    inputs.set(|setting| settings.set(setting))?;
    let contexts = inputs.several_contexts(&base)?;
    Ok(Box::new(Wise::begin(base, settings, contexts)?))
}

#[cfg(test)]
mod tests {
    use super::threshold;

    #[test]
    fn the_threshold_separates_what_can_be_separated() {
        // Apart: a share of the least inside, but never below what must stay out.
        assert_eq!(threshold(&[10.0, 20.0], &[1.0], 0.8), (8.0, 0));
        let (at, wrong) = threshold(&[10.0, 20.0], &[9.0], 0.8);
        assert!(at > 9.0 && at < 9.001 && wrong == 0, "{at}, {wrong}");
        // Above what is out of scope and below what is in it, however close the two are.
        let (at, wrong) = threshold(&[9.0 + 1e-9], &[9.0], 0.8);
        assert!(at > 9.0 && at < 9.0 + 1e-9 && wrong == 0, "{at}, {wrong}");
        // Not apart: the fewest errors.
        let (at, wrong) = threshold(&[1.0, 10.0, 11.0], &[2.0, 3.0], 0.8);
        assert_eq!((at, wrong), (3.0, 1));
    }
}
