//! See `recant_fuzz::shards`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::shards(bytes);
});
