//! What a bucket does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::TryStreamExt;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput,
    UploadPartOutput,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

use crate::server::BUCKET;

/// Keys on one page of a listing: few, so that clients turn pages.
const PAGE: usize = 4;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// An object's bytes, or its head.
    Get,
    /// A page of a listing.
    List,
    /// An object, whole.
    Put,
    /// The beginning of an upload in parts.
    Begin,
    /// A part.
    Part,
    /// The end of an upload in parts.
    Complete,
    /// The end of an upload that came to nothing.
    Abort,
}

impl Op {
    /// Whether it changes what is stored.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Begin | Self::Part | Self::Complete)
    }
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused with 403, which no client tries again; nothing is stored.
    Refuse,
    /// Done, and the connection is cut before the answer.
    LoseAnswer,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<i32, Bytes>>,
    n_uploads: u64,
    log: Vec<(Op, String)>,
    /// The writes that fail: how many go well before, and how the rest fails.
    fault: Option<(usize, Fault)>,
}

/// A bucket; clones are the same one.
#[derive(Clone, Default)]
pub struct Bucket {
    state: Arc<Mutex<State>>,
}

/// The mark of an answer that is not to be sent.
pub(crate) const LOST: &str = "x-answer-is-lost";

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every object.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.state().objects.clone()
    }

    /// Puts bytes in place as the operator of a server can.
    pub fn set(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state().objects.insert(key.to_owned(), bytes.into());
    }

    /// Uploads in parts that have begun and not ended.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// What was asked since the last call, in order.
    pub fn take_log(&self) -> Vec<(Op, String)> {
        std::mem::take(&mut self.state().log)
    }

    /// Lets `n` writes go well and then fails every one, or none from now on.
    pub fn fail_writes(&self, fault: Option<(usize, Fault)>) {
        self.state().fault = fault;
    }

    /// Notes a request. `true`: it is done and its answer is lost.
    fn note(&self, bucket: &str, op: Op, key: &str) -> S3Result<bool> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let mut state = self.state();
        state.log.push((op, key.to_owned()));
        match &mut state.fault {
            Some((0, Fault::Refuse)) if op.writes() => Err(s3_error!(AccessDenied, "told to refuse")),
            Some((0, Fault::LoseAnswer)) if op.writes() => Ok(true),
            Some((left, _)) if op.writes() => {
                *left -= 1;
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}

fn answer<T>(output: T, lost: bool) -> S3Response<T> {
    let mut answer = S3Response::new(output);
    if lost {
        answer.headers.insert(LOST, hyper::header::HeaderValue::from_static("1"));
    }
    answer
}

/// A tag that tells contents apart.
fn tag(bytes: &[u8]) -> ETag {
    let fold = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    ETag::Strong(format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)))
}

async fn whole(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let add = |mut all: Vec<u8>, part: Bytes| async move {
        all.extend_from_slice(&part);
        Ok(all)
    };
    match body.try_fold(Vec::new(), add).await {
        Ok(all) => Ok(all.into()),
        Err(error) => Err(s3_error!(IncompleteBody, "{error}")),
    }
}

#[async_trait::async_trait]
impl S3 for Bucket {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.note(&input.bucket, Op::Get, &input.key)?;
        let bytes = self.state().objects.get(&input.key).cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        let (tag, len) = (tag(&bytes), bytes.len() as u64);
        let (bytes, range) = match input.range {
            None => (bytes, None),
            Some(range) => {
                let range = range.check(len)?;
                let text = format!("bytes {}-{}/{len}", range.start, range.end - 1);
                (bytes.slice(range.start as usize..range.end as usize), Some(text))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            content_range: range,
            e_tag: Some(tag),
            last_modified: Some(Timestamp::default()),
            body: Some(Body::from(bytes).into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        self.note(&input.bucket, Op::Get, &input.key)?;
        let bytes = self.state().objects.get(&input.key).cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(bytes.len() as i64),
            e_tag: Some(tag(&bytes)),
            last_modified: Some(Timestamp::default()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        self.note(&input.bucket, Op::List, &prefix)?;
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let state = self.state();
        let mut found = state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let more = found.next().is_some();
        let object = |(key, bytes): &(&String, &Bytes)| Object {
            key: Some((*key).clone()),
            size: Some(bytes.len() as i64),
            e_tag: Some(tag(bytes)),
            last_modified: Some(Timestamp::default()),
            ..Object::default()
        };
        Ok(S3Response::new(ListObjectsV2Output {
            contents: Some(page.iter().map(object).collect()),
            key_count: Some(page.len() as i32),
            is_truncated: Some(more),
            next_continuation_token: page.last().filter(|_| more).map(|(key, _)| (*key).clone()),
            name: Some(input.bucket),
            prefix: input.prefix,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let bytes = whole(input.body).await?;
        let lost = self.note(&input.bucket, Op::Put, &input.key)?;
        let mut state = self.state();
        let there = state.objects.get(&input.key);
        match input.if_none_match {
            Some(ETagCondition::Any) if there.is_some() => return Err(s3_error!(PreconditionFailed)),
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented)),
            _ => {}
        }
        let expected = match &input.if_match {
            Some(ETagCondition::ETag(expected)) => Some(expected),
            Some(ETagCondition::Any) => return Err(s3_error!(NotImplemented)),
            None => None,
        };
        if expected.is_some_and(|expected| there.is_none_or(|there| tag(there) != *expected)) {
            return Err(s3_error!(PreconditionFailed));
        }
        let e_tag = Some(tag(&bytes));
        state.objects.insert(input.key, bytes);
        Ok(answer(PutObjectOutput { e_tag, ..PutObjectOutput::default() }, lost))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let lost = self.note(&input.bucket, Op::Begin, &input.key)?;
        let mut state = self.state();
        state.n_uploads += 1;
        let id = format!("upload-{}", state.n_uploads);
        state.uploads.insert(id.clone(), BTreeMap::new());
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        };
        Ok(answer(output, lost))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let bytes = whole(input.body).await?;
        let lost = self.note(&input.bucket, Op::Part, &input.key)?;
        let e_tag = Some(tag(&bytes));
        let mut state = self.state();
        let upload = state.uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.insert(input.part_number, bytes);
        Ok(answer(UploadPartOutput { e_tag, ..UploadPartOutput::default() }, lost))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let lost = self.note(&input.bucket, Op::Complete, &input.key)?;
        let mut state = self.state();
        let mut parts = state.uploads.remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut all = Vec::new();
        for named in named {
            let part = named.part_number.and_then(|number| parts.remove(&number));
            let part = part.ok_or_else(|| s3_error!(InvalidPart))?;
            if named.e_tag != Some(tag(&part)) {
                return Err(s3_error!(InvalidPart));
            }
            all.extend_from_slice(&part);
        }
        let e_tag = Some(tag(&all));
        state.objects.insert(input.key.clone(), all.into());
        let output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag,
            ..CompleteMultipartUploadOutput::default()
        };
        Ok(answer(output, lost))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.note(&input.bucket, Op::Abort, &input.key)?;
        self.state().uploads.remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
