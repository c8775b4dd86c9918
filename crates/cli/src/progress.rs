//! How far a long command is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Off a terminal, a line is written after this many.
const EVERY: u64 = 5_000;
/// And of a known total, about this many lines.
const LINES: u64 = 10;

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    done: u64,
    said: u64,
    every: u64,
    what: &'static str,
}

impl Progress {
    /// Starts; `total` where it is known.
    pub(crate) fn start(output: &Output, what: &'static str, total: Option<u64>) -> Self {
        let shown = !output.is_quiet();
        let terminal = shown && std::io::stderr().is_terminal();
        let bar = terminal.then(|| bar(what, total));
        let every = total.map_or(EVERY, |total| (total / LINES).clamp(1, EVERY));
        Self { bar, lines: shown && !terminal, done: 0, said: 0, every, what }
    }

    /// So many more are done.
    pub(crate) fn add(&mut self, count: u64) {
        self.done += count;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
        if self.lines && self.done - self.said >= self.every {
            self.said = self.done;
            eprintln!("{} {}", self.done, self.what);
        }
    }

    /// Clears the bar away; the result says the rest.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {pos}/{len} {msg} ({per_sec}, {eta})"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} {msg} ({per_sec})"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).expect("the templates above are valid"));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
