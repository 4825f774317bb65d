//! See `recant_fuzz::carry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::carry(bytes);
});
