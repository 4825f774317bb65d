//! Push, pull and clone over the S3 protocol, against a server that listens on loopback:
//! `cargo test -p recant-s3-tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../crates/recant-remote/tests/common/mod.rs"]
mod common;

use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use recant_remote::{Remote, RemoteError};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// Starts a server over `root` on a thread of its own, and returns its address. It ends with the process.
fn serve(root: &Path) -> String {
    std::fs::create_dir_all(root.join("bucket")).unwrap();
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = builder.build();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
    });
    format!("http://{}", receive.recv().unwrap())
}

fn options(endpoint: &str, secret: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

#[test]
fn stores_meet_through_an_s3_server() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = serve(&dir.path().join("server"));
    let remote = Remote::open("s3://bucket/team/model", options(&endpoint, "secret")).unwrap();
    common::everything(&remote, dir.path());
}

#[test]
fn a_wrong_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = serve(&dir.path().join("server"));
    let remote = Remote::open("s3://bucket/team", options(&endpoint, "wrong")).unwrap();
    let (store, _) = common::store_in(&dir.path().join("a"));
    let error = remote.push(&store, &[common::name("main")], false, |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Place { .. }), "{error}");
}
