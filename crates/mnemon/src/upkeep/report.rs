//! What `doctor` says of upkeep: which task is overdue or failing, and what helps.

use chrono::{DateTime, Utc};
use mnemon_core::store::Finding;
use mnemon_core::upkeep::{Task, TaskStatus};
use mnemon_core::{limits, troubles};

/// One finding per task.
pub(crate) fn findings(status: &[TaskStatus], now: DateTime<Utc>) -> Vec<Finding> {
    status.iter().map(|task| finding(task, now)).collect()
}

fn finding(status: &TaskStatus, now: DateTime<Utc>) -> Finding {
    let (check, task) = (format!("upkeep {}", status.name), ("task", &*status.name));
    if let (1.., Some(error)) = (status.errors, &status.last_error) {
        let message = format!("failed {} times in a row", status.errors);
        return troubles::UPKEEP_FAILING.under(check, message, &[task, ("error", error)]);
    }
    let waiting = match status.lag {
        0 => return Finding::ok(check, "nothing is waiting"),
        1 => "1 row is waiting".to_owned(),
        rows => format!("{rows} rows are waiting"),
    };
    let last = match status.last_run {
        Some(last) if !overdue(&status.name, last, now) => return Finding::ok(check, waiting),
        Some(last) => format!("{} minutes ago", (now - last).num_minutes()),
        None => "never".to_owned(),
    };
    troubles::UPKEEP_OVERDUE.under(check, waiting, &[task, ("last", &last)])
}

fn overdue(name: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let Some(task) = Task::ALL.into_iter().find(|task| task.name() == name) else { return false };
    let age = (now - last).to_std().unwrap_or_default();
    age > limits::UPKEEP_OVERDUE * task.interval()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use mnemon_core::store::Severity;

    use super::*;

    fn status(lag: u64, ran_seconds_ago: Option<i64>) -> (TaskStatus, DateTime<Utc>) {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let status = TaskStatus {
            name: Task::TextCounts.name().to_owned(),
            holder: None,
            last_run: ran_seconds_ago.map(|seconds| now - TimeDelta::seconds(seconds)),
            errors: 0,
            last_error: None,
            lag,
        };
        (status, now)
    }

    #[test]
    fn a_task_with_nothing_waiting_is_never_overdue() {
        let (status, now) = status(0, None);

        assert_eq!(finding(&status, now).severity, Severity::Ok);
    }

    #[test]
    fn a_task_that_has_not_run_for_long_is_overdue_and_says_what_helps() {
        let (recent, now) = status(7, Some(60));
        let (old, _) = status(7, Some(600));

        assert_eq!(finding(&recent, now).severity, Severity::Ok);
        let finding = finding(&old, now);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.message,
            "7 rows are waiting: no process does upkeep; it last ran 10 minutes ago"
        );
        assert!(finding.fix.unwrap().contains("mnemon upkeep --once --only text-counts"));
    }

    #[test]
    fn a_failing_task_shows_its_error() {
        let (mut status, now) = status(0, Some(1));
        status.errors = 3;
        status.last_error = Some("the disk is full".into());

        let message = finding(&status, now).message;

        assert_eq!(message, "failed 3 times in a row: it said: the disk is full");
    }
}
