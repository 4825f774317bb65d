//! See `recant_fuzz::patch`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::patch(bytes);
});
