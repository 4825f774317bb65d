//! The factors beside a statistics file.

use std::collections::BTreeMap;

use super::Square;
use crate::sheet::{Format, Sheet, SheetError};
use crate::{Opened, Record, RecordError};

/// L of C = L Lᵀ for some layers: safetensors with one f64 matrix `layers.N.lower` a layer; metadata: `format` =
/// `recant-factors-2`, and for each layer `layers.N.mom2`, the digest of the C it belongs to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FactorsRecord {
    /// Layer to ([`Square::digest`] of its C, its L).
    pub layers: BTreeMap<usize, ([u8; 32], Square)>,
}

const FORMAT: Format =
    Format { kind: "file of factors", sealed: "recant-factors-2", former: Some("recant-factors-1") };

fn digest_name(layer: usize) -> String {
    format!("layers.{layer}.mom2")
}

impl FactorsRecord {
    fn read(bytes: &[u8]) -> Result<Opened<Self>, SheetError> {
        let sheet = Sheet::read(bytes, &FORMAT)?;
        sheet.only_tensors(&["layers."])?;
        let lower = sheet.layers("lower")?;
        let names: Vec<String> = lower.keys().map(|&layer| digest_name(layer)).collect();
        sheet.only_fields(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let with_digest = |(layer, lower)| Ok((layer, (sheet.digest(&digest_name(layer))?, lower)));
        let layers = lower.into_iter().map(with_digest).collect::<Result<_, SheetError>>()?;
        Ok(Opened { value: Self { layers }, checked: sheet.checked })
    }
}

impl Record for FactorsRecord {
    const KIND: &'static str = FORMAT.kind;

    fn to_file(&self) -> Vec<u8> {
        let layers = self.layers.iter();
        let metadata =
            layers.clone().map(|(&layer, (of, _))| (digest_name(layer), recant_core::hex(of))).collect();
        FORMAT.write(
            metadata,
            layers.map(|(layer, (_, lower))| lower.entry(format!("layers.{layer}.lower"))).collect(),
        )
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        Ok(Self::read(bytes)?)
    }
}
