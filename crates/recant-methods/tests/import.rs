//! Statistics of the reference code, as numpy writes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::open;
use recant_methods::moments::{ImportError, Moments};
use recant_model::Model;
use recant_records::NpzError;

const DIM: usize = 128;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn import(model: &Model, path: &Path) -> Result<Moments, ImportError> {
    Moments::import(model, &[(1, path.to_owned())])
}

/// Stored f32 in C order and deflated f64 in Fortran order are the same moment; the other arrays do not matter.
#[test]
fn what_numpy_writes_is_read() {
    let model = open("gpt2-tiny");
    for name in ["moment.npz", "packed.npz"] {
        let moments = import(&model, &fixture(name)).unwrap();
        assert_eq!((moments.model, moments.tokens), (model.digest(), 1000), "{name}");
        assert_eq!(moments.layers().collect::<Vec<_>>(), [1]);
        for (at, &x) in moments.mean(1).unwrap().iter().enumerate() {
            let (i, j) = (at / DIM, at % DIM);
            let wanted = match (i, j) {
                _ if i == j => i as f64 + 2.0,
                (0, _) | (_, 0) => 0.5,
                _ => 0.0,
            };
            assert_eq!(x.to_bits(), wanted.to_bits(), "{name} at ({i}, {j})");
        }
    }
    let both = [(0, fixture("moment.npz")), (2, fixture("packed.npz"))];
    assert_eq!(Moments::import(&model, &both).unwrap().layers().collect::<Vec<_>>(), [0, 2]);
}

/// A member of a zip file, stored.
fn zip(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let at = file.len() as u32;
        let sizes = [crc32(bytes), bytes.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
        let names = [(name.len() as u16).to_le_bytes(), [0; 2]].concat();
        file.extend([&b"PK\x03\x04"[..], &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &sizes, &names].concat());
        file.extend(name.bytes());
        file.extend(bytes);
        directory
            .extend([&b"PK\x01\x02"[..], &[20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &sizes, &names].concat());
        directory.extend([&[0; 10][..], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, size) = (file.len() as u32, directory.len() as u32);
    let count = (members.len() as u16).to_le_bytes();
    file.extend(&directory);
    file.extend([&b"PK\x05\x06"[..], &[0; 4], &count, &count].concat());
    file.extend([&size.to_le_bytes()[..], &start.to_le_bytes(), &[0; 2]].concat());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |c: u32, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(u32::MAX, |c, &byte| (0..8).fold(c ^ u32::from(byte), step))
}

fn npy(kind: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), bytes].concat()
}

fn count(tokens: i64) -> (&'static str, Vec<u8>) {
    ("mom2.count.npy", npy("<i8", "()", &tokens.to_le_bytes()))
}

fn matrix(change: impl FnOnce(&mut [f64])) -> (&'static str, Vec<u8>) {
    let mut numbers: Vec<f64> =
        (0..DIM * DIM).map(|at| if at % (DIM + 1) == 0 { 4.0 } else { 0.0 }).collect();
    change(&mut numbers);
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    ("mom2.mom2.npy", npy("<f8", "(128, 128)", &bytes))
}

#[test]
fn what_is_no_second_moment_is_refused_by_name() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stats.npz");
    let refused = |members: &[(&str, Vec<u8>)]| {
        std::fs::write(&path, zip(members)).unwrap();
        import(&model, &path).map(|_| ()).unwrap_err()
    };
    std::fs::write(&path, zip(&[count(4), matrix(|_| ())])).unwrap();
    assert_eq!(import(&model, &path).unwrap().mean(1).unwrap()[0].to_bits(), 1.0f64.to_bits());

    let good = || matrix(|_| ());
    for tokens in [0, -3, i64::MAX] {
        assert!(
            matches!(
                refused(&[count(tokens), good()]),
                ImportError::Npz { source: NpzError::Count { .. }, .. }
            ),
            "{tokens}"
        );
    }
    let half = ("mom2.count.npy", npy("<f8", "()", &2.5f64.to_le_bytes()));
    assert!(matches!(refused(&[half, good()]), ImportError::Npz { source: NpzError::Count { .. }, .. }));
    for (what, moment) in [
        ("NaN", matrix(|m| m[5] = f64::NAN)),
        ("negative", matrix(|m| m[0] = -1.0)),
        ("symmetric", matrix(|m| m[1] = 1.0)),
    ] {
        let error = refused(&[count(4), moment]);
        assert!(
            matches!(error, ImportError::Npz { source: NpzError::Moment { .. }, .. })
                && error.to_string().contains(what),
            "{error}"
        );
    }
    let small = ("mom2.mom2.npy", npy("<f4", "(2, 2)", &[0; 16]));
    assert!(
        matches!(refused(&[count(4), small]), ImportError::Npz { source: NpzError::Shape { found, dim: 128 }, .. } if found == [2, 2])
    );
    let line = ("mom2.mom2.npy", npy("<f8", "(16384,)", &vec![0; 8 * DIM * DIM]));
    assert!(matches!(refused(&[count(4), line]), ImportError::Npz { source: NpzError::Shape { .. }, .. }));
    // More numbers than the model's keys can have are not read at all.
    let large = ("mom2.mom2.npy", npy("<f8", "(200, 200)", &vec![0; 8 * 200 * 200]));
    let error = refused(&[count(4), large]);
    assert!(matches!(&error, ImportError::Npz { source: NpzError::Array { .. }, .. }), "{error}");
    for (kind, shape) in [("|O", "(128, 128)"), ("<f8", "(128, 127)"), ("<f8", "(18446744073709551615, 2)")] {
        let odd = ("mom2.mom2.npy", npy(kind, shape, &vec![0; 8 * DIM * DIM]));
        let error = refused(&[count(4), odd]);
        assert!(matches!(&error, ImportError::Npz { source: NpzError::Array { .. }, .. }), "{error}");
    }
    let error = refused(&[count(4)]);
    assert!(error.to_string().contains("mom2.mom2") && error.to_string().contains("mom2.count"), "{error}");
    assert!(matches!(
        Moments::import(&model, &[(3, path.clone())]),
        Err(ImportError::Layer(recant_methods::moments::CollectError::Layer { layer: 3, layers: 3 }))
    ));
    std::fs::write(&path, zip(&[count(7), good()])).unwrap();
    let two = [(0, fixture("moment.npz")), (1, path)];
    assert!(matches!(Moments::import(&model, &two), Err(ImportError::Counts { found: 7, wanted: 1000, .. })));
}

/// No cut and no flipped bit of a small file panics, and none changes what is read unnoticed.
#[test]
fn damage_is_refused_or_does_not_matter() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stats.npz");
    let bytes = std::fs::read(fixture("packed.npz")).unwrap();
    let whole = import(&model, &fixture("packed.npz")).unwrap();
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        assert!(import(&model, &path).is_err(), "cut to {len}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(read) = import(&model, &path) {
            assert_eq!((read.tokens, read.mean(1)), (whole.tokens, whole.mean(1)), "byte {at}");
        }
    }
}

/// A member that says it is small and inflates to more is not inflated to the end.
#[test]
fn a_bomb_is_refused() {
    let model = open("gpt2-tiny");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stats.npz");
    let good = zip(&[count(4), matrix(|_| ())]);
    // The moment's bytes become a deflated 64 MB of zeros of the claimed packed size, method 8.
    let packed = miniz_oxide::deflate::compress_to_vec(&vec![0; 64 << 20], 9);
    let name = b"mom2.mom2.npy";
    let places: Vec<usize> =
        good.windows(name.len()).enumerate().filter(|(_, window)| window == name).map(|(at, _)| at).collect();
    let mut bomb = good.clone();
    let data = places[0] + name.len();
    bomb[data..data + packed.len()].copy_from_slice(&packed);
    let entry = places[1] - 46;
    bomb[entry + 10] = 8;
    bomb[entry + 20..entry + 24].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    std::fs::write(&path, &bomb).unwrap();
    let error = import(&model, &path).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cannot be inflated"), "{error}");
}
