//! Host linear algebra in f64 for closed-form edits, over faer.
//!
//! Every closed-form method asks for the same thing: C⁻¹ applied to a few vectors, where C is the second
//! moment of a layer's keys. [`Cholesky`] factors C once and answers any number of such questions;
//! [`push_through`] turns the answers into the update of a whole batch, with a system of the batch's size
//! instead of the layer's; [`NullSpace`] takes the place of C⁻¹ for methods that write only where C sees
//! nothing. [`canonical`] does the small systems of the edit ledger in one fixed order.
//!
//! Inputs are row-major; every failure is a value.

pub mod canonical;
mod cholesky;
mod null_space;
mod push_through;
mod rows;
mod truncate;

pub use cholesky::{Cholesky, FactorError};
pub use null_space::{NullSpace, NullSpaceError};
pub use push_through::{LowRank, UpdateError, push_through, ridge_update};
pub use rows::Rows;
