//! Means over the contexts of a fact.

/// How much each of `contexts` counts: all alike, or the bare prompt (the first) `bare` and the others the rest in
/// equal parts.
pub(crate) fn context_weights(bare: Option<f64>, contexts: usize) -> Vec<f64> {
    match bare {
        Some(bare) if contexts > 1 => {
            let other = (1.0 - bare) / (contexts - 1) as f64;
            (0..contexts).map(|i| if i == 0 { bare } else { other }).collect()
        }
        _ => vec![1.0 / contexts as f64; contexts],
    }
}

/// Weighted sum of vectors of one length, in f64 in order.
pub(crate) fn weighted(vectors: &[Vec<f32>], weights: &[f64]) -> Vec<f64> {
    let width = vectors.first().map_or(0, Vec::len);
    let sum = |i: usize| vectors.iter().zip(weights).map(|(vector, w)| w * f64::from(vector[i])).sum::<f64>();
    (0..width).map(sum).collect()
}
