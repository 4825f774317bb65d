//! Writes a GGUF file as a Hugging Face directory: `gguf_to_directory FILE OUT`. OUT must not exist.

use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use recant_checkpoint::{Gguf, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(file), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: gguf_to_directory FILE OUT".into());
    };
    let source = Gguf::open(&file)?;
    fs::create_dir(&out)?;
    for name in source.files()? {
        if let Some(bytes) = source.file(&name)? {
            fs::write(out.join(name), bytes)?;
        }
    }
    for weights in &source.layout().files {
        let mut writer = BufWriter::new(fs::File::create_new(out.join(&weights.name))?);
        writer.write_all(&weights.head)?;
        for entry in &weights.header.tensors {
            writer.write_all(source.tensor(&entry.path)?.bytes())?;
        }
        writer.flush()?;
    }
    Ok(())
}
