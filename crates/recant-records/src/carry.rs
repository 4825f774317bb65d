//! What an editor remembers from one plan to the next.

use std::collections::BTreeMap;

use recant_core::Matrix;
use safetensors::Dtype;

use crate::sheet::{Entry, Format, Sheet, SheetError};
use crate::{Opened, Record, RecordError};

/// What an editor remembers from one plan to the next, such as AlphaEdit's keys of earlier edits: named
/// matrices. A value that somebody owns, never a cache: whoever takes an edit back goes on with the carry
/// from before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Carry {
    /// Name to matrix, such as `layers.3.keys` `[keys, d_mlp]`.
    pub matrices: BTreeMap<String, Matrix>,
}

const FORMAT: Format = Format { kind: "carry", sealed: "recant-carry-2", former: None };

impl Carry {
    fn read(bytes: &[u8]) -> Result<Opened<Self>, SheetError> {
        let sheet = Sheet::read(bytes, &FORMAT)?;
        sheet.only_fields(&[])?;
        let mut matrices = BTreeMap::new();
        for (name, view) in sheet.tensors() {
            let &[rows, cols] = view.shape() else { return Err(SheetError::Shape { name }) };
            if view.dtype() != Dtype::F32 {
                return Err(SheetError::Shape { name });
            }
            let numbers = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let matrix = Matrix::new(rows, cols, numbers);
            matrices.insert(
                name.clone(),
                matrix.map_err(|error| SheetError::Number { name, reason: error.to_string() })?,
            );
        }
        Ok(Opened { value: Self { matrices }, checked: sheet.checked })
    }
}

/// Safetensors with the matrices by name. The version before had no metadata.
impl Record for Carry {
    const KIND: &'static str = FORMAT.kind;

    fn to_file(&self) -> Vec<u8> {
        let matrix = |(name, matrix): (&String, &Matrix)| {
            let bytes = matrix.data().iter().flat_map(|x| x.to_le_bytes()).collect();
            Entry { name: name.clone(), dtype: Dtype::F32, shape: vec![matrix.rows(), matrix.cols()], bytes }
        };
        FORMAT.write(BTreeMap::new(), self.matrices.iter().map(matrix).collect())
    }

    fn from_file(bytes: &[u8]) -> Result<Opened<Self>, RecordError> {
        Ok(Self::read(bytes)?)
    }
}
