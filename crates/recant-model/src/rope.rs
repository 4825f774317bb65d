//! Rotary positions: the frequencies of every kind of scaling that checkpoints name, and their tables.
//!
//! Su et al., "RoFormer" (arXiv 2104.09864), in the half-split form of most checkpoints and the interleaved one of
//! GPT-J. Frequencies are computed in f64 whatever the dtype of the weights: rounding them would move every position.

use std::f64::consts::TAU;

use burn::tensor::Tensor;
use recant_backend::{Device, upload_f32};

use crate::family::{ConfigError, Keys};
use crate::forward::Positions;

/// The rotary settings of a model, or of some of its blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    theta: f64,
    scaling: Scaling,
    /// Coordinates of a head that are turned, the first ones.
    width: usize,
    /// Pairs are neighbours (GPT-J) and not the two halves.
    interleaved: bool,
    /// Keys of the section that were not read.
    pub(crate) unread: Vec<String>,
}

/// What is done to the frequencies for texts longer than those of the first training.
#[derive(Debug, Clone, PartialEq)]
enum Scaling {
    /// Nothing. `dynamic` is that, too: it changes the base only beyond `max_position_embeddings`, and no longer text
    /// is accepted.
    None,
    /// Every position is divided by the factor (kaiokendev 2023; LongLoRA, arXiv 2309.12307).
    Linear { factor: f64 },
    /// Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended.
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// YaRN (Peng et al., arXiv 2309.00071): as `Llama3` with a ramp over the pairs, from the first to the second of
    /// these, and longer vectors.
    Yarn { factor: f64, from: f64, to: f64, gain: f64 },
    /// LongRoPE (Ding et al., arXiv 2402.13753): each pair has a divisor of its own, another one where a text reaches
    /// beyond the original length.
    Long { short: Vec<f64>, long: Vec<f64>, original: f64, gain: f64 },
}

/// Cosines and sines of a pass, `[rows, 1, tokens, width]`, in the order of the coordinates.
pub(crate) struct Tables {
    cos: Tensor<4>,
    sin: Tensor<4>,
    interleaved: bool,
}

impl Rope {
    /// Reads `rope_scaling` (before transformers 5) or `rope_parameters`, and `rope_theta` in or beside it. `usual` is
    /// the base and the share of a head's coordinates that turn, where nothing says them; `context` is
    /// `max_position_embeddings`.
    ///
    /// # Errors
    /// [`ConfigError`]; a kind that is not implemented is named.
    pub(crate) fn parse(
        config: &Keys,
        (theta, share): (f64, f64),
        context: usize,
        head_dim: usize,
    ) -> Result<Self, ConfigError> {
        let theta = config.number("rope_theta")?.unwrap_or(theta);
        // transformers lets rope_scaling replace rope_parameters where a file has both.
        let (old, new) = (config.section("rope_scaling")?, config.section("rope_parameters")?);
        Self::of(config, old.or(new), (theta, share), context, head_dim)
    }

    /// The same, with neighbouring coordinates turned together.
    pub(crate) fn interleaved(self) -> Self {
        Self { interleaved: true, ..self }
    }

    /// Plain rotation with a base.
    pub(crate) fn plain(theta: f64, width: usize) -> Self {
        Self { theta, scaling: Scaling::None, width, interleaved: false, unread: Vec::new() }
    }

    /// As [`Rope::parse`], from a section that was found.
    pub(crate) fn of(
        config: &Keys,
        section: Option<Keys>,
        (theta, share): (f64, f64),
        context: usize,
        head_dim: usize,
    ) -> Result<Self, ConfigError> {
        let beside = config.number("partial_rotary_factor")?;
        let own_original = config.number("original_max_position_embeddings")?;
        let turned = |given: Option<f64>| -> Result<usize, ConfigError> {
            // As transformers cuts it.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked right below"
            )]
            let width = (head_dim as f64 * given.unwrap_or(share)) as usize;
            if width == 0 || width > head_dim || !width.is_multiple_of(2) {
                let reason =
                    format!("{width} of the {head_dim} coordinates of a head cannot be turned in pairs");
                return Err(ConfigError::Inconsistent { reason });
            }
            Ok(width)
        };
        let Some(section) = section else { return Ok(Self::plain(theta, turned(beside)?)) };
        let width = turned(section.number("partial_rotary_factor")?.or(beside))?;
        section.refuse_unimplemented()?;
        let theta = section.number("rope_theta")?.unwrap_or(theta);
        let (kind, former_name) = (section.text("rope_type")?, section.text("type")?);
        let kind = kind.or(former_name).unwrap_or_else(|| "default".to_owned());
        let original = section.number("original_max_position_embeddings")?;
        let original = own_original.or(original).unwrap_or(context as f64);
        let scaling = match kind.as_str() {
            "default" => Scaling::None,
            "dynamic" => {
                section.needed_number("factor")?;
                Scaling::None
            }
            "linear" => Scaling::Linear { factor: section.needed_number("factor")? },
            "llama3" => Self::llama3(&section, original)?,
            "yarn" => Self::yarn(&section, original, theta, width)?,
            // The first name of it, in early files of Phi-3.
            "longrope" | "su" => Self::long(&section, original, context, width)?,
            _ => return Err(ConfigError::Setting { key: "rope_type".into(), value: kind }),
        };
        Ok(Self { theta, scaling, width, interleaved: false, unread: section.unread() })
    }

    fn llama3(section: &Keys, original: f64) -> Result<Scaling, ConfigError> {
        let factor = section.needed_number("factor")?;
        let (low, high) =
            (section.needed_number("low_freq_factor")?, section.needed_number("high_freq_factor")?);
        if low >= high {
            let reason = format!("low_freq_factor = {low} is not below high_freq_factor = {high}");
            return Err(ConfigError::Inconsistent { reason });
        }
        Ok(Scaling::Llama3 { factor, low, high, original })
    }

    fn yarn(section: &Keys, original: f64, theta: f64, width: usize) -> Result<Scaling, ConfigError> {
        let factor = section.needed_number("factor")?;
        let gain_of =
            |scale: f64, mscale: f64| if scale <= 1.0 { 1.0 } else { 0.1 * mscale * scale.ln() + 1.0 };
        let gain = match (section.number("mscale")?, section.number("mscale_all_dim")?) {
            (Some(one), Some(all)) => gain_of(factor, one) / gain_of(factor, all),
            _ => gain_of(factor, 1.0),
        };
        let gain = section.number("attention_factor")?.unwrap_or(gain);
        let fast = section.number("beta_fast")?.unwrap_or(32.0);
        let slow = section.number("beta_slow")?.unwrap_or(1.0);
        // The pair that turns so often within the texts of the first training.
        let pair = |turns: f64| width as f64 * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (mut from, mut to) = (pair(fast), pair(slow));
        if section.flag_or("truncate", true)? {
            (from, to) = (from.floor(), to.ceil());
        }
        let (from, to) = (from.max(0.0), to.min(width as f64 - 1.0));
        // transformers keeps the ramp from being a step.
        let to = if (from - to).abs() < f64::EPSILON { to + 0.001 } else { to };
        Ok(Scaling::Yarn { factor, from, to, gain })
    }

    fn long(section: &Keys, original: f64, context: usize, width: usize) -> Result<Scaling, ConfigError> {
        let divisors = |name: &'static str| -> Result<Vec<f64>, ConfigError> {
            let divisors = section.needed_numbers(name)?;
            if divisors.len() == width / 2 {
                return Ok(divisors);
            }
            let reason = format!("{name} has {} numbers for {} pairs", divisors.len(), width / 2);
            Err(ConfigError::Inconsistent { reason })
        };
        let factor = section.number("factor")?.unwrap_or(context as f64 / original);
        let gain = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        let gain = section.number("attention_factor")?.unwrap_or(gain);
        Ok(Scaling::Long { short: divisors("short_factor")?, long: divisors("long_factor")?, original, gain })
    }

    /// Radians by which each pair of coordinates turns from one token to the next, `[width / 2]`, in a pass whose
    /// last token is the `reach`-th of its text.
    pub(crate) fn frequencies(&self, reach: usize) -> Vec<f64> {
        let half = self.width / 2;
        let scaled = |(i, plain): (usize, f64)| match &self.scaling {
            Scaling::None => plain,
            Scaling::Linear { factor } => plain / factor,
            Scaling::Llama3 { factor, low, high, original } => {
                // How often the pair turns within the texts of the first training.
                let turns = original * plain / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * plain / factor + kept * plain
            }
            Scaling::Yarn { factor, from, to, .. } => {
                let divided = ((i as f64 - from) / (to - from)).clamp(0.0, 1.0);
                divided * plain / factor + (1.0 - divided) * plain
            }
            Scaling::Long { short, long, original, .. } => {
                plain / if reach as f64 > *original { long[i] } else { short[i] }
            }
        };
        let plain = |i: usize| self.theta.powf(-(i as f64) / half as f64);
        (0..half).map(|i| scaled((i, plain(i)))).collect()
    }

    /// The length beyond which a text's positions turn otherwise, the first ones too.
    pub(crate) fn turns_otherwise_beyond(&self) -> Option<usize> {
        match &self.scaling {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tokens")]
            Scaling::Long { original, .. } => Some(*original as usize),
            _ => None,
        }
    }

    /// What cosines and sines are multiplied by.
    fn gain(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { gain, .. } | Scaling::Long { gain, .. } => gain,
            _ => 1.0,
        }
    }

    /// Cosines and sines of the rotation angles.
    pub(crate) fn tables(
        &self,
        positions: &Positions,
        [rows, tokens]: [usize; 2],
        device: &Device,
    ) -> Tables {
        let list = positions.list(rows, tokens);
        let frequencies = self.frequencies(list.iter().max().map_or(0, |last| last + 1));
        let gain = self.gain();
        let angles = |p: usize| -> Vec<f64> {
            let angle = |w: &f64| p as f64 * w;
            match self.interleaved {
                true => frequencies.iter().flat_map(|w| [angle(w); 2]).collect(),
                false => frequencies.iter().chain(&frequencies).map(angle).collect(),
            }
        };
        let table = |f: fn(f64) -> f64| {
            #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
            let row =
                |&p: &usize| angles(p).into_iter().map(|angle| (gain * f(angle)) as f32).collect::<Vec<_>>();
            upload_f32(list.iter().flat_map(row).collect(), [rows, 1, tokens, self.width], device)
        };
        Tables { cos: table(f64::cos), sin: table(f64::sin), interleaved: self.interleaved }
    }
}

impl Tables {
    /// `x cos + turned(x) sin` on the first coordinates of each head, `x` `[batch, heads, tokens, head_dim]`.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let ([batch, heads, tokens, head_dim], width) = (x.dims(), self.cos.dims()[3]);
        let part = if width == head_dim { x.clone() } else { x.clone().narrow(3, 0, width) };
        let turned = match self.interleaved {
            true => {
                let pairs: Tensor<5> = part.clone().reshape([batch, heads, tokens, width / 2, 2]);
                let (even, odd) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
                Tensor::cat(vec![-odd, even], 4).reshape([batch, heads, tokens, width])
            }
            false => {
                let half = width / 2;
                let (low, high) = (part.clone().narrow(3, 0, half), part.clone().narrow(3, half, half));
                Tensor::cat(vec![-high, low], 3)
            }
        };
        let part = part * self.cos.clone() + turned * self.sin.clone();
        match width == head_dim {
            true => part,
            false => Tensor::cat(vec![part, x.narrow(3, width, head_dim - width)], 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(config: &str) -> Result<Rope, ConfigError> {
        Rope::parse(&Keys::parse(config.as_bytes())?, (10_000.0, 1.0), 64, 8)
    }

    fn frequencies(config: &str) -> Vec<f64> {
        rope(config).unwrap().frequencies(1)
    }

    /// What `transformers` 5.23 computes for a head of 8, from `ROPE_INIT_FUNCTIONS` in f32.
    #[test]
    fn frequencies_are_those_of_transformers() {
        let plain = [1.0, 0.1, 0.01, 0.001];
        let of_100_000 = [1.0, 0.056234132, 0.0031622776, 0.00017782794];
        let quarter = [0.25, 0.025, 0.0025, 0.00025];
        let llama3 =
            r#""factor":4,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32"#;
        let cases = [
            ("{}".to_owned(), plain),
            (r#"{"rope_scaling":null,"rope_theta":100000}"#.into(), of_100_000),
            (r#"{"rope_parameters":{"rope_theta":100000.0,"rope_type":"default"}}"#.into(), of_100_000),
            (r#"{"rope_parameters":{"rope_theta":100000.0},"rope_theta":10000.0}"#.into(), of_100_000),
            (r#"{"rope_scaling":{"rope_type":"default","rope_theta":100000.0}}"#.into(), of_100_000),
            (
                r#"{"rope_scaling":{"rope_type":"default","type":"default"},"rope_theta":100000}"#.into(),
                of_100_000,
            ),
            (r#"{"rope_scaling":{"type":"linear","factor":4.0}}"#.into(), quarter),
            (r#"{"rope_scaling":{"rope_type":"linear","type":"linear","factor":4}}"#.into(), quarter),
            (r#"{"rope_scaling":{"type":"dynamic","factor":4.0}}"#.into(), plain),
            (format!(r#"{{"rope_scaling":{{"rope_type":"llama3",{llama3}}}}}"#), LLAMA3),
            (format!(r#"{{"rope_scaling":{{"rope_type":"llama3","type":"llama3",{llama3}}}}}"#), LLAMA3),
            (
                format!(r#"{{"rope_parameters":{{"rope_type":"llama3","rope_theta":10000.0,{llama3}}}}}"#),
                LLAMA3,
            ),
            (llama3_without(r#""original_max_position_embeddings":256"#), [1.0, 0.1, 0.0025, 0.00025]),
            // Blended; the texts of the first training are as long as `max_position_embeddings` says.
            (llama3_without(r#""rope_theta":10000"#), [1.0, 0.025464789942, 0.0025, 0.00025]),
        ];
        for (config, expected) in cases {
            for (found, expected) in frequencies(&config).iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-6, "{config}: {found}, not {expected}");
            }
        }
    }

    fn llama3_without(more: &str) -> String {
        let section = r#""rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":4"#;
        format!(r#"{{"rope_scaling":{{{section},{more}}}}}"#)
    }

    const LLAMA3: [f64; 4] = [1.0, 0.025, 0.0025, 0.00025];

    #[test]
    fn what_is_not_implemented_or_missing_is_named() {
        let cases = [
            (r#"{"rope_scaling":{"type":"ntk","factor":4}}"#, "rope_type = ntk"),
            (
                r#"{"rope_scaling":{"type":"longrope","short_factor":[1,1,1,1],"long_factor":[1]}}"#,
                "long_factor has 1",
            ),
            (r#"{"rope_scaling":{"type":"longrope","short_factor":[1,1,1,1]}}"#, "long_factor is not given"),
            (r#"{"rope_scaling":{"type":"linear"}}"#, "rope_scaling.factor is not given"),
            (r#"{"rope_parameters":{"rope_type":"llama3","factor":8}}"#, "rope_parameters.low_freq_factor"),
            (r#"{"rope_scaling":{"type":"linear","factor":0}}"#, "a number above 0"),
            (r#"{"rope_scaling":"linear"}"#, "an object"),
            (r#"{"rope_parameters":{"partial_rotary_factor":0.4}}"#, "cannot be turned in pairs"),
            (r#"{"partial_rotary_factor":2}"#, "cannot be turned in pairs"),
            (r#"{"rope_theta":-1}"#, "rope_theta"),
            (
                r#"{"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}}"#,
                "not below",
            ),
        ];
        for (config, expected) in cases {
            let error = rope(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
        assert_eq!(rope(r#"{"rope_scaling":{"beta_fast":32}}"#).unwrap().unread, ["rope_scaling.beta_fast"]);
    }
}
