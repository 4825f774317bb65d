//! Object files: of a store that somebody else wrote, and as they arrive from a remote.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use recant_core::ObjectId;
use recant_store::{Damage, Import, ReadError, Store};

use crate::common::disk::FaultyDisk;
use crate::common::{edit, name, stamp, write_model};

/// A store in memory with an import and two edits, so that a derived file finds what it is made from.
pub(crate) fn good() -> &'static FaultyDisk {
    static GOOD: OnceLock<FaultyDisk> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = FaultyDisk::default();
        let model = tempfile::tempdir().expect("a folder");
        write_model(model.path());
        let store = Store::init_on(Arc::new(disk.clone()), name("main"), &stamp(1)).expect("a store");
        store.import(model.path(), &Import::default(), &stamp(2), None).expect("an import");
        edit(&store, 0, 1);
        edit(&store, 1, 2);
        disk
    })
}

/// `id ‖ file`: the file stands under the id, and afterwards arrives under it. It is refused, or its bytes have
/// the digest that the id promises; a store with it is checked to the end either way.
pub fn files(bytes: &[u8]) -> bool {
    let Some((id, file)) = bytes.split_first_chunk::<32>() else { return false };
    let id = ObjectId::from_bytes(*id);
    let hex = id.to_string();
    let path = Path::new("objects").join(&hex[..2]).join(&hex[2..]);

    let disk = good().copy();
    disk.overwrite(&path, file.to_vec());
    let store = Store::open_on(Arc::new(disk), Path::new("store")).expect("FORMAT is as it was");
    let loaded = store.odb().load(id);
    if let Ok(loaded) = &loaded {
        assert_eq!(recant_store::object::object_id(loaded), id);
    }
    let clean = store.fsck().expect("damage is reported, not an error").is_clean();
    // What nothing leads to may lack what it is made from: a fetch that was cut leaves such files.
    let leftover =
        matches!(&loaded, Err(ReadError::Object { id: lacking, source: Damage::Missing }) if *lacking != id);
    assert!(loaded.is_ok() || leftover || !clean, "a file that cannot be read passes fsck");

    let disk = good().copy();
    let store = Store::open_on(Arc::new(disk), Path::new("store")).expect("a store");
    let mut tx = store.begin(&stamp(9)).expect("nobody else writes");
    let Ok(mut received) = tx.writer.receive(id, file.len() as u64, &mut &file[..]) else {
        return loaded.is_ok();
    };
    match tx.writer.wants(&mut received) {
        Ok(wants) if wants.is_empty() && tx.writer.accept(received).is_ok() && tx.writer.flush().is_ok() => {
            match store.odb().load(id) {
                Ok(_) => {}
                Err(ReadError::Object { source: Damage::Missing, .. }) => panic!("accepted and not there"),
                Err(error) => panic!("accepted and not readable: {error}"),
            }
        }
        _ => {}
    }
    loaded.is_ok()
}

/// A bundle in a store. The store is checked and mended to the end; the bundle is refused, or it is whole, and every
/// object in it is one that the store holds.
pub fn bundle(bytes: &[u8]) -> bool {
    let disk = good().copy();
    let name = recant_store::object::object_id(bytes).to_string();
    disk.overwrite(&Path::new("bundles").join(name), bytes.to_vec());
    let store = Store::open_on(Arc::new(disk), Path::new("store")).expect("FORMAT is as it was");
    let clean = store.fsck().expect("damage is reported, not an error").is_clean();
    if clean {
        for id in store.odb().ids().expect("a clean store") {
            match store.odb().load(id) {
                Ok(loaded) => assert_eq!(recant_store::object::object_id(&loaded), id),
                Err(ReadError::Object { source: Damage::Missing, .. }) => {}
                Err(error) => panic!("passed and not readable: {error}"),
            }
        }
    }
    store.repair(&stamp(9)).expect("what cannot be mended is told");
    clean
}
