//! The scores as grouped bars: an SVG image without scripts or fonts of its own.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::number;
use super::{ReportError, Run};
use crate::scores::Column;

const TEXT: RGBColor = RGBColor(0x37, 0x41, 0x51);
const GRID: RGBColor = RGBColor(0x9C, 0xA3, 0xAF);

// All lengths are in pixels.
const WIDTH: i32 = 860;
/// Legend above the bars.
const HEAD: i32 = 40;
/// Numbers of the axis below them.
const FOOT: i32 = 30;
/// Room for a number behind a bar of full length.
const BEHIND: i32 = 52;
/// A bar with the space to the next.
const STEP: i32 = 18;
const BAR: i32 = 14;
/// Half the height of an interval's ends.
const WHISKER: i32 = 3;
/// Space between two groups.
const GAP: i32 = 18;

/// Longest name of a method that is drawn in full.
const LONGEST: usize = 24;

/// The charted scores of every run.
///
/// The layout is done by hand instead of by plotters' charts: these measure text with the fonts of the
/// system that draws, so that the image would depend on the machine. Here the browser that shows the text
/// also places it.
///
/// # Errors
/// [`ReportError::Html`] where plotters cannot draw.
pub(super) fn score_bars(runs: &[Run]) -> Result<String, ReportError> {
    let names: Vec<String> = runs.iter().map(|run| shortened(&run.label())).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let plot = Plot { left: 24 + 8 * longest as i32, bottom: HEAD + group() * runs.len() as i32 };
    let mut svg = String::new();
    let image = SVGBackend::with_string(&mut svg, (WIDTH as u32, (plot.bottom + FOOT) as u32));
    draw(&image.into_drawing_area(), &plot, runs, &names)
        .map_err(|error| ReportError::Html { reason: error.to_string() })?;
    Ok(svg)
}

/// A name that fits beside the bars.
fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Height of a run's bars with the space to the next run's.
fn group() -> i32 {
    Column::charted().count() as i32 * STEP + GAP
}

/// Where the bars stand.
struct Plot {
    left: i32,
    bottom: i32,
}

impl Plot {
    /// Where a share lies on the axis. What is no share, such as NaN, ends at the axis' nearest end.
    fn x(&self, share: f64) -> i32 {
        self.left + (share.clamp(0.0, 1.0) * f64::from(WIDTH - BEHIND - self.left)).round() as i32
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(area: &Area<'a>, plot: &Plot, runs: &[Run], names: &[String]) -> Drawn<'a> {
    axis(area, plot)?;
    legend(area, plot)?;
    for (at, (run, name)) in runs.iter().zip(names).enumerate() {
        let top = HEAD + GAP / 2 + at as i32 * group();
        let middle = top + (group() - GAP) / 2;
        text(area, name, (plot.left - 12, middle), HPos::Right, FontStyle::Bold)?;
        for (column, row) in Column::charted().zip(0..) {
            bar(area, plot, column, run, top + row * STEP)?;
        }
    }
    area.present()
}

/// Lines at every quarter, with their numbers below.
fn axis<'a>(area: &Area<'a>, plot: &Plot) -> Drawn<'a> {
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let x = plot.x(share);
        let strength = if quarter == 0 { 1.0 } else { 0.4 };
        let line = PathElement::new(vec![(x, HEAD), (x, plot.bottom)], GRID.mix(strength));
        area.draw(&line)?;
        text(area, &format!("{share:.2}"), (x, plot.bottom + 14), HPos::Center, FontStyle::Normal)?;
    }
    Ok(())
}

fn legend<'a>(area: &Area<'a>, plot: &Plot) -> Drawn<'a> {
    let middle = HEAD / 2 - 4;
    for (column, at) in Column::charted().zip(0..) {
        let x = plot.left + at * 64;
        let sample = [(x, middle - 6), (x + 12, middle + 6)];
        area.draw(&Rectangle::new(sample, colour(column).filled()))?;
        text(area, column.title, (x + 18, middle), HPos::Left, FontStyle::Normal)?;
    }
    Ok(())
}

fn bar<'a>(area: &Area<'a>, plot: &Plot, column: &Column, run: &Run, top: i32) -> Drawn<'a> {
    let score = run.metrics.get(column);
    let end = plot.x(score.unwrap_or(0.0));
    if end > plot.left {
        area.draw(&Rectangle::new([(plot.left, top), (end, top + BAR)], colour(column).filled()))?;
    }
    let middle = top + BAR / 2;
    let mut right = end;
    if let Some(interval) = run.interval(column).filter(|interval| interval.width() > 0.0) {
        let ends = [plot.x(interval.low), plot.x(interval.high)];
        right = right.max(ends[1]);
        area.draw(&PathElement::new(vec![(ends[0], middle), (ends[1], middle)], TEXT))?;
        for x in ends {
            area.draw(&PathElement::new(vec![(x, middle - WHISKER), (x, middle + WHISKER)], TEXT))?;
        }
    }
    text(area, &number(score), (right + 6, middle), HPos::Left, FontStyle::Normal)
}

fn colour(column: &Column) -> RGBColor {
    let [red, green, blue] = column.shown.bar.unwrap_or_default();
    RGBColor(red, green, blue)
}

fn text<'a>(area: &Area<'a>, text: &str, at: (i32, i32), side: HPos, font: FontStyle) -> Drawn<'a> {
    // plotters divides sizes by 1.24 on their way into an SVG.
    let font = FontDesc::new(FontFamily::SansSerif, 13.0 * 1.24, font);
    let style = TextStyle::from(font).color(&TEXT).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(method: &str, es: f64, ps: Option<f64>) -> Run {
        let metrics = serde_json::json!({ "ES": es, "PS": ps });
        let run = serde_json::json!({
            "method": method, "scenario": "single", "device": "cpu", "cases": 0, "settings": {},
            "notes": [], "metrics": metrics, "seconds_per_edit": null, "peak_rss_bytes": null,
            "rollback_exact": null, "failures": [], "results": []
        });
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn every_method_has_its_label_and_numbers() {
        let names = ["unedited", "ft", "rome", "memit", "a", "b", "c", "d"];
        let runs = names.map(|name| run(name, 0.125, Some(0.75)));
        let svg = score_bars(&runs).unwrap();
        for name in names {
            assert!(svg.contains(&format!(">\n{name}\n</text>")), "{name} is missing");
        }
        assert_eq!(svg.matches("0.125").count(), 8);
        assert_eq!(svg.matches("\n0.750\n").count(), 8);
        assert_eq!(svg, score_bars(&runs).unwrap());
    }

    /// Three lines more: an interval's own, and its two ends. One of no width has none.
    #[test]
    fn an_interval_is_drawn_over_its_bar() {
        let plain = run("rome", 0.5, Some(0.25));
        let lines = |run: &Run| score_bars(std::slice::from_ref(run)).unwrap().matches("<polyline").count();
        let mut sure = plain.clone();
        let interval = |low, high| Some(crate::Interval { low, high, cases: 9 });
        sure.intervals =
            [("ES".to_owned(), interval(0.4, 0.6)), ("PS".to_owned(), interval(0.25, 0.25))].into();
        assert_eq!(lines(&sure), lines(&plain) + 3);
    }

    #[test]
    fn odd_values_are_drawn() {
        assert!(score_bars(&[]).unwrap().ends_with("</svg>\n"));
        let svg = score_bars(&[run("over", 1.5, Some(-1.0))]).unwrap();
        assert!(svg.contains("1.500") && svg.contains("-1.000"));
        assert!(!svg.contains("width=\"-"), "a bar runs backwards");
        let mut odd = run("odd", 0.0, None);
        odd.metrics = [("ES", Some(f64::NAN))].into_iter().collect();
        assert!(score_bars(&[odd]).unwrap().contains("NaN"));
    }

    #[test]
    fn names_stay_text_and_within_the_image() {
        let svg = score_bars(&[run("<script>", 1.0, None), run(&"m".repeat(99), 1.0, None)]).unwrap();
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"));
        assert!(svg.contains(&format!("\n{}…\n", "m".repeat(LONGEST - 1))));
    }
}
