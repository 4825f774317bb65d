//! See `recant_fuzz::header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::header(bytes);
});
