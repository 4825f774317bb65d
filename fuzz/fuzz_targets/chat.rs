//! See `recant_fuzz::chat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::chat(bytes);
});
