//! Whatever bytes the patch decoder accepts are the ones that its encoder writes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use recant_core::WeightPatch;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(patch) = WeightPatch::decode(bytes) {
        assert_eq!(patch.encode(), bytes);
    }
});
