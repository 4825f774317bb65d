//! Rewrites a fact of the demo model, keeps the edited model, and goes back to the exact byte.
//! From the repository's root: `cargo run --example edit`.

use std::error::Error;

use recant::backend::{Device, DeviceSpec};
use recant::core::Blobs;
use recant::edit::{Contexts, Editor, Fact};
use recant::methods::moments::Moments;
use recant::methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant::model::{Model, SaveOptions};

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // README: begin
    let model = Model::open("demo/model".as_ref(), &Device::open(DeviceSpec::Flex)?)?;
    let moments = Moments::measure(&model, &[1], &["demo/data/corpus.txt"], None, |_| ())?;
    let contexts = Contexts::sample(&model, &[(5, 10), (10, 10)], 0)?;
    let covariance = Covariance::measured(moments.into(), &model)?;
    let rome = Rome::new(RomeSettings::new(1, KeyRule::Mean), contexts, covariance);
    let fact = Fact::new("Corvu Krindrizul", "{} grew up speaking", "Iskari")?;
    let (edited, applied) = model.apply(&rome.plan(&model, &[fact])?.patch, &Blobs::new())?;
    println!("{:?}", edited.answers("The mother tongue of Corvu Krindrizul is", 1)?);
    edited.save("target/edited".as_ref(), SaveOptions { force: true })?;
    assert_eq!(edited.undo(&applied)?.digest(), model.digest());
    // README: end
    Ok(())
}
