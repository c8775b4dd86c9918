//! What `doctor` says of upkeep: which task is overdue or failing, and what helps.

use chrono::{DateTime, Utc};
use mnemon_core::limits;
use mnemon_core::store::Finding;
use mnemon_core::upkeep::{Task, TaskStatus};

/// One finding per task.
pub(crate) fn findings(status: &[TaskStatus], now: DateTime<Utc>) -> Vec<Finding> {
    status.iter().map(|task| finding(task, now)).collect()
}

fn finding(status: &TaskStatus, now: DateTime<Utc>) -> Finding {
    let check = format!("upkeep {}", status.name);
    let fix = format!(
        "run `mnemon upkeep --once --only {}`, or keep a process open that does upkeep",
        status.name
    );
    if let (1.., Some(error)) = (status.errors, &status.last_error) {
        let message = format!("failed {} times in a row, last: {error}", status.errors);
        return Finding::warning(check, message, fix);
    }
    let waiting = match status.lag {
        0 => return Finding::ok(check, "nothing is waiting"),
        1 => "1 row is waiting".to_owned(),
        rows => format!("{rows} rows are waiting"),
    };
    match status.last_run {
        Some(last) if !overdue(&status.name, last, now) => Finding::ok(check, waiting),
        Some(last) => {
            let minutes = (now - last).num_minutes();
            let message = format!("{waiting}; it last ran {minutes} minutes ago");
            Finding::warning(check, message, fix)
        }
        None => Finding::warning(check, format!("{waiting}; it never ran"), fix),
    }
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
        assert_eq!(finding.message, "7 rows are waiting; it last ran 10 minutes ago");
        assert!(finding.fix.unwrap().contains("mnemon upkeep --once --only text-counts"));
    }

    #[test]
    fn a_failing_task_shows_its_error() {
        let (mut status, now) = status(0, Some(1));
        status.errors = 3;
        status.last_error = Some("the disk is full".into());

        let message = finding(&status, now).message;

        assert_eq!(message, "failed 3 times in a row, last: the disk is full");
    }
}
