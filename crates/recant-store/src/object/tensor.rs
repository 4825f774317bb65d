//! A tensor's payload is exactly what its id is the hash of (see [`HostTensor::id`]).
//!
//! ```text
//! magic  15  "recant tensor 1"
//! dtype  u8  tag
//! rank   u64
//! side   u64, rank times
//! bytes      to the end: product of the sides times the dtype's size
//! ```

use std::fmt;

use bytes::Bytes;
use recant_core::{Dtype, HostTensor};

use crate::codec::{DecodeError, Decoder, Encoder};

pub(crate) const MAGIC: &[u8] = b"recant tensor 1";
const KIND: &str = "tensor";
/// No checkpoint has tensors of more sides; bounds the head of a hostile one.
const MAX_RANK: u64 = 16;

/// Everything before a tensor's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorHead {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

impl TensorHead {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        out.u8(self.dtype.tag());
        out.u64(self.shape.len() as u64);
        self.shape.iter().for_each(|&side| out.u64(side as u64));
        out.finish()
    }

    /// Bytes behind the head; `None` when there are more than can be counted.
    pub(crate) fn byte_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.dtype.size(), |product, &side| product.checked_mul(side))
    }

    /// The head and its length.
    pub(crate) fn decode(payload: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut input = Decoder::new(KIND, MAGIC, payload)?;
        let tag = input.u8()?;
        let dtype = dtype_of(tag).ok_or_else(|| input.tag("the dtype", tag))?;
        let rank = input.u64()?;
        if rank > MAX_RANK {
            return Err(input.inconsistent(format!("it claims {rank} sides")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let side = input.u64()?;
            shape.push(usize::try_from(side).map_err(|_| input.inconsistent(format!("a side of {side}")))?);
        }
        Ok((Self { dtype, shape }, input.position()))
    }
}

impl fmt::Display for TensorHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

fn dtype_of(tag: u8) -> Option<Dtype> {
    use Dtype::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8};
    [F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool].into_iter().find(|dtype| dtype.tag() == tag)
}

/// The payload of a tensor.
#[must_use]
pub fn encode_tensor(tensor: &HostTensor) -> Vec<u8> {
    let mut out = TensorHead { dtype: tensor.dtype(), shape: tensor.shape().to_vec() }.encode();
    out.extend_from_slice(tensor.bytes());
    out
}

/// A tensor from its payload, whose bytes it shares.
///
/// # Errors
/// [`DecodeError`] when the head is not one or the bytes do not fill the shape.
pub fn decode_tensor(payload: Bytes) -> Result<HostTensor, DecodeError> {
    let (head, at) = TensorHead::decode(&payload)?;
    HostTensor::new(head.dtype, head.shape, payload.slice(at..))
        .map_err(|error| DecodeError::Inconsistent { kind: KIND, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_id_hashes() {
        let tensor = HostTensor::from_f32(Dtype::BF16, vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let payload = encode_tensor(&tensor);
        assert_eq!(super::super::object_id(&payload), tensor.id().into());
        assert_eq!(decode_tensor(payload.into()), Ok(tensor));
    }
}
