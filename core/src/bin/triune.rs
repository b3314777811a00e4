//! The `triune` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    triune::cli::main()
}
