//! `recant layers`: which layer to edit.

use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};
use recant_app::{LayerOutcome, LayersOutcome, LayersRequest, compare_layers, phase};
use recant_eval::scores::{ES, NS, PS, S, TOP_KEPT};
use recant_files::Role;
use recant_methods::DEFAULT_METHOD;

use super::args::{ChatArgs, ModelArgs, SourceArgs, layer_list};
use super::config::Addition;
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant layers`.
#[derive(Debug, Args)]
pub(crate) struct LayersArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// Cases to try each layer on, in the forms of `recant eval --data`.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Use only the first N cases. A layer costs an edit of each.
    #[arg(long, value_name = "N", default_value_t = 8)]
    limit: usize,
    /// Leave cases out that cannot be used, instead of refusing the file.
    #[arg(long)]
    skip_bad: bool,
    /// Layers to try, such as 3-8 or 2,4,6 [default: all that can be edited; with --stats those that it holds].
    #[arg(long, value_name = "L1,L2")]
    layers: Option<String>,
    /// A method that edits one layer.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_METHOD)]
    method: String,
    #[command(flatten)]
    from: SourceArgs,
    /// Write the layer into recant.toml, where --layer is looked for when nobody says it; what stands there stays.
    #[arg(long)]
    write: bool,
    /// Print JSON: `layers[]` with `layer`, `metrics`, `seconds_per_edit`, `standing`, `failures[]`,
    /// `not_taken_back`, and `best`, `next`, `first`, `range[]`, `cases`, `method`, `seed`, `notes[]`, `written`.
    #[arg(long)]
    json: bool,
}

/// Fewer cases than this say little: a share of them moves by five percent with each.
const FEW: usize = 20;

impl LayersArgs {
    fn request(&self) -> Result<LayersRequest, CliError> {
        Ok(LayersRequest {
            data: self.data.clone(),
            limit: Some(self.limit),
            skip_bad: self.skip_bad,
            method: self.method.clone(),
            layers: self.layers.as_deref().map(layer_list).transpose()?,
            sources: self.from.sources(None, None)?,
        })
    }
}

pub(crate) fn run(args: &LayersArgs, session: &Session) -> Result<(), CliError> {
    let request = args.request()?;
    let data = request.read()?;
    let mut outputs = session.outputs(false);
    args.model.guard(&mut outputs)?;
    args.from.guard(&mut outputs)?;
    outputs.reads(Role::Input, &args.data)?;
    let addition = args.write.then(|| Addition::decide(&mut outputs, "layer")).transpose()?;
    let terminal = Terminal::default();
    let model = phase(&terminal, "open", || args.chat.applied(args.model.open(None, &terminal)?))?;
    let outcome = compare_layers(&request, data, model, &terminal)?;
    let cases: usize = outcome.layers.iter().map(|layer| layer.not_taken_back).sum();
    if cases > 0 {
        return Err(CliError::Rollback { method: outcome.method, cases });
    }
    let written = addition.as_ref().map(|addition| addition.write(outcome.best)).transpose()?;
    if args.json {
        let mut value = serde_json::to_value(&outcome)?;
        value["written"] = written.map(|path| path.display().to_string()).into();
        return super::print_json(&value);
    }
    super::out::lines(&table(&outcome));
    outcome.notes.iter().for_each(|note| say!("{}: {note}", outcome.method));
    for layer in &outcome.layers {
        if let Some(first) = layer.failures.first() {
            say!("layer {}, case {}: {}", layer.layer, first.case_id, first.error);
        }
    }
    told(&outcome);
    match written {
        Some(path) => say!("written to {}: layer = {}", path.display(), outcome.best),
        None => say!("to keep it: layer = {} in recant.toml, where --write puts it", outcome.best),
    }
    Ok(())
}

/// A row for each layer; the best one has a star.
fn table(outcome: &LayersOutcome) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    let mut heads = vec!["layer", "score", "95 %", "S", "ES", "PS", "NS", "top kept", "s/edit"];
    let failed = outcome.layers.iter().any(|layer| !layer.failures.is_empty());
    heads.extend(failed.then_some("failures"));
    table.set_header(heads);
    for layer in &outcome.layers {
        let mut cells = cells(layer, layer.layer == outcome.best);
        cells.extend(failed.then(|| layer.failures.len().to_string()));
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn cells(outcome: &LayerOutcome, best: bool) -> Vec<String> {
    let LayerOutcome { layer, metrics, seconds_per_edit, standing, .. } = outcome;
    let share = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
    let interval = format!("{:.3} to {:.3}", standing.interval.low, standing.interval.high);
    let name = format!("{layer}{}", if best { "*" } else { " " });
    let scores = [S, ES, PS, NS, TOP_KEPT].map(|score| share(metrics.get(&score)));
    let seconds = seconds_per_edit.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
    [name, share(Some(standing.score)), interval].into_iter().chain(scores).chain([seconds]).collect()
}

/// The recommendation, and how sure it is.
fn told(outcome: &LayersOutcome) {
    let LayersOutcome { best, cases, range: (first, last), .. } = outcome;
    say!("");
    say!("layer {best}: the highest score of {} layers, each tried on {cases} facts", outcome.layers.len());
    let next = outcome.next.and_then(|next| Some((next, outcome.layer(next)?)));
    if let Some((next, layer)) = next {
        let behind = layer.standing.behind;
        let verdict = if behind.is_beyond_noise() {
            "the facts tell them apart"
        } else {
            "the facts do not tell them apart"
        };
        say!(
            "next is layer {next}, {:.3} behind (95 % of bootstrap draws: {:+.3} to {:+.3})",
            behind.difference,
            behind.low,
            behind.high
        );
        say!("{verdict}");
        say!("in {:.0} % of the draws no layer scores higher than {best}", 100.0 * outcome.first);
    }
    match first == last {
        true => say!("the layers beside it are told apart from it"),
        false => say!("around it, layers {first} to {last} are not told apart from it"),
    }
    if *cases < FEW {
        say!("{cases} facts are few, and the intervals know no others: --limit takes more");
    }
}
