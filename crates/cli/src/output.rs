//! Where things go: results on stdout, as text or as one JSON value; notices on stderr.

use std::io::{self, Write as _};

use console::style;
use serde::Serialize;

/// How this run speaks.
pub(crate) struct Output {
    /// Results and errors as one JSON value on stdout.
    pub(crate) json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// A result as text. An error means the reader went away, and ends the command.
    #[expect(clippy::unused_self, reason = "what is printed goes through the output")]
    pub(crate) fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.as_ref())?;
        stdout.flush()
    }

    /// A result as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    /// A result in both shapes: the value, or the text made of it.
    pub(crate) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        if self.json { self.json(value) } else { self.line(text()) }
    }

    /// Something a person should know, but not what was asked for.
    pub(crate) fn notice(&self, text: &str) {
        if !self.quiet {
            eprintln!("{} {text}", style("note:").cyan().for_stderr());
        }
    }

    /// Whether progress is shown at all.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// How wide tables are: the terminal, or a fixed width for files and pipes.
pub(crate) fn width() -> u16 {
    let term = console::Term::stdout();
    let columns =
        if term.is_term() { term.size_checked().map(|(_, columns)| columns) } else { None };
    columns.unwrap_or(100).clamp(60, 160)
}

/// A text of at most `limit` characters on one line.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    let mut short: String = line.chars().take(limit - 1).collect();
    short.push('…');
    short
}
