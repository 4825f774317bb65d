//! What can be wrong with a GGUF file.

/// A GGUF file is damaged, or holds something that recant does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// It does not begin as a GGUF file does.
    #[error("it does not begin with `GGUF`; it is another kind of file, or damaged")]
    Magic,
    /// Its numbers are big-endian.
    #[error("it is a big-endian file, for another kind of machine; download the little-endian one")]
    BigEndian,
    /// The version of the format is not known.
    #[error(
        "it has version {version} of the format; recant reads versions 2 and 3, so convert the model again"
    )]
    Version {
        /// The version.
        version: u32,
    },
    /// The file ends before what it should hold.
    #[error("it ends within {what}, at byte {at}; the download was cut or the file is damaged")]
    Cut {
        /// What was being read.
        what: &'static str,
        /// Where that begins, in bytes from the start of the file.
        at: u64,
    },
    /// A count is more than the rest of the file could hold.
    #[error("it claims {claimed} {what} where the rest of the file holds at most {most}; it is damaged")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The count.
        claimed: u64,
        /// How many of the shortest kind would fit.
        most: u64,
    },
    /// A text is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8 text; the file is damaged")]
    Text {
        /// What the text is.
        what: &'static str,
        /// Where it begins, in bytes from the start of the file.
        at: u64,
    },
    /// A value has a type that the format does not know.
    #[error("the value of {key:?} has type {kind}, which the format does not know; the file is damaged")]
    ValueType {
        /// The key.
        key: String,
        /// Number of the type.
        kind: u32,
    },
    /// A truth value is neither 0 nor 1.
    #[error("the value of {key:?} is a byte of {found} where 0 or 1 is expected; the file is damaged")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// Lists are within lists more deeply than anything sensible.
    #[error("the value of {key:?} is a list within more than {most} lists; the file is damaged")]
    Depth {
        /// The key.
        key: String,
        /// The most that is accepted.
        most: usize,
    },
    /// A key or a tensor is there twice.
    #[error("it has {what} {name:?} twice; the file is damaged")]
    Twice {
        /// What is there twice.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The alignment is no power of two.
    #[error("its alignment is {alignment}, which is no power of two; the file is damaged")]
    Alignment {
        /// The alignment in bytes.
        alignment: u64,
    },
    /// A tensor's shape is not usable.
    #[error("tensor {tensor:?} has shape {shape:?}, {reason}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its sides, slowest first.
        shape: Vec<u64>,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is stored in a way that is not implemented.
    #[error(
        "tensor {tensor:?} is stored as {kind}, which recant does not read; it reads {READ}, so take a file of one of \
         these"
    )]
    Quantisation {
        /// The tensor.
        tensor: String,
        /// The type, by name where ggml gives it one.
        kind: String,
    },
    /// A tensor is not where it could be.
    #[error("tensor {tensor:?} begins at byte {offset} of the data, which is no multiple of {alignment}")]
    Unaligned {
        /// The tensor.
        tensor: String,
        /// Where it begins, in bytes from the start of the data.
        offset: u64,
        /// The alignment in bytes.
        alignment: u64,
    },
    /// A tensor lies beyond the end of the file.
    #[error("tensor {tensor:?} lies beyond the end of the file; the download was cut or the file is damaged")]
    Beyond {
        /// The tensor.
        tensor: String,
    },
    /// Two tensors share bytes.
    #[error("tensors {first:?} and {second:?} overlap; the file is damaged")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
    /// The model is in several files.
    #[error("it is one of {count} parts of a model; join them first")]
    Split {
        /// How many parts there are.
        count: u64,
    },
    /// The architecture is not one that recant reads from GGUF files.
    #[error(
        "architecture `{architecture}` is not supported in GGUF files; supported are {ARCHITECTURES}. Take the model's \
         safetensors files"
    )]
    Architecture {
        /// What the file says.
        architecture: String,
    },
    /// A key is not there.
    #[error("it has no {key}; convert the model again")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value is not what it should be.
    #[error("its {key} is {found}, where {expected} is expected")]
    Value {
        /// The key.
        key: String,
        /// What can stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A setting changes the computation to one that cannot be said in config.json.
    #[error(
        "{key} = {value} has no counterpart in a config.json; put the model's own config.json beside the file if that \
         is wanted"
    )]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A tensor has no place in the architecture.
    #[error(
        "tensor {tensor:?} has no place in a model of architecture {architecture}; take the model's safetensors files"
    )]
    Tensor {
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// There is no such tensor.
    #[error("it has no tensor {tensor:?}; it is no language model, or damaged")]
    NoTensor {
        /// The tensor.
        tensor: &'static str,
    },
    /// The factors of the rotary frequencies are not those of a known model.
    #[error(
        "the factors in {tensor:?} are not those of Llama 3.1 or later; put the model's config.json beside the file, \
         whose rope_scaling says what they mean"
    )]
    RopeFactors {
        /// The tensor that holds them.
        tensor: &'static str,
    },
    /// The tokenizer cannot be made from what the file says.
    #[error("its tokenizer cannot be rebuilt: {reason}. Put the model's tokenizer.json beside the file")]
    Tokenizer {
        /// What is wrong or not known.
        reason: String,
    },
}

/// The types that are read, for messages.
const READ: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K";

/// The architectures that are read, for messages.
const ARCHITECTURES: &str = "llama (Mistral's, too), qwen2, qwen3, gemma2, gemma3 and phi3";
