//! A store that is written past every check: encoded objects, object files, operations.

use std::path::PathBuf;

use recant_core::{CommitId, ManifestId, ObjectId};
use recant_store::object::{Blob, Commit, Deed, Manifest, Operation, Step, View, object_id};
use recant_store::{CheckoutError, CheckoutOptions, Problem, Store, Wrong};

use super::{head, name, store_in};

/// A store in a folder, and means to write into it past every check.
pub(crate) struct Forge {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) base: CommitId,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, base) = store_in(dir.path());
        Self { dir, store, base }
    }

    pub(crate) fn at(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn file(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        self.at().join("objects").join(&hex[..2]).join(&hex[2..])
    }

    pub(crate) fn write(&self, id: ObjectId, file: &[u8]) {
        let path = self.file(id);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }

    pub(crate) fn put(&self, payload: &[u8]) -> ObjectId {
        let id = object_id(payload);
        self.write(id, &[b"RCNTOBJ1\0", payload].concat());
        id
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> ObjectId {
        self.put(&Blob { kind: name("file"), bytes: bytes.to_vec() }.encode())
    }

    pub(crate) fn manifest(&self, of: CommitId) -> Manifest {
        self.store.odb().manifest(self.store.odb().commit(of).unwrap().manifest).unwrap()
    }

    /// A commit behind the head, changed at will, with its manifest, and the head put onto it.
    pub(crate) fn commit(&self, change: impl FnOnce(&mut Commit, &mut Manifest)) -> CommitId {
        let parent = head(&self.store);
        let mut commit = (*self.store.odb().commit(parent).unwrap()).clone();
        let mut manifest = self.manifest(parent);
        (commit.deed, commit.parents, commit.generation) = (Deed::Edit, vec![parent], commit.generation + 1);
        (commit.patch, commit.takes, commit.drops) = (None, Default::default(), Default::default());
        let before = manifest.id();
        commit.manifest = before;
        change(&mut commit, &mut manifest);
        if manifest.id() != before {
            commit.manifest = ManifestId::from_bytes(*self.put(&manifest.encode()).as_bytes());
        }
        self.put(&commit.encode());
        let commit = commit.id();
        self.operation(|view| {
            view.branches.insert(name("main"), commit);
        });
        commit
    }

    pub(crate) fn operation(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.store.view().unwrap();
        change(&mut view);
        let parent = Some(self.store.head_operation().unwrap());
        let operation = Operation {
            parent,
            time: 9,
            author: "eve".to_owned(),
            what: "forged".to_owned(),
            step: Step::Forward,
            view,
        };
        self.put(&operation.encode());
        std::fs::write(self.at().join("head"), format!("{}\n", operation.id())).unwrap();
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.store.fsck().unwrap().problems
    }

    pub(crate) fn wrong(&self) -> Vec<Wrong> {
        self.store.verify(head(&self.store), None).unwrap().wrong
    }

    pub(crate) fn checkout(&self) -> Result<recant_store::Written, CheckoutError> {
        let out = tempfile::tempdir().unwrap();
        self.store.checkout(head(&self.store), &out.path().join("out"), CheckoutOptions::default())
    }
}
