//! Vectors side by side: the keys, images and residuals of many facts.

use faer::{Mat, MatRef};

/// `count` vectors of `width` numbers, one a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    count: usize,
    width: usize,
    data: Vec<f64>,
}

impl Rows {
    /// Rows from their numbers in order; `None` when the numbers do not fill whole rows of `width`, or `width`
    /// is zero.
    #[must_use]
    pub fn new(width: usize, data: Vec<f64>) -> Option<Self> {
        (width > 0 && data.len().is_multiple_of(width)).then(|| Self {
            count: data.len() / width,
            width,
            data,
        })
    }

    /// Rows of f32 vectors of one length; `None` when there are none or their lengths differ.
    #[must_use]
    pub fn of(vectors: &[Vec<f32>]) -> Option<Self> {
        let width = vectors.first()?.len();
        if vectors.iter().any(|vector| vector.len() != width) {
            return None;
        }
        Self::new(width, vectors.iter().flatten().map(|&x| f64::from(x)).collect())
    }

    /// Number of rows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers in row order.
    #[must_use]
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// One row; empty where there is none.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        self.data.get(row * self.width..(row + 1) * self.width).unwrap_or_default()
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks_exact(self.width)
    }

    /// The rows of `self`, then those of `below`; `None` when their widths differ.
    #[must_use]
    pub fn above(mut self, below: &Self) -> Option<Self> {
        if self.width != below.width {
            return None;
        }
        self.data.extend_from_slice(&below.data);
        self.count += below.count;
        Some(self)
    }

    /// Every number times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.data.iter_mut().for_each(|x| *x *= factor);
        self
    }

    /// `self - other`; `None` when their shapes differ.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Option<Self> {
        if (self.count, self.width) != (other.count, other.width) {
            return None;
        }
        self.data.iter_mut().zip(&other.data).for_each(|(x, y)| *x -= y);
        Some(self)
    }

    /// The numbers column by column as f32: `[width, count]`, as a patch stores a factor.
    #[must_use]
    pub fn columns_f32(&self) -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "factors are stored in f32")]
        let column = |i: usize| (0..self.count).map(move |row| self.data[row * self.width + i] as f32);
        (0..self.width).flat_map(column).collect()
    }

    pub(crate) fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.data, self.count, self.width)
    }

    pub(crate) fn from_mat(matrix: &Mat<f64>) -> Self {
        let (count, width) = (matrix.nrows(), matrix.ncols());
        let data = (0..count).flat_map(|i| (0..width).map(move |j| matrix[(i, j)])).collect();
        Self { count, width, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_and_alike() {
        assert_eq!(Rows::new(0, vec![]), None);
        assert_eq!(Rows::new(2, vec![1.0]), None);
        assert_eq!(Rows::of(&[vec![1.0], vec![1.0, 2.0]]), None);
        assert_eq!(Rows::of(&[]), None);
        let rows = Rows::of(&[vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]]).unwrap();
        assert_eq!((rows.count(), rows.width(), rows.row(1)), (3, 2, &[3.0, 4.0][..]));
        assert_eq!(rows.row(3), &[] as &[f64]);
        assert_eq!(rows.columns_f32(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let one = Rows::new(2, vec![7.0, 8.0]).unwrap();
        assert_eq!(rows.clone().above(&one).unwrap().row(3), &[7.0, 8.0]);
        assert_eq!(rows.clone().above(&Rows::new(1, vec![1.0]).unwrap()), None);
        assert_eq!(one.clone().minus(&one).unwrap().data(), &[0.0, 0.0]);
        assert_eq!(rows.minus(&one), None);
    }
}
