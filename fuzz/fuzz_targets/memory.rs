//! See `recant_fuzz::memory`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::memory(bytes);
});
