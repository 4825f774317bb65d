//! A hub on loopback: one model, with faults on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of its one branch.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is served, and how.
#[derive(Default)]
pub(crate) struct Served {
    /// The files of `org/model`.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Connections that end after so many bytes of a file, in turn.
    pub(crate) cuts: Vec<(String, usize)>,
    /// A file whose bytes are not those of its digest.
    pub(crate) false_bytes: Option<String>,
    /// A range is ignored, and the whole file sent.
    pub(crate) whole_always: bool,
    /// Who may ask.
    pub(crate) token: Option<String>,
    /// Files that are sent from another address, which says nothing of digests.
    pub(crate) elsewhere: bool,
    /// What was asked: method, path, range.
    pub(crate) log: Vec<String>,
}

/// A hub that answers until the process ends.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    served: Arc<Mutex<Served>>,
}

impl Server {
    pub(crate) fn start(served: Served) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let served = Arc::new(Mutex::new(served));
        let server = Self { endpoint: endpoint.clone(), served: Arc::clone(&served) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, endpoint) = (Arc::clone(&served), endpoint.clone());
                // A client that ends the connection is a case of the tests.
                std::thread::spawn(move || answer(stream, &served, &endpoint).ok());
            }
        });
        server
    }

    pub(crate) fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().expect("no panic in the server")
    }

    /// How often bytes were asked for.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn downloads(&self) -> Vec<String> {
        self.served()
            .log
            .iter()
            .filter(|line| line.starts_with("GET") && line.contains("/resolve/"))
            .cloned()
            .collect()
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the hub calls a file: SHA-256 of what is large, git's name of what is small.
pub(crate) fn digest(file: &str, bytes: &[u8]) -> String {
    if file.ends_with(".safetensors") || file.ends_with(".gguf") {
        return hex(Sha256::digest(bytes));
    }
    hex(Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn answer(stream: TcpStream, served: &Mutex<Served>, endpoint: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut range, mut token) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("range: bytes=") {
            range = value.split('-').next().and_then(|start| start.trim().parse::<usize>().ok());
        }
        if lower.starts_with("authorization: bearer ") {
            token = line.split_whitespace().last().map(str::to_owned);
        }
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut served = served.lock().expect("no panic in the server");
    served.log.push(format!("{method} {path} {range:?}"));
    let reply = reply(&mut served, [method, path], range, token.as_deref(), endpoint);
    drop(served);
    let mut stream = stream;
    let Reply { status, headers, body, length } = reply;
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    stream.flush()
}

struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// What is said; less comes where the connection is cut.
    length: usize,
}

fn plain(status: &'static str, body: String) -> Reply {
    Reply { status, headers: String::new(), length: body.len(), body: body.into_bytes() }
}

fn reply(
    served: &mut Served,
    [method, path]: [&str; 2],
    range: Option<usize>,
    token: Option<&str>,
    endpoint: &str,
) -> Reply {
    let elsewhere = path.strip_prefix("/elsewhere/");
    if served.token.is_some() && served.token.as_deref() != token && elsewhere.is_none() {
        let mut reply = plain("401 Unauthorized", r#"{"error":"Invalid username or password."}"#.to_owned());
        reply.headers = "x-error-message: Access to model org/model is restricted.\r\n".to_owned();
        return reply;
    }
    if path.contains("/old/name/") {
        // The model has another name now; the answer has a length and a tag of its own.
        let body = "Temporary Redirect";
        let headers =
            format!("etag: \"another\"\r\nlocation: {}\r\n", path.replace("/old/name/", "/org/model/"));
        return Reply { headers, ..plain("307 Temporary Redirect", body.to_owned()) };
    }
    if ["/api/models/org/model/revision/main", &format!("/api/models/org/model/revision/{COMMIT}")]
        .contains(&path)
    {
        let siblings: Vec<_> =
            served.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "id": "org/model", "sha": COMMIT, "siblings": siblings });
        return plain("200 OK", info.to_string());
    }
    let file = elsewhere.or_else(|| path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/")));
    let Some((file, bytes)) = file.and_then(|file| Some((file, served.files.get(file)?))) else {
        return plain("404 Not Found", r#"{"error":"Repository not found"}"#.to_owned());
    };
    let said = format!("x-repo-commit: {COMMIT}\r\nx-linked-etag: \"{}\"\r\n", digest(file, bytes));
    if elsewhere.is_none() && served.elsewhere {
        // As the hub does it: the digest is said here, the bytes are there, at another host.
        let there = endpoint.replace("127.0.0.1", "localhost");
        let headers =
            format!("{said}x-linked-size: {}\r\nlocation: {there}/elsewhere/{file}\r\n", bytes.len());
        return Reply { status: "302 Found", headers, body: Vec::new(), length: 0 };
    }
    let mut bytes = bytes.clone();
    if served.false_bytes.as_deref() == Some(file) {
        bytes[0] ^= 1;
    }
    let start = range.filter(|_| !served.whole_always).unwrap_or(0).min(bytes.len());
    let mut body = bytes[start..].to_vec();
    let length = body.len();
    if method == "GET" && served.cuts.first().is_some_and(|(cut, _)| cut == file) {
        body.truncate(served.cuts.remove(0).1);
    }
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let headers = if elsewhere.is_some() { "etag: \"of another kind\"\r\n".to_owned() } else { said };
    Reply { status, headers, body, length }
}
