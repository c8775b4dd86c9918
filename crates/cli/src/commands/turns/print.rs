//! How turns and what belongs to them look to people.

use mnemon::turns::{Context, Removed, SessionInfo, Standing, Strategy, Summarized, Summary, Turn};

use crate::commands::show;
use crate::output::shortened;

/// Characters of a message in a table.
const MESSAGE: usize = 400;

pub(super) fn turn(turn: &Turn) -> [String; 2] {
    let said = |who: &str, text: &Option<String>| {
        text.as_ref().map(|text| format!("{who}: {}", shortened(text, MESSAGE)))
    };
    let about = show::about([
        Some(show::moment(turn.at)),
        Some(format!("{} tokens", turn.tokens)),
        Some(show::value(&turn.metadata)),
    ]);
    let lines = [
        said("user", &turn.user_message),
        said("assistant", &turn.assistant_response),
        Some(about),
    ];
    [turn.seq.to_string(), lines.into_iter().flatten().collect::<Vec<_>>().join("\n")]
}

pub(super) fn summary(summary: &Summary) -> [String; 2] {
    let about = show::about([
        Some(show::moment(summary.at)),
        Some(format!("{} tokens", summary.tokens)),
        summary.extends.map(|end| format!("extends the one up to {end}")),
    ]);
    let range = format!("{}–{}", summary.seq_from, summary.seq_to);
    [range, format!("{}\n{about}", summary.text.trim_end())]
}

pub(super) fn session(info: &SessionInfo) -> [String; 4] {
    [
        info.session.clone(),
        info.memories.to_string(),
        info.turns.to_string(),
        show::moment(info.active_at),
    ]
}

pub(super) fn strategy(strategy: Strategy) -> String {
    match strategy {
        Strategy::None => "no turns are kept".to_owned(),
        Strategy::Truncation { budget_tokens } => format!("truncation to {budget_tokens} tokens"),
        Strategy::RollingSummary { full_zone_turns, budget_tokens } => {
            let budget = budget_tokens
                .map_or_else(String::new, |tokens| format!(", within {tokens} tokens"));
            format!("a rolling summary, the newest {full_zone_turns} turns whole{budget}")
        }
        _ => strategy.name().to_owned(),
    }
}

pub(super) fn context(found: &Context) -> String {
    let mut sum = format!(
        "{}, {} tokens; {}",
        counted(found.recent_turns.len() as u64, "turn"),
        found.tokens,
        strategy(found.strategy)
    );
    if found.left_out > 0 {
        sum = format!("{sum}; {} left out", counted(found.left_out, "older turn"));
    }
    if found.recent_turns.is_empty() && found.summary.is_none() {
        return sum;
    }
    let mut table = show::table(&["#", "turn"]);
    if let Some(link) = &found.summary {
        let up_to = format!("1–{}", link.seq_to);
        table.add_row([up_to, format!("summary: {}", link.text.trim_end())]);
    }
    for said in &found.recent_turns {
        table.add_row(turn(said));
    }
    format!("{table}\n{sum}")
}

pub(super) fn standing(standing: &Standing) -> String {
    let mut lines = vec![format!(
        "{}: summarised up to turn {}, {} waiting",
        standing.health,
        standing.covered,
        counted(standing.backlog.unsigned_abs(), "turn")
    )];
    if let Some(error) = &standing.last_error {
        let times = counted(u64::from(standing.failures), "failure");
        lines.push(format!("{times} in a row, the last: {error}"));
    }
    if standing.paused {
        lines.push("so much waits that the summariser is tried only once an hour".to_owned());
    }
    lines.join("\n")
}

pub(super) fn summarized(done: &Summarized) -> String {
    let mut text = format!("{} written", counted(done.written, "summary"));
    if let Some(failed) = &done.failed {
        text = format!("{text}; the summariser failed: {failed}");
    }
    format!("{text}\n{}", standing(&done.standing))
}

pub(super) fn removed(removed: &Removed) -> String {
    format!(
        "removed {} and {}",
        counted(removed.turns, "turn"),
        counted(removed.summaries, "summary")
    )
}

/// A number with its noun.
pub(super) fn counted(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}
