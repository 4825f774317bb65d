//! See `recant_fuzz::adapter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::adapter(bytes);
});
