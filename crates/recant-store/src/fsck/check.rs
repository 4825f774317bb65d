//! The check itself: one object after the other, then how they hang together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use recant_checkpoint::Layout;
use recant_core::{CommitId, ManifestId, ObjectId, TensorId};

use super::{Fsck, FsckError, Problem};
use crate::history::expected_generation;
use crate::object::{Commit, Kind, Manifest, Reference, TensorHead, files, references};
use crate::odb::bundle::{BUNDLES, unreadable};
use crate::odb::{FirstBytes, Odb, ReadError, TMP};
use crate::verbs::{PublicKey, SignatureState};

/// What the first look at an object's file says, unverified.
struct Node {
    kind: Option<Kind>,
    /// Of a derived object: what its file is made from, the steps it claims, the steps of its own.
    derived: Option<(ObjectId, u32, u32)>,
    founds: Vec<Reference>,
}

/// What is asked of a commit when all of them are known.
struct CommitHead {
    generation: u64,
    parents: Vec<CommitId>,
    manifest: ManifestId,
}

/// A check on its way.
pub(super) struct Check<'a> {
    odb: &'a Odb,
    pub(super) fsck: Fsck,
    nodes: BTreeMap<ObjectId, Node>,
    /// Steps of derived objects, counted.
    steps: BTreeMap<ObjectId, u32>,
    heads: BTreeMap<TensorId, TensorHead>,
    layouts: BTreeMap<ObjectId, Result<Option<Layout>, String>>,
    /// Of each manifest, a digest of everything but the tensors' ids.
    shapes: BTreeMap<ManifestId, ObjectId>,
    commits: BTreeMap<CommitId, CommitHead>,
    edges: Vec<(ObjectId, Kind, Reference)>,
}

impl<'a> Check<'a> {
    /// `odb` remembers: objects that follow from each other are checked in that order.
    pub(super) fn new(odb: &'a Odb) -> Self {
        Self {
            odb,
            fsck: Fsck::default(),
            nodes: BTreeMap::new(),
            steps: BTreeMap::new(),
            heads: BTreeMap::new(),
            layouts: BTreeMap::new(),
            shapes: BTreeMap::new(),
            commits: BTreeMap::new(),
            edges: Vec::new(),
        }
    }

    pub(super) fn run(&mut self) -> Result<(), FsckError> {
        let mut present: BTreeSet<ObjectId> = self.files()?.into_iter().collect();
        present.extend(self.bundled()?);
        self.fsck.objects = present.len();
        for &id in &present {
            match self.look(id) {
                Ok(node) => {
                    self.nodes.insert(id, node);
                }
                Err(source) => self.tell(id, source),
            }
        }
        for id in self.order() {
            match self.object(id) {
                Ok(kind) => {
                    let founds = self.nodes.get(&id).map(|node| node.founds.clone()).unwrap_or_default();
                    self.edges.extend(founds.into_iter().map(|reference| (id, kind, reference)));
                }
                Err(source) => self.tell(id, source),
            }
        }
        self.references(&present);
        self.history();
        Ok(())
    }

    fn tell(&mut self, id: ObjectId, source: ReadError) {
        self.fsck.problems.push(Problem::Object { id, source: self.odb.explain(source) });
    }

    /// The objects that are there; strays and leftovers are told.
    fn files(&mut self) -> Result<Vec<ObjectId>, FsckError> {
        let mut ids = Vec::new();
        for (path, id) in self.odb.files()? {
            match id {
                Some(id) => ids.push(id),
                None => self.fsck.problems.push(Problem::Stray { path }),
            }
        }
        let tmp = PathBuf::from(TMP);
        let left = self.odb.disk.list(&tmp).map_err(|source| ReadError::Io { path: tmp.clone(), source })?;
        let left = left.into_iter().map(|name| Problem::Temporary { path: tmp.join(name) });
        self.fsck.problems.extend(left);
        Ok(ids)
    }

    /// The objects in bundles; bundles that are not what their name says are told.
    fn bundled(&mut self) -> Result<Vec<ObjectId>, FsckError> {
        let mut ids = Vec::new();
        for bundle in self.odb.bundles()? {
            ids.extend(bundle.entries.iter().map(|entry| entry.id));
            let name = bundle.name.clone();
            let damage = bundle.damage().map_err(|source| unreadable(&name, source))?;
            self.fsck.problems.extend(damage.map(|reason| Problem::Bundle { name, reason }));
        }
        for (name, reason) in self.odb.damaged_bundles()? {
            self.fsck.problems.push(match name.parse::<ObjectId>() {
                Ok(_) => Problem::Bundle { name, reason },
                Err(_) => Problem::Stray { path: PathBuf::from(BUNDLES).join(name) },
            });
        }
        Ok(ids)
    }

    fn look(&self, id: ObjectId) -> Result<Node, ReadError> {
        let mut source = self.odb.source(id)?;
        let kind = self.odb.kind_of(&mut source)?;
        let derived = source.frame.base().zip(source.frame.claimed());
        let derived = derived.map(|((base, own), claimed)| (base, claimed, own));
        let founds = match derived {
            Some(_) => self.odb.needs_of(source)?,
            None => Vec::new(),
        };
        Ok(Node { kind, derived, founds })
    }

    /// Tensors before the manifests that name them, and what is derived after what it is derived from, so that
    /// each needs the one before and nothing else.
    fn order(&self) -> Vec<ObjectId> {
        let of = |wanted: &dyn Fn(&Node) -> bool| -> Vec<ObjectId> {
            self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(&id, _)| id).collect()
        };
        let is = |node: &Node, kind| node.kind == Some(kind);
        let mut order = of(&|node| node.derived.is_none() && !is(node, Kind::Manifest));
        order.extend(self.chains(&of(&|node| node.derived.is_some() && is(node, Kind::Tensor))));
        order.extend(of(&|node| node.derived.is_none() && is(node, Kind::Manifest)));
        order.extend(self.chains(&of(&|node| node.derived.is_some() && is(node, Kind::Manifest))));
        order
    }

    fn chains(&self, derived: &[ObjectId]) -> Vec<ObjectId> {
        let base = |id: ObjectId| self.nodes.get(&id).and_then(|node| node.derived).map(|(base, ..)| base);
        let mut above: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
        let mut open = Vec::new();
        for &id in derived {
            match base(id) {
                Some(below) if base(below).is_some() => above.entry(below).or_default().push(id),
                _ => open.push(id),
            }
        }
        let mut order = Vec::new();
        while let Some(id) = open.pop() {
            order.push(id);
            open.extend(above.remove(&id).unwrap_or_default());
        }
        // What is left goes round in circles, and is refused when it is read.
        order.extend(above.into_values().flatten());
        order
    }

    /// Reads, hashes and decodes an object, and collects what is looked at afterwards.
    fn object(&mut self, id: ObjectId) -> Result<Kind, ReadError> {
        let kind = self.nodes.get(&id).and_then(|node| node.kind);
        match kind {
            Some(Kind::Tensor) => self.tensor(id)?,
            Some(Kind::Manifest) => self.manifest(id)?,
            _ => {
                let payload = self.odb.load(id)?;
                let decoded = |source| ReadError::Decode { id, source };
                let (kind, referred) = references(&payload).map_err(decoded)?;
                self.edges.extend(referred.into_iter().map(|reference| (id, kind, reference)));
                if kind == Kind::Commit {
                    let commit = Commit::decode(&payload).map_err(decoded)?;
                    self.commit(CommitId::from_bytes(*id.as_bytes()), commit);
                }
            }
        }
        self.count(id);
        kind.ok_or(ReadError::Decode { id, source: crate::DecodeError::Magic { kind: "object" } })
    }

    fn tensor(&mut self, id: ObjectId) -> Result<(), ReadError> {
        let tensor = TensorId::from_bytes(*id.as_bytes());
        let derived = self.nodes.get(&id).is_some_and(|node| node.derived.is_some());
        let head = if derived {
            let tensor = self.odb.tensor(tensor)?;
            TensorHead { dtype: tensor.dtype(), shape: tensor.shape().to_vec() }
        } else {
            // Large: hashed in passing, and the head decoded.
            let mut head = FirstBytes::default();
            let copied = self.odb.copy(id, &mut head)?;
            copied.map_err(|source| ReadError::Io { path: Odb::path(id), source })?;
            head.tensor_head(id)?
        };
        self.heads.insert(tensor, head);
        Ok(())
    }

    fn manifest(&mut self, id: ObjectId) -> Result<(), ReadError> {
        let manifest_id = ManifestId::from_bytes(*id.as_bytes());
        let manifest = self.odb.shared_manifest(manifest_id)?;
        if self.nodes.get(&id).is_some_and(|node| node.derived.is_none()) {
            let referred = manifest.references().into_iter();
            self.edges.extend(referred.map(|reference| (id, Kind::Manifest, reference)));
        }
        self.shapes.insert(manifest_id, manifest.shape());
        if let Some(reason) = self.misfit(&manifest) {
            self.fsck.problems.push(Problem::Layout { id: manifest_id, reason });
        }
        Ok(())
    }

    fn misfit(&mut self, manifest: &Manifest) -> Option<String> {
        let odb = self.odb;
        let layout = self.layouts.entry(manifest.layout).or_insert_with(|| {
            let Ok(blob) = odb.blob(manifest.layout) else { return Ok(None) };
            files::decode(&blob).map(Some).map_err(|error| error.to_string())
        });
        match layout {
            // A blob that is not there, or none, is a problem of its own.
            Ok(None) => None,
            Ok(Some(layout)) => manifest.misfit(layout, |id| self.heads.get(&id).cloned()),
            Err(reason) => Some(reason.clone()),
        }
    }

    fn commit(&mut self, id: CommitId, commit: Commit) {
        if let SignatureState::Bad(key) = commit.signature_state(&BTreeMap::<PublicKey, String>::new()) {
            self.fsck.problems.push(Problem::Signature { id, key });
        }
        let Commit { generation, parents, manifest, .. } = commit;
        self.commits.insert(id, CommitHead { generation, parents, manifest });
    }

    /// Compares the steps that a derived object claims with those that there are.
    fn count(&mut self, id: ObjectId) {
        let Some((base, claimed, own)) = self.nodes.get(&id).and_then(|node| node.derived) else { return };
        let below = match self.nodes.get(&base).and_then(|node| node.derived) {
            Some(_) => self.steps.get(&base).copied(),
            None => Some(0),
        };
        let Some(counted) = below.map(|below| own.saturating_add(below)) else { return };
        self.steps.insert(id, counted);
        if counted != claimed {
            self.fsck.problems.push(Problem::Steps { id, claimed, counted });
        }
    }

    fn references(&mut self, present: &BTreeSet<ObjectId>) {
        for &(id, kind, Reference { id: other, kind: expected }) in &self.edges {
            let found = self.nodes.get(&other).map(|node| node.kind);
            match found {
                _ if !present.contains(&other) => {
                    self.fsck.problems.push(Problem::Missing { id, kind, missing: other });
                }
                Some(Some(found)) if found != expected => {
                    self.fsck.problems.push(Problem::Kind { id, kind, other, found, expected });
                }
                // What cannot be read is told already.
                _ => {}
            }
        }
    }

    /// Generations follow from parents, and everything but the tensors' numbers is the parents'.
    fn history(&mut self) {
        for (&id, commit) in &self.commits {
            let parents = commit.parents.iter().map(|parent| self.commits.get(parent));
            // A missing parent is a problem of its own.
            let Some(parents) = parents.collect::<Option<Vec<_>>>() else { continue };
            let expected = expected_generation(parents.iter().map(|parent| parent.generation));
            if expected != Some(commit.generation) {
                let claimed = commit.generation;
                self.fsck.problems.push(Problem::Generation { id, claimed, expected });
            }
            let Some(parent) = parents.first() else { continue };
            let shapes = self.shapes.get(&parent.manifest).zip(self.shapes.get(&commit.manifest));
            if shapes.is_some_and(|(one, other)| one != other) {
                let manifests =
                    self.odb.manifest(parent.manifest).ok().zip(self.odb.manifest(commit.manifest).ok());
                let apart = manifests.map(|(one, other)| one.parts_apart(&other)).unwrap_or_default();
                self.fsck.problems.extend(apart.into_iter().map(|apart| Problem::Part { id, apart }));
            }
        }
    }
}
