//! Element types of checkpoint tensors.

use std::fmt;

/// Element type of a tensor in a checkpoint. All of them can be carried; the float types can be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

/// An element type that recant does not carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{name}`; known are F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL")]
pub struct DtypeError {
    /// The name as the checkpoint gives it.
    pub name: String,
}

impl Dtype {
    const ALL: [(Self, &'static str, usize); 10] = [
        (Self::F64, "F64", 8),
        (Self::F32, "F32", 4),
        (Self::F16, "F16", 2),
        (Self::BF16, "BF16", 2),
        (Self::I64, "I64", 8),
        (Self::I32, "I32", 4),
        (Self::I16, "I16", 2),
        (Self::I8, "I8", 1),
        (Self::U8, "U8", 1),
        (Self::Bool, "BOOL", 1),
    ];

    /// The safetensors name, such as `BF16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[usize::from(self.tag())].1
    }

    /// Bytes per element.
    #[must_use]
    pub fn size(self) -> usize {
        Self::ALL[usize::from(self.tag())].2
    }

    /// Whether weights of this type can be edited.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// The byte that stands for this type in canonical encodings. Never renumbered.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Self::F64 => 0,
            Self::F32 => 1,
            Self::F16 => 2,
            Self::BF16 => 3,
            Self::I64 => 4,
            Self::I32 => 5,
            Self::I16 => 6,
            Self::I8 => 7,
            Self::U8 => 8,
            Self::Bool => 9,
        }
    }

    /// The type with this safetensors name.
    ///
    /// # Errors
    /// [`DtypeError`] when the name is not one of the ten.
    pub fn from_name(name: &str) -> Result<Self, DtypeError> {
        let known = Self::ALL.iter().find(|(_, known, _)| *known == name);
        known.map(|(dtype, _, _)| *dtype).ok_or_else(|| DtypeError { name: name.to_owned() })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_index_the_table() {
        for (position, (dtype, name, _)) in Dtype::ALL.iter().enumerate() {
            assert_eq!(usize::from(dtype.tag()), position);
            assert_eq!(Dtype::from_name(name), Ok(*dtype));
        }
        assert!(Dtype::from_name("F8_E4M3").is_err());
    }
}
