//! Rotary positions: the frequencies of every kind of scaling that checkpoints name, and their tables.
//!
//! Su et al., "RoFormer" (arXiv 2104.09864), in the half-split form of the `transformers` checkpoint. Frequencies
//! are computed in f64 whatever the dtype of the weights: rounding them would move every position.

use std::f64::consts::TAU;

use burn::tensor::Tensor;
use recant_backend::{Device, upload_f32};

use crate::arch::{ConfigError, Keys};
use crate::forward::Positions;

/// Base of the frequencies where config.json gives none.
const DEFAULT_THETA: f64 = 10_000.0;

/// The rotary settings of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    theta: f64,
    scaling: Scaling,
    /// Keys of the section that were not read.
    pub(crate) unread: Vec<String>,
}

/// What is done to the frequencies for texts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scaling {
    /// Nothing. `dynamic` is that, too: it changes the base only beyond `max_position_embeddings`, and no longer text
    /// is accepted.
    None,
    /// Every position is divided by the factor (kaiokendev 2023; LongLoRA, arXiv 2309.12307).
    Linear { factor: f64 },
    /// Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended.
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
}

impl Rope {
    /// Reads `rope_scaling` (before transformers 5) or `rope_parameters`, and `rope_theta` in or beside it.
    /// `context` is `max_position_embeddings`.
    ///
    /// # Errors
    /// [`ConfigError`]; a kind that is not implemented is named.
    pub(crate) fn parse(config: &Keys, context: usize) -> Result<Self, ConfigError> {
        let beside = config.number("rope_theta")?;
        let own_original = config.number("original_max_position_embeddings")?;
        // transformers lets rope_scaling replace rope_parameters where a file has both.
        let (old, new) = (config.section("rope_scaling")?, config.section("rope_parameters")?);
        let Some(section) = old.or(new) else {
            let theta = beside.unwrap_or(DEFAULT_THETA);
            return Ok(Self { theta, scaling: Scaling::None, unread: Vec::new() });
        };
        section.refuse_unimplemented(context)?;
        let theta = section.number("rope_theta")?.or(beside).unwrap_or(DEFAULT_THETA);
        let (kind, former_name) = (section.text("rope_type")?, section.text("type")?);
        let kind = kind.or(former_name).unwrap_or_else(|| "default".to_owned());
        let scaling = match kind.as_str() {
            "default" => Scaling::None,
            "dynamic" => {
                section.needed_number("factor")?;
                Scaling::None
            }
            "linear" => Scaling::Linear { factor: section.needed_number("factor")? },
            "llama3" => Self::llama3(&section, own_original, context)?,
            _ => return Err(ConfigError::Setting { key: "rope_type".into(), value: kind }),
        };
        Ok(Self { theta, scaling, unread: section.unread() })
    }

    fn llama3(section: &Keys, own_original: Option<f64>, context: usize) -> Result<Scaling, ConfigError> {
        let factor = section.needed_number("factor")?;
        let (low, high) =
            (section.needed_number("low_freq_factor")?, section.needed_number("high_freq_factor")?);
        let original = section.number("original_max_position_embeddings")?;
        if low >= high {
            let reason = format!("low_freq_factor = {low} is not below high_freq_factor = {high}");
            return Err(ConfigError::Inconsistent { reason });
        }
        let original = own_original.or(original).unwrap_or(context as f64);
        Ok(Scaling::Llama3 { factor, low, high, original })
    }

    /// Radians by which each pair of coordinates turns from one token to the next, `[head_dim / 2]`.
    pub(crate) fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let half = head_dim / 2;
        let scaled = |plain: f64| match self.scaling {
            Scaling::None => plain,
            Scaling::Linear { factor } => plain / factor,
            Scaling::Llama3 { factor, low, high, original } => {
                // How often the pair turns within the texts of the first training.
                let turns = original * plain / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * plain / factor + kept * plain
            }
        };
        (0..half).map(|i| scaled(self.theta.powf(-(i as f64) / half as f64))).collect()
    }

    /// Cosines and sines of the rotation angles, `[rows, 1, tokens, head_dim]`, both halves alike.
    pub(crate) fn tables(
        &self,
        positions: &Positions,
        [rows, tokens, head_dim]: [usize; 3],
        device: &Device,
    ) -> (Tensor<4>, Tensor<4>) {
        let frequencies = self.frequencies(head_dim);
        let table = |f: fn(f64) -> f64| {
            let row = |p: usize| {
                let angles = frequencies.iter().chain(&frequencies);
                #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
                angles.map(|w| f(p as f64 * w) as f32).collect::<Vec<_>>()
            };
            let numbers = positions.list(rows, tokens).into_iter().flat_map(row).collect();
            upload_f32(numbers, [rows, 1, tokens, 2 * frequencies.len()], device)
        };
        (table(f64::cos), table(f64::sin))
    }
}

/// `x cos + rotate_half(x) sin`, `x` `[batch, heads, tokens, head_dim]`.
pub(crate) fn rotate(x: Tensor<4>, (cos, sin): &(Tensor<4>, Tensor<4>)) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (low, high) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
    x * cos.clone() + Tensor::cat(vec![-high, low], 3) * sin.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(config: &str) -> Result<Rope, ConfigError> {
        Rope::parse(&Keys::parse(config.as_bytes())?, 64)
    }

    fn frequencies(config: &str) -> Vec<f64> {
        rope(config).unwrap().frequencies(8)
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
            (r#"{"rope_scaling":{"type":"yarn","factor":4}}"#, "rope_type = yarn"),
            (r#"{"rope_scaling":{"type":"linear"}}"#, "rope_scaling.factor is not given"),
            (r#"{"rope_parameters":{"rope_type":"llama3","factor":8}}"#, "rope_parameters.low_freq_factor"),
            (r#"{"rope_scaling":{"type":"linear","factor":0}}"#, "a number above 0"),
            (r#"{"rope_scaling":"linear"}"#, "an object"),
            (r#"{"rope_parameters":{"partial_rotary_factor":0.5}}"#, "partial_rotary_factor = 0.5"),
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
