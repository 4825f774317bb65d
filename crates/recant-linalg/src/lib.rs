//! Host linear algebra in f64 for closed-form edits
