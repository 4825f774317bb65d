//! See `recant_fuzz::moments`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::moments(bytes);
});
