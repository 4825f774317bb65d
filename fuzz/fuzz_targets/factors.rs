//! See `recant_fuzz::factors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::factors(bytes);
});
