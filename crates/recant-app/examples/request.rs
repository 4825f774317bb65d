//! One fact, from a request to an outcome: `cargo run --example request -p recant-app`.

use recant_app::{EditPlace, EditRequest, MethodSources, ModelName, Silent, edit};
use recant_backend::{Device, DeviceSpec};
use recant_edit::Fact;

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(DeviceSpec::Flex)?;
    let name = ModelName::from(std::path::PathBuf::from("demo/model"));
    let model = name.find(&Silent)?.open(&device, &Silent)?;
    let fact = Fact::new("Corvu Krindrizul", "The mother tongue of {} is", "Iskari")?;
    let request = EditRequest {
        sources: MethodSources { corpus: vec!["demo/data/corpus.txt".into()], ..MethodSources::default() },
        ..EditRequest::new(vec![fact])
    };
    let outcome = edit(&EditPlace::from(model), request, &Silent)?;
    for (fact, verdict) in outcome.judged().iter() {
        let (before, after) = (verdict.probability_before, verdict.probability_after);
        println!("{} -> {}: {before:.4} before, {after:.4} now", fact.text(), fact.target);
    }
    println!("{} at layer {}, {:.2} s", outcome.method.name, outcome.layers(), outcome.seconds);
    println!("model {} became {}", outcome.before.digest().short(), outcome.after.digest().short());
    Ok(())
}
