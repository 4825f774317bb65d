//! A small row-major matrix of f32: the factors and dense parts of a patch.

/// A row-major f32 matrix whose every element is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

/// Numbers do not make a matrix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// The count of numbers is not `rows * cols`, or a side is zero.
    #[error("{len} numbers do not fill a {rows} x {cols} matrix")]
    Shape {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Numbers given.
        len: usize,
    },
    /// An element is NaN or infinite.
    #[error("element [{row}, {col}] is {value}, not a finite number")]
    NonFinite {
        /// Row of the element.
        row: usize,
        /// Column of the element.
        col: usize,
        /// The element.
        value: f32,
    },
}

impl Matrix {
    /// A matrix of `rows` x `cols` from its elements in row order.
    ///
    /// # Errors
    /// [`MatrixError::Shape`] when a side is zero or the count differs, [`MatrixError::NonFinite`] at the
    /// first element that is NaN or infinite.
    pub fn new(rows: usize, cols: usize, data: Vec<f32>) -> Result<Self, MatrixError> {
        if rows == 0 || cols == 0 || rows.checked_mul(cols) != Some(data.len()) {
            return Err(MatrixError::Shape { rows, cols, len: data.len() });
        }
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            return Err(MatrixError::NonFinite { row: at / cols, col: at % cols, value: data[at] });
        }
        Ok(Self { rows, cols, data })
    }

    /// A column vector, unchecked for emptiness and finiteness: [`Addend::low_rank`](crate::Addend::low_rank)
    /// checks both.
    #[must_use]
    pub fn column(data: Vec<f32>) -> Self {
        Self { rows: data.len(), cols: 1, data }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The elements in row order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// One row.
    ///
    /// # Panics
    /// When `row` is not below [`Matrix::rows`].
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// The transpose.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut data = Vec::with_capacity(self.data.len());
        for col in 0..self.cols {
            data.extend((0..self.rows).map(|row| self.data[row * self.cols + col]));
        }
        Self { rows: self.cols, cols: self.rows, data }
    }

    /// `[self | other]`: the columns of `other` behind those of `self`; `None` when the row counts differ.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Option<Self> {
        if self.rows != other.rows {
            return None;
        }
        let mut data = Vec::with_capacity(self.data.len() + other.data.len());
        for row in 0..self.rows {
            data.extend_from_slice(self.row(row));
            data.extend_from_slice(other.row(row));
        }
        Some(Self { rows: self.rows, cols: self.cols + other.cols, data })
    }

    /// The Frobenius norm, summed in f64 in index order.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.data.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
    }

    pub(crate) fn checked(self) -> Result<Self, MatrixError> {
        Self::new(self.rows, self.cols, self.data)
    }
}
