//! Routing: which memory a sequence is answered from, decided once from its prompt.

use burn::tensor::Tensor;
use recant_backend::Device;
use recant_core::{Point, Site};
use recant_model::{Adapter, Flow, Hook, replace_rows};

use super::settings::WiseSettings;
use super::side::{Sigma, activations};
use crate::region::shift;

/// One side memory, ready to answer.
#[derive(Debug, Clone)]
pub(super) struct SideMemory {
    /// Δ `[d_model, d_mlp]`.
    pub(super) delta: Tensor<2>,
    /// Prompts with an activation above this are answered from here.
    pub(super) threshold: f64,
}

/// The side memories of a model.
pub(super) struct WiseAdapter {
    pub(super) settings: WiseSettings,
    pub(super) memories: Vec<SideMemory>,
    pub(super) sigma: Sigma,
    pub(super) layer: u16,
    pub(super) device: Device,
}

struct WiseHook<'a> {
    adapter: &'a WiseAdapter,
    prompts: Vec<usize>,
    routes: Option<Vec<Option<usize>>>,
    keys: Option<Tensor<3>>,
}

impl Adapter for WiseAdapter {
    fn begin(&self, prompts: &[usize]) -> Box<dyn Hook + '_> {
        Box::new(WiseHook { adapter: self, prompts: prompts.to_vec(), routes: None, keys: None })
    }
}

impl WiseAdapter {
    /// For each row the memory that answers it: of those whose threshold it passes, the one that it passes by
    /// the largest factor; the main memory (`None`) when there is none.
    pub(super) fn route(
        &self,
        keys: &Tensor<3>,
        outputs: &Tensor<3>,
        prompts: &[usize],
    ) -> Vec<Option<usize>> {
        let mut best: Vec<(f64, Option<usize>)> = vec![(1.0, None); prompts.len()];
        for (i, memory) in self.memories.iter().enumerate() {
            let shift = shift(keys, &memory.delta);
            let found = activations(&self.settings, shift, outputs.clone(), self.sigma, prompts);
            for (held, activation) in best.iter_mut().zip(found) {
                let factor = activation / memory.threshold;
                if factor > held.0 {
                    *held = (factor, Some(i));
                }
            }
        }
        best.into_iter().map(|(_, memory)| memory).collect()
    }
}

impl Hook for WiseHook<'_> {
    fn wants(&self, site: Site) -> bool {
        let undecided = self.routes.as_ref().is_none_or(|routes| routes.iter().any(Option::is_some));
        let layer = self.adapter.layer;
        undecided && [Point::MlpKey, Point::MlpOut].into_iter().any(|point| site == Site::Block(layer, point))
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        if matches!(site, Site::Block(_, Point::MlpKey)) {
            self.keys = Some(x.clone());
            return Flow::Continue(x);
        }
        let Some(keys) = self.keys.take() else { return Flow::Continue(x) };
        let adapter = self.adapter;
        let routes = self.routes.get_or_insert_with(|| adapter.route(&keys, &x, &self.prompts));
        let mut y = x;
        for (i, memory) in adapter.memories.iter().enumerate() {
            let rows: Vec<bool> = routes.iter().map(|route| *route == Some(i)).collect();
            if rows.contains(&true) {
                let moved = y.clone() + shift(&keys, &memory.delta);
                y = replace_rows(y, moved, &rows, &adapter.device);
            }
        }
        Flow::Continue(y)
    }
}
