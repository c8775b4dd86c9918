//! What Mnemon measures, through the `metrics` facade: the host chooses the exporter. The names
//! stand in one table, [`ALL`].

use std::fmt::Write as _;

use mnemon_core::Facet;
pub use mnemon_core::metric_names::*;
use mnemon_core::turns::Attempt;
use mnemon_core::upkeep::{Batch, Depths, Task};

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit,
            labels.join(", "),
            metric.meaning
        );
    }
    page.push_str(SPANS_INTRODUCTION);
    for (name, fields, meaning) in SPANS {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let _ = writeln!(page, "| `{name}` | {} | {meaning} |", fields.join(", "));
    }
    page
}

const SPANS_INTRODUCTION: &str = "
## Spans

Of the `tracing` facade, at level DEBUG: with a subscriber that lets them through, what is logged
inside one says so. No field holds anything of a caller's: no tenant, no key, no content.

| name | fields | what it spans |
|---|---|---|
";

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from crates/core/src/metric_names.rs. To regenerate:
     MNEMON_REGENERATE=1 cargo test -p mnemon --test docs -->

Recorded through the [`metrics`](https://docs.rs/metrics) facade: install any recorder (for
Prometheus, StatsD, …) and they are there; without one they cost nothing. No label names a tenant
or a person.

| name | kind | unit | labels | meaning |
|---|---|---|---|---|
";

pub(crate) fn scope_rejected(facet: Facet) {
    metrics::counter!(SCOPE_REJECTIONS_TOTAL, "facet" => facet.name()).increment(1);
}

pub(crate) fn summary(attempt: &Attempt) {
    let outcome = match attempt {
        Attempt::Summarized { .. } => "written",
        Attempt::Failed { .. } => "failed",
        Attempt::Abandoned => "abandoned",
    };
    metrics::counter!(SUMMARIES_TOTAL, "outcome" => outcome).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn embedding_backlog(memories: u64) {
    metrics::gauge!(EMBEDDING_BACKLOG).set(memories as f64);
}

pub(crate) fn upkeep_run(task: Task, outcome: &'static str) {
    metrics::counter!(UPKEEP_RUNS_TOTAL, "task" => task.name(), "outcome" => outcome).increment(1);
}

pub(crate) fn upkeep_rows(task: Task, batch: Batch) {
    metrics::counter!(UPKEEP_ROWS_TOTAL, "task" => task.name()).increment(batch.rows);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn upkeep_lag(task: &str, rows: u64) {
    metrics::gauge!(UPKEEP_LAG, "task" => task.to_owned()).set(rows as f64);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn depths(depths: &Depths) {
    for (state, items) in &depths.dead_letters {
        metrics::gauge!(DEAD_LETTERS, "state" => state.as_str()).set(*items as f64);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn subscription_lag(events: usize) {
    metrics::gauge!(SUBSCRIPTION_LAG).set(events as f64);
}

pub(crate) fn event_horizon(age: std::time::Duration) {
    metrics::gauge!(EVENT_HORIZON_AGE).set(age.as_secs_f64());
}
