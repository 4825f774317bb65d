//! A measurement that was interrupted.

use std::collections::BTreeMap;

use recant_core::ModelDigest;

use super::{Sample, Square, read_sample, written};
use crate::sheet::{self, Format, Sheet, SheetError};
use crate::{Opened, Record, RecordError};

/// How far a measurement came. Safetensors: the sums `layers.N.sum` in f64, the texts that wait for a full batch
/// (`waiting.ids`, `waiting.lengths`), the sample so far; in the metadata `format` = `recant-moments-partial-2` and the
/// other fields by their names.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialRecord {
    /// The model that is measured.
    pub model: ModelDigest,
    /// Digest of the texts read.
    pub corpus: [u8; 32],
    /// Texts read.
    pub texts: u64,
    /// Tokens in the sums.
    pub tokens: u64,
    /// Tokens after which the measurement ends.
    pub budget: u64,
    /// Longest piece of a text, in tokens.
    pub max_tokens: u64,
    /// Σ k kᵀ by layer, at least one.
    pub sums: BTreeMap<usize, Square>,
    /// Texts that wait for a full batch.
    pub waiting: Vec<Vec<u32>>,
    /// The sample so far.
    pub sample: Sample,
}

const FORMAT: Format = Format {
    kind: "interrupted measurement",
    sealed: "recant-moments-partial-2",
    former: Some("recant-moments-partial-1"),
};

impl PartialRecord {
    fn read(bytes: &[u8]) -> Result<Opened<Self>, SheetError> {
        let sheet = Sheet::read(bytes, &FORMAT)?;
        sheet.only_fields(&["model", "corpus", "texts", "tokens", "budget", "max_tokens"])?;
        sheet.only_tensors(&["layers.", "waiting.ids", "waiting.lengths", "sample."])?;
        if !sheet.checked {
            former_digest(&sheet)?;
        }
        let value = Self {
            model: ModelDigest::from_bytes(sheet.digest("model")?),
            corpus: sheet.digest("corpus")?,
            texts: sheet.number("texts")?,
            tokens: sheet.number("tokens")?,
            budget: sheet.number("budget")?,
            max_tokens: sheet.number("max_tokens")?,
            sums: sheet.layers("sum")?,
            waiting: sheet.rows("waiting")?,
            sample: read_sample(&sheet)?,
        };
        Ok(Opened { value, checked: sheet.checked })
    }
}

/// The version before had a digest of its tensors: over the digests of each name and its bytes, by name.
fn former_digest(sheet: &Sheet<'_>) -> Result<(), SheetError> {
    let of_one = |(name, view): (String, &safetensors::tensor::TensorView<'_>)| {
        [recant_core::bytes_digest(name.as_bytes()), recant_core::bytes_digest(view.data())].concat()
    };
    let digests: Vec<u8> = sheet.tensors().flat_map(of_one).collect();
    match sheet.digest("tensors")? == recant_core::bytes_digest(&digests) {
        true => Ok(()),
        false => Err(crate::seal::Damaged.into()),
    }
}

impl Record for PartialRecord {
    const KIND: &'static str = FORMAT.kind;

    fn to_file(&self) -> Vec<u8> {
        let sums = self.sums.iter().map(|(layer, sum)| sum.entry(format!("layers.{layer}.sum")));
        let entries =
            sums.chain(sheet::rows("waiting", &self.waiting)).chain(written(&self.sample)).collect();
        let metadata = sheet::metadata([
            ("model", self.model.to_string()),
            ("corpus", recant_core::hex(&self.corpus)),
            ("texts", self.texts.to_string()),
            ("tokens", self.tokens.to_string()),
            ("budget", self.budget.to_string()),
            ("max_tokens", self.max_tokens.to_string()),
        ]);
        FORMAT.write(metadata, entries)
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        Ok(Self::read(bytes)?)
    }
}
