//! A method from outside recant, in recant's evaluation: R-ROME whose update is taken in part. An editor is anything
//! that plans a patch; scoring, scopes and exact undo are the same as for the methods that ship.
//! From the repository's root: `cargo run --example own_method`.

use std::collections::BTreeMap;
use std::error::Error;

use recant::backend::{Device, DeviceSpec};
use recant::core::{Addend, Change, Delta, Matrix, WeightPatch};
use recant::edit::{Carry, Contexts, EditError, Editor, Fact, Plan, Watch};
use recant::eval::scores::{ES, NS, PS};
use recant::eval::{Dataset, Exam, RunOptions, evaluate, unedited};
use recant::methods::moments::Moments;
use recant::methods::rome::{Covariance, KeyRule, Rome, RomeSettings};
use recant::model::Model;

/// Another editor, a share of whose update is written.
struct InPart<E> {
    editor: E,
    share: f32,
    name: String,
}

impl<E: Editor> Editor for InPart<E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn plan_on_weights(
        &self,
        model: &Model,
        facts: &[Fact],
        carry: &Carry,
        _: &dyn Watch,
    ) -> Result<Plan, EditError> {
        let mut plan = self.editor.plan_after(model, facts, carry)?;
        plan.patch = scaled(&plan.patch, self.share);
        Ok(plan)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.editor.settings();
        settings.insert("share".to_owned(), self.share.to_string());
        settings
    }

    fn contexts(&self) -> &[String] {
        self.editor.contexts()
    }
}

/// A patch of one low-rank addition, times a number.
fn scaled(patch: &WeightPatch, share: f32) -> WeightPatch {
    let scale = |u: &Matrix| Matrix::new(u.rows(), u.cols(), u.data().iter().map(|x| share * x).collect());
    let Some((path, change)) = patch.changes().first_key_value() else { return patch.clone() };
    let Delta::Add(Addend::LowRank { u, v }) = &change.delta else { return patch.clone() };
    let addend = scale(u).and_then(|u| Addend::low_rank(u, v.clone()));
    match addend {
        Ok(addend) => WeightPatch::one(path.clone(), Change { base: change.base, delta: Delta::Add(addend) }),
        Err(_) => patch.clone(),
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut model = Model::open("demo/model".as_ref(), &Device::open(DeviceSpec::Flex)?)?;
    let cases = Dataset::read("demo/data/cases.json".as_ref(), Some(10))?.all_usable()?.cases;
    let moments = Moments::measure(&model, &[1], &["demo/data/corpus.txt"], Some(20_000), |_| ())?;
    let contexts = Contexts::sample(&model, &[(5, 10), (10, 10)], 0)?;
    let covariance = Covariance::measured(moments.into(), &model)?;
    let options = RunOptions::default();
    let (base, _) = unedited(&model, &cases, &[], options, &mut |_| ())?;
    let exam = Exam { cases: &cases, retained: &[], base: &base, options };
    for share in [1.0, 0.7, 0.4] {
        let editor = Rome::new(RomeSettings::new(1, KeyRule::Mean), contexts.clone(), covariance.clone());
        let editor = InPart { editor, share, name: format!("r-rome x {share}") };
        let run = evaluate(&mut model, &editor, exam, &mut |_| ());
        let shown = [ES, PS, NS].map(|score| run.metrics.get(&score).unwrap_or(f64::NAN));
        println!("{:12} ES {:.2}  PS {:.2}  NS {:.2}", run.method, shown[0], shown[1], shown[2]);
    }
    Ok(())
}
