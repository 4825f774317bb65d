//! The way down that every search takes: one tensor, Adam, a loss that has to stay a number.

use burn::optim::{Adam, AdamConfig, AdamState, Optimizer};
use burn::tensor::Tensor;
use recant_backend::host;
use recant_edit::{EditError, LossStep, Watch, Work};

/// A tensor that is searched, and what Adam remembers of its way.
pub(crate) struct Descent<const D: usize> {
    value: Tensor<D>,
    adam: Adam,
    state: Option<AdamState<D>>,
}

/// When a descent ends, and how fast it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Largest number of steps.
    pub(crate) steps: usize,
    /// Learning rate.
    pub(crate) rate: f64,
    /// It ends where the loss is below this.
    pub(crate) enough: f32,
}

impl<const D: usize> Descent<D> {
    pub(crate) fn from(value: Tensor<D>) -> Self {
        Self { value, adam: AdamConfig::new().with_epsilon(1e-8).build(), state: None }
    }

    pub(crate) fn value(&self) -> &Tensor<D> {
        &self.value
    }

    /// Puts it elsewhere; what Adam remembers stays.
    pub(crate) fn put(&mut self, value: Tensor<D>) {
        self.value = value;
    }

    /// The tensor as one that a loss can be differentiated by.
    pub(crate) fn leaf(&self) -> Tensor<D> {
        self.value.clone().autodiff().require_grad()
    }

    /// One step of Adam.
    pub(crate) fn step(&mut self, rate: f64, gradient: Tensor<D>) {
        let (moved, state) = self.adam.step(rate, self.value.clone(), gradient, self.state.take());
        (self.value, self.state) = (moved, state);
    }

    /// The loss where the tensor is; a step down from there if it is not below `pace.enough`.
    ///
    /// # Errors
    /// [`EditError::NonFinite`] when the loss is no number.
    pub(crate) fn down(
        &mut self,
        step: usize,
        pace: Pace,
        loss: impl FnOnce(Tensor<D>) -> Tensor<1>,
    ) -> Result<f32, EditError> {
        let leaf = self.leaf();
        let loss = loss(leaf.clone());
        let now = number(step, &loss)?;
        if now >= pace.enough
            && let Some(gradient) = leaf.grad(&loss.backward())
        {
            self.step(pace.rate, gradient);
        }
        Ok(now)
    }

    /// Goes down until the loss is small or the steps are taken; `bounded` is where a step may lead. The tensor and the
    /// loss at each step.
    ///
    /// # Errors
    /// [`EditError::NonFinite`], [`EditError::Cancelled`].
    pub(crate) fn run(
        mut self,
        pace: Pace,
        watch: &dyn Watch,
        bounded: impl Fn(Tensor<D>) -> Tensor<D>,
        loss: impl Fn(Tensor<D>) -> Tensor<1>,
    ) -> Result<(Tensor<D>, Vec<f32>), EditError> {
        let mut losses = Vec::new();
        for step in 0..pace.steps {
            watch.tell(Work::Search, step, pace.steps)?;
            let now = self.down(step, pace, &loss)?;
            losses.push(now);
            if now < pace.enough {
                break;
            }
            self.value = bounded(self.value);
        }
        Ok((self.value, losses))
    }
}

/// A loss on the host.
///
/// # Errors
/// [`EditError::NonFinite`] when it is no number.
pub(crate) fn number(step: usize, loss: &Tensor<1>) -> Result<f32, EditError> {
    match host(loss)[..] {
        [loss] if loss.is_finite() => Ok(loss),
        [loss, ..] => Err(EditError::NonFinite { step, loss }),
        [] => Err(EditError::NonFinite { step, loss: f32::NAN }),
    }
}

/// Losses that have no parts, as a trace tells them.
pub(crate) fn of_one_part(losses: &[f32]) -> Vec<LossStep> {
    losses.iter().map(|&loss| [loss, loss, 0.0, 0.0]).collect()
}
