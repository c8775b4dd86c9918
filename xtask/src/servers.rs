//! The test kit's own program as a child: it keeps servers or a database until this process lets go.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::steps::exec;
use crate::{Outcome, place};

/// Whether the program is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Built just now with the tests, of which it is a part. Building it alone takes the database driver
    /// once more, with other features of shared crates.
    BuiltWithTests,
    /// To be built alone.
    ToBuild,
}

/// A running `mnemon-testkit`; dropped, it cleans up.
pub(crate) struct Kit {
    child: Child,
    /// Its end tells the child to clean up, also when this process is killed.
    stdin: Option<ChildStdin>,
    /// What it answered: name and URL.
    pub(crate) answers: Vec<(String, String)>,
}

impl Kit {
    /// Starts the program. It says on stderr which servers it found.
    pub(crate) fn start(args: &[&str], is_there: Program) -> Outcome<Self> {
        if is_there == Program::ToBuild {
            let build = ["build", "--quiet", "--locked", "--package", "mnemon-testkit", "--bins"];
            exec(&mut place::cargo(&build))?;
        }
        let program = place::target().join("debug/mnemon-testkit");
        let mut child = Command::new(&program)
            .args(args)
            .current_dir(place::root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("its stdout is a pipe");
        let mut kit = Self { child, stdin, answers: Vec::new() };
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("mnemon-testkit: {error}"))?;
            if line == "ready" {
                return Ok(kit);
            }
            if let Some((name, url)) = line.split_once('=') {
                kit.answers.push((name.to_owned(), url.to_owned()));
            }
        }
        Err(format!("`mnemon-testkit {}` gave up (its message is above)", args.join(" ")))
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Its own message says what went wrong; the run's outcome is not changed by it.
        let _ = self.child.wait();
    }
}
