//! What opening, forking and editing cost, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
// A counting allocator cannot be written without `unsafe`; it only forwards to the system's.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use recant_backend::{Device, DeviceSpec, host, upload_f32};
use recant_core::{Addend, Blobs, Dtype, HostTensor, Matrix};
use recant_model::{ForwardInput, Model, NoHook, SaveOptions, Slot, Source, TokenBatch};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The counters are the process's, so the tests of this file take turns.
static TURN: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `work`'s result keeps, and the most that lived at once meanwhile.
fn cost<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    let kept = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    (result, kept, PEAK.load(Ordering::Relaxed) - before)
}

/// A GPT-2 of 3.3 M made-up weights, in a directory.
fn large_model(dtype: Dtype) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (layers, d, vocab) = (4usize, 256usize, 293usize);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2-tiny");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture.join("config.json")).unwrap()).unwrap();
    for (key, value) in [("n_layer", layers), ("n_embd", d), ("n_head", 4), ("n_positions", 64)] {
        config[key] = value.into();
    }
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(fixture.join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let mut tensors: Vec<(String, HostTensor)> = Vec::new();
    let mut put = |name: String, shape: Vec<usize>| {
        let count = shape.iter().product();
        let numbers: Vec<f32> =
            (0..count).map(|i| ((i * 2_654_435_761) % 1_000) as f32 * 1e-4 - 0.05).collect();
        tensors.push((format!("transformer.{name}"), HostTensor::from_f32(dtype, shape, &numbers).unwrap()));
    };
    put("wte.weight".into(), vec![vocab, d]);
    put("wpe.weight".into(), vec![64, d]);
    for i in 0..layers {
        for name in ["ln_1", "ln_2"] {
            put(format!("h.{i}.{name}.weight"), vec![d]);
            put(format!("h.{i}.{name}.bias"), vec![d]);
        }
        for (name, a, b) in [
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, 4 * d),
            ("mlp.c_proj", 4 * d, d),
        ] {
            put(format!("h.{i}.{name}.weight"), vec![a, b]);
            put(format!("h.{i}.{name}.bias"), vec![b]);
        }
    }
    put("ln_f.weight".into(), vec![d]);
    put("ln_f.bias".into(), vec![d]);
    let views = tensors.iter().map(|(name, tensor)| {
        let stored = match dtype {
            Dtype::BF16 => safetensors::Dtype::BF16,
            _ => safetensors::Dtype::F32,
        };
        let view = safetensors::tensor::TensorView::new(stored, tensor.shape().to_vec(), tensor.bytes());
        (name.as_str(), view.unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

#[test]
fn opening_a_checkpoint_copies_no_weights() {
    let _turn = TURN.lock().unwrap();
    let device = Device::open(DeviceSpec::Flex).unwrap();
    for dtype in [Dtype::F32, Dtype::BF16] {
        let dir = large_model(dtype);
        let (model, kept, peak) = cost(|| Model::open(dir.path(), &device).unwrap());
        let bytes = model.weights().byte_len();
        assert!(bytes > 3_000_000 * dtype.size());
        // The tokenizer, the header and the handles; the weights lie on the memory map.
        assert!(kept < bytes / 10, "opening {bytes} bytes of {dtype} weights keeps {kept} on the heap");
        assert!(peak < bytes / 5, "opening {bytes} bytes of {dtype} weights takes {peak} at its peak");
    }
}

/// Weights stay as they are stored while they are multiplied, forward and backward.
#[test]
fn a_search_on_bf16_weights_widens_none_of_them_as_a_whole() {
    let _turn = TURN.lock().unwrap();
    let dir = large_model(Dtype::BF16);
    let model = Model::open(dir.path(), &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let widest = 4 * 256 * 4 * 256;
    let pass = || {
        let batch = TokenBatch::new(&[vec![1, 2]], model.spec()).unwrap();
        let x = upload_f32::<3>(vec![0.1; 2 * 256], [1, 2, 256], model.device());
        let leaf = x.autodiff().require_grad();
        let input = ForwardInput {
            source: Source::Residual { block: 1, x: leaf.clone() },
            ..ForwardInput::tokens(&batch, model.device())
        };
        let out = model.net().forward(input, &mut NoHook).unwrap();
        let grads = out.sum().backward();
        leaf.grad(&grads).map(|gradient| host(&gradient)).unwrap()
    };
    drop(pass());
    let (gradient, _, peak) = cost(pass);
    assert!(gradient.iter().any(|x| *x != 0.0));
    assert!(peak < widest, "{peak} bytes at the peak; the widest matrix has {widest} as f32");
}

#[test]
fn a_fork_and_an_edit_cost_the_touched_matrix() {
    let _turn = TURN.lock().unwrap();
    let dir = large_model(Dtype::F32);
    let model = Model::open(dir.path(), &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let (path, _) = model.slot(Slot::MlpDown(1)).unwrap();
    let matrix = model.tensor(&path).unwrap().bytes().len();
    let addend = Addend::low_rank(Matrix::column(vec![0.1; 256]), Matrix::column(vec![0.1; 1024])).unwrap();
    let patch = model.express(Slot::MlpDown(1), addend).unwrap();

    // The warm-up pays once for whatever the libraries keep per process.
    drop(model.apply(&patch, &Blobs::new()).unwrap());
    let (fork, kept, peak) = cost(|| model.apply(&patch, &Blobs::new()).unwrap().0);
    let bytes = model.weights().byte_len();
    assert!(kept < matrix + matrix / 4, "a fork with one edit keeps {kept}; the matrix has {matrix}");
    // f64 sums of the one matrix stand beside it while it is computed.
    assert!(peak < 5 * matrix && peak < bytes / 2, "{peak} at the peak, of {bytes} for the model");
    assert_ne!(fork.digest(), model.digest());

    let (plain, kept, _) = cost(|| model.clone());
    assert!(kept < 100_000, "a fork keeps {kept}");
    drop(plain);
}

/// Saving streams from the memory map.
#[test]
fn saving_does_not_gather_the_weights() {
    let _turn = TURN.lock().unwrap();
    let dir = large_model(Dtype::F32);
    let model = Model::open(dir.path(), &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let (_, _, peak) = cost(|| model.save(&out.path().join("m"), SaveOptions::default()).unwrap());
    assert!(peak < model.weights().byte_len() / 2, "saving takes {peak} at its peak");
}
