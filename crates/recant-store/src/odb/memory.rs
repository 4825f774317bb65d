//! What was read and verified a moment ago, for verbs that read much of a store: a matrix that follows from
//! the one before costs one addition then, not all of them again. Objects never change, so nothing in here can
//! be out of date.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use recant_core::{HostTensor, ObjectId, WeightPatch};

use crate::object::Manifest;

/// An object in memory.
#[derive(Clone)]
pub(super) enum Kept {
    Tensor(HostTensor),
    Manifest(Arc<Manifest>),
    Patch(Arc<WeightPatch>),
}

/// Objects up to a number of bytes; the oldest go first.
pub(super) struct Memory {
    state: Mutex<State>,
    budget: usize,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<ObjectId, Kept>,
    order: VecDeque<(ObjectId, usize)>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(budget: usize) -> Self {
        Self { state: Mutex::default(), budget }
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.get(&id).cloned()
    }

    pub(super) fn keep(&self, id: ObjectId, object: Kept, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > self.budget || state.kept.insert(id, object).is_some() {
            return;
        }
        state.order.push_back((id, bytes));
        state.bytes += bytes;
        while state.bytes > self.budget {
            let Some((oldest, bytes)) = state.order.pop_front() else { break };
            state.kept.remove(&oldest);
            state.bytes -= bytes;
        }
    }
}
