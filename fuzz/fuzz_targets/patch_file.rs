//! See `recant_fuzz::patch_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::patch_file(bytes);
});
