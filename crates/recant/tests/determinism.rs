//! The same input gives the same bytes, whatever the number of threads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{demo, done, recant};

#[test]
fn an_edit_gives_the_same_bytes_whatever_the_thread_count() {
    let dir = tempfile::tempdir().unwrap();
    let edit = |threads: &str| {
        let (out, dump) = (format!("out-{threads}"), format!("dump-{threads}"));
        let output = recant(dir.path())
            .env("RAYON_NUM_THREADS", threads)
            .args(["edit", "--subject", "Adrusk Rikkaquav", "--prompt", "The mother tongue of {} is"])
            .args(["--target", "Tashic", "--seed", "7", "--out", &out, "--dump", &dump, "--model"])
            .arg(demo("model"))
            .arg("--corpus")
            .arg(demo("data/corpus.txt"))
            .output()
            .unwrap();
        assert!(done(&output), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |path: &str| std::fs::read(dir.path().join(path)).unwrap();
        (read(&format!("{out}/model.safetensors")), read(&dump))
    };
    let alone = edit("1");
    for threads in ["2", "5"] {
        let several = edit(threads);
        assert!(several.1 == alone.1, "{threads} threads: other traces");
        assert!(several.0 == alone.0, "{threads} threads: other weights");
    }
}
