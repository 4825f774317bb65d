//! A comparison as plain text.

use super::table::{NONE, one_line, percent, plain, share, signed};
use crate::compare::{Change, Comparison, Differing, RunChange, Tendency};
use crate::scores::{COLUMNS, Column};

/// The longest value that is shown of what differs, in characters.
const LONGEST: usize = 24;

impl Comparison {
    /// The comparison as plain text: what differs, a table for every run, and in words what changed beyond noise.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for found in &self.differing {
            text += &format!("differs: {}\n", said(found));
        }
        for (which, runs) in [("first", &self.only_first), ("second", &self.only_second)] {
            if !runs.is_empty() {
                text += &format!("only in the {which} report: {}\n", one_line(&runs.join(", ")));
            }
        }
        for run in &self.runs {
            text += &format!("{}{}\n", if text.is_empty() { "" } else { "\n" }, self.run(run));
        }
        text
    }

    fn run(&self, run: &RunChange) -> String {
        let of = |column: &Column| run.scores.get(column.key).copied().flatten();
        let rows = COLUMNS.iter().filter_map(|column| {
            let Change { first, second, difference, tendency } = of(column)?;
            let between = format!("{} to {}", signed(difference.low), signed(difference.high));
            let tendency = match tendency {
                Tendency::Better => "better",
                Tendency::Worse => "worse",
                Tendency::Noise => NONE,
            };
            let title = column.title.to_owned();
            Some(vec![
                title,
                share(first),
                share(second),
                signed(difference.difference),
                between,
                tendency.to_owned(),
            ])
        });
        let level = percent(self.bootstrap.level);
        let heads = ["score", "first", "second", "difference", &level, "beyond noise"];
        let settings: String =
            run.settings.iter().map(|found| format!("differs: {}\n", said(found))).collect();
        let title = format!("{}, {} cases in both", one_line(&run.run), run.cases);
        if COLUMNS.iter().filter_map(of).all(|change| change.difference.is_nothing()) {
            return format!("{title}: every score is the same\n{settings}").trim_end().to_owned();
        }
        format!("{title}\n{settings}{}\n{}", plain(heads.into_iter(), rows), words(run))
    }
}

/// What changed beyond noise.
fn words(run: &RunChange) -> String {
    let names = |tendency| {
        let found = |column: &&Column| {
            run.scores.get(column.key).copied().flatten().is_some_and(|change| change.tendency == tendency)
        };
        COLUMNS.iter().filter(found).map(|column| column.title).collect::<Vec<_>>().join(", ")
    };
    let (better, worse) = (names(Tendency::Better), names(Tendency::Worse));
    match (better.is_empty(), worse.is_empty()) {
        (true, true) => "nothing changed beyond noise".to_owned(),
        (false, true) => format!("better beyond noise: {better}"),
        (true, false) => format!("worse beyond noise: {worse}"),
        (false, false) => format!("better beyond noise: {better}; worse: {worse}"),
    }
}

fn said(found: &Differing) -> String {
    let shown = |text: &str| match text.chars().count() {
        0..=LONGEST => text.to_owned(),
        _ => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    };
    one_line(&format!("{} ({}, then {})", found.what, shown(&found.first), shown(&found.second)))
}
