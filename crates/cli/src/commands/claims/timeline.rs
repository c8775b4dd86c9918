//! A line's history as a person reads it: a bar per claim on the axis of valid time, and beside
//! it when it was recorded.

use chrono::{DateTime, Utc};
use mnemon::claims::{History, HistoryEntry, HistoryStatus, Line};

use super::super::show;
use crate::output::shortened;

/// Columns of the values.
const VALUE: usize = 20;
/// The fewest columns of the bars.
const BARS: usize = 24;
/// Columns of what stands behind the bars: status and recorded time.
const BEHIND: usize = 36;

/// The stretch of valid time that is drawn.
#[derive(Clone, Copy)]
struct Axis {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    columns: usize,
}

impl Axis {
    /// From the first to the last time that anything changes, the time asked for included.
    fn over(history: &History, columns: usize) -> Self {
        let windows = history.entries.iter().map(|entry| entry.valid_time);
        let times: Vec<DateTime<Utc>> = windows
            .flat_map(|window| [window.start, window.end])
            .flatten()
            .chain([history.valid_at])
            .collect();
        let from = times.iter().copied().min().unwrap_or(history.valid_at);
        let until = times.iter().copied().max().unwrap_or(history.valid_at);
        Self { from, until, columns }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a column on a screen"
    )]
    fn column(self, at: DateTime<Utc>) -> usize {
        let whole = (self.until - self.from).num_seconds().max(1) as f64;
        let part = (at - self.from).num_seconds() as f64;
        ((part / whole).clamp(0.0, 1.0) * (self.columns - 1) as f64).round() as usize
    }
}

/// Draws a history, at most `width` columns wide where that is enough.
pub(super) fn draw(line: &Line, history: &History, width: usize) -> String {
    let known = history.as_of.map_or_else(|| "before anything".to_owned(), show::moment);
    let mut lines = vec![
        format!("{} · {}", line.subject, line.predicate),
        format!("known (transaction time): {known}"),
        format!("asked about (valid time): {}", show::moment(history.valid_at)),
    ];
    if history.entries.is_empty() {
        lines.push("nothing was said".to_owned());
        return lines.join("\n");
    }
    let columns = width.saturating_sub(VALUE + BEHIND + 4).max(BARS);
    let axis = Axis::over(history, columns);
    lines.push(String::new());
    lines.push(format!("{:VALUE$}  {}  recorded", "valid time →", scale(axis)));
    let mark = axis.column(history.valid_at);
    lines.push(format!("{:VALUE$}  {:mark$}▼", "", ""));
    for entry in &history.entries {
        let value = shortened(&show::value(&entry.value), VALUE);
        let status =
            format!("{}{}", if is_contested(entry) { "! " } else { "" }, said(entry.status));
        lines.push(
            format!(
                "{value:VALUE$}  {}  {}  {status}",
                bar(axis, entry),
                show::moment(entry.recorded_at)
            )
            .trim_end()
            .to_owned(),
        );
    }
    if let Some(next) = &history.next {
        lines.push(format!("more: --cursor {next}"));
    }
    lines.join("\n")
}

/// Both ends of the axis, as days.
fn scale(axis: Axis) -> String {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let (from, until) = (day(axis.from), day(axis.until));
    let gap = axis.columns.saturating_sub(from.len() + until.len());
    format!("{from}{:gap$}{until}", "")
}

fn is_contested(entry: &HistoryEntry) -> bool {
    entry.status == HistoryStatus::Contested
}

/// A window as a bar: contested ones doubled, those that count no more dotted, without a date all
/// along.
fn bar(axis: Axis, entry: &HistoryEntry) -> String {
    let (from, until) = (entry.valid_time.start, entry.valid_time.end);
    let fill = match entry.status {
        HistoryStatus::Contested => '═',
        HistoryStatus::Current | HistoryStatus::Past | HistoryStatus::Future => '─',
        _ => '·',
    };
    let start = from.map_or(0, |at| axis.column(at));
    let end = until.map_or(axis.columns - 1, |at| axis.column(at)).max(start);
    let mut cells = vec![' '; axis.columns];
    cells[start..=end].fill(fill);
    if until.is_none() {
        cells[end] = '▶';
    } else if end > start {
        cells[end] = '┤';
    }
    cells[start] = match from {
        // Begins where the axis ends.
        Some(_) if until.is_none() && start == end => '▶',
        Some(_) => '├',
        None => '◀',
    };
    cells.into_iter().collect()
}

fn said(status: HistoryStatus) -> &'static str {
    match status {
        HistoryStatus::Current => "current",
        HistoryStatus::Contested => "contested",
        HistoryStatus::Below => "below",
        HistoryStatus::Past => "past",
        HistoryStatus::Future => "to come",
        HistoryStatus::Superseded => "superseded",
        HistoryStatus::Invalidated => "taken back",
        HistoryStatus::Rejected => "refused",
        HistoryStatus::Quarantined => "quarantined",
    }
}
