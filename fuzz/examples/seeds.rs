//! Writes the corpus: `cargo run --example seeds -- corpus`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let to = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    for seed in recant_fuzz::seeds::seeds() {
        let dir = Path::new(&to).join(seed.target);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(seed.name), seed.bytes)?;
    }
    Ok(())
}
