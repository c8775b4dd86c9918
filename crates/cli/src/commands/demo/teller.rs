//! How the story is told: days, what happens, what Mnemon answers; in colour on a terminal.

use std::io;

use console::style;
use serde_json::{Value, json};

use crate::output::Output;

/// Tells a story line by line, or keeps it for one JSON value at the end.
pub(super) struct Teller<'a> {
    output: &'a Output,
    day: String,
    told: Vec<Value>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, day: String::new(), told: Vec::new() }
    }

    /// A part of the story begins.
    pub(super) fn day(&mut self, name: &str, about: &str) -> io::Result<()> {
        name.clone_into(&mut self.day);
        self.say(format!("\n{} {}", style(name).bold().cyan(), style(about).bold()))
    }

    /// What happens, and why it is shown.
    pub(super) fn happens(&mut self, what: impl AsRef<str>) -> io::Result<()> {
        self.keep("happens", what.as_ref());
        self.say(format!("  {} {}", style("•").cyan(), what.as_ref()))
    }

    /// What Mnemon answers.
    pub(super) fn answers(&mut self, what: impl AsRef<str>) -> io::Result<()> {
        self.keep("answers", what.as_ref());
        self.say(format!("      {} {}", style("→").green(), style(what.as_ref()).green()))
    }

    /// What goes wrong, as it should here.
    pub(super) fn refuses(&mut self, what: impl AsRef<str>) -> io::Result<()> {
        self.keep("refuses", what.as_ref());
        self.say(format!("      {} {}", style("✗").red(), style(what.as_ref()).red()))
    }

    /// A line outside the story.
    pub(super) fn aside(&self, text: &str) -> io::Result<()> {
        self.say(text.to_owned())
    }

    /// Ends the story.
    pub(super) fn end(self) -> io::Result<()> {
        if self.output.json { self.output.json(&json!({ "story": self.told })) } else { Ok(()) }
    }

    fn keep(&mut self, how: &str, what: &str) {
        self.told.push(json!({ "day": self.day, how: what }));
    }

    fn say(&self, line: String) -> io::Result<()> {
        if self.output.json { Ok(()) } else { self.output.line(line) }
    }
}
