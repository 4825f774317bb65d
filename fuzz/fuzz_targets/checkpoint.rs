//! See `recant_fuzz::checkpoint`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::checkpoint(bytes);
});
