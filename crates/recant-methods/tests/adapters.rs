//! Methods on a model that carries adapters: what the weights alone say is not what such a model answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use common::{contexts, covariance, facts, open};
use recant_edit::EditError;
use recant_methods::moments::{CollectError, Collector};
use recant_methods::{MEMORIES, METHODS, MethodInputs, lifelong, memory, method, open_memory};
use recant_model::{Adapter, Hook, NoHook};

/// An adapter that does nothing; that it is there is what counts.
struct Idle;

impl Adapter for Idle {
    fn begin(&self, _: &[usize]) -> Box<dyn Hook + '_> {
        Box::new(NoHook)
    }
}

#[test]
fn every_method_refuses_a_model_with_adapters_by_name() {
    let model = open("gpt2-tiny");
    let inputs = MethodInputs {
        layer: 1,
        layers: vec![1],
        contexts: contexts(),
        covariance: Some(covariance(&model, &[1])),
        settings: Vec::new(),
        seed: 0,
    };
    let adapted = model.with_adapter(Arc::new(Idle));
    let refused = |error: EditError, name: &str| {
        assert!(
            matches!(&error, EditError::Adapters { method, count: 1 } if method == name),
            "{name}: {error}"
        );
    };
    for info in METHODS {
        let editor = method(info.name, &inputs).unwrap();
        refused(editor.plan(&adapted, &facts()[..1]).unwrap_err(), info.name);
        let mut learner = lifelong(info.name, &inputs, adapted.clone()).unwrap();
        refused(learner.learn(&facts()[..1]).unwrap_err(), info.name);
    }
    for info in MEMORIES {
        refused(memory(info.name, &inputs, adapted.clone()).map(|_| ()).unwrap_err(), info.name);
        let state = memory(info.name, &inputs, model.clone()).unwrap().state().unwrap();
        refused(open_memory(&state, adapted.clone()).map(|_| ()).unwrap_err(), info.name);
    }
    let moments = Collector::new(&adapted, &[1], None).map(|_| ()).unwrap_err();
    assert!(matches!(moments, CollectError::Adapters { count: 1 }), "{moments}");
}
