//! Tests of remotes against an S3 server; see `tests/server.rs`.
