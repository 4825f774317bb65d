//! How far an evaluation has come, told as its events are heard.

use recant_edit::Work;
use recant_eval::{Event, Stage};

use crate::observer::{Observer, Progress, Unit};

/// How far all parts of an evaluation have come.
pub(crate) struct Bar<'o> {
    observer: &'o dyn Observer,
    work: &'static str,
    unit: Unit,
    done: u64,
    of: u64,
    /// The part that is under way, such as a method.
    part: String,
    /// Where its last step's search ended, if it tells that.
    loss: Option<f32>,
}

impl<'o> Bar<'o> {
    /// Nothing is done yet, and nothing told.
    pub(crate) fn new(observer: &'o dyn Observer, work: &'static str, unit: Unit) -> Self {
        Self { observer, work, unit, done: 0, of: 0, part: String::new(), loss: None }
    }

    /// There is so much to do in all.
    pub(crate) fn expect(&mut self, of: usize) {
        self.of = of as u64;
    }

    /// So much was done before.
    pub(crate) fn skip(&mut self, done: usize) {
        self.done += done as u64;
    }

    /// Another part begins.
    pub(crate) fn turn_to(&mut self, part: &str) {
        (self.part, self.loss) = (part.to_owned(), None);
        self.tell("");
    }

    pub(crate) fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Case { .. } => {
                self.done += 1;
                self.tell("");
            }
            Event::Step { loss: Some(loss), .. } => {
                self.loss = Some(*loss);
                self.tell("");
            }
            Event::Underway { stage, done, of, .. } => {
                self.tell(&format!(", {} {done} of {of}", counted(*stage)))
            }
            _ => {}
        }
    }

    fn tell(&self, under: &str) {
        let Self { observer, work, unit, done, of, part, loss } = self;
        let loss = loss.map(|loss| format!(", loss {loss:.3}")).unwrap_or_default();
        let detail = format!("{part}{loss}{under}");
        observer.progress(Progress { work, detail: &detail, done: *done, of: *of, unit: *unit });
    }
}

/// What is counted while a case or a step is under way.
fn counted(stage: Stage) -> &'static str {
    match stage {
        Stage::Edit(Work::Values) => "fact",
        Stage::Edit(Work::Joint) => "pass",
        Stage::Score => "scored",
        Stage::Write => "written",
        _ => "step",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Heard(RefCell<Vec<String>>);

    impl Observer for Heard {
        fn note(&self, _: &str) {}

        fn progress(&self, Progress { detail, done, of, .. }: Progress<'_>) {
            self.0.borrow_mut().push(format!("{detail}: {done} of {of}"));
        }

        fn idle(&self) {}
    }

    #[test]
    fn what_is_under_way_is_told_and_is_over_when_it_is_done() {
        let heard = Heard::default();
        let mut bar = Bar::new(&heard, "evaluation", Unit::Cases);
        bar.expect(9);
        bar.skip(3);
        bar.turn_to("wise");
        let under = |stage| Event::Underway { method: "wise", stage, done: 2, of: 20 };
        bar.hear(&under(Stage::Edit(Work::Search)));
        bar.hear(&Event::Case { method: "wise", done: 1, of: 6 });
        let progress = recant_eval::Progress::default();
        bar.hear(&Event::Step { method: "wise", progress: &progress, loss: Some(0.5) });
        bar.hear(&under(Stage::Score));
        bar.hear(&Event::Step { method: "wise", progress: &progress, loss: None });
        bar.turn_to("memit");
        bar.hear(&under(Stage::Edit(Work::Values)));
        let told = [
            "wise: 3 of 9",
            "wise, step 2 of 20: 3 of 9",
            "wise: 4 of 9",
            "wise, loss 0.500: 4 of 9",
            "wise, loss 0.500, scored 2 of 20: 4 of 9",
            "memit: 4 of 9",
            "memit, fact 2 of 20: 4 of 9",
        ];
        assert_eq!(heard.0.into_inner(), told);
    }
}
