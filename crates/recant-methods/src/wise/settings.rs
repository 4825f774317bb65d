//! WISE's hyper-parameters, named as in the reference code.

use std::collections::BTreeMap;

use recant_edit::EditError;

use super::merge::MergeAlg;
use crate::lifelong::named;
use crate::settings::Setting;

/// How the activations of a prompt's tokens become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool {
    /// Their mean, as in the reference code for short prompts.
    Mean,
    /// The largest: the subject's token is enough, wherever it stands.
    Max,
}

/// Which tokens of an edit teach the side memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Focus {
    /// All of them, as in the reference code without an activation mask.
    Prompt,
    /// The subject's last one, as with the reference's activation mask: it is driven above β, the others below α,
    /// and the fact is learned there, where every phrasing of it passes.
    Subject,
    /// The activations as with `Subject`, the fact as with `Prompt`: routes are decided by who it is about, and every
    /// token of the prompt helps to say it.
    Scope,
}

impl Focus {
    const NAMES: [(&'static str, Self); 3] =
        [("prompt", Self::Prompt), ("subject", Self::Subject), ("scope", Self::Scope)];
}

/// What moves the side memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Optim {
    /// Plain gradient descent, as published.
    Sgd,
    /// Adam, new for each edit.
    Adam,
}

/// Settings of WISE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WiseSettings {
    /// The block whose MLP has the side memory.
    pub layer: usize,
    /// Share of the side memory's weights that a shard may move (ρ).
    pub mask_ratio: f64,
    /// Learning rate.
    pub edit_lr: f64,
    /// Largest number of steps an edit.
    pub n_iter: usize,
    /// What moves the side memory.
    pub optim: Optim,
    /// α: activations out of scope are pushed below this.
    pub alpha: f64,
    /// β: activations in scope are pushed above this.
    pub beta: f64,
    /// γ: and this far above those out of scope.
    pub gamma: f64,
    /// The routing threshold is this share of the smallest activation in scope.
    pub act_ratio: f64,
    /// How a prompt's activations become one number.
    pub pool: Pool,
    /// Which tokens teach.
    pub focus: Focus,
    /// Edits a shard.
    pub save_freq: usize,
    /// Edits a merged memory: a multiple of `save_freq`.
    pub merge_freq: usize,
    /// How shards are merged.
    pub merge_alg: MergeAlg,
    /// Share of weights that TIES and DARE keep.
    pub density: f64,
    /// Several memories, one chosen a prompt; `false` merges all full shards into one.
    pub retrieve: bool,
    /// Earlier edits that are repeated beside a new one.
    pub replay: usize,
    /// Embedded names of strangers in whose place the edit's own sentence is out of scope: what a sentence says of
    /// everybody must not decide a route.
    pub strangers: usize,
    /// Bound on how far any weight moves (L∞), if any.
    pub norm_constraint: Option<f64>,
    /// Decay of the side memory's weights, inside the mask.
    pub weight_decay: f64,
    /// Whether embedded neutral texts serve as locality prompts beside the facts' own.
    pub neutral: bool,
    /// Edits that the memory takes.
    pub capacity: usize,
    /// Seed of masks and replays.
    pub seed: u64,
    /// The reference code's arithmetic, its defects included; for comparison only.
    pub reference: bool,
}

/// Names of the hyper-parameters.
pub const KNOWN: [&str; 24] = [
    "layers",
    "mask_ratio",
    "edit_lr",
    "n_iter",
    "optim",
    "alpha",
    "beta",
    "gamma",
    "act_ratio",
    "pool",
    "focus",
    "save_freq",
    "merge_freq",
    "merge_alg",
    "densities",
    "retrieve",
    "replay",
    "strangers",
    "norm_constraint",
    "weight_decay",
    "neutral",
    "capacity",
    "seed",
    "reference",
];

impl WiseSettings {
    /// Defaults at a block: what was found best on small models (`docs/lifelong.md`); `PAPER.md` has the published ones.
    #[must_use]
    pub fn new(layer: usize) -> Self {
        Self {
            layer,
            mask_ratio: 0.1,
            edit_lr: 0.3,
            n_iter: 25,
            optim: Optim::Sgd,
            alpha: 4.0,
            beta: 25.0,
            gamma: 15.0,
            act_ratio: 0.6,
            pool: Pool::Max,
            focus: Focus::Scope,
            save_freq: 1,
            merge_freq: 1,
            merge_alg: MergeAlg::Ties,
            density: 0.53,
            retrieve: true,
            replay: 8,
            strangers: 8,
            norm_constraint: Some(1.0),
            weight_decay: 1e-5,
            neutral: false,
            capacity: 10_000,
            seed: 0,
            reference: false,
        }
    }

    /// Sets one hyper-parameter.
    ///
    /// # Errors
    /// [`EditError::Setting`] when it is unknown or out of range.
    pub fn set(&mut self, setting: &Setting) -> Result<(), EditError> {
        let positive = f64::MIN_POSITIVE;
        match (setting.key.as_str(), setting.value.as_str()) {
            ("layers" | "layer", _) => self.layer = setting.one_layer()?,
            ("mask_ratio", _) => self.mask_ratio = setting.share()?,
            ("edit_lr", _) => self.edit_lr = setting.float(positive)?,
            ("n_iter", _) => self.n_iter = setting.count()?,
            ("optim", "sgd") => self.optim = Optim::Sgd,
            ("optim", "adam") => self.optim = Optim::Adam,
            ("optim", _) => return Err(setting.refuse("sgd or adam is expected")),
            ("alpha", _) => self.alpha = setting.float(0.0)?,
            ("beta", _) => self.beta = setting.float(0.0)?,
            ("gamma", _) => self.gamma = setting.float(0.0)?,
            ("act_ratio", _) => self.act_ratio = setting.share()?,
            ("pool", "mean") => self.pool = Pool::Mean,
            ("pool", "max") => self.pool = Pool::Max,
            ("pool", _) => return Err(setting.refuse("mean or max is expected")),
            ("focus", name) => {
                let found = Focus::NAMES.into_iter().find(|(known, _)| *known == name);
                self.focus = found.ok_or_else(|| setting.refuse("prompt, subject or scope is expected"))?.1;
            }
            ("save_freq", _) => {
                self.save_freq = setting.count()?;
                // A memory is at least one shard; who says no more than this wants no merging.
                self.merge_freq = self.merge_freq.max(self.save_freq);
            }
            ("merge_freq", _) => self.merge_freq = setting.count()?,
            ("merge_alg", name) => {
                self.merge_alg = MergeAlg::parse(name)
                    .ok_or_else(|| setting.refuse("ties, linear, slerp or dare_ties is expected"))?;
            }
            ("densities" | "density", _) => self.density = setting.share()?,
            ("retrieve", _) => self.retrieve = setting.flag()?,
            ("replay", _) => {
                self.replay = usize::try_from(setting.whole()?).unwrap_or(usize::MAX);
            }
            ("strangers", _) => {
                self.strangers = usize::try_from(setting.whole()?).unwrap_or(usize::MAX);
            }
            ("norm_constraint", "false") => self.norm_constraint = None,
            ("norm_constraint", _) => self.norm_constraint = Some(setting.float(positive)?),
            ("weight_decay", _) => self.weight_decay = setting.float(0.0)?,
            ("neutral", _) => self.neutral = setting.flag()?,
            ("capacity", _) => self.capacity = setting.count()?,
            ("seed", _) => self.seed = setting.whole()?,
            ("reference", _) => self.reference = setting.flag()?,
            _ => return Err(setting.unknown("wise", &KNOWN)),
        }
        Ok(())
    }

    /// Checks what no setting can check alone.
    ///
    /// # Errors
    /// [`EditError::Setting`].
    pub fn check(&self) -> Result<(), EditError> {
        if self.merge_freq.is_multiple_of(self.save_freq) {
            return Ok(());
        }
        Err(EditError::Setting {
            key: "merge_freq".to_owned(),
            value: self.merge_freq.to_string(),
            reason: format!("a multiple of save_freq = {} is expected", self.save_freq),
        })
    }

    pub(super) fn named(&self) -> BTreeMap<String, String> {
        let bound = self.norm_constraint.map_or("false".to_owned(), |bound| bound.to_string());
        let focus = Focus::NAMES.iter().find(|(_, focus)| *focus == self.focus).map_or("", |(name, _)| *name);
        named([
            ("layers", self.layer.to_string()),
            ("mask_ratio", self.mask_ratio.to_string()),
            ("edit_lr", self.edit_lr.to_string()),
            ("n_iter", self.n_iter.to_string()),
            ("optim", if self.optim == Optim::Sgd { "sgd" } else { "adam" }.to_owned()),
            ("alpha", self.alpha.to_string()),
            ("beta", self.beta.to_string()),
            ("gamma", self.gamma.to_string()),
            ("act_ratio", self.act_ratio.to_string()),
            ("pool", if self.pool == Pool::Mean { "mean" } else { "max" }.to_owned()),
            ("focus", focus.to_owned()),
            ("save_freq", self.save_freq.to_string()),
            ("merge_freq", self.merge_freq.to_string()),
            ("merge_alg", self.merge_alg.name().to_owned()),
            ("densities", self.density.to_string()),
            ("retrieve", self.retrieve.to_string()),
            ("replay", self.replay.to_string()),
            ("strangers", self.strangers.to_string()),
            ("norm_constraint", bound),
            ("weight_decay", self.weight_decay.to_string()),
            ("neutral", self.neutral.to_string()),
            ("capacity", self.capacity.to_string()),
            ("seed", self.seed.to_string()),
            ("reference", self.reference.to_string()),
        ])
    }
}
