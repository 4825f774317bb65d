//! The maps as a picture: an SVG image without scripts or fonts of its own.

use std::fmt::Write as _;

use recant_methods::causal::Restored;

use super::picture::Picture;

/// What every picture says in its title.
pub(super) const TITLE: &str = "<title>recant: causal trace of ";

// All lengths are in pixels.
const CELL: usize = 16;
const LINE: usize = 20;
/// Space between two maps.
const GAP: usize = 36;
const MARGIN: usize = 16;
/// Width of a character, about.
const CHARACTER: usize = 8;

/// Okabe and Ito's colours, which stay apart for colour-blind readers.
fn colour(restored: Restored) -> &'static str {
    match restored {
        Restored::Mlp => "#009E73",
        Restored::Attention => "#D55E00",
        _ => "#0072B2",
    }
}

/// Draws the maps below each other. Effects are opacities of one colour, and text changes with the reader's light or dark
/// background.
pub(super) fn drawn(picture: &Picture) -> String {
    let longest = picture.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    let left = MARGIN + CHARACTER * longest.min(40) + 12;
    let map = 2 * LINE + CELL * picture.rows.len() + GAP;
    let heading = picture.heading.chars().count();
    let width = (left + CELL * picture.layers + 80).max(MARGIN * 2 + CHARACTER * heading.min(120)).max(420);
    let height = MARGIN + LINE + GAP / 2 + Restored::ALL.len() * map;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         {TITLE}{}</title>\n\
         <style>text{{font:13px sans-serif;fill:#374151}}.b{{font-weight:bold}}.e{{text-anchor:end}}.m{{text-anchor:middle}}\
         .o{{fill:none;stroke:#9CA3AF}}@media(prefers-color-scheme:dark){{text{{fill:#D1D5DB}}}}</style>\n",
        escaped(&picture.heading)
    );
    text(&mut svg, [MARGIN, MARGIN + 13], "b", &picture.heading);
    for (at, restored) in Restored::ALL.into_iter().enumerate() {
        draw_map(&mut svg, picture, restored, [left, MARGIN + LINE + GAP / 2 + at * map]);
    }
    svg + "</svg>\n"
}

fn draw_map(svg: &mut String, picture: &Picture, restored: Restored, [left, top]: [usize; 2]) {
    let (largest, colour) = (picture.largest(restored), colour(restored));
    let title = format!("{} (largest effect {largest:.3})", picture.title(restored));
    text(svg, [left, top + 13], "", &title);
    let top = top + LINE;
    for (row, (name, effects)) in picture.rows.iter().zip(picture.effects.of(restored)).enumerate() {
        let y = top + CELL * row;
        text(svg, [left - 8, y + 12], "e", name);
        for (layer, &effect) in effects.iter().enumerate() {
            let share = if largest > 0.0 { (effect / largest).clamp(0.0, 1.0) } else { 0.0 };
            let x = left + CELL * layer;
            let _written = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{colour}\" fill-opacity=\"{share:.3}\">\
                 <title>{}, layer {layer}: {effect:+.4}</title></rect>",
                escaped(name)
            );
        }
    }
    let (width, height) = (CELL * picture.layers, CELL * picture.rows.len());
    let _written =
        writeln!(svg, "<rect class=\"o\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>");
    for layer in (0..picture.layers).step_by(5) {
        let x = left + CELL * layer + CELL / 2;
        text(svg, [x, top + height + 16], "m", &layer.to_string());
    }
}

fn text(svg: &mut String, [x, y]: [usize; 2], class: &str, text: &str) {
    let _written = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
}

/// Text of others inside a document: markup and what XML cannot hold are no part of it.
fn escaped(text: &str) -> String {
    let safe = crate::cli::text::line(text);
    safe.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use recant_methods::causal::{ByRestored, CausalTrace};

    use super::*;

    /// What is drawn is the effects, and text of a model stays text.
    #[test]
    fn a_picture_has_a_cell_for_each_effect_and_obeys_nobody() {
        let effects = vec![vec![0.5, 0.25], vec![-0.1, 0.0]];
        let trace = CausalTrace {
            tokens: vec!["</text><script>".to_owned(), "\u{1b}[2J".to_owned()],
            subject: 0..1,
            target: "x".to_owned(),
            layers: 2,
            window: 1,
            clean: 0.5,
            corrupted: 0.25,
            effects: ByRestored { states: effects.clone(), mlp: effects.clone(), attention: effects },
        };
        let svg = drawn(&Picture::of_trace("a & b".to_owned(), &trace));
        assert!(svg.contains(TITLE) && svg.contains("a &amp; b") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(
            !svg.contains("<script") && !svg.contains('\u{1b}') && svg.contains("&lt;script&gt;*"),
            "{svg}"
        );
        for (opacity, cells) in [("1.000", 3), ("0.500", 3), ("0.000", 6)] {
            assert_eq!(svg.matches(&format!("fill-opacity=\"{opacity}\"")).count(), cells, "{opacity}");
        }
        assert!(svg.contains("layer 1: +0.2500") && svg.contains("layer 0: -0.1000"));
    }
}
