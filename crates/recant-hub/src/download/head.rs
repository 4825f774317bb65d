//! Size and digest of a file.
//!
//! The hub says them where it sends a client on to the place that has the bytes, and that place does not; `hf-hub` reads
//! them there, so the question is asked here, and no redirection to another host is followed.

use reqwest::header::{CONTENT_LENGTH, ETAG, LOCATION};
use reqwest::{Response, StatusCode, Url};

use super::blob::Blob;
use super::{Call, innermost};
use crate::HubError;

/// As often the hub may say that a model has another name now.
const MOVES: usize = 5;

impl Call<'_> {
    /// Asks for the size and the digest of a file.
    pub(super) async fn blob(&self, commit: &str, file: &str) -> Result<Blob, HubError> {
        let (hub, name) = (self.hub, self.name);
        let address = format!("{}/{}/{}/resolve/{commit}/{file}", hub.endpoint, name.owner(), name.name());
        let mut url = Url::parse(&address).map_err(|error| self.wrong(format!("{address}: {error}")))?;
        for _ in 0..MOVES {
            let asked = self.head.head(url.clone());
            let asked = match &hub.token {
                Some(token) => asked.bearer_auth(&token.0),
                None => asked,
            };
            let answer = asked.send().await.map_err(|error| self.broken(innermost(&error)))?;
            match moved(&url, &answer) {
                Some(there) => url = there,
                None => return self.read_head(file, &answer),
            }
        }
        Err(self.wrong(format!("{address} is sent on more than {MOVES} times")))
    }

    fn read_head(&self, file: &str, answer: &Response) -> Result<Blob, HubError> {
        let (name, endpoint, status) = (self.name.clone(), self.hub.endpoint.clone(), answer.status());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message =
                    header(answer, "x-error-message").map(|text| format!(": {text}")).unwrap_or_default();
                return Err(HubError::Refused { name, endpoint, status: status.as_u16(), message });
            }
            StatusCode::NOT_FOUND => return Err(HubError::NoFile { name, file: file.to_owned() }),
            _ if status.is_success() || status.is_redirection() => {}
            _ => return Err(self.wrong(format!("{file}: {status}"))),
        }
        // An answer that sends on has a length and a tag of its own.
        let own = |name: &str| header(answer, name).filter(|_| status.is_success());
        let digest = header(answer, "x-linked-etag").or_else(|| own(ETAG.as_str()));
        let size = header(answer, "x-linked-size").or_else(|| own(CONTENT_LENGTH.as_str()));
        let (Some(digest), Some(size)) = (digest, size.and_then(|size| size.parse().ok())) else {
            return Err(self.wrong(format!("{file}: it says no digest or no size")));
        };
        let digest = digest.strip_prefix("W/").unwrap_or(&digest).trim_matches('"').to_owned();
        let blob = Blob::new(file.to_owned(), &digest, size);
        blob.ok_or_else(|| self.wrong(format!("{file}: {digest:?} is no digest")))
    }
}

/// Where the hub itself has moved something to; another host has the bytes and not what is asked for.
fn moved(from: &Url, answer: &Response) -> Option<Url> {
    if !answer.status().is_redirection() {
        return None;
    }
    let there = from.join(&header(answer, LOCATION.as_str())?).ok()?;
    let here = ["x-linked-etag", "x-linked-size"].iter().all(|name| header(answer, name).is_some());
    (!here && there.origin() == from.origin()).then_some(there)
}

fn header(answer: &Response, name: &str) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}
