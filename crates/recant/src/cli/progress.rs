//! Progress bars: on standard error, and only when it is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known number of steps; `unit` names them.
pub(crate) fn bar(len: u64, label: &str, unit: &str) -> ProgressBar {
    let template = format!("{{msg:16}} {{bar:32}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(label.to_owned())
}
