//! See `recant_fuzz::objects`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::objects(bytes);
});
