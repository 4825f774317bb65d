//! The byte form of an adapter state: one encoding a value, and nothing else decodes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use recant_core::{AdapterState, Matrix, ModelDigest, ParamPath, StateDecodeError, StateError, StoredFact};

fn matrix() -> impl Strategy<Value = Matrix> {
    (1usize..4, 1usize..4).prop_flat_map(|(rows, cols)| {
        vec(-1e3f32..1e3, rows * cols).prop_map(move |data| Matrix::new(rows, cols, data).unwrap())
    })
}

fn state() -> impl Strategy<Value = AdapterState> {
    let fact = (0u32..3, ".{0,8}", ".{0,8}", ".{0,8}", vec(".{0,6}", 0..3)).prop_map(
        |(step, subject, prompt, target, locality)| StoredFact { step, subject, prompt, target, locality },
    );
    let facts = vec(fact, 0..4).prop_map(|mut facts| {
        facts.sort_by_key(|fact| fact.step);
        facts
    });
    let tensors = btree_map("[a-z]{1,4}\\.[0-9]{1,2}", matrix(), 0..4).prop_map(|tensors| {
        tensors.into_iter().map(|(name, matrix)| (ParamPath::new(name).unwrap(), matrix)).collect()
    });
    let settings = btree_map("[a-z_]{1,5}", ".{0,5}", 0..4);
    ("[a-z0-9-]{1,12}", any::<[u8; 32]>(), any::<u32>(), settings, facts, tensors).prop_map(
        |(kind, base, layer, settings, facts, tensors)| {
            AdapterState::new(kind, ModelDigest::from_bytes(base), layer, settings, facts, tensors).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(state in state()) {
        let bytes = state.encode();
        let back = AdapterState::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &state);
        prop_assert_eq!(back.encode(), bytes);
        prop_assert_eq!(back.id(), state.id());
    }

    #[test]
    fn every_shorter_or_longer_form_is_refused(state in state(), extra in 1usize..9) {
        let bytes = state.encode();
        for len in 0..bytes.len() {
            let short = AdapterState::decode(&bytes[..len]);
            prop_assert!(
                matches!(short, Err(StateDecodeError::Truncated { .. } | StateDecodeError::Magic)),
                "{} of {} bytes: {:?}", len, bytes.len(), short
            );
        }
        let long = [bytes, vec![0; extra]].concat();
        prop_assert_eq!(AdapterState::decode(&long), Err(StateDecodeError::Trailing { count: extra }));
    }

    /// Whatever stands in a file, it decodes to a state with these bytes or is refused; it never panics.
    #[test]
    fn a_damaged_byte_never_passes_for_the_same_state(state in state(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = state.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = AdapterState::decode(&bytes) {
            prop_assert_ne!(&other, &state);
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

#[test]
fn a_state_is_checked_when_it_is_made() {
    let make = |kind: &str, steps: &[u32]| {
        let facts = steps.iter().map(|&step| StoredFact { step, ..StoredFact::default() }).collect();
        let base = ModelDigest::from_bytes([0; 32]);
        AdapterState::new(kind, base, 0, BTreeMap::new(), facts, BTreeMap::new())
    };
    assert!(make("grace", &[0, 0, 2]).is_ok());
    assert!(matches!(make("", &[]), Err(StateError::Kind { .. })));
    assert!(matches!(make("a/b", &[]), Err(StateError::Kind { .. })));
    assert_eq!(make("grace", &[1, 0]).unwrap_err(), StateError::Step { index: 1, step: 0, before: 1 });
}

/// The bytes are a format: a change of them is a new version, not a new build.
#[test]
fn the_bytes_are_frozen() {
    let fact = StoredFact {
        step: 0,
        subject: "Ada".into(),
        prompt: "{} speaks".into(),
        target: "French".into(),
        locality: vec!["It rains".into()],
    };
    let tensors =
        BTreeMap::from([(ParamPath::new("keys").unwrap(), Matrix::new(1, 2, vec![0.5, -1.0]).unwrap())]);
    let settings = BTreeMap::from([("eps".to_owned(), "1".to_owned())]);
    let base = ModelDigest::from_bytes([7; 32]);
    let state = AdapterState::new("grace", base, 3, settings, vec![fact], tensors).unwrap();
    assert_eq!(state.encode().len(), 151);
    assert_eq!(state.id().to_string(), "f0f2e2d9bf8f6c01c651f6e4c26bf3f1dde6801854c82fb3400e856861518b02");
    assert_eq!((state.layer(), state.tensor("keys").map(Matrix::cols)), (3, Some(2)));
}
