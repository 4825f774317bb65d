//! The only way to a terminal: everything that the binary prints goes through here.
//!
//! What is printed is escaped ([`super::text`]). A reader who has gone (`recant log | head`) ends nothing: the command
//! does its work, unread, and its exit code tells how that went. Output that cannot be written for another reason,
//! such as a full disk, ends the command with an error.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use super::text;

/// Prints a line on standard output.
macro_rules! say {
    ($($part:tt)*) => { $crate::cli::out::line(format_args!($($part)*)) };
}

/// Prints a line on standard error.
macro_rules! remark {
    ($($part:tt)*) => { $crate::cli::out::remark(format_args!($($part)*)) };
}

/// What a line of output is; see `say!`.
pub fn line(line: Arguments<'_>) {
    put(&text::line(&line.to_string()));
}

/// What a line on standard error is; see `remark!`. Where even that cannot be written, there is nobody to tell.
pub fn remark(line: Arguments<'_>) {
    let line = line.to_string();
    let _untold = io::stderr().lock().write_all((text::line(&line) + "\n").as_bytes());
}

/// Prints a text of several lines, or one that may have several.
pub(crate) fn lines(lines: &str) {
    put(&text::lines(lines));
}

/// Prints a JSON document.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), serde_json::Error> {
    put(&text::json(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Prints a JSON document on one line.
pub(crate) fn json_line(value: &impl serde::Serialize) -> Result<(), serde_json::Error> {
    put(&text::json(&serde_json::to_string(value)?));
    Ok(())
}

/// Prints a piece of a text, without a line's end.
pub(crate) fn piece(piece: &str) {
    write(&text::lines(piece));
}

/// Thrown through a command whose output cannot be written, so that everything it holds is put away.
struct Unwritable(io::Error);

fn put(safe: &str) {
    write(&format!("{safe}\n"));
}

fn write(safe: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(safe.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => resume_unwind(Box::new(Unwritable(error))),
        _ => {}
    }
}

/// Runs what prints, and tells when its output could not be written.
pub fn guarded(work: impl FnOnce() -> ExitCode) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(code) => code,
        Err(thrown) => match thrown.downcast::<Unwritable>() {
            Ok(unwritable) => {
                remark!("error: cannot write to standard output: {}", unwritable.0);
                ExitCode::FAILURE
            }
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// Prints what the argument parser has to say: help, the version, or what is wrong with the arguments.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // It quotes arguments, which may be names that a stranger gave to files.
        let _untold = io::stderr().lock().write_all(text::lines(&error.render().to_string()).as_bytes());
    } else {
        let _unread = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Standard error for events of the libraries.
pub(crate) struct Events;

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(text::lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
