//! numpy's `.npz`, as far as statistics need it: single arrays out of a zip file, in bounded memory.
//!
//! `numpy.savez` stores its members and `savez_compressed` deflates them; their sizes stand in the directory at the
//! file's end. A member is read only when its claimed size is what was expected, inflated at most to that size, and
//! held against its checksum. Zip64 is refused: a matrix of f32 passes 4 GiB at 32,768 keys.

use std::io::{self, Read, Seek, SeekFrom};

use crate::moments::mean_of;

/// A file is no `.npz` that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpzError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no zip file, or a damaged one.
    #[error("it is no zip file that numpy writes: {reason}")]
    Zip {
        /// What is wrong.
        reason: &'static str,
    },
    /// An array is not there.
    #[error("it holds no array `{name}`, but {known:?}")]
    Missing {
        /// The array asked for.
        name: String,
        /// The arrays that are there.
        known: Vec<String>,
    },
    /// An array is damaged or of a kind that is not read.
    #[error("its array `{name}` {reason}")]
    Array {
        /// The array.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The moment is of keys of another length.
    #[error("its array `mom2.mom2` has the shape {found:?}; this model's keys need [{dim}, {dim}]")]
    Shape {
        /// Its shape.
        found: Vec<usize>,
        /// Length of the model's keys.
        dim: usize,
    },
    /// The number of tokens makes no sense.
    #[error("its array `mom2.count` is {found:?}; one positive whole number is expected")]
    Count {
        /// What it holds.
        found: Vec<f64>,
    },
    /// The matrix is no second moment.
    #[error("its array `mom2.mom2` is no second moment: {reason}")]
    Moment {
        /// What is wrong.
        reason: String,
    },
}

/// The largest directory that is read; a statistics file has a handful of members.
const DIRECTORY: u64 = 1 << 20;
/// The longest header of an array that is read.
const HEADER: u64 = 1 << 16;

/// A zip file's members.
#[derive(Debug)]
pub struct Npz<R> {
    file: R,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    deflated: bool,
    checksum: u32,
    packed: u64,
    size: u64,
    /// Where its local header begins.
    at: u64,
}

/// Numbers with their shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sides, slowest first.
    pub shape: Vec<usize>,
    /// The numbers in row order.
    pub numbers: Vec<f64>,
}

fn bad(reason: &'static str) -> NpzError {
    NpzError::Zip { reason }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 2).map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

impl<R: Read + Seek> Npz<R> {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn new(mut file: R) -> Result<Self, NpzError> {
        let len = file.seek(SeekFrom::End(0))?;
        // The end record is 22 bytes and a comment of at most 65,535.
        let from = len.saturating_sub(22 + 65_535);
        let tail = read_at(&mut file, from, len - from)?;
        let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or(bad("it has no end"))?;
        let cut = || bad("its end is cut");
        let count = u16_at(&tail, end + 10).ok_or_else(cut)?;
        let size = u64::from(u32_at(&tail, end + 12).ok_or_else(cut)?);
        let start = u64::from(u32_at(&tail, end + 16).ok_or_else(cut)?);
        let comment = u16_at(&tail, end + 20).ok_or_else(cut)?;
        if end as u64 + 22 + comment != tail.len() as u64 {
            return Err(cut());
        }
        if size > DIRECTORY || start + size > from + end as u64 {
            return Err(bad("its directory is too large or lies outside of it"));
        }
        let directory = read_at(&mut file, start, size)?;
        let mut members = Vec::new();
        let mut at = 0;
        for _ in 0..count {
            let (member, next) = member(&directory, at).ok_or(bad("its directory is cut"))?;
            members.push(member);
            at = next;
        }
        Ok(Self { file, members })
    }

    /// An array of at most `most` numbers.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn array(&mut self, name: &str, most: usize) -> Result<Array, NpzError> {
        let wanted = format!("{name}.npy");
        let Some(member) = self.members.iter().find(|member| member.name == wanted) else {
            let known = self.members.iter().map(|member| member.name.trim_end_matches(".npy").to_owned());
            return Err(NpzError::Missing { name: name.to_owned(), known: known.collect() });
        };
        let refuse = |reason: String| NpzError::Array { name: name.to_owned(), reason };
        let most = (most as u64).saturating_mul(8).saturating_add(HEADER);
        if member.size > most || member.packed > most {
            return Err(refuse(format!("has {} bytes; at most {most} are expected", member.size)));
        }
        let header = read_at(&mut self.file, member.at, 30)?;
        let lengths = u16_at(&header, 26).zip(u16_at(&header, 28));
        let Some((name_len, extra_len)) = lengths.filter(|_| header.starts_with(b"PK\x03\x04")) else {
            return Err(bad("a member is not where the directory says"));
        };
        let packed = read_at(&mut self.file, member.at + 30 + name_len + extra_len, member.packed)?;
        let size = usize::try_from(member.size).map_err(|_| refuse("is too large".to_owned()))?;
        let bytes = if member.deflated {
            miniz_oxide::inflate::decompress_to_vec_with_limit(&packed, size)
                .map_err(|error| refuse(format!("cannot be inflated to its {size} bytes: {error}")))?
        } else {
            packed
        };
        if bytes.len() != size || crc32(&bytes) != member.checksum {
            return Err(refuse("is damaged: size or checksum are not those of the directory".to_owned()));
        }
        Array::from_npy(&bytes).map_err(refuse)
    }
}

impl<R: Read + Seek> Npz<R> {
    /// Statistics of the reference code, of keys of length `dim`: the number of tokens, and `mom2.mom2` divided by it.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn second_moment(&mut self, dim: usize) -> Result<(u64, Vec<f64>), NpzError> {
        let count = self.array("mom2.count", 1)?.numbers;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a whole number"
        )]
        let tokens = match count[..] {
            [count] if (1.0..9e15).contains(&count) && count.fract() == 0.0 => count as u64,
            _ => return Err(NpzError::Count { found: count }),
        };
        let Array { shape, numbers } = self.array("mom2.mom2", dim.saturating_mul(dim))?;
        if shape != [dim, dim] {
            return Err(NpzError::Shape { found: shape, dim });
        }
        let refuse = |reason: String| NpzError::Moment { reason };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(refuse("it holds NaN or infinity".to_owned()));
        }
        let diagonal: Vec<f64> = numbers.iter().step_by(dim + 1).copied().collect();
        if let Some(at) = diagonal.iter().position(|&x| x < 0.0) {
            return Err(refuse(format!("the mean square of number {at} of a key is negative")));
        }
        for i in 0..dim {
            for j in 0..i {
                // Sums in f32 leave the two halves different by their rounding.
                let size = (diagonal[i] * diagonal[j]).sqrt();
                if (numbers[i * dim + j] - numbers[j * dim + i]).abs() > 1e-3 * size {
                    return Err(refuse(format!("it is not symmetric at ({i}, {j})")));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "below 9e15")]
        Ok((tokens, mean_of(dim, numbers, tokens as f64)))
    }
}

/// Reads `len` bytes at `at`; a length beyond the file's end reserves nothing.
fn read_at(file: &mut (impl Read + Seek), at: u64, len: u64) -> Result<Vec<u8>, NpzError> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(bad("it is cut")) }
}

/// The member whose entry begins at `at` of the directory, and where the next one begins.
fn member(directory: &[u8], at: usize) -> Option<(Member, usize)> {
    let entry = directory.get(at..).filter(|entry| entry.starts_with(b"PK\x01\x02"))?;
    let [name_len, extra, comment] = [28, 30, 32].map(|at| u16_at(entry, at));
    let name_end = 46 + name_len? as usize;
    let [packed, size, start] = [20, 24, 42].map(|at| u32_at(entry, at));
    let wide = |number: Option<u32>| number.filter(|&number| number != u32::MAX).map(u64::from);
    let deflated = match u16_at(entry, 10)? {
        0 => false,
        8 => true,
        _ => return None,
    };
    let member = Member {
        name: String::from_utf8_lossy(entry.get(46..name_end)?).into_owned(),
        deflated,
        checksum: u32_at(entry, 16)?,
        packed: wide(packed)?,
        size: wide(size)?,
        at: wide(start)?,
    };
    Some((member, at + name_end + (extra? + comment?) as usize))
}

impl Array {
    /// An array of `.npy` bytes: little-endian f32, f64, i32 or i64, in either order of axes.
    ///
    /// # Errors
    /// A reason in words, to follow the array's name.
    pub fn from_npy(bytes: &[u8]) -> Result<Self, String> {
        let cut = || "is cut in its header".to_owned();
        if !bytes.starts_with(b"\x93NUMPY") {
            return Err("does not begin as a .npy file does".to_owned());
        }
        let (len, start): (usize, usize) = match bytes.get(6) {
            Some(1) => (u16_at(bytes, 8).ok_or_else(cut)? as usize, 10),
            Some(2 | 3) => (u32_at(bytes, 8).ok_or_else(cut)? as usize, 12),
            _ => return Err("is of a version that is not known".to_owned()),
        };
        let end = start.checked_add(len).ok_or_else(cut)?;
        let header = std::str::from_utf8(bytes.get(start..end).ok_or_else(cut)?);
        let header = header.map_err(|_| "has a header that is not text".to_owned())?;
        let value = |key: &str| {
            let behind = header.split_once(&format!("'{key}':")).map(|(_, behind)| behind.trim_start());
            behind.ok_or_else(|| format!("does not say its `{key}`"))
        };
        let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let sizes = shape.ok_or("has a shape that is no tuple")?.0.split(',').map(str::trim);
        let sizes = sizes.filter(|size| !size.is_empty()).map(str::parse).collect::<Result<Vec<usize>, _>>();
        let shape = sizes.map_err(|_| "has a shape that is no tuple of sizes".to_owned())?;
        let kind = value("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let data = &bytes[end..];
        #[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2⁵³")]
        let numbers: Vec<f64> = match kind.map(|(kind, _)| kind) {
            Some("<f4") => wide(data, |b| f64::from(f32::from_le_bytes(b))),
            Some("<f8") => wide(data, f64::from_le_bytes),
            Some("<i4") => wide(data, |b| f64::from(i32::from_le_bytes(b))),
            Some("<i8") => wide(data, |b| i64::from_le_bytes(b) as f64),
            other => return Err(format!("has numbers of the kind {other:?}, not <f4, <f8, <i4 or <i8")),
        }
        .ok_or("ends in the middle of a number")?;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        if count != Some(numbers.len()) {
            return Err(format!("has {} numbers and the shape {shape:?}", numbers.len()));
        }
        if value("fortran_order")?.starts_with("True") && shape.len() == 2 {
            let (rows, cols) = (shape[0], shape[1]);
            let turned = (0..rows * cols).map(|at| numbers[at % cols * rows + at / cols]).collect();
            return Ok(Self { shape, numbers: turned });
        }
        Ok(Self { shape, numbers })
    }
}

fn wide<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
    let (numbers, rest) = bytes.as_chunks();
    rest.is_empty().then(|| numbers.iter().map(|&b| number(b)).collect())
}

/// The checksum of zip files: the polynomial 0x04C11DB7, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| {
        let step = |c: u32| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
        (0..8).fold(i as u32, |c, _| step(c))
    });
    let over = |c: u32, &byte: &u8| table[((c ^ u32::from(byte)) & 0xFF) as usize] ^ (c >> 8);
    !bytes.iter().fold(u32::MAX, over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip_files() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
