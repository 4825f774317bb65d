//! Host linear algebra in f64 for closed-form edits, over faer.
//!
//! Every closed-form method asks for the same thing: C⁻¹ applied to a few vectors, where C is the second
//! moment of a layer's keys. [`Cholesky`] factors C once and answers any number of such questions.
//! Inputs are row-major slices; every failure is a value.

mod cholesky;

pub use cholesky::{Cholesky, FactorError};
