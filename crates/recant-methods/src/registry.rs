//! From a method's name to an editor or a memory.

use std::collections::BTreeMap;

use recant_core::AdapterState;
use recant_edit::{
    Carry, EditError, Editor, Fact, Lifelong, Memory, Plan, StoredStateError, Watch, WeightSequence,
};
use recant_model::Model;

use crate::inputs::MethodInputs;
use crate::kind::meant;
use crate::spec::{Make, MethodSpec};
use crate::{alphaedit, emmet, ft, grace, ledger, locft, memit, retrieval, rome, ultraedit, wise};

/// Every method that plans a change of weights.
pub const METHODS: [MethodSpec; 10] = [
    rome::R_ROME,
    rome::ROME,
    memit::METHOD,
    emmet::METHOD,
    alphaedit::METHOD,
    ledger::METHOD,
    ultraedit::METHOD,
    ft::FT_L,
    ft::FT_M,
    locft::METHOD,
];

/// Every method that keeps a memory beside the weights; see [`memory`].
pub const MEMORIES: [MethodSpec; 3] = [wise::METHOD, grace::METHOD, retrieval::METHOD];

/// The method where nobody names one.
pub const DEFAULT_METHOD: &str = rome::ROME.name;

/// The memory where nobody names one.
pub const DEFAULT_MEMORY: &str = wise::METHOD.name;

static ALL: [MethodSpec; METHODS.len() + MEMORIES.len()] = {
    let mut all = [METHODS[0]; METHODS.len() + MEMORIES.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < METHODS.len() { METHODS[i] } else { MEMORIES[i - METHODS.len()] };
        i += 1;
    }
    all
};

impl MethodSpec {
    /// Every method, those that keep a memory last.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ALL.iter()
    }

    /// The method or memory of this name.
    ///
    /// # Errors
    /// [`EditError::Setting`] says which there are, and which was probably meant.
    pub fn find(name: &str) -> Result<&'static Self, EditError> {
        Self::all().find(|spec| spec.name == name).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(|spec| spec.name).collect();
            let meant = meant(name, known.iter().copied());
            named_method(name, format!("no such method{meant}; there are {}", known.join(", ")))
        })
    }
}

fn named_method(name: &str, reason: String) -> EditError {
    EditError::Setting { key: "method".to_owned(), value: name.to_owned(), reason }
}

/// Makes an editor.
///
/// # Errors
/// [`EditError::Setting`] when the name or a hyper-parameter is unknown, [`EditError::Statistics`] when the
/// method needs second moments and there are none.
pub fn method(name: &str, inputs: &MethodInputs) -> Result<Box<dyn Editor>, EditError> {
    let spec = MethodSpec::find(name)?;
    match spec.make {
        Make::Editor(make) | Make::EditorAnd(make, _) => {
            Ok(Box::new(Registered { spec, editor: make(inputs)? }))
        }
        Make::Memory(..) => {
            let reason = "this method keeps a memory beside the weights; it plans no change of weights";
            Err(named_method(name, reason.to_owned()))
        }
    }
}

/// An editor that is asked for as many facts as its method writes.
struct Registered {
    spec: &'static MethodSpec,
    editor: Box<dyn Editor>,
}

impl Editor for Registered {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        watch: &dyn Watch,
    ) -> Result<Plan, EditError> {
        self.spec.check_count(facts.len())?;
        self.editor.plan_on_weights(model, facts, carry, watch)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.editor.settings()
    }

    fn contexts(&self) -> &[String] {
        self.editor.contexts()
    }
}

/// Makes a model that goes on learning with a method, beginning at `base`.
///
/// # Errors
/// As [`method`].
pub fn lifelong(name: &str, inputs: &MethodInputs, base: Model) -> Result<Box<dyn Lifelong>, EditError> {
    match MethodSpec::find(name)?.make {
        Make::Memory(begin, _) => begin(inputs, base).map(|memory| memory as Box<dyn Lifelong>),
        Make::EditorAnd(_, begin) => begin(inputs, base),
        Make::Editor(_) => Ok(Box::new(WeightSequence::new(base, method(name, inputs)?))),
    }
}

/// Makes an empty memory of one of [`MEMORIES`] in front of `base`.
///
/// # Errors
/// As [`method`].
pub fn memory(name: &str, inputs: &MethodInputs, base: Model) -> Result<Box<dyn Memory>, EditError> {
    match MethodSpec::find(name)?.make {
        Make::Memory(begin, _) => begin(inputs, base),
        Make::Editor(_) | Make::EditorAnd(..) => {
            let reason = format!("it keeps no memory; {} do", MEMORIES.map(|spec| spec.name).join(", "));
            Err(named_method(name, reason))
        }
    }
}

/// Opens the memory of a state, whichever method made it.
///
/// # Errors
/// [`EditError::State`] when the state is another model's, or of a method that this version does not know;
/// [`EditError::Adapters`] when `base` is in front of another memory already.
pub fn open_memory(state: &AdapterState, base: Model) -> Result<Box<dyn Memory>, EditError> {
    let kind = state.kind();
    match MEMORIES.iter().find(|spec| spec.name == kind).map(|spec| spec.make) {
        Some(Make::Memory(_, open)) => open(state, base),
        _ => Err(StoredStateError::UnknownMethod { method: kind.to_owned() }.into()),
    }
}
