//! The `recant` binary.
fn main() {}
