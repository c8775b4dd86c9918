//! The project's tasks: `cargo xtask test`, `cargo xtask ci`, `cargo xtask prepare`.
//!
//! No dependencies on purpose: it compiles in seconds, and everything it needs besides cargo it installs
//! itself, at the versions of `tools.toml`.

mod ci;
mod features;
mod msrv;
mod place;
mod prepare;
mod servers;
mod steps;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [core|sqlite|postgres|local-model|all]
                                              the tests; `all` (the default) is everything, on SQLite,
                                              PostgreSQL 18 and PostgreSQL 16, with the doctests;
                                              `core`, `sqlite` and `local-model` need no server; more arguments go to nextest
cargo xtask ci                                everything that must hold before a change lands
cargo xtask prepare [--check]                 writes (or compares) crates/postgres/.sqlx, the description of
                                              every checked query";

/// What a task answers: a message for people when it fails.
type Outcome<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["ci"] => ci::run(),
        ["prepare"] => prepare::run(prepare::Mode::Write, servers::Program::ToBuild),
        ["prepare", "--check"] => prepare::run(prepare::Mode::Check, servers::Program::ToBuild),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown task; the tasks are:\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
