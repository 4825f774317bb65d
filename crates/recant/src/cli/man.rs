//! `recant man`: the manual pages, from the same declaration as arguments and completions.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use super::commands::Cli;
use super::error::CliError;
use super::kinds::MAN_PAGE;
use super::session::Session;

/// How a page of ours begins: a comment, by which it is known again.
pub(super) const MARK: &str = ".\\\" made by recant man\n";

/// Arguments of `recant man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// A folder for a page of every command, such as ~/.local/share/man/man1; without it, recant(1) is printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace pages at --out that an earlier recant wrote.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print JSON: `out`, `pages[]`, or `text`.
    #[arg(long)]
    json: bool,
}

/// A page: the name of its file, and its text.
struct Page {
    file: String,
    text: String,
}

pub(crate) fn run(args: &ManArgs, session: &Session) -> Result<(), CliError> {
    let pages = pages();
    let Some(dir) = &args.out else {
        let text = pages.first().map(|page| page.text.as_str()).unwrap_or_default();
        if args.json {
            return super::print_json(&json!({ "text": text }));
        }
        super::out::lines(text);
        return Ok(());
    };
    let mut outputs = session.outputs(args.force);
    outputs.folder(dir)?;
    // All of them are decided for before the first is written.
    let files = pages.iter().map(|page| outputs.file(&dir.join(&page.file), MAN_PAGE));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    for (page, file) in pages.iter().zip(&files) {
        file.write(page.text.as_bytes())?;
    }
    if args.json {
        let names: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        return super::print_json(&json!({ "out": dir.display().to_string(), "pages": names }));
    }
    say!("{} written to {}", super::store::count(pages.len(), "page"), dir.display());
    Ok(())
}

/// The page of recant, and of every command that its help shows.
fn pages() -> Vec<Page> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(command, &mut pages);
    pages
}

fn add(command: clap::Command, pages: &mut Vec<Page>) {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let below: Vec<clap::Command> = shown.collect();
    let man = Man::new(command).source(concat!("recant ", env!("CARGO_PKG_VERSION")));
    let mut bytes = MARK.as_bytes().to_vec();
    // A vector takes everything.
    let _written = man.render(&mut bytes);
    pages.push(Page { file: man.get_filename(), text: String::from_utf8_lossy(&bytes).into_owned() });
    below.into_iter().for_each(|command| add(command, pages));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a person types, of every command that the help shows.
    fn shown(command: &clap::Command, typed: &str, all: &mut Vec<String>) {
        all.push(typed.to_owned());
        for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            shown(below, &format!("{typed} {}", below.get_name()), all);
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let mut typed = Vec::new();
        shown(&Cli::command(), "recant", &mut typed);
        let pages = pages();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        let expected: Vec<String> =
            typed.iter().map(|typed| format!("{}.1", typed.replace(' ', "-"))).collect();
        assert_eq!(files, expected);
        assert!(pages.len() > 40, "{}", pages.len());
        for (page, typed) in pages.iter().zip(&typed) {
            let text = &page.text;
            assert!((MAN_PAGE.recognises)(text.as_bytes()), "{}", page.file);
            let (_, rest) =
                text.split_once("\n.SH NAME\n").unwrap_or_else(|| panic!("{}: no NAME", page.file));
            let plain = rest.replace("\\-", "-");
            assert!(plain.starts_with(&typed.replace(' ', "-")), "{}: {plain:.80}", page.file);
            let (_, synopsis) =
                rest.split_once("\n.SH SYNOPSIS\n").unwrap_or_else(|| panic!("{}", page.file));
            let synopsis =
                synopsis.lines().next().unwrap_or_default().replace("\\fB", "").replace("\\fR", "");
            assert!(synopsis.replace("\\-", "-").starts_with(typed), "{}: {synopsis}", page.file);
        }
    }
}
