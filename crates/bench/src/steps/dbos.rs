//! The peer: `dbos`, a workflow's steps on the same server, in a pinned virtual environment that
//! is made here, once, below `target/peers`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::load::PAYLOAD;
use crate::peers;

const REQUIREMENTS: &str = include_str!("../../peers/requirements.txt");
const SCRIPT: &str = include_str!("../../peers/dbos_steps.py");

/// An environment that holds `dbos`.
pub(super) struct Dbos {
    python: PathBuf,
}

#[derive(Deserialize)]
struct Measured {
    steps: f64,
    seconds: f64,
}

impl Dbos {
    /// Makes the environment unless it stands, with exactly these versions.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn prepare() -> Result<Self, String> {
        let python = peers::environment("dbos", REQUIREMENTS)?;
        Ok(Self { python })
    }

    /// Steps a second on one thread.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn run(&self, url: &str, time: Duration) -> Result<f64, String> {
        let arguments = [url.to_owned(), time.as_secs_f64().to_string(), PAYLOAD.to_string()];
        let said = peers::run(Command::new(&self.python).args(["-c", SCRIPT]).args(arguments))?;
        let last = said.lines().last().unwrap_or_default();
        let measured: Measured =
            serde_json::from_str(last).map_err(|error| format!("dbos said {last:?}: {error}"))?;
        Ok(measured.steps / measured.seconds)
    }
}
