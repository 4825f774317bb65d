//! A GGUF file, as llama.cpp keeps models: weights, settings and tokenizer in one.
//!
//! The file is memory-mapped. A tensor is decoded when it is asked for; config.json and the tokenizer are made from
//! what the file says, unless they stand beside it.

mod config;
mod error;
mod header;
mod names;
mod quants;
mod rope;
mod rotary;
mod tokenizer;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recant_core::{Dtype, HostTensor, ParamPath};
use serde_json::Value;

use self::config::Facts;
pub use self::error::GgufError;
use self::header::{Contents, TensorInfo};
use self::names::{Architecture, Change, Role};
use self::tokenizer::Tokenizer;
use crate::directory::{map_file, read};
use crate::source::{Layout, Source, SourceError};
use crate::{Foreign, Header, TensorEntry};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// A GGUF file. Cloning shares the map.
///
/// Tensors have the names and shapes of the model's Hugging Face directory; those that are quantised become F32, and
/// F32, F16 and BF16 stay as they are (Gemma's norms are F32 always). A `config.json`, `tokenizer.json` or
/// `tokenizer_config.json` in the folder of the file is taken in place of one that would be made.
#[derive(Clone)]
pub struct Gguf {
    path: PathBuf,
    file: Bytes,
    contents: Contents,
    architecture: Architecture,
    layout: Layout,
    /// For each name, the number of the tensor in the file and what the conversion did to it.
    origins: BTreeMap<ParamPath, (usize, Change)>,
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gguf({})", self.path.display())
    }
}

impl Gguf {
    /// Maps a file, and checks its header and that all of it can be said as a Hugging Face directory.
    ///
    /// # Errors
    /// [`SourceError::Read`], [`SourceError::Foreign`], and [`SourceError::Gguf`] for a file that is damaged or holds
    /// something that is not supported.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let file = map_file(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        Foreign::refuse(path, &file)?;
        Self::of_bytes(path, file)
    }

    /// As [`Gguf::open`], from the bytes of a file; `path` names it in errors, and its folder is looked into.
    ///
    /// # Errors
    /// [`SourceError::Gguf`].
    pub fn of_bytes(path: &Path, file: Bytes) -> Result<Self, SourceError> {
        let wrong = |source| SourceError::Gguf { path: path.to_owned(), source };
        let this = Self::of_file(path, file).map_err(wrong)?;
        if this.beside(CONFIG).is_none() {
            this.facts().config().map_err(wrong)?;
        }
        if this.beside(TOKENIZER).is_none() && this.has_tokenizer().map_err(wrong)? {
            Tokenizer::new(&this.contents.values, this.architecture).map_err(wrong)?;
        }
        Ok(this)
    }

    fn of_file(path: &Path, file: Bytes) -> Result<Self, GgufError> {
        const ARCHITECTURE: &str = "general.architecture";
        let contents = Contents::of_file(&file)?;
        let values = &contents.values;
        if let Some(count) = values.whole("split.count")?.filter(|&count| count > 1) {
            return Err(GgufError::Split { count });
        }
        let name = values.text(ARCHITECTURE)?;
        let name = name.ok_or_else(|| GgufError::Missing { key: ARCHITECTURE.to_owned() })?;
        let architecture = Architecture::from_name(name)?;
        let facts = Facts { architecture, contents: &contents, file: &file };
        let origins = origins(&facts)?;
        let layout = layout(&contents, &origins)?;
        Ok(Self { path: path.to_owned(), file, contents, architecture, layout, origins })
    }

    fn facts(&self) -> Facts<'_> {
        Facts { architecture: self.architecture, contents: &self.contents, file: &self.file }
    }

    fn has_tokenizer(&self) -> Result<bool, GgufError> {
        tokenizer::is_there(&self.contents.values)
    }

    fn wrong(&self, source: GgufError) -> SourceError {
        SourceError::Gguf { path: self.path.clone(), source }
    }

    /// A file of this name in the folder of the GGUF file.
    fn beside(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.with_file_name(name)).filter(|path| path.is_file())
    }

    /// A file beside the weights as it follows from the GGUF file.
    fn made(&self, name: &str) -> Result<Option<Value>, GgufError> {
        let values = &self.contents.values;
        match name {
            CONFIG => self.facts().config().map(Some),
            TOKENIZER if self.has_tokenizer()? => Tokenizer::new(values, self.architecture)?.file().map(Some),
            TOKENIZER_CONFIG if self.has_tokenizer()? => tokenizer::config(values).map(Some),
            _ => Ok(None),
        }
    }

    fn decoded(&self, info: &TensorInfo, change: Change) -> Result<Bytes, GgufError> {
        let stored = self.file.slice(info.begin..info.end);
        let bytes = if info.quant.is_plain() { stored } else { info.quant.decode(&stored).into() };
        let heads = match change {
            Change::None => return Ok(bytes),
            Change::PlusOne => return Ok(minus_one(info, &bytes)),
            Change::Queries => self.facts().heads()?[0],
            Change::Keys => self.facts().heads()?[1],
        };
        let heads = usize::try_from(heads).unwrap_or(usize::MAX);
        let row = bytes.len() / info.shape[0];
        Ok(rotary::split_halves(&bytes, heads, row).into())
    }
}

impl Source for Gguf {
    fn place(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> Result<Vec<String>, SourceError> {
        let made = self.has_tokenizer().map_err(|source| self.wrong(source))?;
        let there = |name: &&str| *name == CONFIG || made || self.beside(name).is_some();
        Ok([CONFIG, TOKENIZER, TOKENIZER_CONFIG]
            .iter()
            .filter(|name| there(name))
            .map(|&name| name.into())
            .collect())
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        if ![CONFIG, TOKENIZER, TOKENIZER_CONFIG].contains(&name) {
            return Ok(None);
        }
        if let Some(path) = self.beside(name) {
            return read(&path).map(Some);
        }
        let made = self.made(name).map_err(|source| self.wrong(source))?;
        Ok(made.map(|made| format!("{made:#}\n").into_bytes()))
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn tensor(&self, name: &ParamPath) -> Result<HostTensor, SourceError> {
        let missing = || SourceError::Missing { place: self.path.clone(), name: name.clone() };
        let &(at, change) = self.origins.get(name).ok_or_else(missing)?;
        let info = &self.contents.tensors[at];
        let bytes = self.decoded(info, change).map_err(|source| self.wrong(source))?;
        let tensor = HostTensor::new(dtype(info, change), info.shape.clone(), bytes);
        tensor.map_err(|source| SourceError::Tensor { path: self.path.clone(), name: name.clone(), source })
    }
}

/// Where each tensor comes from.
fn origins(facts: &Facts<'_>) -> Result<BTreeMap<ParamPath, (usize, Change)>, GgufError> {
    let blocks = facts.needed("block_count")?;
    let heads = facts.heads()?;
    let mut origins = BTreeMap::new();
    for (at, info) in facts.contents.tensors.iter().enumerate() {
        let Role::Tensor(name, change) = facts.architecture.role(&info.name, blocks)? else { continue };
        let of_rows = match change {
            Change::Queries => Some(heads[0]),
            Change::Keys => Some(heads[1]),
            Change::None | Change::PlusOne => None,
        };
        if let Some(heads) = of_rows
            && heads.checked_mul(2).is_none_or(|halves| !(info.shape[0] as u64).is_multiple_of(halves))
        {
            return Err(
                info.misshapen(format!("whose rows are not those of {heads} heads of two halves each"))
            );
        }
        let unknown =
            || GgufError::Tensor { tensor: info.name.clone(), architecture: facts.architecture.name() };
        let path = ParamPath::new(name).map_err(|_| unknown())?;
        origins.insert(path, (at, change));
    }
    Ok(origins)
}

/// The one file of weights that is made of them, in the order of their names.
fn layout(contents: &Contents, origins: &BTreeMap<ParamPath, (usize, Change)>) -> Result<Layout, GgufError> {
    let (mut tensors, mut begin) = (Vec::new(), 0u64);
    for (path, &(at, change)) in origins {
        let info = &contents.tensors[at];
        let dtype = dtype(info, change);
        let end =
            (info.elements() as u64).checked_mul(dtype.size() as u64).and_then(|len| begin.checked_add(len));
        let end = end.ok_or_else(|| info.misshapen("which is beyond what can be counted"))?;
        tensors.push(TensorEntry { path: path.clone(), dtype, shape: info.shape.clone(), begin, end });
        begin = end;
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let header = Header { tensors, metadata: Some(metadata) };
    let head = header.encode().into();
    Ok(Layout::of_one(header, head))
}

/// The type of a tensor that is made of one of the file.
fn dtype(info: &TensorInfo, change: Change) -> Dtype {
    match change {
        // 1 + w was computed in f32; only there is taking it away exact.
        Change::PlusOne => Dtype::F32,
        _ => info.quant.dtype(),
    }
}

/// The numbers less 1, as f32.
fn minus_one(info: &TensorInfo, bytes: &Bytes) -> Bytes {
    // The bytes are as many as the shape asks for.
    let tensor = HostTensor::new(info.quant.dtype(), info.shape.clone(), bytes.clone());
    let numbers = tensor.map(|tensor| tensor.to_f32()).unwrap_or_default();
    numbers.into_iter().flat_map(|number| (number - 1.0).to_le_bytes()).collect::<Vec<u8>>().into()
}
