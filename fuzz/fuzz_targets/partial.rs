//! See `recant_fuzz::partial`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::partial(bytes);
});
