//! Second moments of keys as values: the statistics file, the factors beside it, and an interrupted measurement.

mod factors;
mod partial;
mod sample;

use std::collections::BTreeMap;

use recant_core::ModelDigest;

pub use factors::FactorsRecord;
pub use partial::PartialRecord;
pub use sample::Sample;

pub use crate::sheet::Square;
use crate::sheet::{self, Format, Sheet, SheetError};
use crate::{Opened, Record, RecordError};

/// Second moments of some layers of one model: safetensors with one f64 matrix `layers.N.mom2` a layer, and token ids of
/// a sample of the corpus (`sample.ids`, `sample.lengths`), which there need not be.
///
/// Metadata: `format` = `recant-moments-2`, `model` and `corpus` (hexadecimal digests), `tokens`.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentsRecord {
    /// The model that the keys came from.
    pub model: ModelDigest,
    /// Digest of the corpus that was read.
    pub corpus: [u8; 32],
    /// Tokens that were averaged over.
    pub tokens: u64,
    /// Σ k kᵀ / tokens by layer, at least one.
    pub layers: BTreeMap<usize, Square>,
    /// Beginnings of the corpus's texts.
    pub sample: Sample,
}

const FORMAT: Format =
    Format { kind: "statistics file", sealed: "recant-moments-2", former: Some("recant-moments-1") };

impl MomentsRecord {
    fn read(bytes: &[u8]) -> Result<Opened<Self>, SheetError> {
        let sheet = Sheet::read(bytes, &FORMAT)?;
        sheet.only_fields(&["model", "corpus", "tokens"])?;
        sheet.only_tensors(&["layers.", "sample."])?;
        let value = Self {
            model: ModelDigest::from_bytes(sheet.digest("model")?),
            corpus: sheet.digest("corpus")?,
            tokens: sheet.number("tokens")?,
            layers: sheet.layers("mom2")?,
            sample: if sheet.has("sample.") { read_sample(&sheet)? } else { Sample::default() },
        };
        // An empty sample is not written.
        if sheet.checked && sheet.has("sample.") && value.sample.is_empty() {
            return Err(SheetError::Form);
        }
        Ok(Opened { value, checked: sheet.checked })
    }
}

fn read_sample(sheet: &Sheet<'_>) -> Result<Sample, SheetError> {
    sheet.only_tensors(&["layers.", "waiting.", "sample.ids", "sample.lengths"])?;
    Sample::of_written(sheet.rows("sample")?).ok_or_else(|| SheetError::Number {
        name: "sample".to_owned(),
        reason: "its texts are not the sample of a corpus".to_owned(),
    })
}

fn written(sample: &Sample) -> [sheet::Entry; 2] {
    sheet::rows("sample", &sample.texts().map(<[u32]>::to_vec).collect::<Vec<_>>())
}

impl Record for MomentsRecord {
    const KIND: &'static str = FORMAT.kind;

    fn to_file(&self) -> Vec<u8> {
        let moment = |(number, mean): (&usize, &Square)| mean.entry(format!("layers.{number}.mom2"));
        let mut entries: Vec<_> = self.layers.iter().map(moment).collect();
        if !self.sample.is_empty() {
            entries.extend(written(&self.sample));
        }
        let metadata = sheet::metadata([
            ("model", self.model.to_string()),
            ("corpus", recant_core::hex(&self.corpus)),
            ("tokens", self.tokens.to_string()),
        ]);
        FORMAT.write(metadata, entries)
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        Ok(Self::read(bytes)?)
    }
}

/// Σ k kᵀ / tokens. The sum is symmetric up to the order of f32 sums; this makes it exactly so.
#[must_use]
pub fn mean_of(dim: usize, sum: Vec<f64>, tokens: f64) -> Vec<f64> {
    let mut mean: Vec<f64> = sum.into_iter().map(|x| x / tokens).collect();
    for i in 0..dim {
        for j in 0..i {
            let both = (mean[i * dim + j] + mean[j * dim + i]) / 2.0;
            (mean[i * dim + j], mean[j * dim + i]) = (both, both);
        }
    }
    mean
}
