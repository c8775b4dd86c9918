//! The peer: `dbos`, a workflow's steps on the same server.

use std::time::Duration;

use serde::Deserialize;

use super::load::PAYLOAD;
use crate::python::Environment;

const REQUIREMENTS: &str = include_str!("../../peers/requirements.txt");
const SCRIPT: &str = include_str!("../../peers/dbos_steps.py");

/// An environment that holds `dbos`.
pub(super) struct Dbos(Environment);

#[derive(Deserialize)]
struct Measured {
    steps: f64,
    seconds: f64,
}

impl Dbos {
    /// Makes the environment unless it stands.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn prepare() -> Result<Self, String> {
        Environment::prepare("dbos", REQUIREMENTS).map(Self)
    }

    /// Steps a second on one thread.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn run(&self, url: &str, time: Duration) -> Result<f64, String> {
        let arguments = [url.to_owned(), time.as_secs_f64().to_string(), PAYLOAD.to_string()];
        let last = self.0.run(SCRIPT, &arguments)?;
        let measured: Measured =
            serde_json::from_str(&last).map_err(|error| format!("dbos said {last:?}: {error}"))?;
        Ok(measured.steps / measured.seconds)
    }
}
