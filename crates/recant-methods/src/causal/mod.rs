//! Causal tracing: which states of a forward pass carry a fact.
//!
//! Meng et al., "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262), section 2. `PAPER.md` beside this
//! file maps every symbol. A *clean* run answers the prompt. A *corrupted* one does so with its subject made
//! unrecognisable. A *restored* run is corrupted too, but for one token's state in one block, or in a window of blocks,
//! which is that of the clean run. What this gives the answer back is the indirect effect:
//!
//! ```math
//! \mathrm{IE}_{i,l} = P_{*,\ \mathrm{clean}\ h_i^{(l)}}[o] - P_*[o]
//! ```

mod corrupt;
mod roles;
mod runs;

use std::ops::{ControlFlow, Range};

use recant_core::is_blank;
use recant_edit::{Fact, Request, RequestError};
use recant_model::{InputError, Model, TokenizerError};
use recant_records::FactError;
use serde::Serialize;

pub use roles::{CausalAverage, Role};

use crate::lookup::subject_tokens;
use corrupt::Corrupt;
use runs::{Clean, Corrupted};

/// What is traced: a prompt about a subject, and the answer whose probability is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who or what is asked about.
    pub subject: String,
    /// The prompt with `{}` where the subject goes.
    pub prompt: String,
    /// The answer, without a leading space; `None`: the model's most probable next token.
    pub target: Option<String>,
}

impl Question {
    /// A question whose prompt has a `{}` slot, or names the subject exactly once; see [`Fact::new`].
    ///
    /// # Errors
    /// [`FactError`] when a part is empty, or it is not clear where in the prompt the subject stands.
    pub fn new(subject: &str, prompt: &str, target: Option<&str>) -> Result<Self, FactError> {
        let (subject, prompt) = Fact::slotted(subject, prompt.trim_end_matches(is_blank))?;
        match target.map(str::trim) {
            Some("") => Err(FactError::EmptyTarget),
            target => Ok(Self { subject, prompt, target: target.map(str::to_owned) }),
        }
    }

    /// The prompt with the subject in its slot.
    #[must_use]
    pub fn text(&self) -> String {
        self.prompt.replacen("{}", &self.subject, 1)
    }

    /// The target's tokens as they follow the prompt, where there is a target.
    fn target_ids(&self, model: &Model) -> Result<Option<Vec<u32>>, CausalError> {
        let Some(target) = &self.target else { return Ok(None) };
        let fact = Fact::new(&*self.subject, &*self.prompt, &**target)?;
        Ok(Some(Request::new(model, &fact)?.target))
    }
}

/// How a subject is made unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Corruption {
    /// Gaussian noise on the embeddings of its tokens, drawn several times; probabilities are means over the draws.
    Noise {
        /// Standard deviation, in standard deviations of all numbers of the model's table of embeddings.
        factor: f64,
        /// How often it is drawn.
        samples: usize,
        /// Seed.
        seed: u64,
    },
    /// Each embedding is replaced by the mean of the table.
    Mean,
}

impl Corruption {
    /// The paper's: noise of three standard deviations, ten times.
    #[must_use]
    pub fn noise(seed: u64) -> Self {
        Self::Noise { factor: 3.0, samples: 10, seed }
    }

    /// Runs that are computed side by side.
    fn samples(self) -> usize {
        match self {
            Self::Noise { samples, .. } => samples,
            Self::Mean => 1,
        }
    }
}

/// How to trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CausalSettings {
    /// How the subject is corrupted.
    pub corruption: Corruption,
    /// Blocks around a layer whose MLP or attention outputs are restored together; `None`: [`default_window`].
    pub window: Option<usize>,
}

/// The paper restores 10 of GPT-2 XL's 48 blocks together; the same share of another model's, at least one.
#[must_use]
pub fn default_window(layers: usize) -> usize {
    ((10 * layers + 24) / 48).max(1)
}

/// What of a block is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// The residual stream that leaves the block.
    State,
    /// What the MLPs of a window of blocks add to it.
    Mlp,
    /// What attention adds to it in a window of blocks.
    Attention,
}

impl Restored {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::State, Self::Mlp, Self::Attention];

    /// What it is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "states",
            Self::Mlp => "mlp",
            Self::Attention => "attention",
        }
    }
}

/// Something by what is restored.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ByRestored<T> {
    /// Of the residual stream.
    pub states: T,
    /// Of the MLPs.
    pub mlp: T,
    /// Of attention.
    pub attention: T,
}

impl<T> ByRestored<T> {
    /// That of one.
    pub fn of(&self, restored: Restored) -> &T {
        match restored {
            Restored::State => &self.states,
            Restored::Mlp => &self.mlp,
            Restored::Attention => &self.attention,
        }
    }

    /// Made one after the other.
    fn try_make<E>(mut make: impl FnMut(Restored) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            states: make(Restored::State)?,
            mlp: make(Restored::Mlp)?,
            attention: make(Restored::Attention)?,
        })
    }
}

/// Indirect effects `[position][layer]`: differences of probabilities, in -1..=1.
pub type Effects = Vec<Vec<f64>>;

/// What a causal trace found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CausalTrace {
    /// The prompt's tokens as text.
    pub tokens: Vec<String>,
    /// Which of them are the subject's.
    pub subject: Range<usize>,
    /// The answer whose probability is followed.
    pub target: String,
    /// Blocks of the model.
    pub layers: usize,
    /// Blocks of a window.
    pub window: usize,
    /// Its probability in the clean run: of all its tokens, each behind those before it.
    pub clean: f64,
    /// The same with the subject corrupted, mean over the samples.
    pub corrupted: f64,
    /// What restoring gives back, for every token of the prompt. Before the subject nothing is corrupted, and the effects
    /// are 0.
    pub effects: ByRestored<Effects>,
}

impl CausalTrace {
    /// The layer with the largest effect at a position, the lowest among equals, and that effect.
    ///
    /// `None` when there is no such position.
    #[must_use]
    pub fn peak(&self, restored: Restored, position: usize) -> Option<(usize, f64)> {
        peak(self.effects.of(restored).get(position)?)
    }
}

/// The first of the largest numbers, with its place.
fn peak(effects: &[f64]) -> Option<(usize, f64)> {
    let numbers = effects.iter().copied().enumerate();
    numbers.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// A fact cannot be traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CausalError {
    /// Whoever watched broke it off.
    #[error("the trace was broken off")]
    Cancelled,
    /// Subject, prompt and target are no fact.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// It cannot be put to the model.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The tokens cannot be fed to the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An answer cannot be shown.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model carries adapters, which a trace of its blocks would not see.
    #[error("the model carries {count} adapters beside its weights; a trace would not see them")]
    Adapters {
        /// How many.
        count: usize,
    },
    /// Noise of no size, or drawn not once.
    #[error("noise of {factor} standard deviations, drawn {samples} times, corrupts nothing")]
    Noise {
        /// Standard deviations.
        factor: f64,
        /// How often it is drawn.
        samples: usize,
    },
    /// A window of no block, or of more than there are.
    #[error("a window has 1 to {layers} blocks, not {window}")]
    Window {
        /// Blocks of the window.
        window: usize,
        /// Blocks of the model.
        layers: usize,
    },
    /// A probability is NaN.
    #[error("the model's numbers for {text:?} are not finite")]
    NonFinite {
        /// The prompt.
        text: String,
    },
}

/// Traces a fact through a model, which is only read. The same question and settings give the same numbers.
///
/// `on_pass` hears how many restored runs are done, of how many, and may break off.
///
/// # Errors
/// [`CausalError`].
pub fn trace(
    model: &Model,
    question: &Question,
    settings: CausalSettings,
    on_pass: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<CausalTrace, CausalError> {
    let window = check(model, settings)?;
    let non_finite = || CausalError::NonFinite { text: question.text() };
    let (prompt, subject) = subject_tokens(model.tokenizer(), &question.prompt, &question.subject)?;
    let clean = Clean::run(model, &prompt, question.target_ids(model)?)?.ok_or_else(non_finite)?;
    let target = match &question.target {
        Some(said) => said.clone(),
        None => model.tokenizer().token_text(clean.target[0])?.trim().to_owned(),
    };
    let corrupt = Corrupt::new(model, settings.corruption, &clean.ids, &subject)?;
    let corrupted = Corrupted::run(model, &clean, &corrupt).ok_or_else(non_finite)?;
    let (layers, positions) = (model.spec().layers, subject.start..prompt.len());
    let (mut done, of) = (0, Restored::ALL.len() * positions.len() * layers);
    let mut told = |more: usize| {
        done += more;
        if on_pass(done, of).is_break() { Err(CausalError::Cancelled) } else { Ok(()) }
    };
    told(0)?;
    let mut effects = ByRestored::try_make(|_| Ok::<_, CausalError>(vec![vec![0.0; layers]; prompt.len()]))?;
    for position in positions {
        let tail = corrupted.tail(position);
        for layer in 0..layers {
            let state = tail.state(model, &clean, layer).ok_or_else(non_finite)?;
            effects.states[position][layer] = state - corrupted.probability;
            told(1)?;
            let [mlp, attention] =
                tail.windows(model, &clean, around(layer, window, layers)).ok_or_else(non_finite)?;
            effects.mlp[position][layer] = mlp - corrupted.probability;
            effects.attention[position][layer] = attention - corrupted.probability;
            told(2)?;
        }
    }
    let tokens = prompt.iter().map(|&id| model.tokenizer().token_text(id)).collect::<Result<_, _>>()?;
    Ok(CausalTrace {
        tokens,
        subject,
        target,
        layers,
        window,
        clean: clean.probability,
        corrupted: corrupted.probability,
        effects,
    })
}

/// The window, of settings that can be used.
fn check(model: &Model, settings: CausalSettings) -> Result<usize, CausalError> {
    if !model.adapters().is_empty() {
        return Err(CausalError::Adapters { count: model.adapters().len() });
    }
    let layers = model.spec().layers;
    let window = settings.window.unwrap_or_else(|| default_window(layers));
    if window == 0 || window > layers {
        return Err(CausalError::Window { window, layers });
    }
    match settings.corruption {
        Corruption::Noise { factor, samples, .. } if samples == 0 || !factor.is_finite() || factor <= 0.0 => {
            Err(CausalError::Noise { factor, samples })
        }
        _ => Ok(window),
    }
}

/// The blocks of a window around a layer, cut off at both ends of the model; of an even number one more below the middle.
fn around(layer: usize, window: usize, layers: usize) -> Range<usize> {
    layer.saturating_sub(window / 2)..(layer + window.div_ceil(2)).min(layers)
}

#[cfg(test)]
mod tests;
