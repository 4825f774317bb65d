//! What is done to rotary frequencies for long texts, as config.json says it.

use serde_json::{Map, Value, json};

use super::config::Facts;
use super::error::GgufError;
use super::names::Architecture;
use super::value;

/// The tensor with what every frequency is divided by, from which Llama 3.1's settings are told.
pub(super) const FACTORS: &str = "rope_freqs.weight";
/// Phi-3's factors, and their keys in config.json.
pub(super) const LONG_SHORT: [(&str, &str); 2] =
    [("rope_factors_long.weight", "long_factor"), ("rope_factors_short.weight", "short_factor")];

/// Base of the frequencies where the file gives none.
const DEFAULT_BASE: f64 = 10_000.0;
/// Base in the blocks of Gemma 3 that look at a window only; the same for all its models.
const GEMMA3_LOCAL_BASE: f64 = 10_000.0;

/// Llama 3.1's settings beside the factor; all models that have it have these.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: u32 = 8192;
/// How far, relatively, a factor may be from the one computed here: it was computed in f32.
const TOLERANCE: f64 = 1e-4;

/// Adds `rope_theta` and `rope_scaling`.
pub(super) fn describe(facts: &Facts<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
    let base = facts.number("rope.freq_base")?.unwrap_or(DEFAULT_BASE);
    config.insert("rope_theta".to_owned(), value::json(base));
    if facts.architecture == Architecture::Gemma3 {
        let local = facts.number("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_BASE);
        config.insert("rope_local_base_freq".to_owned(), value::json(local));
    }
    let scaling = match scaling(facts)? {
        Some(scaling) => Some(scaling),
        None => match facts.numbers_of(FACTORS)? {
            Some(factors) => llama3(&factors, base)?,
            None => None,
        },
    };
    if let Some(scaling) = scaling {
        config.insert("rope_scaling".to_owned(), scaling);
    }
    Ok(())
}

/// What the keys under `rope.scaling` say.
fn scaling(facts: &Facts<'_>) -> Result<Option<Value>, GgufError> {
    let kind = facts.text("rope.scaling.type")?;
    let factor = match facts.number("rope.scaling.factor")? {
        None => facts.number("rope.scale_linear")?,
        factor => factor,
    };
    // llama.cpp writes 0 and 1 for none, and takes a factor without a type for a linear one.
    let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
    match (kind, factor) {
        (Some("longrope"), _) => long_short(facts),
        (None | Some("none"), _) if facts.architecture == Architecture::Phi3 => long_short(facts),
        (Some("none"), _) | (Some("linear" | "yarn") | None, None) => Ok(None),
        (Some("linear") | None, Some(factor)) => {
            let factor = value::json(factor);
            Ok(Some(json!({ "rope_type": "linear", "type": "linear", "factor": factor })))
        }
        (Some("yarn"), Some(factor)) => yarn(facts, factor).map(Some),
        (Some(other), _) => Err(facts.setting("rope.scaling.type", other.to_owned())),
    }
}

fn yarn(facts: &Facts<'_>, factor: f64) -> Result<Value, GgufError> {
    for (key, neutral) in [
        ("rope.scaling.attn_factor", 1.0),
        ("rope.scaling.yarn_attn_factor", 1.0),
        ("rope.scaling.yarn_ext_factor", 1.0),
        ("rope.scaling.yarn_log_multiplier", 0.0),
    ] {
        if let Some(number) = facts.number(key)?.filter(|&number| number != neutral) {
            return Err(facts.setting(key, number.to_string()));
        }
    }
    let mut yarn = Map::new();
    for name in ["rope_type", "type"] {
        yarn.insert(name.to_owned(), "yarn".into());
    }
    yarn.insert("factor".to_owned(), value::json(factor));
    if let Some(original) = facts.whole("rope.scaling.original_context_length")? {
        yarn.insert("original_max_position_embeddings".to_owned(), original.into());
    }
    for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
        if let Some(beta) = facts.number(&format!("rope.scaling.{key}"))? {
            yarn.insert(name.to_owned(), value::json(beta));
        }
    }
    Ok(Value::Object(yarn))
}

/// Phi-3's two lists of factors, where it has them.
fn long_short(facts: &Facts<'_>) -> Result<Option<Value>, GgufError> {
    let mut scaling = Map::new();
    for (tensor, name) in LONG_SHORT {
        if let Some(factors) = facts.numbers_of(tensor)? {
            scaling.insert(name.to_owned(), factors.into_iter().map(shortest).collect());
        }
    }
    if scaling.is_empty() {
        return Ok(None);
    }
    for name in ["rope_type", "type"] {
        scaling.insert(name.to_owned(), "longrope".into());
    }
    if let Some(factor) = facts.number("rope.scaling.attn_factor")? {
        scaling.insert("attention_factor".to_owned(), value::json(factor));
    }
    Ok(Some(Value::Object(scaling)))
}

fn shortest(number: f32) -> Value {
    number.to_string().parse().map_or(Value::Null, value::json)
}

/// Llama 3.1's settings, if the factors follow from them.
fn llama3(factors: &[f32], base: f64) -> Result<Option<Value>, GgufError> {
    let factor = factors.iter().fold(1.0, |most: f64, &factor| most.max(factor.into()));
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(None);
    }
    let pairs = factors.len() as f64;
    let follows = factors.iter().enumerate().all(|(i, &found)| {
        let turns = f64::from(ORIGINAL) * base.powf(-(i as f64) / pairs) / std::f64::consts::TAU;
        let kept = ((turns - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
        let expected = 1.0 / ((1.0 - kept) / factor + kept);
        (f64::from(found) / expected - 1.0).abs() < TOLERANCE
    });
    if !follows {
        return Err(GgufError::RopeFactors { tensor: FACTORS });
    }
    Ok(Some(json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
        "original_max_position_embeddings": ORIGINAL,
    })))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    /// Factors of Llama 3.2 1B (head of 64, base 500,000, factor 32) at some places, as llama.cpp's conversion gives
    /// them: 1 to the 14th, 32 from the 18th on, and blended ones between.
    fn llama32() -> Vec<f32> {
        let frequency = |i: usize| 1.0 / 500_000f32.powf(i as f32 / 32.0);
        let factor = |i: usize| {
            let length = 2.0 * std::f32::consts::PI / frequency(i);
            match length {
                _ if length < 8192.0 / 4.0 => 1.0,
                _ if length > 8192.0 => 32.0,
                _ => {
                    let smooth = (8192.0 / length - 1.0) / 3.0;
                    1.0 / ((1.0 - smooth) / 32.0 + smooth)
                }
            }
        };
        (0..32).map(factor).collect()
    }

    #[test]
    fn llama_3_is_told_by_its_factors() {
        let factors = llama32();
        let settings = llama3(&factors, 500_000.0).unwrap().unwrap();
        assert_eq!(
            (settings["rope_type"].as_str(), settings["factor"].as_f64()),
            (Some("llama3"), Some(32.0))
        );
        assert_eq!(llama3(&[1.0; 32], 500_000.0).unwrap(), None);
        // Another base, or a factor that is not the rule's.
        assert!(llama3(&factors, 10_000.0).is_err());
        let mut other = factors;
        other[15] *= 1.001;
        let error = llama3(&other, 500_000.0).unwrap_err().to_string();
        assert!(error.contains("rope_freqs.weight") && error.contains("config.json"), "{error}");
    }
}
