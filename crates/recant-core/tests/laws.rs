//! The laws of an edit's algebra, as properties. Numbers refer to the invariants in ARCHITECTURE.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use recant_core::{
    Addend, ApplyError, Blobs, Change, ComposeError, Delta, Dtype, HostTensor, Matrix, ParamPath,
    WeightPatch, Weights,
};

const SHAPES: [[usize; 2]; 3] = [[3, 4], [5, 2], [4, 4]];
const FLOATS: [Dtype; 4] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16];

fn path(i: usize) -> ParamPath {
    ParamPath::new(format!("layer.{i}.weight")).unwrap()
}

fn alias() -> ParamPath {
    ParamPath::new("head.weight").unwrap()
}

fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-4.0f32..4.0, len)
}

/// Three matrices of any float type, the first tied to a second name.
fn weights() -> impl Strategy<Value = Weights> {
    let tensor = |i: usize| {
        let shape = SHAPES[i];
        (prop::sample::select(&FLOATS[..]), numbers(shape[0] * shape[1]))
            .prop_map(move |(dtype, x)| (path(i), HostTensor::from_f32(dtype, shape.to_vec(), &x).unwrap()))
    };
    (tensor(0), tensor(1), tensor(2)).prop_map(|(a, b, c)| {
        let mut weights = Weights::from_tensors([a, b, c]);
        weights.tie(alias(), path(0)).unwrap();
        weights
    })
}

fn addend(shape: [usize; 2]) -> impl Strategy<Value = Addend> {
    let low_rank = (1usize..4).prop_flat_map(move |rank| {
        (numbers(shape[0] * rank), numbers(shape[1] * rank)).prop_map(move |(u, v)| {
            let u = Matrix::new(shape[0], rank, u).unwrap();
            Addend::low_rank(u, Matrix::new(shape[1], rank, v).unwrap()).unwrap()
        })
    });
    let dense = numbers(shape[0] * shape[1])
        .prop_map(move |x| Addend::Dense(Matrix::new(shape[0], shape[1], x).unwrap()));
    prop_oneof![low_rank, dense]
}

fn low_rank_only(shape: [usize; 2]) -> impl Strategy<Value = Addend> {
    addend(shape).prop_filter("low-rank", |addend| addend.rank().is_some())
}

/// A patch that fits `weights` now, by a tied name now and then.
fn fitting(weights: &Weights, i: usize, addend: Addend, by_alias: bool) -> WeightPatch {
    let name = if by_alias && i == 0 { alias() } else { path(i) };
    let base = weights.get(&name).unwrap().id();
    WeightPatch::one(name, Change { base, delta: Delta::Add(addend) })
}

fn bytes(weights: &Weights) -> BTreeMap<String, Vec<u8>> {
    weights.iter().map(|(path, tensor)| (path.to_string(), tensor.bytes().to_vec())).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Apply(usize, Addend, bool),
    Undo,
    Fork,
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    let apply = (0usize..3, any::<bool>())
        .prop_flat_map(|(i, by_alias)| addend(SHAPES[i]).prop_map(move |a| Step::Apply(i, a, by_alias)));
    prop_oneof![4 => apply, 3 => Just(Step::Undo), 1 => Just(Step::Fork), 1 => Just(Step::Drop)]
}

/// A handle: the weights now, the addends that made them, and the way back.
#[derive(Clone)]
struct Handle {
    weights: Weights,
    history: Vec<(usize, Addend)>,
    undo: Vec<(WeightPatch, Blobs)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Law 1: after any interleaving of apply, undo, fork and drop, every handle's bytes equal those of a
    /// model that only ever saw the edits that are left.
    #[test]
    fn undo_is_exact_after_any_interleaving(base in weights(), steps in prop::collection::vec(step(), 1..24)) {
        let mut handles = vec![Handle { weights: base.clone(), history: vec![], undo: vec![] }];
        for step in steps {
            let handle = handles.last_mut().unwrap();
            match step {
                Step::Apply(i, addend, by_alias) => {
                    let patch = fitting(&handle.weights, i, addend.clone(), by_alias);
                    match patch.apply(&handle.weights, &Blobs::new()) {
                        Ok(applied) => {
                            handle.weights = applied.weights;
                            handle.history.push((i, addend));
                            handle.undo.push((applied.undo, applied.blobs));
                        }
                        Err(error) => prop_assert!(matches!(error, ApplyError::NonFinite { .. }), "{error}"),
                    }
                }
                Step::Undo => if let Some((undo, blobs)) = handle.undo.pop() {
                    handle.weights = undo.apply(&handle.weights, &blobs).unwrap().weights;
                    handle.history.pop();
                },
                Step::Fork => { let fork = handle.clone(); handles.push(fork); }
                Step::Drop => if handles.len() > 1 { handles.pop(); },
            }
        }
        for handle in &handles {
            let mut fresh = base.clone();
            for (i, addend) in &handle.history {
                fresh = fitting(&fresh, *i, addend.clone(), false).apply(&fresh, &Blobs::new()).unwrap().weights;
            }
            prop_assert_eq!(bytes(&handle.weights), bytes(&fresh));
            prop_assert_eq!(handle.weights.digest(), fresh.digest());
            prop_assert_eq!(handle.weights.get(&alias()), handle.weights.get(&path(0)));
        }
    }

    /// Forks are isolated: whatever happens to one, the other keeps its bytes, and untouched tensors are
    /// the same allocation.
    #[test]
    fn forks_are_isolated_and_share_the_rest(base in weights(), i in 0usize..3, addend in addend(SHAPES[1])) {
        let fork = base.clone();
        let before = bytes(&base);
        if let Ok(applied) = fitting(&fork, 1, addend, false).apply(&fork, &Blobs::new()) {
            prop_assert_eq!(bytes(&base), before);
            if i != 1 {
                let shared = |w: &Weights| w.get(&path(i)).unwrap().bytes().as_ptr();
                prop_assert_eq!(shared(&applied.weights), shared(&base));
            }
        }
    }

    /// Law 2: identity and exact associativity of low-rank composition.
    #[test]
    fn low_rank_composition_is_a_monoid(
        base in weights(),
        a in low_rank_only(SHAPES[0]), b in low_rank_only(SHAPES[0]), c in low_rank_only(SHAPES[0]),
    ) {
        let [p, q, r] = [a, b, c].map(|addend| fitting(&base, 0, addend, false));
        prop_assert_eq!(p.then(&WeightPatch::identity()).unwrap(), p.clone());
        prop_assert_eq!(WeightPatch::identity().then(&p).unwrap(), p.clone());
        let left = p.then(&q).unwrap().then(&r).unwrap();
        let right = p.then(&q.then(&r).unwrap()).unwrap();
        prop_assert_eq!(left.encode(), right.encode());
    }

    /// Swaps: `invert` is an involution, and a swap followed by its inverse changes nothing.
    #[test]
    fn swap_inversion_is_an_involution(base in weights(), addend in addend(SHAPES[2])) {
        if let Ok(applied) = fitting(&base, 2, addend, false).apply(&base, &Blobs::new()) {
            let redo = applied.undo.invert().unwrap();
            prop_assert_eq!(&redo.invert().unwrap(), &applied.undo);
            let again = redo.apply(&base, &applied.blobs).unwrap();
            prop_assert_eq!(again.weights.digest(), applied.weights.digest());
            let nothing = redo.then(&applied.undo).unwrap().apply(&base, &applied.blobs).unwrap();
            prop_assert_eq!(nothing.weights.digest(), base.digest());
        }
    }

    /// Law 3: materialising is one rounding of the exact-enough f64 sum, in index order.
    #[test]
    fn materialise_rounds_once(base in weights(), addend in addend(SHAPES[0])) {
        let tensor = base.get(&path(0)).unwrap().clone();
        if let Ok(applied) = fitting(&base, 0, addend.clone(), false).apply(&base, &Blobs::new()) {
            let [rows, cols] = addend.shape();
            let mut expected = tensor.to_f64();
            for i in 0..rows {
                for j in 0..cols {
                    match &addend {
                        Addend::LowRank { u, v } => for r in 0..u.cols() {
                            expected[i * cols + j] += f64::from(u.row(i)[r]) * f64::from(v.row(j)[r]);
                        },
                        Addend::Dense(m) => expected[i * cols + j] += f64::from(m.row(i)[j]),
                    }
                }
            }
            let expected = HostTensor::from_f64(tensor.dtype(), vec![rows, cols], &expected).unwrap();
            prop_assert_eq!(applied.weights.get(&path(0)).unwrap(), &expected);
        }
    }

    /// Adding several at once rounds after each, as adding them in turn does.
    #[test]
    fn adding_all_at_once_is_adding_in_turn(
        base in weights(),
        addends in proptest::collection::vec(addend(SHAPES[0]), 0..4),
    ) {
        let tensor = base.get(&path(0)).unwrap().clone();
        let in_turn = addends.iter().try_fold(tensor.clone(), |sum, addend| addend.added_to(&path(0), &sum));
        let at_once = Addend::all_added_to(&addends.iter().collect::<Vec<_>>(), &path(0), &tensor);
        prop_assert_eq!(at_once.ok(), in_turn.ok());
    }

    /// Law 4: decode after encode is the identity, and only canonical bytes decode.
    #[test]
    fn encoding_is_canonical(base in weights(), a in addend(SHAPES[0]), b in addend(SHAPES[1])) {
        let added = fitting(&base, 0, a, false).then(&fitting(&base, 1, b, false)).unwrap();
        let swap = added.apply(&base, &Blobs::new()).map(|applied| applied.undo);
        for patch in [Some(added), swap.ok()].into_iter().flatten() {
            let encoded = patch.encode();
            let decoded = WeightPatch::decode(&encoded).unwrap();
            prop_assert_eq!(&decoded, &patch);
            prop_assert_eq!(decoded.encode(), encoded.clone());
            for cut in 0..encoded.len() {
                prop_assert!(WeightPatch::decode(&encoded[..cut]).is_err());
            }
            let mut longer = encoded;
            longer.push(0);
            prop_assert!(WeightPatch::decode(&longer).is_err());
        }
    }

    /// Hostile bytes never panic, and what decodes encodes to the same bytes.
    #[test]
    fn decoding_survives_any_bytes(mut noise in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
        if real {
            noise.splice(0..0, *b"RCNTPAT1");
        }
        if let Ok(patch) = WeightPatch::decode(&noise) {
            prop_assert_eq!(patch.encode(), noise);
        }
    }

    /// As above on damaged real patches, which get past the first checks.
    #[test]
    fn decoding_survives_damage(base in weights(), a in addend(SHAPES[0]), at in any::<prop::sample::Index>(), byte: u8) {
        let mut encoded = fitting(&base, 0, a, false).encode();
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if let Ok(patch) = WeightPatch::decode(&encoded) {
            prop_assert_eq!(patch.encode(), encoded);
        }
    }
}

fn small() -> Weights {
    let tensor = HostTensor::from_f32(Dtype::F16, vec![2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    Weights::from_tensors([(path(0), tensor)])
}

fn rank_one(weights: &Weights, scale: f32) -> WeightPatch {
    let addend =
        Addend::low_rank(Matrix::column(vec![scale, 0.0]), Matrix::column(vec![scale, 1.0])).unwrap();
    fitting(weights, 0, addend, false)
}

#[test]
fn a_patch_applies_once_and_only_where_it_was_made_for() {
    let base = small();
    let patch = rank_one(&base, 1.0);
    let edited = patch.apply(&base, &Blobs::new()).unwrap().weights;
    assert!(matches!(patch.apply(&edited, &Blobs::new()), Err(ApplyError::Base { .. })));
    let elsewhere = Weights::default();
    assert!(matches!(patch.apply(&elsewhere, &Blobs::new()), Err(ApplyError::Unknown { .. })));
}

#[test]
fn a_number_beyond_the_dtype_is_refused() {
    let base = small();
    let error = rank_one(&base, 300.0).apply(&base, &Blobs::new()).unwrap_err();
    assert!(matches!(error, ApplyError::NonFinite { row: 0, col: 0, dtype: Dtype::F16, .. }), "{error}");
}

#[test]
fn additions_have_no_inverse_and_do_not_mix_with_swaps() {
    let base = small();
    let add = rank_one(&base, 1.0);
    assert!(add.invert().is_err());
    let swap = add.apply(&base, &Blobs::new()).unwrap().undo.invert().unwrap();
    assert!(matches!(add.then(&swap), Err(ComposeError::MixedKinds { .. })));
}

#[test]
fn a_tied_tensor_named_twice_is_refused() {
    let mut base = small();
    base.tie(alias(), path(0)).unwrap();
    let patch = rank_one(&base, 1.0);
    let change = patch.changes()[&path(0)].clone();
    let twice = patch.then(&WeightPatch::one(alias(), change)).unwrap();
    assert!(matches!(twice.apply(&base, &Blobs::new()), Err(ApplyError::TiedTwice { .. })));
}

#[test]
fn a_swap_needs_its_bytes() {
    let base = small();
    let applied = rank_one(&base, 1.0).apply(&base, &Blobs::new()).unwrap();
    let error = applied.undo.apply(&applied.weights, &Blobs::new()).unwrap_err();
    assert!(matches!(error, ApplyError::Missing { .. }), "{error}");
}

/// Why undo swaps: the subtraction that other tools call rollback leaves other bytes.
#[test]
fn subtracting_an_update_is_not_undo() {
    let numbers: Vec<f32> = (0..10_000u16).map(|i| (f32::from(i) * 0.37).sin()).collect();
    let update: Vec<f32> = (0..10_000u16).map(|i| (f32::from(i) * 0.11).cos() * 0.3).collect();
    let there_and_back = numbers.iter().zip(&update).map(|(w, d)| (w + d) - d);
    let different = there_and_back.zip(&numbers).filter(|(back, w)| back.to_bits() != w.to_bits()).count();
    assert!(different > 1_000, "{different} of 10000 elements differ");
}

/// Frozen: a change of these bytes orphans every stored patch and id.
#[test]
fn encodings_and_ids_are_frozen() {
    let base = small();
    let patch = rank_one(&base, 1.0);
    let tensor = base.get(&path(0)).unwrap();
    assert_eq!(patch.encode().len(), 8 + 4 + 2 + 14 + 32 + 1 + 12 + 4 * 4);
    assert_eq!(
        [tensor.id().to_string(), base.digest().to_string(), patch.id().to_string()],
        [
            "5011aa795410bd01ce9fa3ea63d77795bd61bbed8b6ee081203362290d3cf509",
            "644288fa4d840e4c2e3830aa102ef48f373ccaea10364072acca6cf0d493ee57",
            "bb60eb38af99d9b035b5636541b962402d033c9e10b58c82250943abaf713841",
        ]
    );
}
