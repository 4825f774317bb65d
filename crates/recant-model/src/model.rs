//! A model: weights, forward pass and tokenizer, as one persistent value.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, activation};
use recant_backend::{Device, Layout, host};
use recant_checkpoint::Source;
use recant_core::{
    Addend, Applied, ApplyError, Blobs, Change, Delta, HostTensor, ModelDigest, ParamPath, WeightPatch,
    Weights,
};
use recant_text::{Tokenizer, TokenizerError};

use crate::adapter::{Adapter, Session};
use crate::checkpoint::{self, OpenError};
use crate::family::{Architecture, ModelSpec, Slot};
use crate::forward::{ForwardInput, InputError, TokenBatch, gather_rows};
use crate::hook::Hook;
use crate::note::ModelNote;
use crate::params::{ParamError, Params};

/// The forward pass of a decoder language model.
pub trait LanguageModel: Send + Sync {
    /// The sizes.
    fn spec(&self) -> &ModelSpec;

    /// Where it computes.
    fn device(&self) -> &Device;

    /// Runs the blocks and returns the normalised residual stream `[batch, tokens, d_model]`, or `None`
    /// when the hook stopped the pass.
    ///
    /// Sites are shown to the hook in the order of [`recant_core::Site`]; a pass that starts above a layer
    /// shows the sites from there on.
    fn forward(&self, input: ForwardInput<'_>, hook: &mut dyn Hook) -> Option<Tensor<3>>;

    /// What token ids `[batch, tokens]` enter the residual stream as, `[batch, tokens, d_model]`: rows of the table of
    /// embeddings as they are used, without learned positions.
    fn embedded(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// The length of a text beyond which keys of a shorter pass are of no use, if there is one.
    fn forgets_at(&self) -> Option<usize> {
        None
    }

    /// What of a block's `W k` `[batch, tokens, d_model]` enters the residual stream: itself, or that behind a norm.
    fn entering(&self, block: usize, mlp_out: Tensor<3>) -> Tensor<3>;

    /// What the residual stream behind a block gains when `shift` is added to the block's `W k`, which is `mlp_out`
    /// (both `[batch, tokens, d_model]`): the shift itself, unless a norm stands behind the MLP.
    fn gained(&self, block: usize, mlp_out: Tensor<3>, shift: Tensor<3>) -> Tensor<3> {
        if !self.spec().norm_behind_mlp {
            return shift;
        }
        self.entering(block, mlp_out.clone() + shift) - self.entering(block, mlp_out)
    }

    /// Logits `[rows, vocab]` of normalised residual rows `[rows, d_model]`. Apart from
    /// [`LanguageModel::forward`] so that only the rows somebody reads are multiplied by the vocabulary.
    fn unembed(&self, hidden: Tensor<2>) -> Tensor<2>;
}

/// A language model as a value. Cloning is forking: every tensor is shared, and nothing that happens to
/// the clone is seen here.
#[derive(Clone)]
pub struct Model {
    architecture: Architecture,
    spec: ModelSpec,
    weights: Weights,
    params: Params,
    net: Arc<dyn LanguageModel>,
    tokenizer: Tokenizer,
    adapters: Vec<Arc<dyn Adapter>>,
    pub(crate) source: Arc<dyn Source>,
    notes: Vec<ModelNote>,
}

/// A next-token answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The token's text as it stands in running text: with the blank before it, if it has one.
    pub token: String,
    /// The token's id.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// A model cannot be asked this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Whoever listened broke it off.
    #[error("the answer was broken off")]
    Cancelled,
    /// The text cannot be tokenised.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokens cannot be fed to the model.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// A patch does not give an edited model. The model is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It was not made for these weights.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The forward pass cannot be built over the changed weights.
    #[error(transparent)]
    Param(#[from] ParamError),
}

impl Model {
    /// Opens a Hugging Face directory: `config.json`, `model.safetensors` or shards with their list, `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Model::from_source`].
    pub fn open(dir: &Path, device: &Device) -> Result<Self, OpenError> {
        Self::from_source(checkpoint::source_at(dir)?, device)
    }

    /// Opens any source.
    ///
    /// Weights of a directory are memory-mapped. A device that computes with host memory (`flex`) reads f32, f16 and bf16
    /// matrices in the map, as they are stored; for others one f32 copy is made on the device.
    ///
    /// # Errors
    /// [`OpenError`] names the file, the tensor and what to do. All weights are checked: shapes against
    /// config.json, and every number for NaN and infinity.
    pub fn from_source(source: Arc<dyn Source>, device: &Device) -> Result<Self, OpenError> {
        let (architecture, unread) = checkpoint::architecture(&*source)?;
        let mut weights = checkpoint::weights(&*source)?;
        let untied = checkpoint::tie(&mut weights, &architecture);
        let params = Params::upload(&weights, device);
        let (net, used) = architecture
            .build_with_names(&params)
            .map_err(|error| OpenError::Param { place: source.place().to_owned(), source: error })?;
        let tokenizer = checkpoint::tokenizer(&*source)?;
        let unused = weights.iter().map(|(name, _)| name);
        let unused =
            unused.filter(|name| !used.contains(*name) && !architecture.is_stored_constant(name.as_str()));
        let notes = checkpoint::notes(unused.cloned().collect(), unread, untied);
        Ok(Self {
            spec: architecture.spec(),
            architecture,
            weights,
            params,
            net: net.into(),
            tokenizer,
            adapters: Vec::new(),
            source,
            notes,
        })
    }

    /// What a user should know about the directory that the model was opened from.
    #[must_use]
    pub fn notes(&self) -> &[ModelNote] {
        &self.notes
    }

    /// The sizes.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Where it computes.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The weights as the checkpoint would hold them.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The forward pass of the weights alone. Ask through [`Model::session`] to hear the adapters too.
    #[must_use]
    pub fn net(&self) -> &dyn LanguageModel {
        &*self.net
    }

    /// The same model, which reads every prompt inside its own chat template; with `end_token` a target ends with the
    /// token that ends an answer.
    ///
    /// # Errors
    /// [`OpenError::Chat`] when it has no template that can be used.
    pub fn in_chat(&self, end_token: bool) -> Result<Self, OpenError> {
        let frame = checkpoint::chat_frame(&*self.source)?;
        Ok(Self { tokenizer: self.tokenizer.in_chat(frame, end_token)?, ..self.clone() })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the model was opened from.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// This model with one more adapter behind those it has; `self` is not changed and everything is shared.
    #[must_use]
    pub fn with_adapter(&self, adapter: Arc<dyn Adapter>) -> Self {
        let mut next = self.clone();
        next.adapters.push(adapter);
        next
    }

    /// What the model carries beside its weights, in the order in which it works.
    #[must_use]
    pub fn adapters(&self) -> &[Arc<dyn Adapter>] {
        &self.adapters
    }

    /// The adapters at work on some sequences whose prompts have these lengths in tokens: the hook to pass to
    /// every forward pass over them. Without adapters it wants nothing.
    #[must_use]
    pub fn session(&self, prompts: &[usize]) -> Session<'_> {
        Session::new(self.adapters.iter().map(|adapter| adapter.begin(prompts)))
    }

    /// Content id of the weights. Adapters are not weights: what they learned has an id of its own
    /// ([`recant_core::AdapterState::id`]).
    #[must_use]
    pub fn digest(&self) -> ModelDigest {
        self.weights.digest()
    }

    /// Content id of what is computed with: every parameter on a device read back as f32. Slower than
    /// [`Model::digest`], and the honest witness of a rollback.
    #[must_use]
    pub fn device_digest(&self) -> ModelDigest {
        self.params.digest_of_read_back()
    }

    /// The parameter behind a slot and its layout; `None` when there is no such block, or when it is a mixture of experts
    /// ([`ModelSpec::check_matrix`] tells).
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<(ParamPath, Layout)> {
        self.architecture.slot(slot, &|path| self.params.has(path))
    }

    /// The device matrix of a slot as `[d_out, d_in]`, whatever the checkpoint's layout.
    #[must_use]
    pub fn weight(&self, slot: Slot) -> Option<Tensor<2>> {
        let (path, layout) = self.slot(slot)?;
        let stored = self.weights.get(&path)?.shape();
        let matrix = self.params.matrix(path.as_str(), [*stored.first()?, *stored.get(1)?]).ok()?;
        Some(match layout {
            Layout::OutIn => matrix,
            Layout::InOut => matrix.transpose(),
        })
    }

    /// A patch that adds `addend` `[d_out, d_in]` to a slot, in the checkpoint's own layout.
    #[must_use]
    pub fn express(&self, slot: Slot, addend: Addend) -> Option<WeightPatch> {
        let (path, layout) = self.slot(slot)?;
        let base = self.weights.get(&path)?.id();
        let addend = match layout {
            Layout::OutIn => addend,
            Layout::InOut => addend.transposed(),
        };
        Some(WeightPatch::one(path, Change { base, delta: Delta::Add(addend) }))
    }

    /// The edited model, and what goes back. `self` is not changed; untouched tensors are shared, on the
    /// host and on the device.
    ///
    /// # Errors
    /// [`PatchError`]; see [`WeightPatch::apply`].
    pub fn apply(&self, patch: &WeightPatch, blobs: &Blobs) -> Result<(Self, Applied), PatchError> {
        let applied = patch.apply(&self.weights, blobs)?;
        let changed = applied.changed.iter().filter_map(|path| Some((path, applied.weights.get(path)?)));
        let params = changed.fold(self.params.clone(), |mut params, (path, tensor)| {
            params.put(path, tensor);
            params
        });
        let net = self.architecture.build(&params)?.into();
        Ok((Self { weights: applied.weights.clone(), params, net, ..self.clone() }, applied))
    }

    /// The model as it was before `applied`: the exact former tensors, swapped back in.
    ///
    /// # Errors
    /// [`PatchError`] when a matrix that `applied` changed has been changed again since.
    pub fn undo(&self, applied: &Applied) -> Result<Self, PatchError> {
        self.apply(&applied.undo, &applied.blobs).map(|(former, _)| former)
    }

    /// The forward pass with a slot's matrix `[d_out, d_in]` replaced by a device tensor, which may track
    /// gradients; `None` when there is no such block or the shape differs.
    #[must_use]
    pub fn net_with(&self, slot: Slot, matrix: Tensor<2>) -> Option<Arc<dyn LanguageModel>> {
        let (path, layout) = self.slot(slot)?;
        let stored = match layout {
            Layout::OutIn => matrix,
            Layout::InOut => matrix.transpose(),
        };
        self.architecture.build(&self.params.with_matrix(&path, stored)).ok().map(Arc::from)
    }

    /// Log-probabilities over the vocabulary behind each of some places of a batch:
    /// for each `(row, token)`, `[vocab]`.
    #[must_use]
    pub fn log_probs(&self, batch: &TokenBatch, places: &[(usize, usize)]) -> Vec<Vec<f32>> {
        let mut session = self.session(batch.prompts());
        let hidden = self.net.forward(ForwardInput::tokens(batch, self.device()), &mut session);
        let Some(hidden) = hidden else { return Vec::new() };
        let logits = self.net.unembed(gather_rows(hidden, places, self.device()));
        let numbers = host(&activation::log_softmax(logits, 1));
        numbers.chunks_exact(self.spec.vocab).map(<[f32]>::to_vec).collect()
    }

    /// The `top` most probable next tokens, most probable first; equal ones by id.
    ///
    /// # Errors
    /// [`AskError`] when the prompt is empty, too long, or cannot be tokenised.
    pub fn answers(&self, prompt: &str, top: usize) -> Result<Vec<Answer>, AskError> {
        let ids = self.tokenizer.encode(prompt)?;
        let last = ids.len().saturating_sub(1);
        let batch = TokenBatch::new(&[ids], &self.spec)?;
        let log_probs = self.log_probs(&batch, &[(0, last)]).pop().unwrap_or_default();
        let mut order: Vec<u32> = (0..log_probs.len() as u32).collect();
        order.sort_by(|&a, &b| log_probs[b as usize].total_cmp(&log_probs[a as usize]).then(a.cmp(&b)));
        let answer = |id: u32| {
            Ok(Answer { token: self.tokenizer.token_text(id)?, id, logprob: log_probs[id as usize] })
        };
        order.into_iter().take(top).map(answer).collect()
    }

    /// One tensor of the checkpoint.
    #[must_use]
    pub fn tensor(&self, path: &ParamPath) -> Option<&HostTensor> {
        self.weights.get(path)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("source", &self.source.place())
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use recant_backend::DeviceSpec;
    use recant_core::Matrix;

    use super::*;

    /// New weights never meet the former forward pass: where none can be built, there is no edited model.
    #[test]
    fn a_forward_pass_that_cannot_be_built_is_an_error() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2-tiny");
        let mut model = Model::open(&dir, &Device::open(DeviceSpec::Flex).unwrap()).unwrap();
        let (left, right) = (vec![0.1; model.spec.d_model], vec![0.1; model.spec.d_mlp]);
        let addend = Addend::low_rank(Matrix::column(left), Matrix::column(right)).unwrap();
        let patch = model.express(Slot::MlpDown(0), addend).unwrap();
        let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
        let deeper = config.replace("\"n_layer\": 3", "\"n_layer\": 4");
        model.architecture = Architecture::parse(deeper.as_bytes()).unwrap();
        let refused = model.apply(&patch, &Blobs::new()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, PatchError::Param(ParamError::Missing { .. })), "{refused}");
    }
}
