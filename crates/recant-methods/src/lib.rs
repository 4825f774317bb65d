//! Editing methods, one folder per paper
