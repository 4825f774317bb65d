//! Where models come from: GGUF files, lists of shards, chat templates.

use std::path::Path;

use recant_checkpoint::{Gguf, ShardList, Source};
use recant_text::ChatFrame;

/// GGUF files. Every tensor of an accepted one is read, or told as what is wrong with it, and has the type and the sides
/// that the layout says; the files that are made from it are JSON.
pub fn gguf(bytes: &[u8]) -> bool {
    // A folder that does not exist has nothing beside the file.
    let Ok(file) = Gguf::of_bytes(Path::new("nowhere/model.gguf"), bytes.to_vec().into()) else {
        return false;
    };
    for name in file.layout().names() {
        let (_, entry) = file.layout().find(name).expect("a name of the layout");
        if let Ok(tensor) = file.tensor(name) {
            assert_eq!((tensor.dtype(), tensor.shape()), (entry.dtype, &entry.shape[..]));
        }
    }
    for name in file.files().expect("names") {
        if let Ok(Some(made)) = file.file(&name) {
            let _: serde_json::Value = serde_json::from_slice(&made).expect("JSON");
        }
    }
    true
}

/// Lists of shards. An accepted one names plain files.
pub fn shards(bytes: &[u8]) -> bool {
    let Ok(list) = ShardList::parse(bytes) else { return false };
    for file in list.files.values() {
        let mut parts = Path::new(file).components();
        assert!(matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == file.as_str()));
        assert!(parts.next().is_none());
    }
    true
}

/// Chat templates. An accepted one says a question once, and ends.
pub fn chat(bytes: &[u8]) -> bool {
    ChatFrame::of_files(Some(bytes), None).is_ok()
}
