//! Names that would hide commits, and verbs that change no name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::forge::Forge;
use common::{edit, head, name, path, stamp};
use recant_store::object::Head;
use recant_store::{Import, NamesError, Problem, RevError, Store, TransactionError};

/// A name that reads as an id or as the head is refused whoever makes it; one that a store has already neither
/// hides a commit nor is out of reach.
#[test]
fn a_name_never_hides_a_commit() {
    let forge = Forge::new();
    let (store, base) = (&forge.store, forge.base);
    let evil = edit(store, 0, 1);
    let whole = base.to_string();
    let prefix = &whole[..8];
    for text in [whole.as_str(), prefix, "HEAD", "@", "deadbeef"] {
        let before = store.view().unwrap();
        let refused = |made: Result<_, NamesError>| match made.unwrap_err() {
            NamesError::Transaction(TransactionError::Name(error)) => assert_eq!(error.name, text),
            error => panic!("{text}: {error}"),
        };
        refused(store.tag(&name(text), evil, true, &stamp(5)));
        refused(store.branch(&name(text), evil, true, &stamp(5)));
        let import = Import { branch: Some(name(text)), ..Import::default() };
        assert!(store.import(&forge.dir.path().join("model"), &import, &stamp(5), None).is_err(), "{text}");
        assert!(Store::init(&forge.dir.path().join("new"), name(text), &stamp(5)).is_err(), "{text}");
        assert!(!forge.dir.path().join("new").exists());
        assert_eq!(store.view().unwrap(), before);
    }
    // As an earlier version, or another hand, made them.
    forge.operation(|view| {
        for text in [whole.as_str(), prefix, "HEAD", "deadbeef"] {
            view.tags.insert(name(text), evil);
        }
    });
    assert_eq!(store.resolve(&whole).unwrap(), base, "64 digits are the commit");
    assert_eq!(store.resolve(&format!("{whole}~0")).unwrap(), base);
    assert_eq!(store.verify(store.resolve(&whole).unwrap(), None).unwrap().commit, base);
    assert_eq!(store.resolve("HEAD").unwrap(), evil);
    for text in [prefix, "deadbeef"] {
        assert!(matches!(store.resolve(text), Err(RevError::Unfit { kind: "tag", .. })), "{text}");
        assert_eq!(store.resolve(&format!("tag/{text}")).unwrap(), evil);
    }
    let told = forge.problems();
    assert_eq!(told.iter().filter(|p| matches!(p, Problem::Name { kind: "tag", .. })).count(), 4, "{told:?}");
    // The store goes on working, and the names can be taken away.
    edit(store, 1, 2);
    for text in [whole.as_str(), prefix, "HEAD", "deadbeef"] {
        store.delete_tag(&name(text), &stamp(6)).unwrap();
    }
    assert!(forge.problems().is_empty());
    assert_eq!(store.resolve(prefix).unwrap(), base);
    assert_eq!(store.resolve("branch/main").unwrap(), head(store));
}

/// Ids of commits that are not there are unknown, even where a name spells them.
#[test]
fn an_id_of_nothing_is_unknown() {
    let forge = Forge::new();
    let nothing = "ab".repeat(32);
    forge.operation(|view| {
        view.tags.insert(name(&nothing), forge.base);
    });
    assert!(matches!(forge.store.resolve(&nothing), Err(RevError::Unknown { .. })));
    let tensor = forge.manifest(forge.base).tensors[&path(0)].to_string();
    assert!(matches!(forge.store.resolve(&tensor), Err(RevError::Unknown { .. })), "a tensor is no commit");
}

/// A verb that leaves the names as they were is no operation, so undo takes back the one before.
#[test]
fn what_changes_nothing_is_no_operation() {
    let forge = Forge::new();
    let store = &forge.store;
    store.tag(&name("v1"), forge.base, false, &stamp(3)).unwrap();
    let one = edit(store, 0, 1);
    let operations = store.operations().unwrap().len();
    let same = store.head_operation().unwrap();
    assert_eq!(store.switch(&name("main"), &stamp(4)).unwrap(), same);
    assert_eq!(store.tag(&name("v1"), forge.base, true, &stamp(4)).unwrap(), same);
    assert_eq!(store.branch(&name("main"), one, true, &stamp(4)).unwrap(), same);
    assert_eq!(store.operations().unwrap().len(), operations);
    store.undo(&stamp(5)).unwrap();
    assert_eq!(head(store), forge.base);
    store.redo(&stamp(5)).unwrap();
    store.detach(one, &stamp(6)).unwrap();
    let same = store.head_operation().unwrap();
    assert_eq!(store.detach(one, &stamp(7)).unwrap(), same);
    // Logs of earlier versions have such operations: they are passed over, both ways.
    forge.operation(|_| ());
    forge.operation(|_| ());
    assert!(store.undo(&stamp(8)).unwrap().contains("switch"));
    assert_eq!(store.view().unwrap().head, Head::Branch(name("main")));
    assert!(store.redo(&stamp(8)).unwrap().contains("switch"));
    assert_eq!(store.view().unwrap().head, Head::Detached(one));
    assert!(store.redo(&stamp(8)).is_err());
}
