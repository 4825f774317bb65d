//! Two models' answers to one prompt, beside each other.

use comfy_table::{CellAlignment, Table, presets};
use recant_model::Answer;

use super::text;

/// Prints the answers of two models under their names.
pub(super) fn print(names: [&str; 2], [left, right]: &[Vec<Answer>; 2]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([&*text::line(names[0]), "", &*text::line(names[1]), ""]);
    let cells = |answer: Option<&Answer>| match answer {
        Some(answer) => [text::token(&answer.token), format!("{:.2} %", 100.0 * answer.logprob.exp())],
        None => [String::new(), String::new()],
    };
    for i in 0..left.len().max(right.len()) {
        let [left, left_p] = cells(left.get(i));
        let [right, right_p] = cells(right.get(i));
        table.add_row([left, left_p, right, right_p]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    super::out::lines(&table.to_string());
}
