//! The `mnemon` command: results on stdout, everything else on stderr, exit codes that scripts
//! can rely on (see [`exit`]).

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    log(cli.global.verbose);
    let output = Output::new(cli.global.json, cli.global.quiet);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(&output),
    };
    match runtime.block_on(commands::run(cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&output),
    }
}

/// What clap has to say: help and version are results, the rest is a mistake in the arguments.
fn refused(error: &clap::Error) -> ExitCode {
    let is_result = !error.use_stderr();
    let wants_json = std::env::args_os().any(|arg| arg == "--json");
    if !is_result && wants_json {
        return Failure::usage(error).report(&Output::new(true, true));
    }
    // A reader that went away is no failure of help.
    let _ = error.print();
    if is_result { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) }
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "mnemon=info,mnemon_sqlite=info,mnemon_postgres=info,warn",
        _ => "mnemon=debug,mnemon_sqlite=debug,mnemon_postgres=debug,info",
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        .init();
}
