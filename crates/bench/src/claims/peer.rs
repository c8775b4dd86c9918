//! The peer: mempill's published crates in a process of their own, built here once below
//! `target/peers`, told what to do line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mnemon_testkit::TestDatabase;
use tempfile::TempDir;

use crate::target::Target;

/// A running peer, ended with this.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    #[expect(dead_code, reason = "kept as long as the peer runs")]
    place: Place,
}

/// Where its claims are.
#[expect(dead_code, reason = "kept as long as the peer runs")]
enum Place {
    Folder(TempDir),
    Server(TestDatabase),
}

impl Peer {
    /// Builds the peer, unless it stands, and starts it: on files of its own, or on a database of
    /// its own of the same server.
    ///
    /// # Errors
    ///
    /// One line that says what did not work.
    pub(super) async fn start(target: &Target) -> Result<Self, String> {
        let shown = |error: std::io::Error| error.to_string();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (manifest, home) =
            (here.join("peers/mempill/Cargo.toml"), here.join("../../target/peers/mempill"));
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&home)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("cargo does not run: {error}"))?;
        if !built.success() {
            return Err("it does not build".to_owned());
        }
        let mut command = Command::new(home.join("release/mempill-peer"));
        let place = if let Some(database) = target.server() {
            let beside = database.server().database().await;
            command.args(["postgres", beside.url()]);
            Place::Server(beside)
        } else {
            let folder = tempfile::tempdir().map_err(shown)?;
            command.arg("sqlite").arg(folder.path());
            Place::Folder(folder)
        };
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(shown)?;
        let piped = "it was started with pipes";
        let input = child.stdin.take().expect(piped);
        let output = BufReader::new(child.stdout.take().expect(piped));
        let mut peer = Self { child, input, output, place };
        peer.hear()?;
        Ok(peer)
    }

    /// Ingests so many claims of lines of their own.
    pub(super) fn fill(&mut self, agent: &str, count: usize) -> Result<(), String> {
        self.tell(&format!("fill {agent} {count}")).map(drop)
    }

    /// Ingests windows of a day that end yesterday, and one that holds since.
    pub(super) fn succession(
        &mut self,
        agent: &str,
        subject: &str,
        count: usize,
    ) -> Result<(), String> {
        self.tell(&format!("succession {agent} {subject} {count}")).map(drop)
    }

    /// Ingests a claim; the microseconds it took.
    pub(super) fn ingest(&mut self, agent: &str, subject: &str) -> Result<f64, String> {
        self.timed(&format!("ingest {agent} {subject}"), "CommittedCheap")
    }

    /// Reads a belief; the microseconds it took.
    pub(super) fn belief(&mut self, agent: &str, subject: &str) -> Result<f64, String> {
        self.timed(&format!("belief {agent} {subject}"), "Resolved")
    }

    fn timed(&mut self, what: &str, outcome: &str) -> Result<f64, String> {
        let answer = self.tell(what)?;
        match answer.split_once(' ') {
            Some((micros, said)) if said == outcome => {
                micros.parse().map_err(|_| format!("{what}: it answered {answer}"))
            }
            _ => Err(format!("{what}: it answered {answer}")),
        }
    }

    fn tell(&mut self, line: &str) -> Result<String, String> {
        let sent = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        sent.map_err(|error| format!("{line}: {error}"))?;
        self.hear().map_err(|reason| format!("{line}: {reason}"))
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("it ended".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Nothing of it is to be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
