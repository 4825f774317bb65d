//! B = λC + λₙI: what an update is measured by.

use recant_edit::{EditError, StatisticsError};
use recant_linalg::{Cholesky, Rows};

use crate::moments::Moments;
use crate::rome::Covariance;

/// The quadratic form tr(ΔW B ΔWᵀ) that a closed form keeps small: λC, how much the layer's answers to
/// ordinary keys change, plus λₙI, how long ΔW itself grows (ENCORE, arXiv 2502.01636).
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    /// C.
    pub covariance: &'a Covariance,
    /// λ, `mom2_update_weight`.
    pub weight: f64,
    /// λₙ, `norm_weight`.
    pub norm: f64,
}

impl Metric<'_> {
    /// B⁻¹k for every row k.
    ///
    /// # Errors
    /// [`EditError::Statistics`] when C is missing for the layer or cannot be factored.
    pub fn images(&self, layer: usize, keys: &Rows) -> Result<Rows, EditError> {
        let Covariance::Measured(base) = self.covariance else {
            return Ok(keys.clone().scaled(1.0 / (self.weight + self.norm)));
        };
        let moments = base.moments();
        let solved = if self.norm == 0.0 {
            moments.factor(layer).map(|factor| factor.solve_rows(keys))
        } else {
            moments.ridged(layer, self.norm / self.weight).map(|factor| factor.solve_rows(keys))
        };
        let misfit = || misfit(moments, layer, keys.width());
        Ok(solved?.ok_or_else(misfit)?.scaled(1.0 / self.weight))
    }

    /// (L⁻¹k, B⁻¹k) with B = L Lᵀ, for one key, as a function of that key alone.
    ///
    /// # Errors
    /// As [`Metric::images`].
    pub fn whitened(&self, layer: usize, key: &[f32]) -> Result<(Vec<f64>, Vec<f64>), EditError> {
        let key: Vec<f64> = key.iter().map(|&x| f64::from(x)).collect();
        let times = |x: Vec<f64>, by: f64| x.into_iter().map(|x| x * by).collect::<Vec<f64>>();
        let Covariance::Measured(base) = self.covariance else {
            let weight = self.weight + self.norm;
            return Ok((times(key.clone(), 1.0 / weight.sqrt()), times(key, 1.0 / weight)));
        };
        let moments = base.moments();
        let both = |factor: &Cholesky| {
            let white = factor.whiten(&key)?;
            let image = factor.unwhiten(&white)?;
            Some((times(white, 1.0 / self.weight.sqrt()), times(image, 1.0 / self.weight)))
        };
        let found = if self.norm == 0.0 {
            moments.factor(layer).map(both)
        } else {
            moments.ridged(layer, self.norm / self.weight).map(|factor| both(&factor))
        };
        found?.ok_or_else(|| misfit(moments, layer, key.len()))
    }

    /// What the user should know: C = I is never silent.
    pub fn notes(&self) -> Option<String> {
        match self.covariance {
            Covariance::Measured(_) => None,
            Covariance::Identity => Some(
                "C = I: the covariance of keys was left out on request (mom2_adjustment=false)".to_owned(),
            ),
        }
    }
}

fn misfit(moments: &Moments, layer: usize, found: usize) -> EditError {
    let dim = moments.mean(layer).map_or(0, |mean| mean.len().isqrt());
    StatisticsError::Length { layer, dim, found }.into()
}
