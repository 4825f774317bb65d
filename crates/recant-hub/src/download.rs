//! Downloads into the cache. `hf-hub` lists models and streams files; which files a model is, going on behind a break,
//! digests and the layout of the cache are here, because it begins a broken file anew and compares no digest.

mod blob;
mod head;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{HFClient, HFError, HFRepository, RepoTypeModel};
use recant_checkpoint::{SHARD_LIST, ShardList, WEIGHTS};

use self::blob::Blob;
use crate::name::{is_commit, is_plain};
use crate::{Hub, HubError, HubName, Step};

/// How long a hub may take to accept a connection, and to send the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files beside the weights that a model is opened with, by their endings.
const SIDE_FILES: [&str; 4] = [".json", ".jinja", ".txt", ".model"];

/// Fetches what the cache lacks of a model.
pub(crate) fn fetch(hub: &Hub, name: &HubName, watch: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, HubError> {
    let wrong =
        |reason: String| HubError::Answer { name: name.clone(), endpoint: hub.endpoint.clone(), reason };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|source| HubError::Cache { path: hub.cache.root().to_owned(), source })?;
    let agent = concat!("recant/", env!("CARGO_PKG_VERSION"));
    let http =
        || reqwest::Client::builder().user_agent(agent).connect_timeout(PATIENCE).read_timeout(PATIENCE);
    let following = http().build().map_err(|error| wrong(error.to_string()))?;
    let head = http()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let mut client = HFClient::builder().client(following).user_agent(agent).endpoint(&hub.endpoint);
    if let Some(token) = &hub.token {
        client = client.token(&token.0);
    }
    let client = client.cache_dir(hub.cache.root()).build().map_err(|error| wrong(error.to_string()))?;
    let repo = client.model(name.owner(), name.name());
    let call = Call { hub, name, repo, head };
    runtime.block_on(call.fetch(watch))
}

/// One model that is being fetched.
struct Call<'a> {
    hub: &'a Hub,
    name: &'a HubName,
    repo: HFRepository<RepoTypeModel>,
    /// Follows no redirection.
    head: reqwest::Client,
}

impl Call<'_> {
    async fn fetch(&self, watch: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, HubError> {
        let (commit, there) = self.listing().await?;
        let snapshot = self.hub.cache.snapshot(self.name, &commit);
        let lacks = |file: &String| !snapshot.join(file).is_file();
        let mut files = self.wanted(&there)?;
        if let Some(at) = files.iter().position(|file| file == SHARD_LIST) {
            let list = [files.remove(at)];
            if lacks(&list[0]) {
                self.take(&commit, &self.blobs(&commit, &list).await?, &mut |_| {}).await?;
            }
            files.extend(self.shards(&snapshot.join(SHARD_LIST))?);
        }
        files.retain(lacks);
        let blobs = self.blobs(&commit, &files).await?;
        watch(Step::Begin { missing: blobs.len(), bytes: blobs.iter().map(|blob| blob.size).sum() });
        self.take(&commit, &blobs, watch).await?;
        if !is_commit(self.name.revision()) {
            // Last, so that a branch never names what is there in part.
            blob::write(
                &self.hub.cache.model(self.name).join("refs").join(self.name.revision()),
                commit.as_bytes(),
            )?;
        }
        Ok(match self.name.file() {
            Some(file) => snapshot.join(file),
            None => snapshot,
        })
    }

    /// The commit of the revision, and its files.
    async fn listing(&self) -> Result<(String, Vec<String>), HubError> {
        let info = self.repo.info().revision(self.name.revision()).send().await;
        let info = info.map_err(|error| self.refused(error, None))?;
        let commit = info.sha.filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| self.wrong("it names no commit".to_owned()))?;
        Ok((commit, info.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename).collect()))
    }

    /// The files that the model is opened with.
    fn wanted(&self, there: &[String]) -> Result<Vec<String>, HubError> {
        let has = |name: &str| there.iter().any(|file| file == name);
        if let Some(file) = self.name.file() {
            let missing = || HubError::NoFile { name: self.name.clone(), file: file.to_owned() };
            return if has(file) { Ok(vec![file.to_owned()]) } else { Err(missing()) };
        }
        let mut files: Vec<String> = there.iter().filter(|file| is_side_file(file)).cloned().collect();
        files.retain(|file| file != SHARD_LIST);
        match (has(WEIGHTS), has(SHARD_LIST)) {
            (true, _) => files.push(WEIGHTS.to_owned()),
            (false, true) => files.push(SHARD_LIST.to_owned()),
            (false, false) => return Err(self.no_weights(there)),
        }
        Ok(files)
    }

    fn no_weights(&self, there: &[String]) -> HubError {
        let ending =
            |ending: &str| there.iter().filter(|file| file.ends_with(ending)).cloned().collect::<Vec<_>>();
        let (ggufs, pickles) = (ending(".gguf"), ending(".bin"));
        let found = match (ggufs.first(), pickles.first()) {
            (Some(first), _) => {
                let (owner, name) = (self.name.owner(), self.name.name());
                format!("; a GGUF file of it is named {owner}/{name}/{first} ({} there)", ggufs.len())
            }
            (None, Some(first)) => format!(", but {first}, which recant does not read"),
            (None, None) => String::new(),
        };
        HubError::Form { name: self.name.clone(), found }
    }

    /// The shards that a list names.
    fn shards(&self, list: &Path) -> Result<Vec<String>, HubError> {
        let bytes =
            std::fs::read(list).map_err(|source| HubError::Cache { path: list.to_owned(), source })?;
        let list = ShardList::parse(&bytes).map_err(|error| self.wrong(format!("{SHARD_LIST}: {error}")))?;
        let mut files: Vec<String> = list.files.into_values().collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Sizes and digests.
    async fn blobs(&self, commit: &str, files: &[String]) -> Result<Vec<Blob>, HubError> {
        let mut blobs = Vec::new();
        for file in files {
            if !file.split('/').all(is_plain) {
                return Err(self.wrong(format!("it names a file {file:?}")));
            }
            blobs.push(self.blob(commit, file).await?);
        }
        Ok(blobs)
    }

    /// Fetches files one after another.
    async fn take(
        &self,
        commit: &str,
        blobs: &[Blob],
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), HubError> {
        let model = self.hub.cache.model(self.name);
        let mut done = 0;
        for blob in blobs {
            watch(Step::File(&blob.file));
            let place = model.join("blobs").join(&blob.digest);
            if !place.is_file() {
                self.take_one(commit, blob, &place, done, watch).await?;
            }
            blob::link(&place, &self.hub.cache.snapshot(self.name, commit).join(&blob.file))?;
            done += blob.size;
            watch(Step::Bytes(done));
        }
        Ok(())
    }

    fn wrong(&self, reason: String) -> HubError {
        HubError::Answer { name: self.name.clone(), endpoint: self.hub.endpoint.clone(), reason }
    }

    /// What an error of the client means; `file` is what was asked for, if it was one.
    fn refused(&self, error: HFError, file: Option<&str>) -> HubError {
        let (name, endpoint) = (self.name.clone(), self.hub.endpoint.clone());
        match (error, file) {
            (HFError::AuthRequired { context } | HFError::Forbidden { context }, _) => {
                let message =
                    context.server_message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
                HubError::Refused { name, endpoint, status: context.status.as_u16(), message }
            }
            (HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. }, _) => {
                HubError::Unknown { name, endpoint }
            }
            (HFError::EntryNotFound { .. } | HFError::LocalEntryNotFound { .. }, Some(file)) => {
                HubError::NoFile { name, file: file.to_owned() }
            }
            (HFError::Request { source, .. }, _) => {
                HubError::Unreachable { name, endpoint, reason: innermost(&source) }
            }
            (other, _) => HubError::Answer { name, endpoint, reason: other.to_string() },
        }
    }
}

fn is_side_file(file: &str) -> bool {
    is_plain(file) && SIDE_FILES.iter().any(|ending| file.ends_with(ending))
}

/// What an error is about: those around it say the address alone.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}
