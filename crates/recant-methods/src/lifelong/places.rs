//! The hook of memories that answer at single tokens of the prompt.

use burn::tensor::Tensor;
use recant_backend::{Device, upload_bools, upload_f32};
use recant_core::{Point, Site};
use recant_model::{Flow, Hook, gather_rows};

/// Which tokens of a prompt are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Its last one.
    Last,
    /// All of them.
    All,
}

/// What happens to the MLP's output at a token that is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The value stands in its place.
    Replace,
    /// The value is added to it.
    Add,
}

/// A table that answers keys: for each key `[keys, key width]` the value that belongs to it, if any.
pub(crate) trait Table: Send + Sync {
    fn answer(&self, keys: Tensor<2>) -> Vec<Option<&[f32]>>;
}

/// Looks prompt tokens up in the first pass, at the MLP's key (or its input, where a mixture of experts has no key), and
/// answers at its output. Later passes are left alone: what was answered lives on in the keys and values that attention
/// remembers.
pub(crate) struct PlaceHook<'a> {
    pub(crate) table: &'a dyn Table,
    pub(crate) layer: u16,
    /// What of the block is looked up.
    pub(crate) key: Point,
    pub(crate) places: Where,
    pub(crate) answer: Answer,
    pub(crate) device: &'a Device,
    pub(crate) prompts: Vec<usize>,
    pub(crate) state: Progress<'a>,
}

/// How far a sequence has come.
pub(crate) enum Progress<'a> {
    /// The prompt has not been read.
    Fresh,
    /// The prompt's keys were looked up: `(row, token, value)`.
    Decided(Vec<(usize, usize, &'a [f32])>),
    /// The prompt has been answered.
    Done,
}

impl<'a> PlaceHook<'a> {
    fn decide(&self, keys: &Tensor<3>) -> Vec<(usize, usize, &'a [f32])> {
        let [_, tokens, _] = keys.dims();
        let of_row = |(row, &prompt): (usize, &usize)| {
            let end = prompt.min(tokens);
            let first = if self.places == Where::Last { end.saturating_sub(1) } else { 0 };
            (first..end).map(move |token| (row, token))
        };
        let places: Vec<(usize, usize)> = self.prompts.iter().enumerate().flat_map(of_row).collect();
        let found = self.table.answer(gather_rows(keys.clone(), &places, self.device));
        let found = places.into_iter().zip(found);
        found.filter_map(|((row, token), value)| Some((row, token, value?))).collect()
    }

    fn apply(&self, x: Tensor<3>, places: &[(usize, usize, &[f32])]) -> Tensor<3> {
        if places.is_empty() {
            return x;
        }
        let [rows, tokens, width] = x.dims();
        let mut mask = vec![false; rows * tokens];
        let mut values = vec![0.0; rows * tokens * width];
        for &(row, token, value) in places {
            let at = row * tokens + token;
            mask[at] = true;
            values[at * width..(at + 1) * width].copy_from_slice(value);
        }
        let values = upload_f32(values, [rows, tokens, width], self.device);
        let mask = upload_bools(mask, [rows, tokens, 1], self.device).expand([rows, tokens, width]);
        match self.answer {
            Answer::Replace => x.mask_where(mask, values),
            // By mask, not by adding zeros: −0 + 0 is +0, and an untouched token keeps its bits.
            Answer::Add => x.clone().mask_where(mask, x + values),
        }
    }
}

impl Hook for PlaceHook<'_> {
    fn wants(&self, site: Site) -> bool {
        let mine = [self.key, Point::MlpOut].map(|point| Site::Block(self.layer, point));
        mine.contains(&site) && !matches!(self.state, Progress::Done)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        if site == Site::Block(self.layer, self.key) {
            self.state = Progress::Decided(self.decide(&x));
            return Flow::Continue(x);
        }
        match std::mem::replace(&mut self.state, Progress::Done) {
            Progress::Decided(places) => Flow::Continue(self.apply(x, &places)),
            _ => Flow::Continue(x),
        }
    }
}
