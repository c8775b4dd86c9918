//! Runs the built binary in a folder of its own, and takes out of what it says whatever differs
//! from run to run.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "not every file of tests uses all of it")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A home, a working folder and an environment of a test's own.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The command, ready to be changed before it runs.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
        for (name, _) in std::env::vars_os() {
            let theirs = name.to_string_lossy();
            if theirs.starts_with("MNEMON_") || theirs.starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .env("HOME", self.folder.path().join("home"))
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path().join("work"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[], "")
    }

    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)], stdin: &str) -> Said {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it, which is no fault.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| self.redacted(&String::from_utf8(bytes).unwrap());
        Said {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    fn redacted(&self, text: &str) -> String {
        let folder = |path: &Path| path.display().to_string();
        let text = text.replace(&folder(self.folder.path()), "[folder]");
        let text = replaced(&text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "[id]");
        let text = replaced(&text, "dddd-dd-ddTdd:dd:dd.ddddddZ", "[time]");
        let text = replaced(&text, "dddd-dd-dd dd:dd:dd", "[time]");
        let text = replaced(&text, "dddd-dd-dd dd:dd", "[time]");
        let text = replaced(&text, "in d.d s", "in [seconds]");
        text.replace(env!("CARGO_PKG_VERSION"), "[version]")
    }
}

/// Replaces what has the shape of a pattern: `d` a digit, `x` a hexadecimal one.
fn replaced(text: &str, pattern: &str, by: &str) -> String {
    let fits = |at: &str| {
        at.len() >= pattern.len()
            && at.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'd' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_hexdigit(),
                exact => byte == exact,
            })
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if fits(rest) {
            // As long as what it replaces, so that tables stay straight.
            let _ = write!(out, "{by:<0$}", pattern.len());
            rest = &rest[pattern.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Said {
    /// Stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Fails with everything that was said unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}
