//! Benchmarks of the recant workspace; they stand in `benches/`.
