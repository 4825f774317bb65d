//! A server of the S3 protocol on loopback that holds objects in memory, counts requests and fails when told.
//!
//! `s3s` speaks the protocol: it parses requests, checks signatures, writes XML. What is here is what a bucket
//! does: objects by key, parts of uploads, pages of a listing, and `If-None-Match: *`.

mod bucket;
mod server;

pub use bucket::{Bucket, Fault, Op};
pub use server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
