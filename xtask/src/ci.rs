//! `cargo xtask ci`: everything that must hold before a change lands, each step with its wall time.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::Program;
use crate::steps::{Steps, exec};
use crate::{Outcome, features, msrv, place, prepare, test, tools};

/// How long the advisory database may take to answer before it counts as out of reach.
const ADVISORIES_PATIENCE: Duration = Duration::from_mins(2);

/// Runs every step, also after one that failed; the tests come last, so that their outcome stays in sight.
pub(crate) fn run() -> Outcome {
    let mut steps = Steps::new();
    steps.step("format", || exec(&mut place::cargo(&["fmt", "--all", "--check"])));
    steps.step("lints", lints);
    steps.step("feature combinations", || features::lint().and_then(|()| features::trees()));
    steps.step("documentation", documentation);
    steps.step("minimum Rust version", msrv::check);
    steps.step("licences, bans, sources", || {
        deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
    });
    steps.step("advisories", advisories);
    let built = steps.step("build of the tests", || test::build(&[]));
    // Stale descriptions may be the very reason why the build failed.
    let program = if built { Program::BuiltWithTests } else { Program::ToBuild };
    steps.step("query descriptions", || prepare::run(prepare::Mode::Check, program));
    steps.step("tests on SQLite, PostgreSQL 18 and PostgreSQL 16", || test::everything(&[]));
    steps.step("tests of the local model", || test::local_model(&[]));
    steps.step("doctests", test::doctests);
    steps.finish()
}

fn lints() -> Outcome {
    let args = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    exec(&mut place::cargo(&args))
}

fn documentation() -> Outcome {
    let mut command = place::cargo(&["doc", "--locked", "--workspace", "--no-deps", "--quiet"]);
    exec(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(args: &[&str]) -> Outcome {
    exec(deny_command()?.args(args))
}

/// Known vulnerabilities, where the database of them can be fetched; one line of warning where it cannot.
fn advisories() -> Outcome {
    let mut fetch = deny_command()?;
    fetch.args(["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !succeeds_within(&mut fetch, ADVISORIES_PATIENCE) {
        eprintln!("warning: advisories were not checked: their database is out of reach");
        return Ok(());
    }
    deny(&["--offline", "check", "--hide-inclusion-graph", "advisories"])
}

fn deny_command() -> Outcome<Command> {
    let mut command = Command::new(tools::tool("cargo-deny")?);
    command.current_dir(place::root());
    Ok(command)
}

fn succeeds_within(command: &mut Command, patience: Duration) -> bool {
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Ok(Some(status)) = child.try_wait() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // It may have ended in this very moment.
    let _ = child.kill();
    let _ = child.wait();
    false
}
