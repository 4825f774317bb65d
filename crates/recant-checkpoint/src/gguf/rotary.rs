//! The order of rows in the query and key matrices of Llama models.
//!
//! A rotation turns pairs of numbers of a head. Hugging Face has the first of all pairs in the first half of a head's
//! rows and the second in the other half; llama.cpp has each pair side by side.

/// Puts the rows of `heads` heads of equal size, each of `row` bytes, from llama.cpp's order into that of Hugging Face.
pub(super) fn split_halves(bytes: &[u8], heads: usize, row: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let head = bytes.len() / heads.max(1);
    for head in bytes.chunks_exact(head.max(1)) {
        for second in [0, row] {
            head.chunks_exact(2 * row).for_each(|pair| out.extend(&pair[second..second + row]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_halves() {
        // Two heads of four rows of two bytes.
        let interleaved = [0, 1, 4, 5, 2, 3, 6, 7, 10, 11, 14, 15, 12, 13, 16, 17];
        let halves = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17];
        assert_eq!(split_halves(&interleaved, 2, 2), halves);
    }
}
