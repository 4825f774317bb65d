//! The forward pass of every family: blocks of attention and MLP on a residual stream.
//!
//! What a [`Decoder`] describes is built once over device tensors. Reading `forward` lists the sites in order.

use burn::tensor::{Int, Tensor, activation, module};
use recant_backend::ops::{gelu_tanh, rms_norm, silu};
use recant_backend::{Device, Layout, upload_ints};
use recant_core::{Point, Site};

use crate::attention::{Attend, merge_heads, split_heads};
use crate::family::{Activation, BlockRule, Decoder, MlpForm, ModelSpec, NormKind, Norms, QkNorm, Qkv};
use crate::forward::{ForwardInput, Source, narrowed};
use crate::hook::{Hook, at};
use crate::mixture::{Expert, Experts};
use crate::model::LanguageModel;
use crate::params::{ParamError, Taking};
use crate::rope::{Rope, Tables};
use crate::weight::Weight;

/// A norm over device tensors.
struct Norm {
    gain: Tensor<1>,
    /// Of a LayerNorm; a root mean square has none.
    bias: Option<Tensor<1>>,
    epsilon: f64,
}

impl Norm {
    fn of<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.bias {
            Some(bias) => module::layer_norm(x, self.gain.clone(), Some(bias.clone()), self.epsilon),
            None => rms_norm(x, self.gain.clone(), self.epsilon),
        }
    }
}

/// `x`, through a norm if there is one.
fn through<const D: usize>(norm: Option<&Norm>, x: Tensor<D>) -> Tensor<D> {
    match norm {
        Some(norm) => norm.of(x),
        None => x,
    }
}

pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// One product of two matrices, whatever the rank of `x`: broadcast over a batch, a weight that is a view of a
    /// transposed matrix would be copied on every call, and packed anew for each row of the batch.
    pub(crate) fn of<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut dims = x.dims();
        let [inputs, outputs] = self.weight.sides();
        let rows = dims[..D - 1].iter().product();
        let y = self.weight.product(x.reshape([rows, inputs]));
        let y = match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze::<2>(),
            None => y,
        };
        dims[D - 1] = outputs;
        y.reshape(dims)
    }
}

/// Projections of queries, keys and values.
#[expect(clippy::large_enum_variant, reason = "one a block, and its weights are behind handles anyway")]
enum Projection {
    Apart([Linear; 3]),
    Joined(Linear),
    JoinedByHead(Linear),
}

/// The first half of an MLP: from its input to the key.
#[expect(clippy::large_enum_variant, reason = "one a block, and its weights are behind handles anyway")]
enum Up {
    Plain(Linear),
    Gated { gate: Linear, up: Linear },
    GatedJoined(Linear),
}

#[expect(clippy::large_enum_variant, reason = "one a block, and its weights are behind handles anyway")]
enum Mlp {
    /// One, whose `down` reads the key.
    One {
        up: Up,
        down: Linear,
    },
    Mixture(Experts),
}

struct Block {
    rule: BlockRule,
    norm_before_attention: Option<Norm>,
    norm_behind_attention: Option<Norm>,
    norm_before_mlp: Option<Norm>,
    norm_behind_mlp: Option<Norm>,
    qkv: Projection,
    qk_norm: Option<(Norm, Norm)>,
    out: Linear,
    mlp: Mlp,
}

/// A forward pass over device tensors.
pub(crate) struct Stack {
    decoder: Decoder,
    device: Device,
    embedding: Weight, // [vocab, d_model]
    positions: Option<Tensor<2>>,
    blocks: Vec<Block>,
    final_norm: Norm,
    head: Weight, // [d_model, vocab]
    head_bias: Option<Tensor<1>>,
}

impl Stack {
    pub(crate) fn build(decoder: &Decoder, params: &Taking<'_>) -> Result<Self, ParamError> {
        let build = Build { decoder, params, prefix: decoder.names.prefix(&|path| params.has(path)) };
        build.stack()
    }

    fn embed(&self, input: &ForwardInput<'_>) -> Tensor<3> {
        match &input.source {
            Source::Residual { x, .. } => x.clone(),
            Source::Tokens(ids) => {
                let embedded = self.embedded(ids.clone());
                let Some(positions) = &self.positions else { return embedded };
                let [rows, tokens] = ids.dims();
                let places = input.positions.list(rows, tokens).into_iter();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "below the context"
                )]
                let places = upload_ints(places.map(|p| p as i32).collect(), [rows, tokens], &self.device);
                embedded + module::embedding(positions.clone(), places)
            }
        }
    }

    /// What attention of block `i` reads from its normalised input, and gives to the residual stream before a norm.
    fn attention(&self, i: usize, x: Tensor<3>, tables: &[Tables], attend: &mut Attend<'_>) -> Tensor<3> {
        let (block, spec) = (&self.blocks[i], &self.decoder.spec);
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let [q, k, v] = match &block.qkv {
            Projection::Apart(projections) => projections.each_ref().map(|linear| linear.of(x.clone())),
            Projection::Joined(linear) => {
                let qkv = linear.of(x);
                let parts = [(0, q_width), (q_width, kv_width), (q_width + kv_width, kv_width)];
                parts.map(|(from, width)| qkv.clone().narrow(2, from, width))
            }
            Projection::JoinedByHead(linear) => {
                let qkv = linear.of(x);
                let [rows, tokens, _] = qkv.dims();
                let heads: Tensor<5> = qkv.reshape([rows, tokens, spec.heads, 3, spec.head_dim]);
                [0, 1, 2].map(|part| heads.clone().narrow(3, part, 1).reshape([rows, tokens, q_width]))
            }
        };
        let by_width = self.decoder.attention.qk_norm == QkNorm::Width;
        let (q, k) = match &block.qk_norm {
            Some((q_norm, k_norm)) if by_width => (q_norm.of(q), k_norm.of(k)),
            _ => (q, k),
        };
        let (mut q, mut k) = (split_heads(q, spec.heads), split_heads(k, spec.kv_heads));
        if let Some((q_norm, k_norm)) = block.qk_norm.as_ref().filter(|_| !by_width) {
            (q, k) = (q_norm.of(q), k_norm.of(k));
        }
        if let Some(tables) = block.rule.rope.map(|at| &tables[at]) {
            (q, k) = (tables.rotate(q), tables.rotate(k));
        }
        let attended = attend.run(i, block.rule.attention, q, k, split_heads(v, spec.kv_heads));
        block.out.of(merge_heads(attended))
    }

    /// The output of block `i`'s MLP for its input; a mixture has no key that a hook could see.
    fn mlp(&self, i: usize, x: Tensor<3>, hook: &mut dyn Hook) -> Option<Tensor<3>> {
        match &self.blocks[i].mlp {
            Mlp::One { up, down } => {
                let key = at(hook, Site::Block(i as u16, Point::MlpKey), self.key(up, x))?;
                Some(down.of(key))
            }
            Mlp::Mixture(experts) => Some(experts.of(x, &self.device)),
        }
    }

    /// The key: what a down-projection reads.
    fn key(&self, up: &Up, x: Tensor<3>) -> Tensor<3> {
        let bend = |x| bent(self.decoder.mlp.activation, x);
        match up {
            Up::Plain(up) => bend(up.of(x)),
            Up::Gated { gate, up } => bend(gate.of(x.clone())) * up.of(x),
            Up::GatedJoined(both) => {
                let both = both.of(x);
                let d_mlp = self.decoder.spec.d_mlp;
                bend(both.clone().narrow(2, 0, d_mlp)) * both.narrow(2, d_mlp, d_mlp)
            }
        }
    }
}

/// The nonlinearity of an MLP.
pub(crate) fn bent<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Gelu => activation::gelu(x),
        Activation::Silu => silu(x),
        Activation::Relu => activation::relu(x),
    }
}

/// `c tanh(x / c)`.
fn capped(x: Tensor<2>, cap: Option<f64>) -> Tensor<2> {
    match cap {
        Some(cap) => (x / cap).tanh() * cap,
        None => x,
    }
}

impl LanguageModel for Stack {
    fn spec(&self) -> &ModelSpec {
        &self.decoder.spec
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(&self, mut input: ForwardInput<'_>, hook: &mut dyn Hook) -> Option<Tensor<3>> {
        let mut x = self.embed(&input);
        let first = match input.source {
            Source::Tokens(_) => {
                x = at(hook, Site::Embed, x)?;
                0
            }
            Source::Residual { block, .. } => block,
        };
        let [rows, tokens, _] = x.dims();
        let table = |rope: &Rope| rope.tables(&input.positions, [rows, tokens], &self.device);
        let tables: Vec<Tables> = self.decoder.ropes.iter().map(table).collect();
        let mut only = input.only;
        let keep = input.keep.take();
        let mut attend = Attend::new(input.past.as_ref(), keep, &input.positions, &self.device);
        let norms = self.decoder.norms;
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            let site = |point| Site::Block(i as u16, point);
            x = at(hook, site(Point::ResidPre), x)?;
            let mut entered = x.clone();

            let normed = through(block.norm_before_attention.as_ref(), x.clone());
            let attended = self.attention(i, normed.clone(), &tables, &mut attend);
            let attended = through(block.norm_behind_attention.as_ref(), attended);
            x = x + at(hook, site(Point::AttnOut), attended)?;
            if i + 1 == self.decoder.spec.layers
                && let Some(places) = only.take()
            {
                x = narrowed(x, Some(places), &self.device);
                if norms.parallel() {
                    entered = narrowed(entered, Some(places), &self.device);
                }
            }

            let read = if norms.parallel() { entered } else { x.clone() };
            let shared = (norms == Norms::ParallelShared).then_some(block.norm_before_attention.as_ref());
            let mlp_in = through(shared.flatten().or(block.norm_before_mlp.as_ref()), read);
            let mlp_in = at(hook, site(Point::MlpIn), mlp_in)?;
            let mlp_out = self.mlp(i, mlp_in, hook)?;
            let mlp_out = at(hook, site(Point::MlpOut), mlp_out)?;
            let added = at(hook, site(Point::MlpAdd), self.entering(i, mlp_out))?;
            x = at(hook, site(Point::ResidPost), x + added)?;
        }
        // None is left, unless the pass began above the last block.
        x = narrowed(x, only, &self.device);
        at(hook, Site::FinalNorm, self.final_norm.of(x))
    }

    fn embedded(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let embedded = self.embedding.embedded(ids, &self.device);
        match self.decoder.embedding_scale {
            1.0 => embedded,
            scale => embedded * scale,
        }
    }

    fn forgets_at(&self) -> Option<usize> {
        self.decoder.ropes.iter().find_map(Rope::turns_otherwise_beyond)
    }

    fn entering(&self, block: usize, mlp_out: Tensor<3>) -> Tensor<3> {
        through(self.blocks.get(block).and_then(|block| block.norm_behind_mlp.as_ref()), mlp_out)
    }

    fn unembed(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = self.head.product(hidden);
        let logits = match &self.head_bias {
            Some(bias) => logits + bias.clone().unsqueeze::<2>(),
            None => logits,
        };
        capped(logits, self.decoder.final_softcap)
    }
}

/// Takes the parameters of a stack.
struct Build<'a> {
    decoder: &'a Decoder,
    params: &'a Taking<'a>,
    prefix: &'static str,
}

impl Build<'_> {
    fn stack(&self) -> Result<Stack, ParamError> {
        let Decoder { spec, names, .. } = self.decoder;
        let prefix = self.prefix;
        let d = spec.d_model;
        let table =
            |name: &str, layout| self.params.weight(&format!("{name}.weight"), [spec.vocab, d], layout);
        let embedding = table(&format!("{prefix}{}", names.embedding), Layout::InOut)?;
        let position = |name| self.params.matrix(&format!("{prefix}{name}.weight"), [spec.context, d]);
        let head = match table(names.head, Layout::OutIn) {
            Err(ParamError::Missing { .. }) if self.decoder.tied => embedding.transposed(),
            other => other?,
        };
        let head_bias =
            self.decoder.head_bias.then(|| self.params.vector(&format!("{}.bias", names.head), spec.vocab));
        Ok(Stack {
            device: self.params.device().clone(),
            positions: names.positions.map(position).transpose()?,
            blocks: (0..spec.layers).map(|i| self.block(i)).collect::<Result<_, _>>()?,
            final_norm: self.norm(format!("{prefix}{}", names.final_norm), d)?,
            head_bias: head_bias.transpose()?,
            decoder: self.decoder.clone(),
            embedding,
            head,
        })
    }

    fn block(&self, i: usize) -> Result<Block, ParamError> {
        let Decoder { spec, names, attention, norms, .. } = self.decoder;
        let d = spec.d_model;
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let name = |part: &str| names.in_block(self.prefix, i, part);
        let linear = |part: &str, inputs, outputs, biased| self.linear(name(part), [inputs, outputs], biased);
        let norm = |part: &str, there: bool| there.then(|| self.norm(name(part), d)).transpose();
        let parts = &names.block;
        let qkv = match attention.qkv {
            Qkv::Apart => Projection::Apart([
                linear(parts.q, d, q_width, attention.bias)?,
                linear(parts.k, d, kv_width, attention.bias)?,
                linear(parts.v, d, kv_width, attention.bias)?,
            ]),
            Qkv::Joined => Projection::Joined(linear(parts.qkv, d, q_width + 2 * kv_width, attention.bias)?),
            Qkv::JoinedByHead => Projection::JoinedByHead(linear(parts.qkv, d, 3 * q_width, attention.bias)?),
        };
        let qk_norm = |[q, k]: [usize; 2]| {
            Ok::<_, ParamError>((self.norm(name(parts.q_norm), q)?, self.norm(name(parts.k_norm), k)?))
        };
        let qk_norm = match attention.qk_norm {
            QkNorm::None => None,
            QkNorm::Head => Some(qk_norm([spec.head_dim; 2])?),
            QkNorm::Width => Some(qk_norm([q_width, kv_width])?),
        };
        Ok(Block {
            rule: self.decoder.blocks[i],
            norm_before_attention: norm(parts.norm_before_attention, norms.before())?,
            norm_behind_attention: norm(parts.norm_behind_attention, norms.behind())?,
            norm_before_mlp: norm(parts.norm_before_mlp, norms.before() && *norms != Norms::ParallelShared)?,
            norm_behind_mlp: norm(parts.norm_behind_mlp, norms.behind())?,
            qkv,
            qk_norm,
            out: linear(parts.out, q_width, d, attention.out_bias)?,
            mlp: self.mlp(i)?,
        })
    }

    fn mlp(&self, i: usize) -> Result<Mlp, ParamError> {
        let Decoder { spec, names, mlp, .. } = self.decoder;
        let (d, d_mlp, parts) = (spec.d_model, spec.d_mlp, &names.block);
        let linear = |part: &str, inputs, outputs| {
            self.linear(names.in_block(self.prefix, i, part), [inputs, outputs], mlp.bias)
        };
        if let Some(mixture) = spec.mixture.as_ref().filter(|_| spec.is_mixture(i)) {
            let expert = |e: usize| {
                let part = |name| format!("{}.{e}.{name}", parts.experts);
                Ok::<_, ParamError>(Expert {
                    gate: linear(&part(parts.expert_gate), d, mixture.d_expert)?,
                    up: linear(&part(parts.expert_up), d, mixture.d_expert)?,
                    down: linear(&part(parts.expert_down), mixture.d_expert, d)?,
                })
            };
            return Ok(Mlp::Mixture(Experts {
                router: linear(parts.router, d, mixture.experts)?,
                experts: (0..mixture.experts).map(expert).collect::<Result<_, _>>()?,
                per_token: mixture.per_token,
                renormalised: mixture.renormalised,
                activation: mlp.activation,
            }));
        }
        let up = match mlp.form {
            MlpForm::Plain => Up::Plain(linear(parts.up, d, d_mlp)?),
            MlpForm::Gated => {
                Up::Gated { gate: linear(parts.gate, d, d_mlp)?, up: linear(parts.up, d, d_mlp)? }
            }
            MlpForm::GatedJoined => Up::GatedJoined(linear(parts.gate_up, d, 2 * d_mlp)?),
        };
        Ok(Mlp::One { up, down: linear(parts.down, d_mlp, d)? })
    }

    fn norm(&self, name: String, width: usize) -> Result<Norm, ParamError> {
        let gain = self.params.vector(&format!("{name}.weight"), width)?;
        let (gain, bias) = match self.decoder.norm {
            NormKind::Layer => (gain, Some(self.params.vector(&format!("{name}.bias"), width)?)),
            NormKind::Rms => (gain, None),
            NormKind::RmsPlusOne => (gain + 1.0, None),
        };
        Ok(Norm { gain, bias, epsilon: self.decoder.epsilon })
    }

    fn linear(
        &self,
        name: String,
        [inputs, outputs]: [usize; 2],
        biased: bool,
    ) -> Result<Linear, ParamError> {
        let path = format!("{name}.weight");
        let weight = match self.decoder.stored {
            Layout::InOut => self.params.weight(&path, [inputs, outputs], Layout::InOut)?,
            Layout::OutIn => self.params.weight(&path, [outputs, inputs], Layout::OutIn)?,
        };
        let bias = biased.then(|| self.params.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear { weight, bias })
    }
}
