//! See `recant_fuzz::bundle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::bundle(bytes);
});
