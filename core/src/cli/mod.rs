//! The `triune` command, as the Rust binary and both bindings run it. The only place that prints.

mod bar;
#[cfg(feature = "local")]
mod bench_model;
#[cfg(not(feature = "local"))]
#[path = "bench_model_absent.rs"]
mod bench_model;
mod check;
mod models;
mod print;
mod store;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
};

/// An AI engine that lives inside an application.
#[derive(Debug, Parser)]
#[command(name = "triune", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Local models: what there is, and what is on this machine.
    #[command(subcommand)]
    Models(models::Models),
    /// Measures how fast a chat model is on this machine.
    BenchModel(bench_model::BenchModel),
    /// Reads every value of a folder and says what is damaged.
    Check(check::Check),
    /// Copies a folder that may be in use into another one.
    Backup(store::Backup),
    /// Puts a backup into a folder, after reading all of it.
    Restore(store::Restore),
    /// Gives the free space in a folder that nobody has open back to the disk.
    Compact(store::Compact),
    /// Says what is in a folder, and how much room it takes.
    Stats(store::Stats),
}

/// What every command ends with.
const EXIT_CODES: &str = "Exit codes:
  0    done
  1    failed; the message says why and what to do
  2    wrong use
  3    what was read is damaged
  130  interrupted";

/// Runs the command with `args`, the first of which is the name it was called by. `program` starts this command again
/// (as in `python -m triune`): what may end a process by a signal runs in one of its own. Returns what the process should exit
/// with: 0 when all is well, 1 after an error, 2 for a wrong use, 3 when what was read is damaged, 130 when interrupted. It
/// prints; it never exits.
pub fn run<A: Into<OsString> + Clone>(program: &[OsString], args: impl IntoIterator<Item = A>) -> u8 {
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(usage) => {
            // Help and version are no errors and go to stdout; clap knows. A closed pipe is no concern.
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).unwrap_or(2);
        }
    };
    match start(command, program) {
        Ok(()) => 0,
        Err(error) => {
            print::tell(&format!("error: {error}"));
            match error.kind() {
                ErrorKind::Cancelled => 130,
                ErrorKind::Corrupt => 3,
                _ => 1,
            }
        }
    }
}

/// As [`run`], for `main`.
pub fn main() -> ExitCode {
    let program = std::env::current_exe().map(|path| vec![path.into_os_string()]).unwrap_or_default();
    ExitCode::from(run(&program, std::env::args_os()))
}

fn start(command: Command, program: &[OsString]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Unavailable, "the runtime cannot be started").caused_by(e))?;
    let result = runtime.block_on(async {
        let cx = Context::new();
        let work = async {
            match command.what {
                What::Models(models) => models.run(&cx).await,
                What::BenchModel(bench) => bench.run(&cx).await,
                What::Check(check) => check.run(program.to_vec()).await,
                What::Backup(backup) => backup.run(&cx).await,
                What::Restore(restore) => restore.run(&cx).await,
                What::Compact(compact) => compact.run(&cx).await,
                What::Stats(stats) => stats.run(&cx).await,
            }
        };
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            _ = tokio::signal::ctrl_c() => cx.cancel.cancel(),
        }
        // The work ends by itself at its next step, and keeps what it has.
        work.await
    });
    // Work on threads of its own that was given up is not waited for.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests;
