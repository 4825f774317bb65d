//! Files beside a model.

use std::fmt::Debug;
use std::io::Cursor;

use recant_core::{AdapterState, WeightPatch};
use recant_records::ledger::{EditorRecord, Ledger};
use recant_records::moments::{FactorsRecord, MomentsRecord, PartialRecord};
use recant_records::{Array, Carry, Npz, Record, seal};

/// Whatever is accepted with a checksum is what the encoder writes, and what is written is read back as it was. What
/// lies behind the checksum is tried too: the bytes with the right one at their end, and as a payload in a seal.
fn record<T: Record + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    seal::mend(&mut mended);
    accepted::<T>(&mended);
    accepted::<T>(&seal::seal(bytes));
    accepted::<T>(bytes)
}

fn accepted<T: Record + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(opened) = T::from_file(bytes) else { return false };
    let again = opened.value.to_file();
    assert!(!opened.checked || again == bytes, "another encoding of the same value");
    let back = T::from_file(&again).expect("what is written is read");
    assert!(back.checked && back.value == opened.value, "another value");
    true
}

/// Ledgers.
pub fn ledger(bytes: &[u8]) -> bool {
    record::<Ledger>(bytes)
}

/// Statistics.
pub fn moments(bytes: &[u8]) -> bool {
    record::<MomentsRecord>(bytes)
}

/// Factors beside statistics.
pub fn factors(bytes: &[u8]) -> bool {
    record::<FactorsRecord>(bytes)
}

/// Interrupted measurements.
pub fn partial(bytes: &[u8]) -> bool {
    record::<PartialRecord>(bytes)
}

/// What editors carry.
pub fn carry(bytes: &[u8]) -> bool {
    record::<Carry>(bytes)
}

/// What makes a ledger's editor again, in a store.
pub fn editor(bytes: &[u8]) -> bool {
    let Ok(record) = EditorRecord::decode(bytes) else { return false };
    assert_eq!(EditorRecord::decode(&record.encode()).expect("what is written is read"), record);
    true
}

/// Files of memories.
pub fn memory(bytes: &[u8]) -> bool {
    record::<AdapterState>(bytes)
}

/// Files of patches.
pub fn patch_file(bytes: &[u8]) -> bool {
    record::<WeightPatch>(bytes)
}

/// Length of the keys in the seeds of [`npz`].
const DIM: usize = 128;

/// numpy's files, and single arrays of them, which a checksum would hide. An accepted moment has its size and is finite.
pub fn npz(bytes: &[u8]) -> bool {
    if let Ok(array) = Array::from_npy(bytes) {
        assert_eq!(array.shape.iter().product::<usize>(), array.numbers.len());
        return true;
    }
    let Ok(mut file) = Npz::new(Cursor::new(bytes)) else { return false };
    let Ok((tokens, mean)) = file.second_moment(DIM) else { return false };
    assert!(tokens > 0 && mean.len() == DIM * DIM && mean.iter().all(|x| x.is_finite()));
    true
}
