//! The peer: `dbos`, a workflow's steps on the same server, in a pinned virtual environment that
//! is made here, once, below `target/peers`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::load::PAYLOAD;

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
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/dbos");
        let (python, stamp) = (home.join("bin/python"), home.join("requirements.txt"));
        if std::fs::read_to_string(&stamp).is_ok_and(|standing| standing == REQUIREMENTS) {
            return Ok(Self { python });
        }
        let shown = |error: std::io::Error| format!("{}: {error}", home.display());
        std::fs::create_dir_all(&home).map_err(shown)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        // Under another name until it is installed: a stamp means that it is.
        let wanted = home.join("requirements.wanted");
        std::fs::write(&wanted, REQUIREMENTS).map_err(shown)?;
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"];
        run(Command::new(&python).args(pip).arg(&wanted))?;
        std::fs::rename(&wanted, &stamp).map_err(shown)?;
        Ok(Self { python })
    }

    /// Steps a second on one thread.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn run(&self, url: &str, time: Duration) -> Result<f64, String> {
        let arguments = [url.to_owned(), time.as_secs_f64().to_string(), PAYLOAD.to_string()];
        let said = run(Command::new(&self.python).args(["-c", SCRIPT]).args(arguments))?;
        let last = said.lines().last().unwrap_or_default();
        let measured: Measured =
            serde_json::from_str(last).map_err(|error| format!("dbos said {last:?}: {error}"))?;
        Ok(measured.steps / measured.seconds)
    }
}

/// Runs a command to its end; answers its output, or the last line of what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} does not run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().last().unwrap_or("nothing was said");
    Err(format!("{name} failed: {last}"))
}
