//! A commit: what was done, by whom, and which weights came out.
//!
//! ```text
//! magic     8   "RCNTCMT1"
//! parents   u32 count (at most 2), then 32 each
//! generation u64: 1, or 1 + the greatest of the parents'
//! manifest  32
//! deed      u8  0 import, 1 edit, 2 revert, 3 cherry-pick, 4 merge
//! of        u8 0, or 1 and 32: the commit that is reverted or picked
//! patch     u8 0, or 1 and 32: what this commit adds, made live by this commit
//! ledger    u8 0, or 1 and 32 fact set id, 32 base manifest id
//! takes     u32 count, then 32 each, strictly ascending: commits made live beside this one
//! drops     u32 count, then 32 each, strictly ascending: commits taken out
//! states    u32 count: name (u32 length, bytes), 32, names strictly ascending
//! time      i64 seconds since 1970-01-01 UTC
//! author    u32 length, bytes
//! message   u32 length, bytes
//! method    u32 length, bytes
//! tool      u32 length, bytes: program and version
//! base      32  digest of the base model's weights
//! settings  u32 count: key, value (each u32 length, bytes), keys strictly ascending; seeds stand here
//! facts     u32 count: subject, prompt, target (each u32 length, bytes)
//! scores    u32 count: key (u32 length, bytes), f64 finite, keys strictly ascending
//! signature u8 0, or 1, 32 bytes Ed25519 public key, 64 bytes signature
//! ```

use std::collections::{BTreeMap, BTreeSet};

use recant_core::{CommitId, ManifestId, ModelDigest, ObjectId, PatchId, Statement};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::Name;
use crate::object::{Kind, Reference};

pub(super) const MAGIC: &[u8] = b"RCNTCMT1";

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Brought in a base checkpoint.
    Import,
    /// Edited the weights.
    Edit,
    /// Took a commit back.
    Revert(CommitId),
    /// Did another branch's commit again.
    Pick(CommitId),
    /// Joined two histories.
    Merge,
}

impl Deed {
    /// The deed's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["import", "edit", "revert", "cherry-pick", "merge"][usize::from(self.tag())]
    }

    fn tag(self) -> u8 {
        match self {
            Self::Import => 0,
            Self::Edit => 1,
            Self::Revert(_) => 2,
            Self::Pick(_) => 3,
            Self::Merge => 4,
        }
    }
}

/// A fact as a record of history: what was asked for, word for word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactRecord {
    /// Who or what the fact is about.
    pub subject: String,
    /// A sentence beginning with `{}` where the subject goes.
    pub prompt: String,
    /// What the model shall say next.
    pub target: String,
}

impl FactRecord {
    /// The fact as a ledger's key: subject, prompt and target, each with its length (u32) before it. Keys
    /// sort by subject length first and then by bytes; equal facts have equal keys.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let mut out = Encoder::new(&[]);
        [&self.subject, &self.prompt, &self.target].into_iter().for_each(|text| out.text(text));
        out.finish()
    }

    /// The fact that a key spells; `None` when it is another kind of key.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let mut input = Decoder::new("fact", &[], key).ok()?;
        let mut text = || input.text().ok().map(str::to_owned);
        let fact = Self { subject: text()?, prompt: text()?, target: text()? };
        input.finish().ok().map(|()| fact)
    }

    /// Whether both say something about the same, and not the same.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.statement().contradicts(&other.statement())
    }

    /// The prompt with its subject.
    #[must_use]
    pub fn text(&self) -> String {
        self.statement().text()
    }

    /// What it says, to be compared with other facts.
    #[must_use]
    pub fn statement(&self) -> Statement<'_> {
        Statement { subject: &self.subject, prompt: &self.prompt, target: &self.target }
    }
}

/// How an edit was made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// The method's name.
    pub method: String,
    /// Program and version.
    pub tool: String,
    /// Every setting that decides the result, seeds among them.
    pub settings: BTreeMap<String, String>,
    /// The facts.
    pub facts: Vec<FactRecord>,
    /// Scores, if they were measured. Finite; a zero is positive.
    pub scores: BTreeMap<String, f64>,
}

/// A ledger edit: its weights are a function of a base and a set of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Id of the [`FactSet`](super::FactSet).
    pub set: ObjectId,
    /// The base that the set is written onto.
    pub base: ManifestId,
}

/// An Ed25519 signature over [`Commit::signed_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The signer's public key.
    pub key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

/// One step of a model's history.
///
/// `patch`, `takes` and `drops` say how the set of live edits differs from the first parent's. Weights are a
/// function of that set (see [`history`](crate::history)), and `manifest` is what the function gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// None for an import, two for a merge.
    pub parents: Vec<CommitId>,
    /// 1, or one more than the greatest of the parents'.
    pub generation: u64,
    /// The weights after it.
    pub manifest: ManifestId,
    /// What it did.
    pub deed: Deed,
    /// What it adds to the weights.
    pub patch: Option<PatchId>,
    /// The ledger behind `patch`, for a ledger edit.
    pub ledger: Option<Ledger>,
    /// Edits of other commits that it made live.
    pub takes: BTreeSet<CommitId>,
    /// Edits that it took out.
    pub drops: BTreeSet<CommitId>,
    /// What goes with the weights: adapter states, an editor's carry. All of them, not a difference.
    pub states: BTreeMap<Name, ObjectId>,
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
    /// Who made it.
    pub author: String,
    /// What for.
    pub message: String,
    /// How it was made.
    pub record: Record,
    /// The base model's weights.
    pub base: ModelDigest,
    /// Who vouches for it.
    pub signature: Option<Signature>,
}

impl Commit {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        match &self.signature {
            None => out.u8(0),
            Some(signature) => {
                out.u8(1);
                out.raw(&signature.key);
                out.raw(&signature.signature);
            }
        }
        out.finish()
    }

    /// What a signature signs: `"recant commit signature 1"` and everything before the signature.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [b"recant commit signature 1", &self.body().finish()[..]].concat()
    }

    /// Content id; it covers the signature.
    #[must_use]
    pub fn id(&self) -> CommitId {
        CommitId::from_bytes(*super::object_id(&self.encode()).as_bytes())
    }

    fn body(&self) -> Encoder {
        let mut out = Encoder::new(MAGIC);
        out.ids(self.parents.iter().copied());
        out.u64(self.generation);
        out.id(self.manifest);
        out.u8(self.deed.tag());
        out.maybe_id(match self.deed {
            Deed::Revert(of) | Deed::Pick(of) => Some(of),
            _ => None,
        });
        out.maybe_id(self.patch);
        out.maybe_id(self.ledger.map(|ledger| ledger.set));
        if let Some(ledger) = self.ledger {
            out.id(ledger.base);
        }
        out.ids(self.takes.iter().copied());
        out.ids(self.drops.iter().copied());
        out.count(self.states.len());
        for (name, &id) in &self.states {
            out.text(name.as_str());
            out.id(id);
        }
        out.i64(self.time);
        out.text(&self.author);
        out.text(&self.message);
        out.text(&self.record.method);
        out.text(&self.record.tool);
        out.raw(self.base.as_bytes());
        out.count(self.record.settings.len());
        for (key, value) in &self.record.settings {
            out.text(key);
            out.text(value);
        }
        out.count(self.record.facts.len());
        for fact in &self.record.facts {
            [&fact.subject, &fact.prompt, &fact.target].into_iter().for_each(|text| out.text(text));
        }
        out.count(self.record.scores.len());
        for (key, score) in &self.record.scores {
            out.text(key);
            // One zero, so that equal values have equal bytes.
            out.raw(&(score + 0.0).to_le_bytes());
        }
        out
    }

    /// Reads a commit back.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`Commit::encode`] would not have written.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new("commit", MAGIC, payload)?;
        let n_parents = input.count()?;
        if n_parents > 2 {
            return Err(input.inconsistent(format!("it has {n_parents} parents")));
        }
        let mut parents = Vec::new();
        for _ in 0..n_parents {
            parents.push(CommitId::from_bytes(input.digest()?));
        }
        let generation = input.u64()?;
        let manifest = ManifestId::from_bytes(input.digest()?);
        let tag = input.u8()?;
        let of = input.maybe_digest("the commit it is about")?.map(CommitId::from_bytes);
        let deed = match (tag, of) {
            (0, None) => Deed::Import,
            (1, None) => Deed::Edit,
            (2, Some(of)) => Deed::Revert(of),
            (3, Some(of)) => Deed::Pick(of),
            (4, None) => Deed::Merge,
            _ => return Err(input.tag("the deed", tag)),
        };
        let fits = match deed {
            Deed::Import => parents.is_empty(),
            Deed::Merge => parents.len() == 2 && parents[0] != parents[1],
            _ => parents.len() == 1,
        };
        if !fits || generation == 0 || (generation == 1) != parents.is_empty() {
            return Err(input.inconsistent("its deed, parents and generation do not fit"));
        }
        let patch = input.maybe_digest("the patch")?.map(PatchId::from_bytes);
        let set = input.maybe_digest("the ledger")?.map(ObjectId::from_bytes);
        let ledger = match set {
            Some(set) => Some(Ledger { set, base: ManifestId::from_bytes(input.digest()?) }),
            None => None,
        };
        let takes = id_set(&mut input)?;
        let drops = id_set(&mut input)?;
        let mut states = BTreeMap::new();
        for _ in 0..input.count()? {
            let name = Name::new(input.text()?)?;
            input.ascends(states.last_key_value().map(|(last, _)| last), &name, &name)?;
            states.insert(name, ObjectId::from_bytes(input.digest()?));
        }
        let time = input.i64()?;
        let author = input.text()?.to_owned();
        let message = input.text()?.to_owned();
        let method = input.text()?.to_owned();
        let tool = input.text()?.to_owned();
        let base = ModelDigest::from_bytes(input.digest()?);
        let mut record = Record { method, tool, ..Record::default() };
        for _ in 0..input.count()? {
            let key = input.text()?.to_owned();
            input.ascends(record.settings.last_key_value().map(|(last, _)| last), &key, &key)?;
            record.settings.insert(key, input.text()?.to_owned());
        }
        for _ in 0..input.count()? {
            let [subject, prompt, target] = [input.text()?, input.text()?, input.text()?].map(str::to_owned);
            record.facts.push(FactRecord { subject, prompt, target });
        }
        for _ in 0..input.count()? {
            let key = input.text()?.to_owned();
            input.ascends(record.scores.last_key_value().map(|(last, _)| last), &key, &key)?;
            let score = input.f64(&key)?;
            record.scores.insert(key, score);
        }
        let signature = match input.flag("the signature")? {
            true => Some(Signature { key: input.digest()?, signature: input.array64()? }),
            false => None,
        };
        input.finish()?;
        Ok(Self {
            parents,
            generation,
            manifest,
            deed,
            patch,
            ledger,
            takes,
            drops,
            states,
            time,
            author,
            message,
            record,
            base,
            signature,
        })
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut references = vec![Kind::Manifest.at(self.manifest)];
        let commits = self.parents.iter().chain(&self.takes).chain(&self.drops);
        references.extend(commits.map(|&id| Kind::Commit.at(id)));
        references.extend(self.patch.map(|id| Kind::Patch.at(id)));
        let ledger = self.ledger.iter();
        references
            .extend(ledger.flat_map(|ledger| [Kind::Facts.at(ledger.set), Kind::Manifest.at(ledger.base)]));
        references.extend(self.states.values().map(|&id| Kind::Blob.at(id)));
        references
    }
}

fn id_set(input: &mut Decoder<'_>) -> Result<BTreeSet<CommitId>, DecodeError> {
    let mut ids = BTreeSet::new();
    for _ in 0..input.count()? {
        let id = CommitId::from_bytes(input.digest()?);
        input.ascends(ids.last(), &id, id.short())?;
        ids.insert(id);
    }
    Ok(ids)
}
