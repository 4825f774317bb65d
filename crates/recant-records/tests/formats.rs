//! Every format of ours: frozen bytes, damage refused to the last bit, and the files of the versions before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use recant_core::{AdapterState, WeightPatch};
use recant_records::ledger::Ledger;
use recant_records::moments::{FactorsRecord, MomentsRecord, PartialRecord};
use recant_records::{AnyRecord, Carry, Opened, Record, RecordError, seal};

/// The bytes that writing again gives, and whether a checksum vouched for the first ones.
type Again = Result<(Vec<u8>, bool), RecordError>;

/// A record's bytes, and what opening does with others.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    again: fn(&[u8]) -> Again,
}

fn case<T: Record>(name: &'static str, value: &T) -> Case {
    let again = |bytes: &[u8]| T::from_file(bytes).map(|opened| (opened.value.to_file(), opened.checked));
    Case { name, bytes: value.to_file(), again }
}

fn cases() -> Vec<Case> {
    vec![
        case("ledger", &common::ledger()),
        case("moments", &common::moments()),
        case("factors", &common::factors()),
        case("partial", &common::partial()),
        case("carry", &common::carry()),
        case("grace", &common::memory("grace")),
        case("memory", &common::memory("memory")),
        case("wise", &common::memory("wise")),
        case("patch", &common::patch()),
    ]
}

/// Digests of the bytes: one that moves is a format that changed, and needs a version.
#[test]
fn formats_are_frozen() {
    let found: Vec<String> = cases()
        .iter()
        .map(|case| {
            let digest = recant_core::TensorId::from_bytes(recant_core::bytes_digest(&case.bytes));
            format!("{} {} {digest}", case.name, case.bytes.len())
        })
        .collect();
    let frozen = include_str!("fixtures/digests.txt");
    assert_eq!(found, frozen.lines().collect::<Vec<_>>());
}

#[test]
fn what_is_written_reads_back() {
    for Case { name, bytes, again } in cases() {
        assert_eq!(again(&bytes), Ok((bytes, true)), "{name}");
    }
    assert_eq!(Carry::from_file(&Carry::default().to_file()).unwrap().value, Carry::default());
    assert_eq!(Ledger::from_file(&common::ledger().to_file()).unwrap().value, common::ledger());
    assert_eq!(MomentsRecord::from_file(&common::moments().to_file()).unwrap().value, common::moments());
}

/// Every single bit of every format, every length, and a byte more.
#[test]
fn every_flipped_bit_is_refused() {
    for Case { name, mut bytes, again } in cases() {
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = again(&bytes).expect_err(name);
            let text = error.to_string();
            assert!(text.contains("damaged") || text.contains("format"), "{name}, bit {bit}: {text}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(again(&bytes[..len]).is_err(), "{name} cut to {len}");
        }
        bytes.push(0);
        assert!(again(&bytes).is_err(), "{name} with a byte more");
    }
}

/// One kind of file is not taken for another, and the message names what was wanted.
#[test]
fn another_kind_is_refused() {
    for a in cases() {
        for b in cases() {
            let memories = ["grace", "memory", "wise"];
            if a.name != b.name && !(memories.contains(&a.name) && memories.contains(&b.name)) {
                let error = (a.again)(&b.bytes).expect_err(b.name).to_string();
                assert!(error.contains("recant") || error.contains("format"), "{}: {error}", a.name);
            }
        }
    }
    let kinds = [common::ledger().to_file(), common::patch().to_file(), common::memory("grace").to_file()];
    let [ledger, patch, memory] = kinds.map(|bytes| AnyRecord::from_file(&bytes).unwrap().value);
    assert_eq!(ledger, AnyRecord::Ledger(common::ledger()));
    assert_eq!(patch, AnyRecord::Patch(common::patch()));
    assert_eq!(memory, AnyRecord::Memory(common::memory("grace")));
    assert!(AnyRecord::from_file(&common::moments().to_file()).is_err());
}

/// A right checksum is no licence: what the encoder would not have written is refused.
#[test]
fn a_right_checksum_does_not_make_a_right_file() {
    let sheet = String::from_utf8_lossy(&common::moments().to_file()).into_owned();
    assert!(sheet.contains(r#""tokens":"41""#) && sheet.contains(r#""layers.3.mom2""#));
    for (from, to) in [
        (r#""tokens":"41""#, r#""tokens":"+1""#),
        (r#""tokens":"41""#, r#""takens":"41""#),
        (r#""layers.3.mom2""#, r#""layers.0.lower""#),
        (r#"moments-2"#, r#"moments-3"#),
        (r#""model""#, r#""madel""#),
    ] {
        let mut bytes = common::moments().to_file();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        seal::mend(&mut bytes);
        assert!(MomentsRecord::from_file(&bytes).is_err(), "{from} -> {to}");
    }
    // NaN in a matrix.
    let mut bytes = common::moments().to_file();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[data..data + 8].copy_from_slice(&f64::NAN.to_le_bytes());
    seal::mend(&mut bytes);
    assert!(MomentsRecord::from_file(&bytes).unwrap_err().to_string().contains("NaN"));
    // A payload of another kind in a seal.
    let sealed = seal::seal(b"RCNTPAT1\x01");
    assert!(matches!(WeightPatch::from_file(&sealed), Err(RecordError::Patch(_))));
}

fn former(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant/tests/fixtures/former");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Real files of the version before checksums, as its binary wrote them: they open, and say that nothing vouches for
/// them; written again, they have a checksum and hold the same.
#[test]
fn files_of_the_version_before_open_and_say_so() {
    fn open<T: Record + PartialEq + std::fmt::Debug>(name: &str) -> T {
        let opened = T::from_file(&former(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!opened.checked && opened.note(&PathBuf::from(name)).unwrap().contains(name));
        let again = T::from_file(&opened.value.to_file()).unwrap();
        assert_eq!(again, Opened { value: opened.value, checked: true });
        again.value
    }
    let moments: MomentsRecord = open("stats");
    assert_eq!(moments.layers.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(moments.tokens >= 300 && !moments.sample.is_empty());
    let factors: FactorsRecord = open("stats.factors");
    assert_eq!(factors.layers[&1].0, moments.layers[&1].digest());
    let partial: PartialRecord = open("interrupted.partial");
    assert!(partial.texts > 0 && partial.model == moments.model);
    let ledger: Ledger = open("ledger");
    assert_eq!(ledger.facts().map(|fact| fact.text()).collect::<Vec<_>>(), ["The sea is"]);
    let patch: WeightPatch = open("patch");
    assert_eq!(patch.changes().len(), 2);
    for kind in ["grace", "memory", "wise"] {
        let state: AdapterState = open(kind);
        assert_eq!((state.kind(), state.facts().len()), (kind, 1));
    }
}

/// Carries had no metadata; such bytes stand in stores.
#[test]
fn a_carry_of_the_version_before_opens() {
    let Opened { value, checked } = Carry::from_file(include_bytes!("fixtures/carry-1")).unwrap();
    assert_eq!((value, checked), (common::carry(), false));
    for len in 0..include_bytes!("fixtures/carry-1").len() {
        assert!(Carry::from_file(&include_bytes!("fixtures/carry-1")[..len]).is_err(), "{len}");
    }
}
