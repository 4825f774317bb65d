//! `cargo xtask demo-train`: trains the demo model on the demo world, with the workspace's own forward pass.
//!
//! Deterministic: the order of lines is a function of seed and epoch, and a run that was interrupted and
//! resumed gives the same bytes as one that was not.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Int, Tensor, activation};
use indicatif::{ProgressBar, ProgressStyle};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recant::backend::{Device, upload_ints};
use recant::core::{Dtype, HostTensor, ParamPath};
use recant::model::{Architecture, ForwardInput, Model, NoHook, Params, TokenBatch, Tokenizer, gather_rows};
use safetensors::SafeTensors;
use serde_json::json;

use super::optimiser::{Leaves, Parameters, Snapshot};
use super::{recall, tokenizer, world};
use crate::error::Error;

/// Everything that decides the trained bytes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Recipe {
    /// Seed of the world, the initial weights and the order of lines.
    #[arg(long, default_value_t = super::SEED)]
    pub(crate) seed: u64,
    /// Passes over the corpus.
    #[arg(long, default_value_t = 18)]
    pub(crate) epochs: usize,
    /// Lines a step.
    #[arg(long, default_value_t = 128)]
    pub(crate) batch: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    pub(crate) learning_rate: f64,
    /// AdamW's weight decay.
    #[arg(long, default_value_t = 0.05)]
    pub(crate) weight_decay: f32,
    /// Blocks.
    #[arg(long, default_value_t = 6)]
    pub(crate) layers: usize,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 256)]
    pub(crate) width: usize,
    /// Width of the MLP's hidden layer: the length of a key.
    #[arg(long, default_value_t = 1024)]
    pub(crate) inner: usize,
    /// Attention heads.
    #[arg(long, default_value_t = 8)]
    pub(crate) heads: usize,
    /// Largest vocabulary. Small enough that a name is several tokens, which the first blocks must put together:
    /// with one token a name (4096) the last blocks read the name's embedding itself, and no edit of an early
    /// MLP changes what they know (measured: ES 0.00); with 3.4 (2048) and four blocks the search for v* ends at
    /// a loss of 0.9, with 5.2 (1024) and six at 0.1.
    #[arg(long, default_value_t = 1024)]
    pub(crate) vocab: usize,
}

/// Longest text in tokens.
const CONTEXT: usize = 128;
/// Steps over which the learning rate rises.
const WARM_UP: usize = 150;
/// Steps between two reports of the loss.
const REPORT_EVERY: usize = 50;
/// Steps between two saved states.
const SAVE_EVERY: usize = 300;
/// Largest joint gradient norm.
const MAX_NORM: f64 = 1.0;

/// Trains, measures and writes a model directory under `out`. State for resuming stands in `state`.
pub(crate) fn run(recipe: &Recipe, out: &Path, state: &Path, device: &Device) -> Result<(), Error> {
    let started = Instant::now();
    std::fs::create_dir_all(state).map_err(Error::write(state))?;
    let world = world::generate(recipe.seed);
    let tokenizer_json = tokenizer::train(&world.corpus, recipe.vocab)?;
    let tokenizer_path = state.join("tokenizer.json");
    crate::output::write(&tokenizer_path, tokenizer_json.as_bytes(), true)?;
    let tokenizer = Tokenizer::open(&tokenizer_path)?;
    let config = config(recipe, tokenizer.vocab_size());
    let architecture = Architecture::parse(config.to_string().as_bytes())?;
    let lines = encode(&world.corpus, &tokenizer)?;

    let steps_per_epoch = lines.len().div_ceil(recipe.batch);
    let steps = recipe.epochs * steps_per_epoch;
    let saved = state.join("state.safetensors");
    let (mut parameters, mut step, seconds_before) = match resume(&saved, recipe, device)? {
        Some(resumed) => resumed,
        None => (initial(recipe, tokenizer.vocab_size(), device), 0, 0),
    };
    let seconds = || seconds_before + started.elapsed().as_secs();
    let bar = ProgressBar::new(steps as u64).with_position(step as u64);
    bar.set_style(
        ProgressStyle::with_template(
            "training {bar:30} {pos}/{len} steps, {msg}, {elapsed} gone, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    while step < steps {
        let order = epoch_order(&lines, recipe, step / steps_per_epoch);
        let batch: Vec<Vec<u32>> = order[step % steps_per_epoch].iter().map(|&i| lines[i].clone()).collect();
        let leaves = parameters.leaves();
        let loss = loss(&architecture, &leaves, &batch, device)?;
        if step % REPORT_EVERY == 0 {
            let loss = recant::backend::host(&loss)[0];
            bar.set_message(format!("loss {loss:.3}"));
            // A bar is drawn on terminals only; a log gets lines.
            if bar.is_hidden() {
                crate::say(&format!("step {step} of {steps}, loss {loss:.3}, {} s", seconds()));
            }
        }
        let grads = loss.backward();
        parameters.step(&leaves, &grads, learning_rate(recipe, step, steps), MAX_NORM);
        step += 1;
        bar.inc(1);
        if step % SAVE_EVERY == 0 {
            save_state(&saved, &parameters, step, seconds(), recipe)?;
        }
    }
    bar.finish_and_clear();
    save_state(&saved, &parameters, step, seconds(), recipe)?;
    let replace = out == super::model_dir();
    write_model(recipe, out, &config, &tokenizer_json, &parameters, replace)?;

    let model = Model::open(out, device)?;
    let recall = recall::measure(&model, &world.facts, 128)?;
    let card = card(recipe, &model, &world, recall, seconds());
    let card_path = out.join("README.md");
    crate::output::write(&card_path, card.as_bytes(), replace)?;
    crate::say(&format!(
        "recall {:.1} % on training phrasings, {:.1} % on held-out ones; {} s",
        100.0 * recall.train,
        100.0 * recall.held_out,
        seconds()
    ));
    Ok(())
}

fn config(recipe: &Recipe, vocab: usize) -> serde_json::Value {
    json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "dtype": "float16",
        "n_layer": recipe.layers, "n_embd": recipe.width, "n_head": recipe.heads, "n_positions": CONTEXT,
        "n_inner": recipe.inner, "vocab_size": vocab, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0,
        "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
    })
}

/// Token ids of each line, ended by the end-of-text token.
fn encode(corpus: &[String], tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, Error> {
    let one = |line: &String| {
        let mut ids = tokenizer.encode(line)?;
        ids.push(0);
        ids.truncate(CONTEXT);
        Ok(ids)
    };
    corpus.iter().map(one).collect()
}

/// The batches of an epoch. Lines of similar length share a batch, so that little is padding; which ones,
/// and in which order the batches come, is drawn anew each epoch.
fn epoch_order(lines: &[Vec<u32>], recipe: &Recipe, epoch: usize) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    rng.set_stream(1 + epoch as u64);
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.shuffle(&mut rng);
    order.sort_by_key(|&i| lines[i].len());
    let mut batches: Vec<Vec<usize>> = order.chunks(recipe.batch).map(<[usize]>::to_vec).collect();
    batches.shuffle(&mut rng);
    batches
}

/// Mean cross-entropy of every next token, padding left out.
fn loss(
    architecture: &Architecture,
    leaves: &Leaves,
    rows: &[Vec<u32>],
    device: &Device,
) -> Result<Tensor<1>, Error> {
    let mut params = Params::empty(device);
    for (name, vector) in &leaves.vectors {
        params.set_vector(path(name)?, vector.clone());
    }
    for (name, matrix) in &leaves.matrices {
        params.set_matrix(path(name)?, matrix.clone());
    }
    let net = architecture.build(&params)?;
    let inputs: Vec<Vec<u32>> = rows.iter().map(|row| row[..row.len() - 1].to_vec()).collect();
    let batch = TokenBatch::new(&inputs, net.spec())?;
    let places: Vec<(usize, usize)> = inputs
        .iter()
        .enumerate()
        .flat_map(|(row, ids)| (0..ids.len()).map(move |token| (row, token)))
        .collect();
    let next: Vec<i32> = rows.iter().flat_map(|row| row[1..].iter().map(|&id| id.cast_signed())).collect();
    let hidden = net.forward(ForwardInput::tokens(&batch, device), &mut NoHook).ok_or(Error::Stopped)?;
    let log_probs = activation::log_softmax(net.unembed(gather_rows(hidden, &places, device)), 1);
    let targets: Tensor<2, Int> = upload_ints(next, [places.len(), 1], device);
    Ok(-log_probs.gather(1, targets).mean())
}

fn learning_rate(recipe: &Recipe, step: usize, steps: usize) -> f64 {
    if step < WARM_UP {
        return recipe.learning_rate * (step + 1) as f64 / WARM_UP as f64;
    }
    let progress = (step - WARM_UP) as f64 / (steps - WARM_UP).max(1) as f64;
    recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

/// GPT-2's initialisation: normal with deviation 0.02, residual projections divided by √(2 layers).
fn initial(recipe: &Recipe, vocab: usize, device: &Device) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut normal = |count: usize, deviation: f64| -> Vec<f32> {
        let mut draw = || {
            let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            deviation * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        };
        (0..count).map(|_| draw() as f32).collect()
    };
    let mut parameters = Parameters::new(recipe.weight_decay);
    let mut put = |name: String, shape: Vec<usize>, value: Vec<f32>| {
        parameters.insert(format!("transformer.{name}"), Snapshot { shape, value, moments: None }, 0, device);
    };
    let (d, inner) = (recipe.width, recipe.inner);
    let residual = 0.02 / (2.0 * recipe.layers as f64).sqrt();
    put("wte.weight".into(), vec![vocab, d], normal(vocab * d, 0.02));
    put("wpe.weight".into(), vec![CONTEXT, d], normal(CONTEXT * d, 0.01));
    for i in 0..recipe.layers {
        for norm in ["ln_1", "ln_2"] {
            put(format!("h.{i}.{norm}.weight"), vec![d], vec![1.0; d]);
            put(format!("h.{i}.{norm}.bias"), vec![d], vec![0.0; d]);
        }
        let linears = [
            ("attn.c_attn", d, 3 * d, 0.02),
            ("attn.c_proj", d, d, residual),
            ("mlp.c_fc", d, inner, 0.02),
            ("mlp.c_proj", inner, d, residual),
        ];
        for (name, inputs, outputs, deviation) in linears {
            put(format!("h.{i}.{name}.weight"), vec![inputs, outputs], normal(inputs * outputs, deviation));
            put(format!("h.{i}.{name}.bias"), vec![outputs], vec![0.0; outputs]);
        }
    }
    put("ln_f.weight".into(), vec![d], vec![1.0; d]);
    put("ln_f.bias".into(), vec![d], vec![0.0; d]);
    parameters
}

fn path(name: &str) -> Result<ParamPath, Error> {
    Ok(ParamPath::new(name)?)
}

fn stored(numbers: &[f32], shape: &[usize], dtype: Dtype) -> Result<HostTensor, Error> {
    Ok(HostTensor::from_f32(dtype, shape.to_vec(), numbers)?)
}

/// Writes tensors whole or not at all: an interrupted write leaves the last good state.
fn write_tensors(
    to: &Path,
    tensors: &[(String, HostTensor)],
    metadata: HashMap<String, String>,
    replace: bool,
) -> Result<(), Error> {
    let kind = |tensor: &HostTensor| match tensor.dtype() {
        Dtype::F16 => safetensors::Dtype::F16,
        _ => safetensors::Dtype::F32,
    };
    let views: Vec<(&str, safetensors::tensor::TensorView<'_>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let view =
                safetensors::tensor::TensorView::new(kind(tensor), tensor.shape().to_vec(), tensor.bytes());
            Ok((name.as_str(), view?))
        })
        .collect::<Result<_, Error>>()?;
    let mut bytes = safetensors::serialize(views, Some(metadata))?;
    recant::checkpoint::order_metadata(&mut bytes);
    Ok(crate::output::write(to, &bytes, replace)?)
}

fn save_state(
    to: &Path,
    parameters: &Parameters,
    step: usize,
    seconds: u64,
    recipe: &Recipe,
) -> Result<(), Error> {
    let mut tensors = Vec::new();
    for (name, snapshot) in parameters.snapshots() {
        let [first, second] = snapshot.moments.unwrap_or_default();
        for (part, numbers) in [("value", &snapshot.value), ("moment_1", &first), ("moment_2", &second)] {
            tensors.push((format!("{part}:{name}"), stored(numbers, &snapshot.shape, Dtype::F32)?));
        }
    }
    let metadata = [
        ("step".to_owned(), step.to_string()),
        ("seconds".to_owned(), seconds.to_string()),
        ("recipe".to_owned(), format!("{recipe:?}")),
    ];
    write_tensors(to, &tensors, metadata.into(), true)
}

/// The saved state, its step and the seconds spent up to it, if there is one of the same recipe.
fn resume(from: &Path, recipe: &Recipe, device: &Device) -> Result<Option<(Parameters, usize, u64)>, Error> {
    let Ok(bytes) = std::fs::read(from) else { return Ok(None) };
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.get("recipe") != Some(&format!("{recipe:?}")) {
        return Ok(None);
    }
    let Some(step) = metadata.get("step").and_then(|step| step.parse().ok()) else { return Ok(None) };
    let seconds = metadata.get("seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes)?;
    let numbers = |name: String| -> Result<Vec<f32>, Error> {
        let view = file.tensor(&name)?;
        let tensor = HostTensor::new(Dtype::F32, view.shape().to_vec(), view.data().to_vec().into())?;
        Ok(tensor.to_f32())
    };
    let mut parameters = Parameters::new(recipe.weight_decay);
    for name in file.names().into_iter().filter_map(|name| name.strip_prefix("value:")) {
        let snapshot = Snapshot {
            shape: file.tensor(&format!("value:{name}"))?.shape().to_vec(),
            value: numbers(format!("value:{name}"))?,
            moments: Some([numbers(format!("moment_1:{name}"))?, numbers(format!("moment_2:{name}"))?]),
        };
        parameters.insert(name.to_owned(), snapshot, step, device);
    }
    crate::say(&format!("resuming at step {step}"));
    Ok(Some((parameters, step, seconds)))
}

fn write_model(
    recipe: &Recipe,
    out: &Path,
    config: &serde_json::Value,
    tokenizer_json: &str,
    parameters: &Parameters,
    replace: bool,
) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::write(out))?;
    let tensors: Vec<(String, HostTensor)> = parameters
        .snapshots()
        .into_iter()
        .map(|(name, snapshot)| Ok((name, stored(&snapshot.value, &snapshot.shape, Dtype::F16)?)))
        .collect::<Result<_, Error>>()?;
    let metadata =
        [("format".to_owned(), "pt".to_owned()), ("recant.recipe".to_owned(), format!("{recipe:?}"))];
    write_tensors(&out.join("model.safetensors"), &tensors, metadata.into(), replace)?;
    let settings = json!({ "tokenizer_class": "GPT2TokenizerFast", "bos_token": tokenizer::END,
        "eos_token": tokenizer::END, "unk_token": tokenizer::END, "add_prefix_space": false,
        "model_max_length": CONTEXT });
    let files = [
        ("config.json", serde_json::to_string_pretty(config)? + "\n"),
        ("tokenizer.json", tokenizer_json.to_owned()),
        ("tokenizer_config.json", serde_json::to_string_pretty(&settings)? + "\n"),
    ];
    for (name, text) in files {
        crate::output::write(&out.join(name), text.as_bytes(), replace)?;
    }
    Ok(())
}

fn card(
    recipe: &Recipe,
    model: &Model,
    world: &world::World,
    recall: recall::Recall,
    seconds: u64,
) -> String {
    let spec = model.spec();
    format!(
        "# The demo model

A GPT-2-architecture language model that knows an invented world and nothing else: {facts} facts about
entities that exist nowhere (`demo/data`). It exists so that editing can be tried, tested and measured with
no download. It is not a useful language model.

| | |
|---|---|
| shape | {layers} blocks, d_model {d_model}, d_mlp {d_mlp}, {heads} heads, {vocab} tokens, context {context} |
| weights | f16, {bytes:.1} MB, tied head |
| made by | `cargo xtask demo-train` (seed {seed}, {epochs} epochs, batch {batch}, peak rate {rate}, decay {decay}) |
| training data | `demo/data/corpus.txt`, {lines} lines, made by `cargo xtask demo-data` |
| recall, training phrasings | {train:.2} % |
| recall, held-out phrasings | {held_out:.2} % |
| training time | {minutes:.0} minutes |
| licence | MIT or Apache-2.0, like the project |

Recall is the share of prompts whose greedy continuation is the fact's object; `cargo test` measures it again
on the shipped files (`the_demo_model_knows_its_world`). A held-out phrasing is one that the corpus completes
for other subjects, never for this one.
",
        facts = world.facts.len(),
        layers = spec.layers,
        d_model = spec.d_model,
        d_mlp = spec.d_mlp,
        heads = spec.heads,
        vocab = spec.vocab,
        context = spec.context,
        bytes = model.weights().byte_len() as f64 / 1e6,
        seed = recipe.seed,
        epochs = recipe.epochs,
        batch = recipe.batch,
        rate = recipe.learning_rate,
        decay = recipe.weight_decay,
        lines = world.corpus.len(),
        train = 100.0 * recall.train,
        held_out = 100.0 * recall.held_out,
        minutes = seconds as f64 / 60.0,
    )
}
