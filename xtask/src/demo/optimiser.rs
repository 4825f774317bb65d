//! AdamW over a model's named parameters, with a state that can be written down.

use std::collections::BTreeMap;

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Gradients, Tensor};
use recant::backend::{Device, host, upload_f32};

/// A parameter of rank `D`, its moments and its learning state.
struct Slot<const D: usize> {
    value: Tensor<D>,
    state: Option<AdamWState<D>>,
}

/// Numbers of one parameter: value and both moments, each in row order.
pub(crate) struct Snapshot {
    pub(crate) shape: Vec<usize>,
    pub(crate) value: Vec<f32>,
    pub(crate) moments: Option<[Vec<f32>; 2]>,
}

/// All parameters under optimisation.
pub(crate) struct Parameters {
    adam: AdamW,
    vectors: BTreeMap<String, Slot<1>>,
    matrices: BTreeMap<String, Slot<2>>,
}

/// One step's parameters as leaves of a fresh graph.
pub(crate) struct Leaves {
    pub(crate) vectors: BTreeMap<String, Tensor<1>>,
    pub(crate) matrices: BTreeMap<String, Tensor<2>>,
}

impl Parameters {
    pub(crate) fn new(weight_decay: f32) -> Self {
        let adam = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(weight_decay).build();
        Self { adam, vectors: BTreeMap::new(), matrices: BTreeMap::new() }
    }

    /// Adds a parameter; `time` is the number of steps that its moments have seen.
    pub(crate) fn insert(&mut self, name: String, from: Snapshot, time: usize, device: &Device) {
        match from.shape[..] {
            [len] => drop(self.vectors.insert(name, slot(from, [len], time, device))),
            [rows, cols] => drop(self.matrices.insert(name, slot(from, [rows, cols], time, device))),
            _ => {}
        }
    }

    pub(crate) fn leaves(&self) -> Leaves {
        fn leaf<const D: usize>((name, slot): (&String, &Slot<D>)) -> (String, Tensor<D>) {
            (name.clone(), slot.value.clone().autodiff().require_grad())
        }
        Leaves {
            vectors: self.vectors.iter().map(leaf).collect(),
            matrices: self.matrices.iter().map(leaf).collect(),
        }
    }

    /// One AdamW step, the gradients scaled down to a joint norm of at most `max_norm`.
    pub(crate) fn step(&mut self, leaves: &Leaves, grads: &Gradients, learning_rate: f64, max_norm: f64) {
        let square = |norm: Option<Tensor<1>>| norm.map_or(0.0, |norm| f64::from(host(&norm)[0]));
        let vectors = leaves.vectors.values().map(|leaf| square(leaf.grad(grads).map(square_sum)));
        let matrices = leaves.matrices.values().map(|leaf| square(leaf.grad(grads).map(square_sum)));
        let norm = vectors.chain(matrices).sum::<f64>().sqrt();
        let scale = (max_norm / norm.max(1e-12)).min(1.0);
        for (name, leaf) in &leaves.vectors {
            if let (Some(slot), Some(grad)) = (self.vectors.get_mut(name), leaf.grad(grads)) {
                step_one(&self.adam, slot, grad * scale, learning_rate);
            }
        }
        for (name, leaf) in &leaves.matrices {
            if let (Some(slot), Some(grad)) = (self.matrices.get_mut(name), leaf.grad(grads)) {
                step_one(&self.adam, slot, grad * scale, learning_rate);
            }
        }
    }

    pub(crate) fn snapshots(&self) -> Vec<(String, Snapshot)> {
        let vectors = self.vectors.iter().map(|(name, slot)| (name.clone(), snapshot(slot)));
        let matrices = self.matrices.iter().map(|(name, slot)| (name.clone(), snapshot(slot)));
        vectors.chain(matrices).collect()
    }
}

fn square_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    (x.clone() * x).sum()
}

fn step_one<const D: usize>(adam: &AdamW, slot: &mut Slot<D>, grad: Tensor<D>, learning_rate: f64) {
    let (value, state) = adam.step(learning_rate, slot.value.clone(), grad, slot.state.take());
    (slot.value, slot.state) = (value, state);
}

fn slot<const D: usize>(from: Snapshot, shape: [usize; D], time: usize, device: &Device) -> Slot<D> {
    let moments = from.moments.map(|[first, second]| {
        let moment = |numbers| upload_f32(numbers, shape, device);
        AdamWState::new(AdaptiveMomentumState::new(time, moment(first), moment(second)))
    });
    Slot { value: upload_f32(from.value, shape, device), state: moments }
}

fn snapshot<const D: usize>(slot: &Slot<D>) -> Snapshot {
    let moments =
        slot.state.as_ref().map(|state| [&state.momentum.moment_1, &state.momentum.moment_2].map(host));
    Snapshot { shape: slot.value.dims().to_vec(), value: host(&slot.value), moments }
}
