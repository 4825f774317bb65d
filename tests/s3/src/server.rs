//! The server: a thread with a listener, until it is dropped.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::bucket::{Bucket, LOST};

/// The name of the one bucket.
pub const BUCKET: &str = "models";
/// Who may use it.
pub const ACCESS_KEY: &str = "ada";
/// Its secret.
pub const SECRET_KEY: &str = "not a secret";

/// A running server.
pub struct Server {
    /// What it serves.
    pub bucket: Bucket,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one on a port that is free, or on the one given.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(port: u16) -> io::Result<Self> {
        let bucket = Bucket::default();
        let mut builder = S3ServiceBuilder::new(bucket.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, service) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { bucket, address, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client has to set to use it.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 5] {
        [
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, service: S3Service) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let answers = service_fn(|request| {
                let answer = Service::call(&service, request);
                async move {
                    let answer = answer.await.map_err(|error| io::Error::other(format!("{error:?}")))?;
                    // An error here closes the connection without an answer.
                    match answer.headers().contains_key(LOST) {
                        true => Err(io::Error::other("the answer is lost")),
                        false => Ok(answer),
                    }
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answers).await;
        });
    }
}
