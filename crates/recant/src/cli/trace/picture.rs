//! Maps of effects, tokens down and layers across, in characters.

use recant_methods::causal::{ByRestored, CausalAverage, CausalTrace, Effects, Restored};

use crate::cli::text;

/// Shades from nothing to the largest effect of a map.
const SHADES: [char; 6] = ['·', '░', '▒', '▓', '█', '█'];
/// Columns of a line.
const WIDTH: usize = 100;
/// Characters of a row's name at most.
const NAME: usize = 24;

/// What is drawn: a map for each thing that is restored.
pub(super) struct Picture {
    /// What is traced.
    pub(super) heading: String,
    /// Names of the rows.
    pub(super) rows: Vec<String>,
    /// By row and layer.
    pub(super) effects: ByRestored<Effects>,
    /// Blocks of a window.
    window: usize,
    /// Blocks of the model.
    pub(super) layers: usize,
}

impl Picture {
    /// Tokens from the subject on: before it nothing is corrupted. Those of the subject have a star, as in the paper.
    pub(super) fn of_trace(heading: String, trace: &CausalTrace) -> Self {
        let shown = trace.subject.start..trace.tokens.len();
        let name = |at: usize| {
            let star = if trace.subject.contains(&at) { "*" } else { "" };
            format!("{}{star}", text::token(&trace.tokens[at]))
        };
        let of = |restored| trace.effects.of(restored)[shown.clone()].to_vec();
        Self {
            heading,
            rows: shown.clone().map(name).collect(),
            effects: ByRestored {
                states: of(Restored::State),
                mlp: of(Restored::Mlp),
                attention: of(Restored::Attention),
            },
            window: trace.window,
            layers: trace.layers,
        }
    }

    /// A row for each role.
    pub(super) fn of_average(average: &CausalAverage) -> Self {
        Self {
            heading: format!("the mean of {} facts", average.facts),
            rows: average.roles.iter().map(|count| count.role.name().to_owned()).collect(),
            effects: average.effects.clone(),
            window: average.window,
            layers: average.layers,
        }
    }

    /// What a map shows.
    pub(super) fn title(&self, restored: Restored) -> String {
        let windows = match self.window {
            1 => "of one block".to_owned(),
            blocks => format!("of a window of {blocks} blocks"),
        };
        match restored {
            Restored::Mlp => format!("restoring the MLP {windows}"),
            Restored::Attention => format!("restoring attention {windows}"),
            _ => "restoring the state that leaves a block".to_owned(),
        }
    }

    /// The largest effect of a map, 0 where none is above it.
    pub(super) fn largest(&self, restored: Restored) -> f64 {
        self.effects.of(restored).iter().flatten().copied().fold(0.0, f64::max)
    }

    /// A map as text, at most 100 columns wide. Where a model has more blocks than columns, each column shows the largest
    /// of some.
    pub(super) fn map(&self, restored: Restored) -> String {
        let names: Vec<String> = self.rows.iter().map(|name| shortened(name)).collect();
        let left = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        // Behind the last number of the axis stands what the numbers are.
        let room = WIDTH - left - 4 - 10;
        let together = self.layers.div_ceil(room).max(1);
        let columns = self.layers.div_ceil(together);
        // A block is a square of two characters where there is room.
        let wide = if 2 * columns <= room { 2 } else { 1 };
        let largest = self.largest(restored);
        let mut map = format!("{}\n", self.title(restored));
        for (name, effects) in names.iter().zip(self.effects.of(restored)) {
            let cells: String = effects
                .chunks(together)
                .map(|layers| shade(layers.iter().copied().fold(f64::MIN, f64::max), largest))
                .flat_map(|shade| std::iter::repeat_n(shade, wide))
                .collect();
            let blanks = left - name.chars().count();
            map += &format!("  {}{name}  {cells}\n", " ".repeat(blanks));
        }
        map += &format!("  {}  {}\n", " ".repeat(left), axis(columns, together, wide));
        map += &format!("  {}  {} 0   {} {largest:.3}\n", " ".repeat(left), SHADES[0], SHADES[4]);
        map
    }
}

/// The shade of an effect: what is not above 0 has none.
fn shade(effect: f64, largest: f64) -> char {
    match largest > 0.0 {
        true => SHADES[(5.0 * (effect / largest).clamp(0.0, 1.0)) as usize],
        false => SHADES[0],
    }
}

/// Numbers of layers under their columns, as many as stand apart.
fn axis(columns: usize, together: usize, wide: usize) -> String {
    let mut axis = String::new();
    for column in (0..columns).step_by(5) {
        let number = (column * together).to_string();
        if axis.len() <= column * wide {
            axis += &" ".repeat(column * wide - axis.len());
            axis += &number;
            axis.push(' ');
        }
    }
    axis + "(layer)"
}

/// A name that fits beside a map.
fn shortened(name: &str) -> String {
    match name.chars().count() > NAME {
        true => name.chars().take(NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(layers: usize, effects: Effects) -> Picture {
        let rows = (0..effects.len()).map(|at| format!(" t{at}")).collect();
        let effects = ByRestored { states: effects.clone(), mlp: effects, attention: vec![] };
        Picture { heading: String::new(), rows, effects, window: 1, layers }
    }

    /// By hand: shares of the largest, 0.4, in steps of a fifth.
    #[test]
    fn cells_are_shares_of_the_largest() {
        let map =
            picture(6, vec![vec![0.0, 0.079, 0.081, 0.2, 0.4, -0.3], vec![0.33; 6]]).map(Restored::State);
        let lines: Vec<&str> = map.lines().collect();
        assert_eq!(lines[1], "   t0  ····░░▒▒██··");
        assert_eq!(lines[2], "   t1  ████████████");
        assert_eq!(lines[3], "       0         5 (layer)");
        assert_eq!(lines[4], "       · 0   █ 0.400");
    }

    /// However many blocks, and however long a token: within 100 columns, and the largest of a column is seen.
    #[test]
    fn a_map_is_at_most_a_hundred_columns_wide() {
        for layers in [1, 2, 30, 48, 80, 126, 1000] {
            let mut effects = vec![vec![0.0; layers]; 2];
            effects[1][layers - 1] = 0.5;
            let mut picture = picture(layers, effects);
            picture.rows[0] = "m".repeat(99);
            let map = picture.map(Restored::Mlp);
            assert!(map.lines().all(|line| line.chars().count() <= 100), "{layers}:\n{map}");
            assert!(map.lines().nth(2).unwrap().ends_with('█'), "{map}");
            assert!(map.contains("m…"));
        }
        assert!(picture(2, vec![vec![f64::NAN, -1.0]]).map(Restored::State).contains("····"));
    }
}
