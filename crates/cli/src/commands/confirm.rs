//! Asking before what cannot be taken back.

use std::io::{IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Asks whoever sits at the terminal; elsewhere only `--yes` will do.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Unsure(question.to_owned()));
    }
    eprint!("{question}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Failure::Unsure("nothing was changed".to_owned()))
}

/// A span of time as people write it: `90s`, `15m`, `12h`, `30d`.
pub(super) fn span(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is no span such as 90s, 15m, 12h or 30d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(wrong)
}
