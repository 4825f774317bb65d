//! An accepted header's tensors lie one behind the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use recant_store::Layout;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(layout) = Layout::parse(bytes) {
        let mut at = 0;
        for place in &layout.places {
            assert_eq!(place.begin, at);
            at = place.end;
        }
        assert_eq!(layout.data_len(), at);
    }
});
