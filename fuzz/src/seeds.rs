//! What a fuzzer begins with: good bytes, so that it gets far, and hostile ones, so that it knows the tricks.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use recant_core::{CommitId, ObjectId};
use recant_records::Record;
use recant_store::disk::Disk;
use recant_store::object::{Blob, Deed, FactSet, Kind};
use recant_store::{Name, Store};

use crate::common::disk::FaultyDisk;
use crate::file::good;

#[path = "../../crates/recant-records/tests/common/mod.rs"]
mod records;

/// Bytes for a target.
#[derive(Debug)]
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// What it is.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether it has to be refused.
    pub hostile: bool,
}

/// A GGUF file with tensors of every type.
const GGUF: &[u8] = include_bytes!("../../crates/recant-checkpoint/tests/fixtures/every-type.gguf");

/// Lists of shards: name, whether it is hostile, text.
const SHARDS: [(&str, bool, &str); 6] = [
    (
        "good",
        false,
        r#"{"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#,
    ),
    ("twice", true, r#"{"weight_map":{"a":"1","a":"2"}}"#),
    ("above", true, r#"{"weight_map":{"a":"../1"}}"#),
    ("root", true, r#"{"weight_map":{"a":"/1"}}"#),
    ("none", true, r#"{"weight_map":{}}"#),
    ("array", true, "[]"),
];

/// Chat templates: name, whether it is hostile, text.
const CHATS: [(&str, bool, &str); 4] = [
    ("good", false, "{% for m in messages %}[{{ m.role }}] {{ m.content.strip() }}{% endfor %}"),
    ("endless", true, "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}"),
    ("twice", true, "{{ messages[0].content }}{{ messages[0].content }}"),
    ("open", true, "{% if %}"),
];

/// What makes a ledger's editor again.
const EDITORS: [(&str, bool, &str); 5] = [
    ("good", false, r#"{"layer":1,"layers":[0,1],"contexts":["{}"],"settings":[["lambda","10"]]}"#),
    ("another-field", true, r#"{"layer":1,"layers":[],"contexts":[],"settings":[],"seed":0}"#),
    ("no-layer", true, r#"{"layers":[],"contexts":[],"settings":[]}"#),
    ("a-layer-below-0", true, r#"{"layer":-1,"layers":[],"contexts":[],"settings":[]}"#),
    ("longer", true, r#"{"layer":1,"layers":[],"contexts":[],"settings":[]}]"#),
];

/// Every target and its function.
pub const TARGETS: [(&str, fn(&[u8]) -> bool); 21] = [
    ("adapter", crate::adapter),
    ("bundle", crate::bundle),
    ("carry", crate::carry),
    ("chat", crate::chat),
    ("checkpoint", crate::checkpoint),
    ("editor", crate::editor),
    ("factors", crate::factors),
    ("files", crate::files),
    ("gguf", crate::gguf),
    ("header", crate::header),
    ("ledger", crate::ledger),
    ("memory", crate::memory),
    ("moments", crate::moments),
    ("names", crate::names),
    ("npz", crate::npz),
    ("objects", crate::objects),
    ("partial", crate::partial),
    ("patch", crate::patch),
    ("patch_file", crate::patch_file),
    ("shards", crate::shards),
    ("tokenizer", crate::tokenizer),
];

/// All seeds. Of every good one there are also a cut one and a longer one.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, hostile, name: &str, bytes: Vec<u8>| {
        seeds.push(Seed { target, name: name.to_owned(), bytes, hostile });
    };
    let disk = good();
    let store = Store::open_on(std::sync::Arc::new(disk.clone()), Path::new("store")).expect("a store");
    for path in disk.files().iter().filter(|path| path.starts_with("objects")) {
        let hex: String = path.iter().skip(1).map(|part| part.to_string_lossy()).collect();
        let id: ObjectId = hex.parse().expect("a file's name is its id");
        let file = read(disk, path);
        add("files", false, &hex, [id.as_bytes(), &file[..]].concat());
        add("files", true, &format!("{hex}-cut"), [id.as_bytes(), &file[..file.len() - 1]].concat());
        let payload = store.odb().load(id).expect("a good object");
        let kind = Kind::of(&payload);
        let target = if kind == Some(Kind::Patch) { "patch" } else { "objects" };
        // A blob has no end of its own.
        if kind != Some(Kind::Blob) {
            add(target, true, &format!("{hex}-cut"), payload[..payload.len() / 2].to_vec());
        }
        add(target, false, &hex, payload);
    }
    let bundle = gathered();
    add("bundle", false, "good", bundle.clone());
    for (name, at) in
        [("magic", 3), ("record", 20), ("index", bundle.len() - 60), ("count", bundle.len() - 40)]
    {
        let mut bytes = bundle.clone();
        bytes[at] ^= 0x81;
        add("bundle", true, name, bytes);
    }
    add("bundle", true, "cut", bundle[..bundle.len() - 1].to_vec());
    add("bundle", true, "empty", Vec::new());
    add("objects", false, "facts", facts().encode());
    add("objects", false, "blob", blob().encode());
    add("adapter", false, "grace", records::memory("grace").encode());
    add("adapter", true, "grace-cut", records::memory("grace").encode()[..60].to_vec());
    add("adapter", true, "grace-longer", [&records::memory("grace").encode()[..], &[0]].concat());
    for Sealed { target, name, bytes } in sealed() {
        let cut = bytes[..bytes.len() - 1].to_vec();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        for (how, bytes) in [("cut", cut), ("longer", [&bytes[..], &[0]].concat()), ("flipped", flipped)] {
            add(target, true, &format!("{name}-{how}"), bytes);
        }
        add(target, false, name, bytes);
    }
    for (target, name, bytes) in former() {
        add(target, false, name, bytes);
    }
    add("npz", false, "packed", NPZ.to_vec());
    add("npz", true, "packed-cut", NPZ[..NPZ.len() - 1].to_vec());
    add("npz", false, "array", npy("(2, 2)"));
    add("npz", true, "array-of-many", npy("(4294967296, 4294967296)"));
    for (name, bytes) in hostile_files() {
        add("files", true, name, bytes);
    }
    for (name, bytes) in hostile_objects(&store) {
        add("objects", true, name, bytes);
    }
    for (name, text) in HEADERS_GOOD {
        add("header", false, name, text.into());
    }
    for (name, text) in HEADERS_HOSTILE {
        add("header", true, name, text.into());
    }
    for (name, json) in HEADERS_GOOD {
        let file = checkpoint(json);
        add("checkpoint", true, &format!("{name}-cut"), file[..file.len() - 1].to_vec());
        add("checkpoint", true, &format!("{name}-longer"), [&file[..], &[0]].concat());
        add("checkpoint", false, name, file);
    }
    add("checkpoint", true, "empty", Vec::new());
    add("gguf", false, "every-type", GGUF.to_vec());
    add("gguf", true, "cut", GGUF[..GGUF.len() / 2].to_vec());
    add("gguf", true, "counts", [&GGUF[..8], &[0xff; 16], &GGUF[24..]].concat());
    add("gguf", true, "empty", Vec::new());
    for (name, hostile, text) in SHARDS {
        add("shards", hostile, name, text.into());
    }
    for (name, hostile, text) in EDITORS {
        add("editor", hostile, name, text.into());
    }
    for (name, hostile, text) in CHATS {
        add("chat", hostile, name, text.into());
    }
    add("checkpoint", true, "endless", u64::MAX.to_le_bytes().to_vec());
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    add("checkpoint", true, "lfs-pointer", pointer.into());
    let giant: String =
        (0..20_000).map(|i| format!(r#""t{i}":{{"dtype":"U8","shape":[],"data_offsets":[0,1]}},"#)).collect();
    add("header", true, "giant", format!("{{{}}}", giant.trim_end_matches(',')).into());
    add("header", true, "deep", [vec![b'['; 1 << 16], vec![b']'; 1 << 16]].concat());
    let id = "ab".repeat(32);
    for text in ["main", "v1.0", "h.0.mlp.c_proj.weight", &id, "blocks.17.mlp.key", "embed"] {
        add("names", false, text, text.into());
    }
    for (name, bytes, hostile) in crate::tokenizer::seeds() {
        add("tokenizer", hostile, name, bytes);
    }
    add("names", false, "key", format!("recant-public-1 {id}\n").into());
    let nul = "w\0x".to_owned();
    for (i, text) in ["..", "../w", "/etc/passwd", "a\\b", "C:\\x", "\u{202e}", &nul].iter().enumerate() {
        add("names", true, &format!("hostile-{i}"), (*text).into());
    }
    seeds
}

/// A safetensors file with this header and data of zeros.
fn checkpoint(json: &str) -> Vec<u8> {
    let data = recant_checkpoint::Header::parse(json.as_bytes()).expect("a good header").data_len();
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data as usize]].concat()
}

fn read(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(path)
        .and_then(|(_, mut file)| file.read_to_end(&mut bytes))
        .expect("a disk that does not fail");
    bytes
}

/// The bundle of a store whose objects were gathered.
fn gathered() -> Vec<u8> {
    let disk = good().copy();
    let store = Store::open_on(std::sync::Arc::new(disk.clone()), Path::new("store")).expect("a store");
    crate::common::edit(&store.with_gathering(1), 2, 3);
    let files = disk.files();
    let path = files.iter().find(|path| path.starts_with("bundles")).expect("a bundle");
    read(&disk, path)
}

/// A file whose every byte is under a checksum.
#[derive(Debug)]
pub struct Sealed {
    /// The target.
    pub target: &'static str,
    /// What it is.
    pub name: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A file of every format of this version.
#[must_use]
pub fn sealed() -> Vec<Sealed> {
    let one = |(target, name, bytes)| Sealed { target, name, bytes };
    [
        ("carry", "carry", records::carry().to_file()),
        ("factors", "factors", records::factors().to_file()),
        ("ledger", "ledger", records::ledger().to_file()),
        ("memory", "grace", records::memory("grace").to_file()),
        ("memory", "memory", records::memory("memory").to_file()),
        ("memory", "wise", records::memory("wise").to_file()),
        ("moments", "moments", records::moments().to_file()),
        ("partial", "partial", records::partial().to_file()),
        ("patch_file", "patch", records::patch().to_file()),
    ]
    .map(one)
    .into()
}

/// Files of the version before, which had no checksum.
fn former() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../crates/recant/tests/fixtures/former/", $name)).to_vec()
        };
    }
    vec![
        ("carry", "carry-1", include_bytes!("../../crates/recant-records/tests/fixtures/carry-1").to_vec()),
        ("factors", "factors-1", file!("stats.factors")),
        ("ledger", "ledger-1", file!("ledger")),
        ("memory", "grace-1", file!("grace")),
        ("memory", "memory-1", file!("memory")),
        ("memory", "wise-1", file!("wise")),
        ("moments", "moments-1", file!("stats")),
        ("partial", "partial-1", file!("interrupted.partial")),
        ("patch_file", "patch-1", file!("patch")),
    ]
}

/// As numpy deflates it: `mom2.count` and `mom2.mom2` of keys of length 128.
const NPZ: &[u8] = include_bytes!("../../crates/recant-methods/tests/fixtures/packed.npz");

/// Four numbers as an array of some shape.
fn npy(shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), &[0; 16]].concat()
}

fn facts() -> FactSet {
    FactSet { entries: BTreeMap::from([(b"k".to_vec(), b"v".to_vec()), (b"l".to_vec(), vec![])]) }
}

fn blob() -> Blob {
    Blob { kind: Name::new("file").expect("a name"), bytes: vec![1, 2, 3] }
}

const A: [u8; 32] = [1; 32];
const B: [u8; 32] = [2; 32];

fn frame(form: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&A[..], &b"RCNTOBJ1"[..], &[form], &parts.concat()].concat()
}

fn hostile_files() -> Vec<(&'static str, Vec<u8>)> {
    let (long, many) = (u64::MAX.to_le_bytes(), u32::MAX.to_le_bytes());
    let (one, nine) = (1u32.to_le_bytes(), 9u32.to_le_bytes());
    let walks_out = 9u32.to_le_bytes();
    vec![
        ("empty", frame(0, &[])),
        ("no-magic", [&A[..], b"nonsense nonsense"].concat()),
        ("unknown-form", frame(9, &[])),
        ("wrong-digest", frame(0, &[b"RCNTBLB1\x01\x00\x00\x00x"])),
        ("packed-endless", frame(1, &[&long, &[4], &0u64.to_le_bytes()])),
        ("packed-width", frame(1, &[&8u64.to_le_bytes(), &[3], &0u64.to_le_bytes()])),
        ("packed-block", frame(1, &[&8u64.to_le_bytes(), &[1], &4u64.to_le_bytes(), &many])),
        ("packed-bomb", bomb()),
        ("link-endless-path", frame(2, &[&many])),
        ("link-elsewhere", frame(2, &[&11u32.to_le_bytes(), b"/etc/passwd", &[0; 8], &one, b"x"])),
        ("tensor-circle", frame(3, &[&nine, &A, &one, b"w", &one, &B])),
        ("tensor-many", frame(3, &[&nine, &B, &one, b"w", &many])),
        ("tensor-walks-out", frame(3, &[&nine, &B, &walks_out, b"../../etc", &one, &A])),
        ("manifest-circle", frame(4, &[&nine, &A, &0u32.to_le_bytes()])),
        ("manifest-many", frame(4, &[&nine, &B, &many])),
    ]
}

/// A few kilobytes that claim gigabytes, in deflate blocks that would really give many megabytes.
fn bomb() -> Vec<u8> {
    let block = miniz_oxide::deflate::compress_to_vec(&vec![0; 1 << 20], 9);
    let one = [&(block.len() as u32).to_le_bytes()[..], &block].concat();
    let blocks = one.repeat(4);
    frame(1, &[&(60u64 << 30).to_le_bytes(), &[1], &(blocks.len() as u64).to_le_bytes(), &blocks])
}

fn hostile_objects(store: &Store) -> Vec<(&'static str, Vec<u8>)> {
    let view = store.view().expect("a head");
    let head = view.head_commit().expect("a commit");
    let good = store.odb().commit(head).expect("a commit");
    let with = |change: &dyn Fn(&mut recant_store::object::Commit)| {
        let mut commit = (*good).clone();
        change(&mut commit);
        commit.encode()
    };
    let mut newer = good.encode();
    newer[7] = b'9';
    vec![
        ("commit-of-a-newer-format", newer),
        ("import-with-parents", with(&|commit| commit.deed = Deed::Import)),
        ("its-own-parent-twice", with(&|commit| commit.parents = vec![CommitId::from_bytes(A); 2])),
        ("merge-of-one", with(&|commit| commit.deed = Deed::Merge)),
    ]
}

const HEADERS_GOOD: [(&str, &str); 3] = [
    ("none", "{}"),
    (
        "metadata",
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#,
    ),
    (
        "two",
        r#"{"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    ),
];

const HEADERS_HOSTILE: [(&str, &str); 11] = [
    ("no-object", "[]"),
    ("metadata-of-numbers", r#"{"__metadata__":{"format":1}}"#),
    ("cut", r#"{"a":{"dtype":"F32","sha"#),
    ("dtype", r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#),
    ("gap", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#),
    ("length", r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#),
    ("backwards", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#),
    ("overflow", r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#),
    ("negative", r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#),
    ("walks-out", r#"{"../a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#),
    (
        "overlap",
        r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
    ),
];
