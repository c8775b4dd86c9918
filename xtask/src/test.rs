//! `cargo xtask test`: cargo-nextest on three databases, then the doctests.

use std::process::Command;

use crate::servers::{Kit, Program};
use crate::steps::{Steps, exec};
use crate::{Outcome, place, tools};

/// Read by the test kit: tests that need PostgreSQL run only when it is set.
const POSTGRES_SWITCH: &str = "MNEMON_TEST_POSTGRES";

/// Tests that run on PostgreSQL, by name or by package.
const ON_POSTGRES: &str =
    "test(/postgres/) | binary(/postgres/) | package(mnemon-postgres) | package(mnemon-testkit)";

/// Runs the named part; further arguments go to nextest.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let (part, rest) = match args {
        [part @ ("core" | "sqlite" | "postgres" | "local-model" | "all"), rest @ ..] => {
            (*part, rest)
        }
        [first, ..] if !first.starts_with('-') => {
            return Err(format!(
                "no part is called {first}: core, sqlite, postgres, local-model, all"
            ));
        }
        rest => ("all", rest),
    };
    let not_postgres = format!("not ({ON_POSTGRES})");
    match part {
        "core" => exec(nextest(&["--package", "mnemon-core"])?.args(rest)),
        "local-model" => local_model(rest),
        "sqlite" => {
            let packages =
                ["--package", "mnemon-core", "--package", "mnemon-sqlite", "--package", "mnemon"];
            let mut command = nextest(&packages)?;
            command.args(["--package", "mnemon-conformance", "--filterset", &not_postgres]);
            exec(command.args(rest))
        }
        "postgres" => {
            build(rest)?;
            with_servers(nextest(&["--workspace", "--filterset", ON_POSTGRES])?.args(rest))
        }
        _ => {
            let mut steps = Steps::new();
            steps.step("tests on SQLite, PostgreSQL 18 and PostgreSQL 16", || everything(rest));
            // Arguments choose among nextest's tests; there is nothing to choose here.
            if rest.is_empty() {
                steps.step("tests of the local model", || local_model(&[]));
                steps.step("doctests", doctests);
            }
            steps.finish()
        }
    }
}

/// Every test but the doctests, on the three databases.
pub(crate) fn everything(args: &[&str]) -> Outcome {
    build(args)?;
    with_servers(nextest(&["--workspace"])?.args(args))
}

/// Compiles all tests; no server waits for the compiler.
pub(crate) fn build(args: &[&str]) -> Outcome {
    exec(nextest(&["--workspace", "--no-run"])?.args(args))
}

/// The tests that need candle, in a build of their own: no other test waits for it.
pub(crate) fn local_model(args: &[&str]) -> Outcome {
    let only = ["--package", "mnemon", "--features", "local-embedder", "--test", "local"];
    exec(nextest(&only)?.args(args))
}

/// The examples in the documentation.
pub(crate) fn doctests() -> Outcome {
    exec(&mut place::cargo(&["test", "--locked", "--workspace", "--doc"]))
}

/// Keeps the shared servers up for the whole of the run, and removes them after it.
fn with_servers(command: &mut Command) -> Outcome {
    let servers = Kit::start(&["serve"], Program::BuiltWithTests)?;
    let outcome = exec(command.env(POSTGRES_SWITCH, "1"));
    drop(servers);
    outcome
}

fn nextest(args: &[&str]) -> Outcome<Command> {
    let mut command = Command::new(tools::tool("cargo-nextest")?);
    command.args(["nextest", "run", "--locked"]).args(args).current_dir(place::root());
    // Whoever asks for less than everything, or left it set, gets exactly what was asked for.
    command.env_remove(POSTGRES_SWITCH);
    Ok(command)
}
