//! The two loops, for whatever vectors this machine has.
//!
//! `pulp` chooses the instructions when the program runs. A tile of sums stays in registers while both operands are read:
//! rows of `x` lie in the lanes where the matrix is read along its rows ([`along`]), and its own numbers do where it is read
//! across them ([`across`]). Every sum is taken in the order of the inputs.

#![allow(clippy::needless_range_loop, reason = "sums stay in registers where a loop counts to a constant")]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::stored::{Layout, Numbers, StoredMatrix};

/// Inputs that are summed in registers before the sum is put away.
const DEPTH: usize = 1024;
/// Inputs between two checks of an index.
const STEP: usize = 8;
/// Rows of `x` that are multiplied in one go: more of them, with their sums, would not stay in the cache.
const ROWS: usize = 128;
/// Multiplications below which threads cost more than they save.
const WORTH_THREADS: usize = 1 << 22;

/// `x` `[rows, inputs]` times a matrix: `[rows, outputs]`.
pub(super) fn product(x: &[f32], rows: usize, matrix: &StoredMatrix) -> Vec<f32> {
    let [inputs, outputs] = matrix.sides();
    debug_assert_eq!(x.len(), rows * inputs);
    if rows == 0 {
        return Vec::new();
    }
    let lanes = Arch::new().dispatch(Lanes);
    let threads = match rows * inputs * outputs {
        few if few < WORTH_THREADS => 1,
        _ => rayon::current_num_threads(),
    };
    // Parts of the columns, each at the begin of a vector.
    let part = outputs.div_ceil(threads).next_multiple_of(lanes * 4);
    let together = rows.div_ceil(rows.div_ceil(ROWS)) * inputs;
    let part_of = |from: usize| {
        let width = part.min(outputs - from);
        let of_rows = |x: &[f32]| {
            let (rows, columns) = (x.len() / inputs, matrix.shape()[1]);
            let job = Job { x, rows, numbers: matrix.numbers(), columns, from, width, inputs };
            Arch::new().dispatch(Product { job, layout: matrix.layout() })
        };
        let mut blocks = x.chunks(together).map(of_rows);
        let mut y = blocks.next().unwrap_or_default();
        blocks.for_each(|more| y.extend_from_slice(&more));
        (from, width, y)
    };
    if part >= outputs {
        return part_of(0).2;
    }
    let starts: Vec<usize> = (0..outputs).step_by(part).collect();
    let parts: Vec<_> = starts.into_par_iter().map(part_of).collect();
    let mut y = vec![0.0; rows * outputs];
    for (from, width, part) in parts {
        for (y, part) in y.chunks_exact_mut(outputs).zip(part.chunks_exact(width)) {
            y[from..from + width].copy_from_slice(part);
        }
    }
    y
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Some columns of a product.
#[derive(Clone, Copy)]
struct Job<'a> {
    /// `[rows, inputs]`.
    x: &'a [f32],
    rows: usize,
    inputs: usize,
    numbers: Numbers<'a>,
    /// Length of a row of the matrix as stored.
    columns: usize,
    /// The first output, and how many.
    from: usize,
    width: usize,
}

struct Product<'a> {
    job: Job<'a>,
    layout: Layout,
}

impl WithSimd for Product<'_> {
    /// `[rows, width]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        match self.layout {
            Layout::OutIn => along(simd, self.job),
            Layout::InOut => across(simd, self.job),
        }
    }
}

/// `y[i][j] = Σₚ x[i][p] w[j][p]`, rows of `x` in lanes.
#[inline(always)]
fn along<S: Simd>(simd: S, job: Job<'_>) -> Vec<f32> {
    // Sums, vectors of `x` and one number of the matrix fit in the registers.
    if S::REGISTER_COUNT >= 32 { along_with::<S, 8>(simd, job) } else { along_with::<S, 4>(simd, job) }
}

/// [`along`] for `N` rows of the matrix at a time.
#[inline(always)]
fn along_with<S: Simd, const N: usize>(simd: S, job: Job<'_>) -> Vec<f32> {
    let Job { x, rows, inputs, numbers, columns, from, width } = job;
    let lanes = S::F32_LANES;
    let vectors = rows.div_ceil(lanes);
    let mut y = vec![0.0; rows * width];
    let mut sums = vec![0.0; vectors * lanes * N];
    let mut turned = vec![0.0; vectors * lanes * DEPTH.min(inputs)];
    let mut scratch = vec![0.0; N * DEPTH.min(inputs)];
    for start in (0..inputs).step_by(DEPTH) {
        let depth = DEPTH.min(inputs - start);
        turn(x, rows, inputs, start, depth, lanes, &mut turned);
        for first in (0..width).step_by(N) {
            let wide = N.min(width - first);
            let at = |row: usize| (from + first + row) * columns + start;
            let direct = match numbers {
                Numbers::F32(w) if wide == N => Some(&w[at(0)..]),
                _ => {
                    for (row, out) in scratch.chunks_exact_mut(depth).take(wide).enumerate() {
                        numbers.widen(at(row), out);
                    }
                    None
                }
            };
            let (w, stride) = direct.map_or((&*scratch, depth), |w| (w, columns));
            let mut slices: [&[f32]; N] = [&[]; N];
            for j in 0..N {
                slices[j] = &w[j * stride..][..depth];
            }
            let mut vector = 0;
            while vector < vectors {
                let x = &turned[vector * lanes * depth..];
                let sums = &mut sums[vector * lanes * N..];
                let wide = in_a_tile(vectors - vector);
                match wide {
                    1 => tile::<S, 1, N>(simd, x, slices, sums),
                    2 => tile::<S, 2, N>(simd, x, slices, sums),
                    _ => tile::<S, 3, N>(simd, x, slices, sums),
                }
                vector += wide;
            }
            put(&sums, lanes, N, &mut y[first..], width, rows, wide);
        }
    }
    y
}

/// `[rows, depth]` of `x` with rows in lanes: groups of vectors of rows ([`in_a_tile`]), in each `[depth, rows]`.
#[inline(always)]
fn turn(x: &[f32], rows: usize, inputs: usize, start: usize, depth: usize, lanes: usize, turned: &mut [f32]) {
    let vectors = rows.div_ceil(lanes);
    let mut vector = 0;
    while vector < vectors {
        let wide = in_a_tile(vectors - vector);
        let first = vector * lanes;
        let held = (wide * lanes).min(rows - first);
        let out = &mut turned[first * depth..][..wide * lanes * depth];
        let x = &x[first * inputs + start..];
        for (t, out) in out.chunks_exact_mut(wide * lanes).enumerate() {
            for (lane, out) in out[..held].iter_mut().enumerate() {
                *out = x[lane * inputs + t];
            }
        }
        vector += wide;
    }
}

/// Of so many vectors, those that the next tile takes.
#[inline(always)]
fn in_a_tile(left: usize) -> usize {
    match left {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    }
}

/// `V` vectors of rows of `x` times `N` rows of the matrix: `sums[v][j]`.
#[inline(always)]
fn tile<S: Simd, const V: usize, const N: usize>(simd: S, x: &[f32], w: [&[f32]; N], sums: &mut [f32]) {
    let depth = w[0].len();
    let x = S::as_simd_f32s(&x[..depth * V * S::F32_LANES]).0;
    let mut acc = [[simd.splat_f32s(0.0); N]; V];
    let steps = depth / STEP;
    for step in 0..steps {
        let x = &x[step * STEP * V..][..STEP * V];
        let mut rows = [&[0.0; STEP]; N];
        for j in 0..N {
            rows[j] = &w[j].as_chunks::<STEP>().0[step];
        }
        for t in 0..STEP {
            for j in 0..N {
                let w = simd.splat_f32s(rows[j][t]);
                for v in 0..V {
                    acc[v][j] = simd.mul_add_e_f32s(w, x[t * V + v], acc[v][j]);
                }
            }
        }
    }
    for t in steps * STEP..depth {
        for j in 0..N {
            let w = simd.splat_f32s(w[j][t]);
            for v in 0..V {
                acc[v][j] = simd.mul_add_e_f32s(w, x[t * V + v], acc[v][j]);
            }
        }
    }
    let sums = S::as_mut_simd_f32s(&mut sums[..V * N * S::F32_LANES]).0;
    for v in 0..V {
        for j in 0..N {
            sums[v * N + j] = acc[v][j];
        }
    }
}

/// Adds sums `[vectors, wide of n, lanes]` to `y`, whose rows are `stride` apart.
#[inline(always)]
fn put(sums: &[f32], lanes: usize, n: usize, y: &mut [f32], stride: usize, rows: usize, wide: usize) {
    for (row, y) in y.chunks_mut(stride).take(rows).enumerate() {
        let sums = &sums[row / lanes * lanes * n + row % lanes..];
        for (j, y) in y[..wide].iter_mut().enumerate() {
            *y += sums[j * lanes];
        }
    }
}

/// `y[i][p] = Σⱼ x[i][j] w[j][p]`, numbers of the matrix in lanes.
#[inline(always)]
fn across<S: Simd>(simd: S, job: Job<'_>) -> Vec<f32> {
    if S::REGISTER_COUNT >= 32 { across_with::<S, 6>(simd, job) } else { across_with::<S, 3>(simd, job) }
}

/// Calls with constants for what is left of at most 6 rows and 4 vectors.
macro_rules! sized {
    ($rows:expr, $wide:expr, $call:ident) => {
        match ($rows, $wide) {
            (1, 4) => $call!(1, 4),
            (2, 4) => $call!(2, 4),
            (3, 4) => $call!(3, 4),
            (4, 4) => $call!(4, 4),
            (5, 4) => $call!(5, 4),
            (6, 4) => $call!(6, 4),
            (1, _) => $call!(1, 1),
            (2, _) => $call!(2, 1),
            (3, _) => $call!(3, 1),
            (4, _) => $call!(4, 1),
            (5, _) => $call!(5, 1),
            (_, _) => $call!(6, 1),
        }
    };
}

/// [`across`] for at most `M` rows of `x` at a time.
#[inline(always)]
fn across_with<S: Simd, const M: usize>(simd: S, job: Job<'_>) -> Vec<f32> {
    let Job { x, rows, inputs, numbers, columns, from, width } = job;
    let mut y = vec![0.0; rows * width];
    let lanes = S::F32_LANES;
    let groups = rows.div_ceil(M);
    // Rows of the matrix that are read side by side: few, so that each is read on from memory while others are multiplied;
    // more, where sums would otherwise be put away too often.
    let few = rows < 48;
    let block_of = if few { 16 } else { 64 };
    let mut scratch = vec![0.0; block_of * width];
    for start in (0..inputs).step_by(block_of) {
        let block = block_of.min(inputs - start);
        let (w, stride) = match numbers {
            Numbers::F32(w) if few => (&w[start * columns + from..], columns),
            _ => {
                for (row, out) in scratch.chunks_exact_mut(width).take(block).enumerate() {
                    numbers.widen((start + row) * columns + from, out);
                }
                (&*scratch, width)
            }
        };
        let mut first = 0;
        while first < width {
            let wide = if width - first >= 4 * lanes { 4 } else { 1 };
            let breadth = (wide * lanes).min(width - first);
            for group in 0..groups {
                let row = rows * group / groups;
                let count = rows * (group + 1) / groups - row;
                macro_rules! call {
                    ($rows:literal, $wide:literal) => {{
                        let mut slices: [&[f32]; $rows] = [&[]; $rows];
                        for i in 0..$rows {
                            slices[i] = &x[(row + i) * inputs + start..][..block];
                        }
                        let y = &mut y[row * width + first..];
                        spread::<S, $rows, $wide>(simd, slices, (&w[first..], stride), y, width, breadth);
                    }};
                }
                sized!(count, wide, call);
            }
            first += breadth;
        }
    }
    y
}

/// Adds rows of `w` (its numbers, and how far rows are apart), each times its number of each `x`, to `breadth` numbers of
/// rows of `y` that are `to` apart.
#[inline(always)]
fn spread<S: Simd, const M: usize, const N: usize>(
    simd: S,
    x: [&[f32]; M],
    (w, stride): (&[f32], usize),
    y: &mut [f32],
    to: usize,
    breadth: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for i in 0..M {
        sums[i] = loaded(simd, &y[i * to..][..breadth]);
    }
    for j in 0..x[0].len() {
        let w: [S::f32s; N] = loaded(simd, &w[j * stride..][..breadth]);
        for i in 0..M {
            let x = simd.splat_f32s(x[i][j]);
            for v in 0..N {
                sums[i][v] = simd.mul_add_e_f32s(x, w[v], sums[i][v]);
            }
        }
    }
    for i in 0..M {
        let (whole, rest) = S::as_mut_simd_f32s(&mut y[i * to..][..breadth]);
        match <&mut [S::f32s; N]>::try_from(whole) {
            Ok(whole) => *whole = sums[i],
            Err(_) => simd.partial_store_f32s(rest, sums[i][0]),
        }
    }
}

/// `N` vectors of a row; one that is not full is filled up with zeros.
#[inline(always)]
fn loaded<S: Simd, const N: usize>(simd: S, row: &[f32]) -> [S::f32s; N] {
    let (whole, rest) = S::as_simd_f32s(row);
    match <&[S::f32s; N]>::try_from(whole) {
        Ok(whole) => *whole,
        Err(_) => [simd.partial_load_f32s(rest); N],
    }
}
