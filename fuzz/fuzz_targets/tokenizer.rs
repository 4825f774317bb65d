//! See `recant_fuzz::tokenizer`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's own hook ends the process at a panic that recant-text would have made an error of.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        recant_fuzz::tokenizer(bytes);
    }
);
