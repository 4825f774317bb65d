//! WISE's hyper-parameters, named as in the reference code.

use recant_edit::EditError;

use super::merge::MergeAlg;
use crate::kind::Kind;
use crate::settings::{Param, Setting, Tunable, choice, field, norm_constraint, one_layer, param};

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

impl Pool {
    const NAMES: [(&'static str, Self); 2] = [("mean", Self::Mean), ("max", Self::Max)];
}

impl Optim {
    const NAMES: [(&'static str, Self); 2] = [("sgd", Self::Sgd), ("adam", Self::Adam)];
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
    /// Whether embedded neutral texts serve as locality prompts beside the facts' own. A fact that has none takes them in
    /// any case, but in reference mode.
    pub neutral: bool,
    /// Edits that the memory takes.
    pub capacity: usize,
    /// Seed of masks and replays.
    pub seed: u64,
    /// The reference code's arithmetic, its defects included; for comparison only.
    pub reference: bool,
}

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
        self.tune("wise", setting)
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
}

impl Tunable for WiseSettings {
    fn params() -> Vec<Param<Self>> {
        [Self::learned(), Self::routed(), Self::kept()].into_iter().flatten().collect()
    }
}

impl WiseSettings {
    /// How an edit is learned.
    fn learned() -> Vec<Param<Self>> {
        vec![
            one_layer(|s: &mut Self| &mut s.layer, |s| s.layer),
            field!(
                "mask_ratio",
                "ρ: share of the side memory's weights that a shard may move",
                mask_ratio,
                share()
            ),
            field!("edit_lr", "learning rate", edit_lr, float(f64::MIN_POSITIVE)),
            field!("n_iter", "largest number of steps for an edit", n_iter, count()),
            choice(
                "optim",
                "what moves the side memory",
                &Optim::NAMES,
                |s: &Self| s.optim,
                |s| &mut s.optim,
            ),
            norm_constraint(|s: &Self| s.norm_constraint, |s| &mut s.norm_constraint),
            field!("weight_decay", "decay of the side memory's weights", weight_decay, float(0.0)),
            field!("replay", "earlier edits that are repeated beside a new one", replay, number()),
            field!("seed", "seed of masks and replays", seed, whole()),
            field!("reference", "the reference code's arithmetic, its defects included", reference, flag()),
        ]
    }

    /// Which prompts the side memory answers.
    fn routed() -> Vec<Param<Self>> {
        vec![
            field!("alpha", "α: activations out of scope are pushed below this", alpha, float(0.0)),
            field!("beta", "β: activations in scope are pushed above this", beta, float(0.0)),
            field!("gamma", "γ: and this far above those out of scope", gamma, float(0.0)),
            field!(
                "act_ratio",
                "the threshold's share of the smallest activation in scope",
                act_ratio,
                share()
            ),
            choice("pool", "a prompt's activations as one", &Pool::NAMES, |s: &Self| s.pool, |s| &mut s.pool),
            choice("focus", "which tokens teach", &Focus::NAMES, |s: &Self| s.focus, |s| &mut s.focus),
            field!("strangers", "names of strangers that are put out of scope", strangers, number()),
            field!(
                "neutral",
                "embedded neutral texts serve as locality prompts also beside a fact's own",
                neutral,
                flag()
            ),
        ]
    }

    /// How edits are kept.
    fn kept() -> Vec<Param<Self>> {
        let density = field!("densities", "share of weights that TIES and DARE keep", density, share());
        vec![
            param(
                "save_freq",
                Kind::count(),
                "edits in a shard",
                |s: &Self| s.save_freq.to_string(),
                |s: &mut Self, set| {
                    s.save_freq = set.count()?;
                    // A memory is at least one shard; who says no more than this wants no merging.
                    s.merge_freq = s.merge_freq.max(s.save_freq);
                    Ok(())
                },
            ),
            field!("merge_freq", "edits in a merged memory", merge_freq, count()),
            choice(
                "merge_alg",
                "how shards are merged",
                &MergeAlg::NAMES,
                |s: &Self| s.merge_alg,
                |s| &mut s.merge_alg,
            ),
            density.alias(&["density"]),
            field!("retrieve", "several memories, one chosen for a prompt", retrieve, flag()),
            field!("capacity", "edits that the memory takes", capacity, count()),
        ]
    }
}
