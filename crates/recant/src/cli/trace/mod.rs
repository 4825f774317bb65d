//! `recant trace`: where a model recalls a fact.

mod picture;
mod svg;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recant_app::{TraceFailure, TraceRequest, TracedCases, phase, trace_cases, trace_fact};
use recant_files::{OutputFile, Role};
use recant_methods::causal::{
    CausalError, CausalSettings, CausalTrace, Corruption, Question, Restored, Role as TokenRole,
};
use recant_model::Model;
use serde_json::{Value, json};

use self::picture::Picture;
use super::args::{ChatArgs, ModelArgs};
use super::error::CliError;
use super::progress::Terminal;
use super::session::Session;

/// Arguments of `recant trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    /// The prompt, with {} where the subject goes, or naming the subject once.
    #[arg(
        value_name = "PROMPT",
        required_unless_present = "data",
        requires = "subject",
        conflicts_with = "data"
    )]
    prompt: Option<String>,
    /// Who or what the prompt is about: its tokens are corrupted.
    #[arg(long, requires = "prompt")]
    subject: Option<String>,
    /// The answer whose probability is followed [default: the model's most probable next token].
    #[arg(long, requires = "prompt")]
    target: Option<String>,
    /// Trace the cases of a data set that the model answers as it says, and average them by the role of the token; the
    /// forms are those of `recant eval --data`.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Use only the first N cases.
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<usize>,
    /// Leave cases out that cannot be used, instead of refusing the file.
    #[arg(long, requires = "data")]
    skip_bad: bool,
    /// How the subject is corrupted: noise on its embeddings, or the mean embedding in place of each.
    #[arg(long, value_enum, default_value = "noise")]
    corrupt: CorruptArg,
    /// How often noise is drawn; probabilities are means over the draws.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Standard deviation of the noise, in standard deviations of the model's embeddings.
    #[arg(long, value_name = "FACTOR", default_value_t = 3.0)]
    noise: f64,
    /// Seed of the noise.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Blocks around a layer whose MLP or attention outputs are restored together [default: 10 of 48, the same share of
    /// other models].
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Draw the maps in this file too, as a picture that a browser shows.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Replace a picture at --svg.
    #[arg(long, requires = "svg")]
    force: bool,
    /// Print JSON: `clean`, `corrupted`, `effects` (`states`, `mlp`, `attention`, each by token and layer), `tokens[]`,
    /// `subject`, `target`, `window`, `settings`; of --data `facts[]` and `average`, by role and layer.
    #[arg(long)]
    json: bool,
}

/// How a subject is corrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CorruptArg {
    /// Gaussian noise on the embeddings of its tokens.
    Noise,
    /// The mean embedding in place of each.
    Mean,
}

impl TraceArgs {
    fn settings(&self) -> CausalSettings {
        let noise = Corruption::Noise { factor: self.noise, samples: self.samples.into(), seed: self.seed };
        let corruption = match self.corrupt {
            CorruptArg::Noise => noise,
            CorruptArg::Mean => Corruption::Mean,
        };
        CausalSettings { corruption, window: self.window }
    }

    /// What was computed with, for whoever reads the numbers later.
    fn told(&self) -> Value {
        match self.corrupt {
            CorruptArg::Noise => {
                json!({ "corrupt": "noise", "noise": self.noise, "samples": self.samples, "seed": self.seed })
            }
            CorruptArg::Mean => json!({ "corrupt": "mean" }),
        }
    }

    /// An error with the option that it is about.
    fn refused(&self, error: TraceFailure) -> CliError {
        let option = |option, error: &TraceFailure| CliError::Option { option, reason: error.to_string() };
        match &error {
            TraceFailure::Causal(CausalError::Window { .. }) => option("--window", &error),
            TraceFailure::Causal(CausalError::Noise { .. }) => option("--noise", &error),
            TraceFailure::Unknown { .. } => option("--data", &error),
            _ => error.into(),
        }
    }
}

/// A picture of the maps.
const SVG: recant_files::FileKind = recant_files::FileKind {
    name: "picture of a causal trace",
    recognises: |head| String::from_utf8_lossy(head).contains(svg::TITLE),
};

pub(crate) fn run(args: &TraceArgs, session: &Session) -> Result<(), CliError> {
    let mut outputs = session.outputs(args.force);
    args.model.guard(&mut outputs)?;
    args.data.iter().try_for_each(|path| outputs.reads(Role::Input, path))?;
    let svg = args.svg.as_deref().map(|path| outputs.file(path, SVG)).transpose()?;
    let terminal = Terminal::default();
    let open = || args.chat.applied(args.model.open(None, &terminal)?);
    match (&args.data, &args.subject, &args.prompt) {
        (Some(data), ..) => {
            let request = TraceRequest { data: data.clone(), limit: args.limit, skip_bad: args.skip_bad };
            let data = request.read()?;
            let model = phase(&terminal, "open", open)?;
            let trace = || trace_cases(&request, data, &model, args.settings(), &terminal);
            let traced = phase(&terminal, "trace", trace).map_err(|error| args.refused(error))?;
            tell_cases(args, &traced, svg.as_ref())
        }
        (None, Some(subject), Some(prompt)) => {
            let question = Question::new(subject, prompt, args.target.as_deref())?;
            let model: Model = phase(&terminal, "open", open)?;
            let trace = || trace_fact(&model, &question, args.settings(), &terminal);
            let traced = phase(&terminal, "trace", trace).map_err(|error| args.refused(error))?;
            tell_fact(args, &question, &traced, svg.as_ref())
        }
        _ => unreachable!("the parser asks for a prompt with its subject, or for data"),
    }
}

fn tell_fact(
    args: &TraceArgs,
    question: &Question,
    trace: &CausalTrace,
    svg: Option<&OutputFile>,
) -> Result<(), CliError> {
    let picture = Picture::of_trace(question.text(), trace);
    draw(&picture, svg)?;
    if args.json {
        let mut value = serde_json::to_value(trace)?;
        value["prompt"] = question.text().into();
        value["settings"] = args.told();
        return super::print_json(&value);
    }
    say!("{}", question.text());
    say!("  {:>6.2} %  {}, with the subject as it is", 100.0 * trace.clean, trace.target);
    say!("  {:>6.2} %  {}, with the subject corrupted", 100.0 * trace.corrupted, trace.target);
    show(&picture);
    let last = trace.subject.end - 1;
    peaks(|restored| trace.peak(restored, last));
    written(svg);
    Ok(())
}

fn tell_cases(args: &TraceArgs, traced: &TracedCases, svg: Option<&OutputFile>) -> Result<(), CliError> {
    let average = &traced.average;
    let picture = Picture::of_average(average);
    draw(&picture, svg)?;
    if args.json {
        let mut value = serde_json::to_value(traced)?;
        value["settings"] = args.told();
        return super::print_json(&value);
    }
    let others = if traced.unknown > 0 { "; the model does not know the others" } else { "" };
    say!("facts traced: {} of {}{others}", average.facts, traced.cases);
    say!("  {:>6.2} %  the answer, mean, with the subject as it is", 100.0 * average.clean);
    say!("  {:>6.2} %  with the subject corrupted", 100.0 * average.corrupted);
    show(&picture);
    peaks(|restored| average.peak(restored, TokenRole::LastSubject));
    written(svg);
    Ok(())
}

fn draw(picture: &Picture, svg: Option<&OutputFile>) -> Result<(), CliError> {
    Ok(svg.map_or(Ok(()), |file| file.write(svg::drawn(picture).as_bytes()))?)
}

fn show(picture: &Picture) {
    for restored in Restored::ALL {
        say!("");
        super::out::lines(picture.map(restored).trim_end());
    }
    say!("");
}

/// Where restoring gives most back at the subject's last token: the place that edits write to.
fn peaks(peak: impl Fn(Restored) -> Option<(usize, f64)>) {
    let found = Restored::ALL.into_iter().filter_map(|restored| Some((restored, peak(restored)?)));
    say!("largest effect at the last subject token");
    for (restored, (layer, effect)) in found {
        say!("  {:<9}  at layer {layer} ({effect:+.3})", restored.name());
    }
}

fn written(svg: Option<&OutputFile>) {
    if let Some(file) = svg {
        say!("picture written to {}", file.path().display());
    }
}
