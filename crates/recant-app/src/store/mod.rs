//! Models, edits and ledgers of a store.

mod blame;
mod error;
mod head;
mod ledger;
mod models;

pub use blame::{Bisected, Blame, Probe, Shift, bisect, blame};
pub use error::StoreError;
pub use head::{CommitNote, Head};
pub use ledger::{Ledgers, ledger_facts};
pub use models::ties;
