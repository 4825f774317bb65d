//! Device tensors by parameter path: what an architecture is built from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use recant_backend::{Device, Layout, StoredMatrix, host, upload};
use recant_core::{Dtype, HostTensor, ModelDigest, ParamPath, ParamPathError, Weights};

use crate::weight::Weight;

/// Vectors and matrices, by path. Vectors are on a device; so are matrices, unless the device computes with them where a
/// checkpoint holds them. Cloning shares all.
#[derive(Debug, Clone)]
pub struct Params {
    device: Device,
    vectors: BTreeMap<ParamPath, Tensor<1>>,
    /// As stored: with rows as inputs.
    matrices: BTreeMap<ParamPath, Weight>,
    /// Type and shape of what stays on the host, for naming it when it is asked for.
    others: BTreeMap<ParamPath, (Dtype, Vec<usize>)>,
    ties: BTreeMap<ParamPath, ParamPath>,
}

/// A parameter that the architecture needs is absent or has another shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// There is no such parameter.
    #[error("the checkpoint has no `{path}`, which config.json implies")]
    Missing {
        /// The parameter.
        path: String,
    },
    /// It has another shape than the configuration implies.
    #[error("`{path}` is {found:?}, but config.json implies {expected:?}")]
    Shape {
        /// The parameter.
        path: ParamPath,
        /// The shape implied by the configuration.
        expected: Vec<usize>,
        /// The shape in the checkpoint.
        found: Vec<usize>,
    },
    /// It holds no real numbers.
    #[error("`{path}` is {dtype}; recant computes with f32, f16, bf16 and f64 weights")]
    Dtype {
        /// The parameter.
        path: ParamPath,
        /// Its element type.
        dtype: Dtype,
    },
    /// The name that the architecture builds is not acceptable.
    #[error(transparent)]
    Path(#[from] ParamPathError),
}

impl Params {
    /// No parameters yet.
    #[must_use]
    pub fn empty(device: &Device) -> Self {
        Self {
            device: device.clone(),
            vectors: BTreeMap::new(),
            matrices: BTreeMap::new(),
            others: BTreeMap::new(),
            ties: BTreeMap::new(),
        }
    }

    /// Takes every float vector and matrix of a checkpoint, and uploads those that the device does not read where they are.
    /// Others (mask buffers, indices) stay on the host: no supported architecture computes with them.
    #[must_use]
    pub fn upload(weights: &Weights, device: &Device) -> Self {
        let mut params = Self::empty(device);
        params.ties = weights.ties().map(|(alias, path)| (alias.clone(), path.clone())).collect();
        for (path, tensor) in weights.iter() {
            params.put(path, tensor);
        }
        params
    }

    /// Takes one tensor in place of the former one.
    pub(crate) fn put(&mut self, path: &ParamPath, tensor: &HostTensor) {
        let path = path.clone();
        if let Ok(vector) = upload(tensor, &self.device) {
            self.vectors.insert(path, vector);
        } else if let Some(matrix) =
            StoredMatrix::new(tensor, Layout::InOut).filter(|matrix| self.device.reads_stored(matrix))
        {
            self.matrices.insert(path, Weight::Stored(matrix));
        } else if let Ok(matrix) = upload(tensor, &self.device) {
            self.matrices.insert(path, Weight::Device(matrix));
        } else {
            self.others.insert(path, (tensor.dtype(), tensor.shape().to_vec()));
        }
    }

    /// The same parameters with one matrix replaced by a device tensor of its shape, for methods that
    /// differentiate through it.
    #[must_use]
    pub fn with_matrix(&self, path: &ParamPath, matrix: Tensor<2>) -> Self {
        let mut next = self.clone();
        next.set_matrix(path.clone(), matrix);
        next
    }

    /// Sets a matrix, by either name when it is tied.
    pub fn set_matrix(&mut self, path: ParamPath, matrix: Tensor<2>) {
        let path = self.ties.get(&path).cloned().unwrap_or(path);
        self.matrices.insert(path, Weight::Device(matrix));
    }

    /// Sets a vector.
    pub fn set_vector(&mut self, path: ParamPath, vector: Tensor<1>) {
        self.vectors.insert(path, vector);
    }

    /// The device that the tensors are on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether there is a parameter of this name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        ParamPath::new(path).is_ok_and(|path| {
            let path = self.ties.get(&path).unwrap_or(&path);
            self.vectors.contains_key(path) || self.matrices.contains_key(path)
        })
    }

    /// A vector of a known length.
    ///
    /// # Errors
    /// [`ParamError::Missing`], [`ParamError::Shape`].
    pub fn vector(&self, path: &str, len: usize) -> Result<Tensor<1>, ParamError> {
        let path = ParamPath::new(path)?;
        match self.vectors.get(&path) {
            Some(tensor) => fits(&path, tensor, [len]),
            None => Err(self.absent(&path, vec![len])),
        }
    }

    /// A matrix of a known shape, on the device and in the checkpoint's layout.
    ///
    /// # Errors
    /// [`ParamError::Missing`], [`ParamError::Shape`].
    pub fn matrix(&self, path: &str, shape: [usize; 2]) -> Result<Tensor<2>, ParamError> {
        self.held(path, shape).map(|matrix| matrix.on(&self.device))
    }

    /// A matrix of a known stored shape, to multiply by.
    ///
    /// # Errors
    /// As [`Params::matrix`].
    pub(crate) fn weight(&self, path: &str, shape: [usize; 2], layout: Layout) -> Result<Weight, ParamError> {
        let matrix = self.held(path, shape)?;
        Ok(match layout {
            Layout::InOut => matrix.clone(),
            Layout::OutIn => matrix.transposed(),
        })
    }

    fn held(&self, path: &str, shape: [usize; 2]) -> Result<&Weight, ParamError> {
        let path = ParamPath::new(path)?;
        let matrix = self.matrices.get(self.ties.get(&path).unwrap_or(&path));
        matrix.filter(|matrix| matrix.sides() == shape).ok_or_else(|| self.absent(&path, shape.to_vec()))
    }

    fn absent(&self, path: &ParamPath, expected: Vec<usize>) -> ParamError {
        let shape = |found: Vec<usize>| ParamError::Shape { path: path.clone(), expected, found };
        if let Some(vector) = self.vectors.get(path) {
            return shape(vector.dims().to_vec());
        }
        if let Some(matrix) = self.matrices.get(self.ties.get(path).unwrap_or(path)) {
            return shape(matrix.sides().to_vec());
        }
        match self.others.get(path) {
            Some((dtype, found)) if dtype.is_float() => shape(found.clone()),
            Some((dtype, _)) => ParamError::Dtype { path: path.clone(), dtype: *dtype },
            None => ParamError::Missing { path: path.to_string() },
        }
    }

    /// Content id of what is computed with: every tensor that is on a device read back as f32, one after the other, and the
    /// checkpoint's own tensors where those are read.
    #[must_use]
    pub fn digest_of_read_back(&self) -> ModelDigest {
        let id = |path: &ParamPath, shape: Vec<usize>, numbers: &[f32]| {
            let tensor = HostTensor::from_f32(Dtype::F32, shape, numbers).ok()?;
            // The numbers are dropped here, and the id is kept.
            HostTensor::new(Dtype::U8, vec![32], tensor.id().as_bytes().to_vec().into())
                .ok()
                .map(|id| (path.clone(), id))
        };
        let vectors = self.vectors.iter().filter_map(|(path, x)| id(path, x.dims().to_vec(), &host(x)));
        let matrices = self.matrices.iter().filter_map(|(path, matrix)| match matrix {
            Weight::Device(x) => id(path, x.dims().to_vec(), &host(x)),
            Weight::Stored(matrix) => Some((path.clone(), matrix.tensor().clone())),
        });
        Weights::from_tensors(vectors.chain(matrices)).digest()
    }
}

/// Parameters on their way into a forward pass: as [`Params`], and remembers which were taken.
pub(crate) struct Taking<'a> {
    params: &'a Params,
    names: RefCell<BTreeSet<ParamPath>>,
}

impl<'a> Taking<'a> {
    pub(crate) fn new(params: &'a Params) -> Self {
        Self { params, names: RefCell::default() }
    }

    /// The names under which what was taken is stored.
    pub(crate) fn taken(self) -> BTreeSet<ParamPath> {
        self.names.into_inner()
    }

    pub(crate) fn device(&self) -> &Device {
        self.params.device()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.params.has(path)
    }

    pub(crate) fn vector(&self, path: &str, len: usize) -> Result<Tensor<1>, ParamError> {
        self.note(path)?;
        self.params.vector(path, len)
    }

    pub(crate) fn matrix(&self, path: &str, shape: [usize; 2]) -> Result<Tensor<2>, ParamError> {
        self.note(path)?;
        self.params.matrix(path, shape)
    }

    pub(crate) fn weight(&self, path: &str, shape: [usize; 2], layout: Layout) -> Result<Weight, ParamError> {
        self.note(path)?;
        self.params.weight(path, shape, layout)
    }

    fn note(&self, path: &str) -> Result<(), ParamError> {
        let path = ParamPath::new(path)?;
        let stored = self.params.ties.get(&path).cloned().unwrap_or(path);
        self.names.borrow_mut().insert(stored);
        Ok(())
    }
}

fn fits<const D: usize>(
    path: &ParamPath,
    tensor: &Tensor<D>,
    expected: [usize; D],
) -> Result<Tensor<D>, ParamError> {
    let found = tensor.dims();
    if found == expected {
        return Ok(tensor.clone());
    }
    Err(ParamError::Shape { path: path.clone(), expected: expected.to_vec(), found: found.to_vec() })
}
