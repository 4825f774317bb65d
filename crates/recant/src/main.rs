//! The `recant` binary; its commands stand in [`recant::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    recant::cli::main()
}
