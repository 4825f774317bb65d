//! Devices, and the one way between checkpoint bytes and device tensors.
//!
//! A device is parsed from text ([`DeviceSpec`]) and opened at run time ([`Device::open`]); there is no
//! default device and no silent fall-back. Weights go up through [`upload`] and everything comes down
//! through [`host`], the only place that reads a device tensor (clippy refuses the others).
//!
//! Weights that do not change while others do need not go up at all: [`product()`] multiplies by a [`StoredMatrix`] where a
//! checkpoint holds it.
//!
//! The reason for [`host`]: on wgpu, Burn's own read is lazy. The copy happens when the bytes are first
//! looked at, and if the tensor's last other handle was consumed by an in-place operation before that, the
//! "snapshot" holds the modified numbers.

mod device;
pub mod ops;
mod product;
mod transfer;

pub use device::{Adapter, Device, DeviceError, DeviceSpec, DeviceSpecError};
pub use product::{Layout, StoredMatrix, product};
pub use transfer::{host, host_ints, upload, upload_bools, upload_f32, upload_ints};
