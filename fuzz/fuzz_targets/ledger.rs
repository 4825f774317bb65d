//! See `recant_fuzz::ledger`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    recant_fuzz::ledger(bytes);
});
