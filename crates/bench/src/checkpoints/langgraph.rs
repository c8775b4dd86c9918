//! The peer: `langgraph-checkpoint-postgres` on the same server, as a process that saves when it
//! is told to, so that its saves and ours alternate.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use tempfile::NamedTempFile;

use super::Failed;
use super::state::{How, Messages};
use crate::python::Environment;

const REQUIREMENTS: &str = include_str!("../../peers/langgraph-requirements.txt");
const SCRIPT: &str = include_str!("../../peers/langgraph_checkpoints.py");

/// Its process, ended when this is dropped.
pub(super) struct LangGraph {
    child: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
    #[expect(dead_code, reason = "kept until the process ends")]
    file: NamedTempFile,
}

impl LangGraph {
    /// Starts it over a database, in an environment that is made if it does not stand.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) fn start(url: &str, messages: &Messages) -> Result<Self, Failed> {
        let python = Environment::prepare("langgraph", REQUIREMENTS)?;
        let mut file = NamedTempFile::new()?;
        file.write_all(&serde_json::to_vec(messages)?)?;
        let mut child = python
            .command(SCRIPT)
            .arg(url)
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let tell = child.stdin.take().ok_or("langgraph has no standard input")?;
        let hear = BufReader::new(child.stdout.take().ok_or("langgraph has no standard output")?);
        let mut this = Self { child, tell, hear, file };
        this.answer()?;
        Ok(this)
    }

    /// Starts a thread with a first save; seconds.
    pub(super) fn begin(&mut self) -> Result<f64, Failed> {
        self.ask("begin")
    }

    /// Saves so often; seconds.
    pub(super) fn save(&mut self, how: How, times: usize) -> Result<f64, Failed> {
        self.ask(&format!("save {} {times}", how.name()))
    }

    /// A thread that grows by a message a save; seconds.
    pub(super) fn grow(&mut self, steps: usize) -> Result<f64, Failed> {
        self.ask(&format!("grow {steps}"))
    }

    fn ask(&mut self, what: &str) -> Result<f64, Failed> {
        writeln!(self.tell, "{what}")?;
        self.tell.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<f64, Failed> {
        let mut line = String::new();
        self.hear.read_line(&mut line)?;
        line.trim().parse().map_err(|_| format!("langgraph ended, or said {line:?}").into())
    }
}

impl Drop for LangGraph {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
