//! Small values of every record, which tests and the fuzzer's seeds share.

use std::collections::BTreeMap;

use recant_core::{
    AdapterState, Addend, Change, Delta, Matrix, ModelDigest, ParamPath, StoredFact, TensorId, WeightPatch,
};
use recant_records::ledger::{Ground, Ledger, Part};
use recant_records::moments::{FactorsRecord, MomentsRecord, PartialRecord, Sample, Square};
use recant_records::{Carry, Fact};

pub(crate) const MODEL: ModelDigest = ModelDigest::from_bytes([7; 32]);

pub(crate) fn ledger() -> Ledger {
    let ground = Ground { base: MODEL, layers: vec![1, 2], d_mlp: 3, d_model: 2, recipe: [9; 32] };
    let mut ledger = Ledger::new(ground);
    for (i, subject) in ["The sea", "The cat"].iter().enumerate() {
        let x = i as f32;
        let part = |y: f32| Part { key: vec![x, y, 0.5], residual: vec![-y, 2.0] };
        let fact = Fact::new(*subject, "{} is", "cold").expect("a fact");
        ledger.add(fact, vec![part(1.0), part(-0.25)]).expect("an entry");
    }
    ledger
}

pub(crate) fn sample() -> Sample {
    Sample::of([vec![4, 5, 6], vec![7, 8]])
}

fn square() -> Square {
    Square::new(2, vec![2.0, 0.5, 0.5, 1.0]).expect("numbers")
}

pub(crate) fn moments() -> MomentsRecord {
    let layers = BTreeMap::from([(3, square()), (10, square())]);
    MomentsRecord { model: MODEL, corpus: [9; 32], tokens: 41, layers, sample: sample() }
}

pub(crate) fn factors() -> FactorsRecord {
    let lower = Square::new(2, vec![1.5, 0.0, 0.25, 1.0]).expect("numbers");
    FactorsRecord { layers: BTreeMap::from([(3, (square().digest(), lower))]) }
}

pub(crate) fn partial() -> PartialRecord {
    PartialRecord {
        model: MODEL,
        corpus: [9; 32],
        texts: 2,
        tokens: 5,
        budget: 41,
        max_tokens: 32,
        sums: BTreeMap::from([(3, square())]),
        waiting: vec![vec![1, 2, 3], vec![4]],
        sample: sample(),
    }
}

pub(crate) fn carry() -> Carry {
    let keys = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("a matrix");
    Carry { matrices: BTreeMap::from([("layers.3.keys".to_owned(), keys)]) }
}

/// What a memory of a kind learned.
pub(crate) fn memory(kind: &str) -> AdapterState {
    let fact = StoredFact {
        step: 0,
        subject: "The sea".to_owned(),
        prompt: "{} is".to_owned(),
        target: "cold".to_owned(),
        locality: vec!["The sky is".to_owned()],
    };
    let matrix = Matrix::new(1, 2, vec![0.5, -1.0]).expect("a matrix");
    let names: &[&str] = if kind == "wise" { &["shards.0"] } else { &["keys", "values"] };
    let named = |name: &&str| (ParamPath::new(*name).expect("a path"), matrix.clone());
    let settings = BTreeMap::from([("eps".to_owned(), "1".to_owned())]);
    AdapterState::new(kind, MODEL, 0, settings, vec![fact], names.iter().map(named).collect())
        .expect("a state")
}

/// One change of every kind.
pub(crate) fn patch() -> WeightPatch {
    let base = TensorId::from_bytes([5; 32]);
    let column = |x: f32| Matrix::column(vec![x, -x]);
    let deltas = [
        Delta::Add(Addend::low_rank(column(0.5), column(2.0)).expect("factors")),
        Delta::Add(Addend::Dense(Matrix::new(1, 2, vec![1.0, 2.0]).expect("a matrix"))),
        Delta::Swap { after: TensorId::from_bytes([6; 32]) },
    ];
    let mut patch = WeightPatch::identity();
    for (name, delta) in ["a", "b", "c"].iter().zip(deltas) {
        let one = WeightPatch::one(ParamPath::new(*name).expect("a path"), Change { base, delta });
        patch = patch.then(&one).expect("different parameters");
    }
    patch
}
