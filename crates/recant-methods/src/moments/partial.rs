//! A measurement that was broken off, kept in a file, and gone on with.
//!
//! The file is safetensors: the sums `layers.N.sum` in f64, the texts that wait for a full batch, the sample so
//! far; in the metadata `format`, the model's digest, the digest of the texts read and their number, tokens,
//! budget, the longest piece, and a digest of all tensors. Going on reads the corpus from the start, feeds the
//! model nothing until the place is reached, and then compares the digest of what was passed over, so the corpus
//! must begin as it did. All state is exact, so the result is, to the byte, that of an uninterrupted run.

use std::path::{Path, PathBuf};

use recant_files::{FileKind, OutputFile, Outputs, Temporaries};

use super::collect::{Collector, Reached};
use super::sheet::{self, Sheet, hex};
use super::{MomentsFileError, Sample};

const FORMAT: &str = "recant-moments-partial-1";

/// The file of an interrupted measurement.
pub const PARTIAL: FileKind =
    FileKind { name: "kept measurement", recognises: |head| sheet::begins(head, "recant-moments-partial-") };

/// A kept measurement cannot be gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The file cannot be read or is damaged.
    #[error(transparent)]
    File(#[from] MomentsFileError),
    /// It was begun with something else.
    #[error("{path} is an interrupted measurement with another {what}: {kept}, not {wanted}")]
    Differs {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the file says.
        kept: String,
        /// What was asked for.
        wanted: String,
    },
}

/// Where `recant stats` keeps an interrupted measurement: the name of its result and `.partial`.
#[must_use]
pub fn partial_path(statistics: &Path) -> PathBuf {
    let mut name = statistics.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

impl Collector<'_> {
    /// Keeps what was measured so far, whole or not at all. A collector that has not yet caught up with a kept
    /// measurement has nothing to add to it and leaves the file as it is.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn keep(&self, path: &Path) -> Result<(), MomentsFileError> {
        self.keep_in(&Outputs::new(&Temporaries::default()).continued(path, PARTIAL)?)
    }

    /// As [`Collector::keep`], in a place that was decided on before.
    ///
    /// # Errors
    /// [`MomentsFileError::Output`], [`MomentsFileError::Encode`].
    pub fn keep_in(&self, output: &OutputFile) -> Result<(), MomentsFileError> {
        if self.catching_up.is_some() {
            return Ok(());
        }
        let dim = self.model.spec().d_mlp;
        let sums =
            self.sums.iter().map(|(layer, sum)| sheet::square(format!("layers.{layer}.sum"), dim, sum));
        let sample: Vec<Vec<u32>> = self.sample.texts().map(<[u32]>::to_vec).collect();
        let entries: Vec<sheet::Entry> =
            sums.chain(sheet::rows("waiting", &self.pending)).chain(sheet::rows("sample", &sample)).collect();
        let digest = digest(entries.iter().map(|(name, _, _, bytes)| (name.as_str(), bytes.as_slice())));
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("model", self.model.digest().to_string()),
            ("corpus", hex(&self.corpus)),
            ("texts", self.texts.to_string()),
            ("tokens", self.tokens.to_string()),
            ("budget", self.budget.to_string()),
            ("max_tokens", self.max_tokens.to_string()),
            ("tensors", hex(&digest)),
        ];
        let failed = |source| MomentsFileError::Encode { path: output.path().to_owned(), source };
        Ok(output.write(&sheet::encode(&metadata, &entries).map_err(failed)?)?)
    }

    /// Goes on with a measurement that was kept. The collector must not have read anything yet.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub fn resume(mut self, path: &Path) -> Result<Self, ResumeError> {
        let bytes = recant_checkpoint::read_file(path)
            .map_err(|source| MomentsFileError::Read { path: path.to_owned(), source })?;
        let refuse = |reason: String| MomentsFileError::Format { path: path.to_owned(), reason };
        let sheet = Sheet::read(&bytes, FORMAT).map_err(refuse)?;
        let mut held = sheet.layers("sum").map_err(refuse)?;
        held.sort_unstable_by_key(|&(layer, ..)| layer);
        let layers = |numbers: &mut dyn Iterator<Item = usize>| format!("{:?}", numbers.collect::<Vec<_>>());
        let field = |name: &str| sheet.field(name).map(str::to_owned).map_err(refuse);
        let claims = [
            ("model", field("model")?, self.model.digest().to_string()),
            (
                "set of layers",
                layers(&mut held.iter().map(|&(layer, ..)| layer)),
                layers(&mut self.sums.keys().copied()),
            ),
            ("budget", field("budget")?, self.budget.to_string()),
            ("longest piece", field("max_tokens")?, self.max_tokens.to_string()),
        ];
        if let Some((what, kept, wanted)) = claims.into_iter().find(|(_, kept, wanted)| kept != wanted) {
            return Err(ResumeError::Differs { path: path.to_owned(), what, kept, wanted });
        }
        let mut views = sheet.tensors.tensors();
        views.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let found = digest(views.iter().map(|(name, view)| (name.as_str(), view.data())));
        if sheet.digest("tensors").map_err(refuse)? != found {
            return Err(refuse("its tensors are not those that were written".to_owned()).into());
        }
        let dim = self.model.spec().d_mlp;
        if held.iter().any(|&(_, rows, _)| rows != dim) {
            return Err(refuse(format!("a sum is not {dim} x {dim}")).into());
        }
        let texts = sheet.number("texts").map_err(refuse)?;
        let corpus = sheet.digest("corpus").map_err(refuse)?.to_vec();
        self.tokens = sheet.number("tokens").map_err(refuse)?;
        self.pending = sheet.rows("waiting").map_err(refuse)?;
        self.sample = Sample::of(sheet.rows("sample").map_err(refuse)?);
        self.sums = held.into_iter().map(|(layer, _, sum)| (layer, sum)).collect();
        self.catching_up = (texts > 0).then_some(Reached { texts, corpus });
        Ok(self)
    }
}

/// BLAKE3 over names and bytes; the names' order is the alphabet's.
fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> [u8; 32] {
    let mut each: Vec<(&str, &[u8])> = tensors.collect();
    each.sort_unstable();
    let digests: Vec<u8> = each
        .into_iter()
        .flat_map(|(name, bytes)| {
            [recant_core::bytes_digest(name.as_bytes()), recant_core::bytes_digest(bytes)].concat()
        })
        .collect();
    recant_core::bytes_digest(&digests)
}
