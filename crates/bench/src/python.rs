//! Peers in Python: a pinned virtual environment each, made once, below `target/peers`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An environment that holds exactly what was asked for.
pub(crate) struct Environment {
    python: PathBuf,
}

impl Environment {
    /// Makes the environment of this name unless it stands, with exactly these versions.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(crate) fn prepare(name: &str, requirements: &str) -> Result<Self, String> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers").join(name);
        let (python, stamp) = (home.join("bin/python"), home.join("requirements.txt"));
        if std::fs::read_to_string(&stamp).is_ok_and(|standing| standing == requirements) {
            return Ok(Self { python });
        }
        let shown = |error: std::io::Error| format!("{}: {error}", home.display());
        std::fs::create_dir_all(&home).map_err(shown)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        // Under another name until it is installed: a stamp means that it is.
        let wanted = home.join("requirements.wanted");
        std::fs::write(&wanted, requirements).map_err(shown)?;
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"];
        run(Command::new(&python).args(pip).arg(&wanted))?;
        std::fs::rename(&wanted, &stamp).map_err(shown)?;
        Ok(Self { python })
    }

    /// A script that is going to run in it.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", script]);
        command
    }

    /// Runs a script; its last line.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(crate) fn run(&self, script: &str, arguments: &[String]) -> Result<String, String> {
        let said = run(self.command(script).args(arguments))?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
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
