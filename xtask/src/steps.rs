//! Named steps with their wall time, run to the end even when one fails, and the closing summary.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Runs a command with this process's own output; its exit decides.
pub(crate) fn exec(command: &mut Command) -> Outcome {
    let shown = show(command);
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// Runs a command and answers what it printed; its own messages stay visible.
pub(crate) fn read(command: &mut Command) -> Outcome<String> {
    let shown = show(command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{shown}` printed no UTF-8"))
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let name =
        std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let words = std::iter::once(name.as_os_str()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The steps done so far.
pub(crate) struct Steps {
    begun: Instant,
    done: Vec<(&'static str, Duration, Outcome)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), done: Vec::new() }
    }

    /// Runs one step; a failure is kept for the summary, and answered.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Outcome) -> bool {
        eprintln!("\n==> {name}");
        let begun = Instant::now();
        let outcome = run();
        let took = begun.elapsed();
        match &outcome {
            Ok(()) => eprintln!("==> {name}: ok in {}", seconds(took)),
            Err(message) => eprintln!("==> {name}: FAILED in {}: {message}", seconds(took)),
        }
        let ok = outcome.is_ok();
        self.done.push((name, took, outcome));
        ok
    }

    /// Prints every step with its wall time; an error when one failed.
    pub(crate) fn finish(self) -> Outcome {
        let failed: Vec<_> = self
            .done
            .iter()
            .filter(|(_, _, outcome)| outcome.is_err())
            .map(|(name, ..)| *name)
            .collect();
        eprintln!("\n==> summary");
        for (name, took, outcome) in &self.done {
            let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
            eprintln!("    {verdict:<6} {:>9}  {name}", seconds(*took));
        }
        eprintln!("    total  {:>9}", seconds(self.begun.elapsed()));
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
