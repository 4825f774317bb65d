//! Parsing, probing and opening a device.

use std::fmt;
use std::str::FromStr;

use recant_core::Dtype;

use crate::StoredMatrix;

/// Which adapter of a graphics API to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Adapter {
    /// The one that the driver ranks first.
    Best,
    /// A software adapter, such as Mesa's.
    Cpu,
    /// The n-th discrete GPU.
    Discrete(usize),
    /// The n-th integrated GPU.
    Integrated(usize),
}

/// A device as the user names it.
///
/// ```
/// use recant_backend::{Adapter, DeviceSpec};
/// assert_eq!("wgpu:cpu".parse(), Ok(DeviceSpec::Wgpu(Adapter::Cpu)));
/// assert!("cuda".parse::<DeviceSpec>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// `flex`: the pure-Rust CPU backend.
    #[default]
    Flex,
    /// `ndarray`: the CPU backend of the crate of that name, kept for conformance.
    Ndarray,
    /// `wgpu`, `wgpu:cpu`, `wgpu:discrete:N`, `wgpu:integrated:N`: Vulkan, Metal, DX12 or WebGPU.
    Wgpu(Adapter),
}

/// A string names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no device; devices are flex, ndarray, wgpu, wgpu:cpu, wgpu:discrete:N and wgpu:integrated:N"
)]
pub struct DeviceSpecError {
    /// What was given.
    pub text: String,
}

/// A device cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The backend was left out when this program was built.
    #[error("device `{device}` is not compiled in; build with the feature `{feature}`")]
    NotCompiledIn {
        /// The device asked for.
        device: DeviceSpec,
        /// The Cargo feature that brings it.
        feature: &'static str,
    },
    /// The backend is there, but not the device.
    #[error(
        "device `{device}` was not found: {reason}; install a driver \
         (on Debian, `mesa-vulkan-drivers` brings a software adapter, `wgpu:cpu`) or choose `flex`"
    )]
    NotFound {
        /// The device asked for.
        device: DeviceSpec,
        /// What the backend said.
        reason: String,
    },
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::Ndarray => f.write_str("ndarray"),
            Self::Wgpu(Adapter::Best) => f.write_str("wgpu"),
            Self::Wgpu(Adapter::Cpu) => f.write_str("wgpu:cpu"),
            Self::Wgpu(Adapter::Discrete(index)) => write!(f, "wgpu:discrete:{index}"),
            Self::Wgpu(Adapter::Integrated(index)) => write!(f, "wgpu:integrated:{index}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || DeviceSpecError { text: text.to_owned() };
        let index = |digits: &str| digits.parse().map_err(|_| refuse());
        match text {
            "flex" => Ok(Self::Flex),
            "ndarray" => Ok(Self::Ndarray),
            "wgpu" => Ok(Self::Wgpu(Adapter::Best)),
            "wgpu:cpu" => Ok(Self::Wgpu(Adapter::Cpu)),
            _ => match text.strip_prefix("wgpu:").and_then(|rest| rest.split_once(':')) {
                Some(("discrete", digits)) => Ok(Self::Wgpu(Adapter::Discrete(index(digits)?))),
                Some(("integrated", digits)) => Ok(Self::Wgpu(Adapter::Integrated(index(digits)?))),
                _ => Err(refuse()),
            },
        }
    }
}

impl DeviceSpec {
    /// The devices that this build can open, whether or not the machine has them.
    #[must_use]
    pub fn compiled_in() -> Vec<Self> {
        let all = [Self::Flex, Self::Ndarray, Self::Wgpu(Adapter::Best), Self::Wgpu(Adapter::Cpu)];
        all.into_iter().filter(|device| device.feature().1).collect()
    }

    /// The Cargo feature that brings the backend, and whether it is on.
    const fn feature(self) -> (&'static str, bool) {
        match self {
            Self::Flex => ("flex", cfg!(feature = "flex")),
            Self::Ndarray => ("ndarray", cfg!(feature = "ndarray")),
            Self::Wgpu(_) => ("wgpu", cfg!(feature = "wgpu")),
        }
    }
}

/// An open device.
#[derive(Debug, Clone)]
pub struct Device {
    spec: DeviceSpec,
    tensors: burn::tensor::Device,
}

impl Device {
    /// Opens a device and shows by a small computation that it works.
    ///
    /// # Errors
    /// [`DeviceError::NotCompiledIn`] names the missing feature; [`DeviceError::NotFound`] says what the
    /// driver answered.
    pub fn open(spec: DeviceSpec) -> Result<Self, DeviceError> {
        let (feature, compiled_in) = spec.feature();
        if !compiled_in {
            return Err(DeviceError::NotCompiledIn { device: spec, feature });
        }
        match spec {
            #[cfg(feature = "flex")]
            DeviceSpec::Flex => Ok(Self { spec, tensors: burn::tensor::Device::flex() }),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "opt-in conformance backend until Burn 0.23")]
            DeviceSpec::Ndarray => Ok(Self { spec, tensors: burn::tensor::Device::ndarray() }),
            #[cfg(feature = "wgpu")]
            DeviceSpec::Wgpu(adapter) => open_wgpu(spec, adapter),
            #[allow(unreachable_patterns)]
            _ => Err(DeviceError::NotCompiledIn { device: spec, feature }),
        }
    }

    /// How the user named it.
    #[must_use]
    pub fn spec(&self) -> DeviceSpec {
        self.spec
    }

    /// Burn's device, for creating tensors on it.
    #[must_use]
    pub fn tensors(&self) -> &burn::tensor::Device {
        &self.tensors
    }

    /// Whether it multiplies by this matrix in host memory, as a checkpoint stores it ([`crate::product()`]).
    ///
    /// A small f32 matrix is none of those: a general kernel has all of it in the cache at once, in its own order, and
    /// nothing is gained by reading it where it is. A narrower one is, whatever its size: f32 would be a copy.
    #[must_use]
    pub fn reads_stored(&self, matrix: &StoredMatrix) -> bool {
        const SMALL: usize = 1 << 18;
        let tensor = matrix.tensor();
        self.spec == DeviceSpec::Flex && !(tensor.dtype() == Dtype::F32 && tensor.len() <= SMALL)
    }

    /// Whether tensors can lie on a memory map without a copy of their own.
    pub(crate) fn borrows_host_bytes(&self) -> bool {
        // ndarray would copy a borrowed matrix again for every operation, wgpu copies it to the device once.
        self.spec == DeviceSpec::Flex
    }
}

/// The graphics stack reports a missing adapter by panicking on first use, so the probe runs a computation
/// behind a barrier and turns the panic into an error. The panic hook is left alone: it is process-global.
#[cfg(feature = "wgpu")]
fn open_wgpu(spec: DeviceSpec, adapter: Adapter) -> Result<Device, DeviceError> {
    use burn::tensor::{DeviceKind, Tensor};
    let kind = match adapter {
        Adapter::Best => DeviceKind::DefaultDevice,
        Adapter::Cpu => DeviceKind::Cpu,
        Adapter::Discrete(index) => DeviceKind::DiscreteGpu(index),
        Adapter::Integrated(index) => DeviceKind::IntegratedGpu(index),
    };
    let probe = std::thread::Builder::new().name("recant-probe".into()).spawn(move || {
        let tensors = burn::tensor::Device::wgpu(kind);
        let sum = Tensor::<1>::from_floats([1.0, 2.0], &tensors) + 1.0;
        (crate::host(&sum) == [2.0, 3.0]).then_some(tensors)
    });
    let not_found = |reason: String| DeviceError::NotFound { device: spec, reason };
    match probe.map_err(|error| not_found(error.to_string()))?.join() {
        Ok(Some(tensors)) => Ok(Device { spec, tensors }),
        Ok(None) => Err(not_found("it computes 1 + 1 wrongly".into())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no adapter");
            Err(not_found(text.lines().next().unwrap_or("no adapter").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_one_spelling() {
        for text in ["flex", "ndarray", "wgpu", "wgpu:cpu", "wgpu:discrete:0", "wgpu:integrated:1"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        for text in ["", "cpu", "cuda", "wgpu:", "wgpu:gpu", "wgpu:discrete", "wgpu:discrete:x"] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_that_was_left_out_names_its_feature() {
        let all = [DeviceSpec::Flex, DeviceSpec::Ndarray, DeviceSpec::Wgpu(Adapter::Cpu)];
        for device in all.into_iter().filter(|device| !device.feature().1) {
            let error = Device::open(device).unwrap_err();
            assert!(error.to_string().contains(&format!("the feature `{}`", device.feature().0)), "{error}");
        }
    }
}
