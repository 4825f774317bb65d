//! See `recant_fuzz::editor`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::editor(bytes);
});
