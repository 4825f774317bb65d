//! See `recant_fuzz::npz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::npz(bytes);
});
