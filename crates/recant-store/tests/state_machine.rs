//! Random histories against a reference so simple that it cannot be wrong: a commit is the list of edits that
//! are live in it, and a matrix is the base plus those, one after the other.
//!
//! Cases: 1,024 by default, `RECANT_CASES` for more. Each case is up to forty steps, and the weights are
//! compared after every one of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::disk::{Fault, FaultyDisk};
use common::{base_numbers, name, path, rank_one, stamp, write_model};
use proptest::prelude::*;
use recant_core::{CommitId, Dtype, HostTensor};
use recant_store::{CommitError, Draft, EditKind, GcOptions, Import, MergeOptions, Stamp, Store, UndoError};

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, u64),
    Revert(usize),
    Pick(usize),
    Branch(usize),
    Switch(usize),
    Merge(usize),
    Undo,
    Redo,
    Gc(bool),
    Reopen,
    /// The power goes at this operation of the step behind it.
    Crash(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, any::<u64>()).prop_map(|(i, seed)| Step::Edit(i, seed)),
        4 => any::<usize>().prop_map(Step::Revert),
        2 => any::<usize>().prop_map(Step::Pick),
        2 => (0usize..3).prop_map(Step::Branch),
        3 => (0usize..4).prop_map(Step::Switch),
        3 => (0usize..4).prop_map(Step::Merge),
        3 => Just(Step::Undo),
        2 => Just(Step::Redo),
        1 => any::<bool>().prop_map(Step::Gc),
        1 => Just(Step::Reopen),
        2 => (1usize..60, any::<u64>()).prop_map(|(at, seed)| Step::Crash(at, seed)),
    ]
}

/// Generation and id order the edits; the matrix and the seed say what they add.
type Edits = BTreeMap<(u64, CommitId), (usize, u64)>;

#[derive(Debug, Clone)]
struct Node {
    parents: Vec<CommitId>,
    generation: u64,
    edits: Edits,
}

#[derive(Debug, Clone, PartialEq)]
struct Names {
    branches: BTreeMap<String, CommitId>,
    head: String,
}

/// The reference.
struct Model {
    nodes: BTreeMap<CommitId, Node>,
    names: Names,
    /// Names before and after each step, as a plain editor's undo stack.
    past: Vec<Names>,
    future: Vec<Names>,
}

impl Model {
    fn head(&self) -> CommitId {
        self.names.branches[&self.names.head]
    }

    fn did(&mut self, change: impl FnOnce(&mut Names)) {
        self.past.push(self.names.clone());
        self.future.clear();
        change(&mut self.names);
    }

    fn commit(&mut self, id: CommitId, other: Option<CommitId>, edits: impl FnOnce(u64) -> Edits) {
        let parents: Vec<CommitId> = [self.head()].into_iter().chain(other).collect();
        let generation = parents.iter().map(|parent| self.nodes[parent].generation).max().unwrap() + 1;
        self.nodes.insert(id, Node { parents, generation, edits: edits(generation) });
        let head = self.names.head.clone();
        self.did(|names| {
            names.branches.insert(head, id);
        });
    }

    fn ancestors(&self, id: CommitId) -> BTreeSet<CommitId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&self.nodes[&id].parents);
            }
        }
        seen
    }

    /// Newest by (generation, id) among the common ancestors.
    fn merge_base(&self, one: CommitId, other: CommitId) -> CommitId {
        let common: Vec<CommitId> =
            self.ancestors(one).intersection(&self.ancestors(other)).copied().collect();
        common.into_iter().max_by_key(|id| (self.nodes[id].generation, *id)).unwrap()
    }

    fn tensor(&self, id: CommitId, i: usize) -> HostTensor {
        let base = HostTensor::from_f32(Dtype::F32, common::SIDES[i].to_vec(), &base_numbers(i)).unwrap();
        let edits = self.nodes[&id].edits.values().filter(|(at, _)| *at == i);
        edits.fold(base, |tensor, &(_, seed)| rank_one(i, seed).added_to(&path(i), &tensor).unwrap())
    }
}

fn open(disk: &FaultyDisk) -> Store {
    // So that objects move into bundles and bundles into larger ones within a case.
    Store::open_on(Arc::new(disk.clone()), Path::new("store")).unwrap().with_gathering(12)
}

/// Does a step to the store. `Ok(None)`: there was nothing to do.
fn act(
    store: &Store,
    model: &Model,
    step: &Step,
    at: &Stamp,
) -> Result<Option<CommitId>, Box<dyn std::error::Error>> {
    let chosen = |n: usize| *model.nodes.keys().nth(n % model.nodes.len()).unwrap();
    let branch = |n: usize| model.names.branches.keys().nth(n % model.names.branches.len()).unwrap().clone();
    let known = |result: Result<CommitId, CommitError>| match result {
        Ok(id) => Ok(Some(id)),
        Err(
            CommitError::NotLive { .. }
            | CommitError::NoChange { .. }
            | CommitError::Elsewhere { .. }
            | CommitError::AlreadyLive { .. }
            | CommitError::UpToDate { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    };
    match step {
        Step::Edit(i, seed) => {
            let head = store.odb().commit(model.head())?;
            let base = store.odb().manifest(head.manifest)?.get(&path(*i)).unwrap();
            let delta = recant_core::Delta::Add(rank_one(*i, *seed));
            let patch = recant_core::WeightPatch::one(path(*i), recant_core::Change { base, delta });
            known(store.commit_edit(&EditKind::Patch(patch), &Draft::default(), at, None))
        }
        Step::Revert(n) => known(store.revert(chosen(*n), None, at, None).map(|reverted| reverted.commit)),
        Step::Pick(n) => known(store.cherry_pick(chosen(*n), MergeOptions::default(), None, at, None)),
        Step::Branch(n) => match store.branch(&name(&format!("b{n}")), model.head(), false, at) {
            Ok(_) => Ok(Some(model.head())),
            Err(recant_store::NamesError::Taken { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        },
        Step::Switch(n) => {
            store.switch(&name(&branch(*n)), at)?;
            Ok(Some(model.names.branches[&branch(*n)]))
        }
        Step::Merge(n) => {
            let theirs = model.names.branches[&branch(*n)];
            known(store.merge(theirs, MergeOptions::default(), None, at, None).map(|merged| merged.commit))
        }
        Step::Undo | Step::Redo => {
            let done = if matches!(step, Step::Undo) { store.undo(at) } else { store.redo(at) };
            match done {
                Ok(_) => Ok(store.view()?.head_commit()),
                Err(UndoError::Beginning | UndoError::End) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        Step::Gc(forget) => {
            store.gc(GcOptions { forget: *forget, dry_run: false }, at)?;
            Ok(None)
        }
        Step::Reopen | Step::Crash(..) => Ok(None),
    }
}

/// Does a step to the reference, given what the store says came out.
fn mirror(model: &mut Model, step: &Step, came: Option<CommitId>) {
    let chosen = |model: &Model, n: usize| *model.nodes.keys().nth(n % model.nodes.len()).unwrap();
    let branch = |model: &Model, n: usize| {
        model.names.branches.keys().nth(n % model.names.branches.len()).unwrap().clone()
    };
    let head = model.head();
    let now = model.nodes[&head].edits.clone();
    match step {
        Step::Edit(i, seed) => {
            let id = came.unwrap();
            let (i, seed) = (*i, *seed);
            model.commit(id, None, |generation| {
                let mut edits = now;
                edits.insert((generation, id), (i, seed));
                edits
            });
        }
        Step::Revert(n) => {
            let target = chosen(model, *n);
            let node = model.nodes[&target].clone();
            let Some(&parent) = node.parents.first() else { return assert_eq!(came, None) };
            let former = &model.nodes[&parent].edits;
            let mut edits = now.clone();
            edits.retain(|key, _| former.contains_key(key) || !node.edits.contains_key(key));
            let back = former.iter().filter(|(key, _)| !node.edits.contains_key(*key));
            edits.extend(back.map(|(key, edit)| (*key, *edit)));
            if !model.ancestors(head).contains(&target) || edits == now {
                return assert_eq!(came, None, "a revert of nothing");
            }
            model.commit(came.unwrap(), None, |_| edits);
        }
        Step::Pick(n) => {
            let target = chosen(model, *n);
            let node = &model.nodes[&target];
            let own = node.edits.get(&(node.generation, target)).copied();
            if own.is_none() || now.contains_key(&(node.generation, target)) {
                return assert_eq!(came, None, "a pick of nothing");
            }
            let id = came.unwrap();
            model.commit(id, None, |generation| {
                let mut edits = now;
                edits.insert((generation, id), own.unwrap());
                edits
            });
        }
        Step::Branch(n) => {
            let branch = format!("b{n}");
            if model.names.branches.contains_key(&branch) {
                return assert_eq!(came, None);
            }
            model.did(|names| {
                names.branches.insert(branch, head);
            });
        }
        Step::Switch(n) => {
            let branch = branch(model, *n);
            // What changes nothing is no operation.
            if branch != model.names.head {
                model.did(|names| names.head = branch);
            }
        }
        Step::Merge(n) => {
            let theirs = model.names.branches[&branch(model, *n)];
            if model.ancestors(head).contains(&theirs) {
                return assert_eq!(came, None);
            }
            if model.ancestors(theirs).contains(&head) {
                assert_eq!(came, Some(theirs));
                let on = model.names.head.clone();
                return model.did(|names| {
                    names.branches.insert(on, theirs);
                });
            }
            let base = model.nodes[&model.merge_base(head, theirs)].edits.clone();
            let other = model.nodes[&theirs].edits.clone();
            let mut edits = now.clone();
            edits.extend(other.clone());
            edits.retain(|key, _| match base.contains_key(key) {
                true => now.contains_key(key) && other.contains_key(key),
                false => true,
            });
            model.commit(came.unwrap(), Some(theirs), |_| edits);
        }
        Step::Undo => match model.past.pop() {
            Some(before) => {
                let now = std::mem::replace(&mut model.names, before);
                model.future.push(now);
            }
            None => assert_eq!(came, None, "an undo of nothing"),
        },
        Step::Redo => match model.future.pop() {
            Some(after) => {
                let now = std::mem::replace(&mut model.names, after);
                model.past.push(now);
            }
            None => assert_eq!(came, None, "a redo of nothing"),
        },
        Step::Gc(true) => {
            model.past.clear();
            model.future.clear();
            let names: Vec<CommitId> = model.names.branches.values().copied().collect();
            let kept: BTreeSet<CommitId> = names.iter().flat_map(|&id| model.ancestors(id)).collect();
            model.nodes.retain(|id, _| kept.contains(id));
        }
        Step::Gc(false) | Step::Reopen | Step::Crash(..) => {}
    }
}

fn names_of(store: &Store) -> Names {
    let view = store.view().unwrap();
    let branches = view.branches.iter().map(|(name, &id)| (name.to_string(), id)).collect();
    Names { branches, head: view.head_branch().unwrap().to_string() }
}

fn compare(store: &Store, model: &Model) {
    assert_eq!(names_of(store), model.names);
    let head = model.head();
    for i in 0..3 {
        assert_eq!(common::tensor(store, head, i), model.tensor(head, i), "w{i} of {head:?}");
    }
}

fn cases() -> u32 {
    std::env::var("RECANT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1024)
}

fn template() -> &'static (FaultyDisk, CommitId) {
    static TEMPLATE: std::sync::OnceLock<(FaultyDisk, CommitId)> = std::sync::OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path());
        let disk = FaultyDisk::default();
        let store = Store::init_on(Arc::new(disk.clone()), name("main"), &stamp(1)).unwrap();
        let base = store.import(dir.path(), &Import::default(), &stamp(2), None).unwrap().commit;
        (disk, base)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws 1 and 5: after any history of edits, reverts, picks, branches, merges, undos, redos, collections,
    /// reopenings and crashes, the bytes are those of the reference and fsck is clean.
    #[test]
    fn bytes_always_equal_the_reference(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps)?;
    }
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let (disk, base) = template();
    let mut disk = disk.copy();
    let mut store = open(&disk);
    let node = Node { parents: vec![], generation: 1, edits: Edits::new() };
    let names = Names { branches: BTreeMap::from([("main".to_owned(), *base)]), head: "main".to_owned() };
    // The import itself is never undone: a forgotten log begins here.
    store.gc(GcOptions { forget: true, dry_run: false }, &stamp(3)).unwrap();
    let mut model = Model { nodes: BTreeMap::from([(*base, node)]), names, past: vec![], future: vec![] };
    let mut armed = None;
    for (time, step) in steps.iter().enumerate() {
        let at = stamp(100 + time as i64);
        match step {
            Step::Reopen if armed.is_none() => store = open(&disk),
            Step::Crash(after, seed) => {
                armed = Some(*seed);
                disk.arm(*after, Fault::Crash);
            }
            _ => {}
        }
        match act(&store, &model, step, &at) {
            Ok(came) => mirror(&mut model, step, came),
            Err(error) => {
                let seed = armed.take();
                prop_assert!(seed.is_some(), "{step:?}: {error}");
                disk = disk.after_crash(seed.unwrap());
                store = open(&disk);
                // The old head or the new one. If it is the new one, the step was done.
                let now = names_of(&store);
                let forgot = matches!(step, Step::Gc(true)) && store.operations().unwrap().len() == 1;
                if forgot || store.operation().unwrap().time == at.time {
                    let came = now.branches[&now.head];
                    mirror(&mut model, step, Some(came).filter(|_| !forgot));
                }
                // What the crash kept from being collected may be known still; that is no difference.
            }
        }
        // On a copy, so that comparing does not count towards the fault.
        compare(&open(&disk.copy()), &model);
    }
    if armed.is_some() {
        store = open(&disk.after_crash(1));
        compare(&store, &model);
    }
    let fsck = store.fsck().unwrap();
    prop_assert!(fsck.is_clean(), "{:?}", fsck.problems);
    Ok(())
}

/// What random histories found once.
#[test]
fn histories_that_failed_once() {
    use Step::*;
    run(&[
        Switch(0),
        Revert(0),
        Edit(2, 9242731122801255835),
        Redo,
        Edit(0, 12059777692918479245),
        Crash(12, 147770801551105250),
        Redo,
        Edit(0, 0),
        Switch(0),
        Switch(0),
        Edit(2, 8842247195924839841),
        Edit(2, 5887858015116122442),
        Undo,
        Edit(1, 16662825018816444648),
        Revert(1711794408634070326),
        Undo,
        Edit(0, 1615910368976076649),
        Redo,
        Switch(0),
        Branch(0),
        Revert(15416086308880205728),
        Redo,
        Merge(0),
        Reopen,
        Undo,
        Revert(356175350570001410),
        Undo,
        Pick(16311978957779970810),
        Gc(true),
        Pick(0),
        Pick(0),
        Pick(0),
        Revert(15259577539237431475),
        Edit(2, 5036748533011039774),
        Crash(1, 11602301529523427044),
        Edit(0, 0),
        Undo,
    ])
    .unwrap();
}
