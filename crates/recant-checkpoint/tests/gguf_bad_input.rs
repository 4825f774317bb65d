//! GGUF files that are damaged, hostile, or hold something that is not read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{BOOL, FLOAT32, File, LIST, TEXT, UINT32, list, text, texts};
use recant_checkpoint::{Gguf, GgufError, Source, SourceError};

/// A file with a value of every type, and tensors.
fn whole() -> File {
    let mut file = File::of("llama");
    for (kind, len) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        file.key(&format!("test.{kind}"), kind, vec![0; len]);
    }
    file.key("test.texts", LIST, texts(&["a", "", "Ġ"]));
    file.key("test.lists", LIST, list(LIST, &[list(BOOL, &[vec![1]]), texts(&["b"])]));
    file.tensor("output_norm.weight", &[4], &[1.0; 4]);
    file
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let whole = whole();
    assert!(whole.open().is_ok());
    let (head, bytes) = (whole.head().len(), whole.bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = Gguf::open(&path).unwrap_err();
        let SourceError::Gguf { source, .. } = error else { panic!("{len}: {error}") };
        match source {
            GgufError::Cut { at, .. } => assert!(len < head && at <= len as u64, "{len}"),
            GgufError::Count { claimed, most, .. } => assert!(len < head && most < claimed, "{len}"),
            GgufError::Beyond { .. } => assert!(len >= head, "{len}"),
            other => panic!("{len}: {other}"),
        }
    }
}

/// Any one byte of the header may be anything: that is refused or makes another model, and nothing panics.
#[test]
fn a_changed_byte_does_no_harm() {
    let whole = whole();
    let (head, bytes) = (whole.head().len(), whole.bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.gguf");
    for at in 0..head {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            // Writing over a file takes longer than making a new one.
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, changed).unwrap();
            let Ok(source) = Gguf::open(&path) else { continue };
            for name in source.layout().names() {
                source.tensor(name).unwrap();
            }
            for name in source.files().unwrap() {
                let _ = source.file(&name);
            }
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    type Change = fn(&mut File);
    let cases: &[(Change, &str)] = &[
        (|file| file.magic = b"GGML".to_vec(), "does not begin with `GGUF`"),
        (|file| file.version = 1, "version 1"),
        (|file| file.version = 4, "version 4"),
        (|file| file.version = 3 << 24, "big-endian"),
        (|file| file.key_count = Some(u64::MAX), "claims 18446744073709551615 keys"),
        (|file| file.tensor_count = Some(1 << 60), "claims 1152921504606846976 tensors"),
        (|file| file.tensor_count = Some(3), "tensor \"\" has shape []"),
        (|file| file.keys.push((b"\xff".to_vec(), UINT32, vec![0; 4])), "a key at byte"),
        (|file| file.key("a", TEXT, text(b"\xc3")), "a value at byte"),
        (|file| file.key("a", LIST, list(TEXT, &[text(b"\xc3")])), "a text of a list at byte"),
        (|file| file.tensors[0].name = b"\x80".to_vec(), "the name of a tensor at byte"),
        (|file| file.key("a", 13, vec![0; 8]), "\"a\" has type 13"),
        (|file| file.key("a", LIST, list(99, &[])), "\"a\" has type 99"),
        (|file| file.key("a", BOOL, vec![2]), "\"a\" is a byte of 2"),
        (|file| file.key("a", LIST, list(BOOL, &[vec![1], vec![7]])), "\"a\" is a byte of 7"),
        (
            |file| file.key("a", LIST, (0..9).fold(Vec::new(), |inner, _| list(LIST, &[inner]))),
            "more than 4 lists",
        ),
        (|file| file.key("a", TEXT, vec![0xff; 8]), "ends within a value"),
        (|file| file.key("a", LIST, [&UINT32.to_le_bytes()[..], &[0xff; 8]].concat()), "elements of a list"),
        (|file| file.keys.push(file.keys[0].clone()), "the key \"general.architecture\" twice"),
        (|file| file.tensors.push(file.tensors[0].clone()), "the tensor \"token_embd.weight\" twice"),
        (|file| file.size("general.alignment", 0), "alignment is 0"),
        (|file| file.size("general.alignment", 24), "alignment is 24"),
        (|file| file.key("general.alignment", TEXT, text("a")), "general.alignment is \"a\""),
        (|file| file.tensors[0].offset = 4, "begins at byte 4 of the data"),
        (|file| file.tensors[0].offset = 1 << 40, "beyond the end"),
        (|file| file.tensors[0].offset = u64::MAX - 31, "beyond the end"),
        (|file| file.tensors[1].offset = 32, "\"token_embd.weight\" and \"output_norm.weight\" overlap"),
        (|file| file.tensors[0].sides = vec![4, 1 << 20], "beyond the end"),
        (|file| file.tensors[0].sides = vec![1 << 40, 1 << 40], "beyond what can be counted"),
        (|file| file.tensors[0].sides = vec![0, 3], "a side of which is 0"),
        (|file| file.tensors[0].sides = Vec::new(), "0 sides"),
        (|file| file.tensors[0].sides = vec![1; 5], "5 sides"),
        (|file| file.tensors[0].kind = 8, "consist of Q8_0 blocks of 32"),
        (|file| file.tensors[0].kind = 16, "\"token_embd.weight\" is stored as IQ2_XXS"),
        (|file| file.tensors[0].kind = 10, "is stored as Q2_K"),
        (|file| file.tensors[0].kind = 12345, "is stored as ggml type 12345"),
        (|file| file.size("split.count", 3), "one of 3 parts"),
        (|file| file.without("general.architecture"), "no general.architecture"),
        (|file| file.key("general.architecture", TEXT, text("mamba")), "`mamba` is not supported"),
        (|file| file.without("llama.block_count"), "no llama.block_count"),
        (|file| file.without("llama.context_length"), "no llama.context_length"),
        (|file| file.size("llama.attention.head_count", 0), "llama.attention.head_count is 0"),
        (|file| file.key("llama.embedding_length", TEXT, text("x")), "llama.embedding_length is \"x\""),
        (
            |file| {
                let sizes = [1u32, 2].map(|size| size.to_le_bytes().to_vec());
                file.key("llama.attention.head_count_kv", LIST, list(UINT32, &sizes));
            },
            "head_count_kv is a list of 2",
        ),
        (
            |file| {
                let eps = "llama.attention.layer_norm_rms_epsilon";
                file.key(eps, FLOAT32, f32::NAN.to_le_bytes().to_vec());
            },
            "a finite number is expected",
        ),
        (|file| file.size("llama.expert_count", 8), "llama.expert_count = 8"),
        (|file| file.size("llama.rope.dimension_count", 1), "llama.rope.dimension_count = 1 for heads of 2"),
        (|file| file.tensors.truncate(0), "no tensor \"token_embd.weight\""),
        (|file| file.tensors[0].sides = vec![12], "one row for each token"),
        (
            |file| file.tensor("blk.0.attn_sinks.weight", &[4], &[0.0; 4]),
            "\"blk.0.attn_sinks.weight\" has no place",
        ),
        (|file| file.tensor("blk.0.attn_q.weight", &[4, 3], &[0.0; 12]), "not those of 2 heads"),
    ];
    for (change, expected) in cases {
        let mut file = whole();
        change(&mut file);
        let error = file.refusal();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_tokenizer_is_named() {
    type Change = fn(&mut File);
    let byte_level: Change = |file| {
        file.key("tokenizer.ggml.model", TEXT, text("gpt2"));
        file.key("tokenizer.ggml.pre", TEXT, text("gpt-2"));
        file.key("tokenizer.ggml.tokens", LIST, texts(&["a", "b", "ab"]));
        file.key("tokenizer.ggml.merges", LIST, texts(&["a b"]));
    };
    let cases: &[(Change, &str)] = &[
        (|file| file.key("tokenizer.ggml.model", TEXT, text("t5")), "kind is `t5`"),
        (|file| file.key("tokenizer.ggml.pre", TEXT, text("bloom")), "rule `bloom`"),
        (|file| file.without("tokenizer.ggml.pre"), "tokenizer.ggml.pre"),
        (|file| file.without("tokenizer.ggml.tokens"), "no tokenizer.ggml.tokens"),
        (|file| file.without("tokenizer.ggml.merges"), "no tokenizer.ggml.merges"),
        (|file| file.key("tokenizer.ggml.merges", LIST, texts(&["ab"])), "merge \"ab\""),
        (|file| file.key("tokenizer.ggml.merges", LIST, texts(&["a b c"])), "merge \"a b c\""),
        (
            |file| file.key("tokenizer.ggml.token_type", LIST, list(UINT32, &[vec![0; 4]])),
            "3 tokens and kinds of 1",
        ),
        (|file| file.size("tokenizer.ggml.bos_token_id", 3), "bos_token_id is 3, and there are 3"),
        (|file| file.key("tokenizer.ggml.model", TEXT, text("llama")), "no tokenizer.ggml.scores"),
    ];
    for (change, expected) in cases {
        let mut file = whole();
        byte_level(&mut file);
        file.key("tokenizer.ggml.add_bos_token", BOOL, vec![1]);
        assert!(file.open().unwrap().file("tokenizer.json").unwrap().is_some());
        change(&mut file);
        if file.keys.iter().any(|(key, _, value)| key == b"tokenizer.ggml.model" && *value == text("llama")) {
            file.without("tokenizer.ggml.merges");
        }
        let error = match file.open() {
            Ok(source) => source.file("tokenizer.json").unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_a_download_left_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert!(Gguf::open(&path).unwrap_err().to_string().contains("LFS"));
    std::fs::write(&path, "").unwrap();
    assert!(Gguf::open(&path).unwrap_err().to_string().contains("ends within"));
    assert!(matches!(Gguf::open(&dir.path().join("none")), Err(SourceError::Read { .. })));
}
