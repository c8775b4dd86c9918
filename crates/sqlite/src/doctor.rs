//! What `doctor` looks at in a SQLite file, each with what to do about it.

use std::fs;
use std::sync::mpsc;

use chrono::{DateTime, Utc};
use mnemon_core::limits;
use mnemon_core::store::Finding;
use mnemon_core::upkeep::{Task, TaskStatus};
use rusqlite::{Connection, ErrorCode};

use crate::error::{Done, Fault};
use crate::memories::rows;
use crate::open::{self, Opener};
use crate::{migrate, models, upkeep};

pub(crate) mod sql {
    crate::sql::statements! {
        MODE = "pragma journal_mode";
        /// Bounded: the first faults tell enough.
        CHECK = "pragma quick_check(5)";
    }
}

/// Rights of others on a file.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Every check, good or bad.
pub(crate) fn look(opener: &Opener, conn: &Connection) -> Done<Vec<Finding>> {
    let mut findings = vec![
        Finding::ok("version", format!("SQLite {}", rusqlite::version())),
        schema(opener, conn)?,
        mode(conn)?,
        integrity(conn)?,
        file(opener),
        model(conn)?,
    ];
    let now = rows::time(open::now(conn)?)?;
    let tasks = upkeep::status(conn)?;
    findings
        .extend(Task::ALL.into_iter().zip(&tasks).map(|(task, status)| overdue(task, status, now)));
    Ok(findings)
}

fn schema(opener: &Opener, conn: &Connection) -> Done<Finding> {
    let (found, latest) = (migrate::stand(opener, conn)?.version, migrate::latest(migrate::STEPS));
    Ok(match found.cmp(&latest) {
        std::cmp::Ordering::Less => Finding::error(
            "schema",
            format!("version {found}; this binary needs {latest}"),
            "run `mnemon migrate up`",
        ),
        std::cmp::Ordering::Equal => Finding::ok("schema", format!("version {found}, the newest")),
        std::cmp::Ordering::Greater => Finding::warning(
            "schema",
            format!("version {found}, newer than this binary's {latest}, which it still admits"),
            "update this mnemon as well",
        ),
    })
}

fn mode(conn: &Connection) -> Done<Finding> {
    let mode: String = conn.query_row(sql::MODE, [], |row| row.get(0))?;
    Ok(if mode == "wal" {
        Finding::ok("journal", "a write-ahead log: readers never wait")
    } else {
        Finding::error(
            "journal",
            format!("mode {mode}: readers and the writer block each other"),
            "close every program that uses the file, then open it with mnemon again",
        )
    })
}

/// Looks for damage, for [`limits::INTEGRITY_CHECK`] at the most.
fn integrity(conn: &Connection) -> Done<Finding> {
    let handle = conn.get_interrupt_handle();
    let (done, ended) = mpsc::channel::<()>();
    let faults: rusqlite::Result<Vec<String>> = std::thread::scope(|threads| {
        threads.spawn(move || {
            if ended.recv_timeout(limits::INTEGRITY_CHECK) == Err(mpsc::RecvTimeoutError::Timeout) {
                handle.interrupt();
            }
        });
        let faults = conn
            .prepare(sql::CHECK)
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect());
        drop(done);
        faults
    });
    let damaged = |what: String| {
        Finding::error(
            "integrity",
            what,
            "copy the file away, then restore a backup or save what is readable with the \
             `.recover` command of the sqlite3 shell",
        )
    };
    match faults {
        Ok(faults) if faults == ["ok"] => Ok(Finding::ok("integrity", "no damage found")),
        Ok(faults) => Ok(damaged(faults.join("; "))),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Ok(Finding::warning(
                "integrity",
                format!("not checked through within {} s", limits::INTEGRITY_CHECK.as_secs()),
                "run `pragma quick_check` with the sqlite3 shell when there is time",
            )),
            Some(ErrorCode::DatabaseCorrupt) => Ok(damaged(error.to_string())),
            _ => Err(Fault::from(error)),
        },
    }
}

fn file(opener: &Opener) -> Finding {
    let place = opener.place();
    let found = match fs::metadata(opener.path()) {
        Ok(found) => found,
        Err(error) => {
            return Finding::error(
                "file",
                format!("{place} is not there any more: {error}"),
                "restore it; what is written now is lost when the last process closes it",
            );
        }
    };
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions());
        if mode & OTHERS != 0 {
            return Finding::warning(
                "file",
                format!("{place} is open to others (mode {:o})", mode & 0o777),
                format!("run `chmod 600 {place}`"),
            );
        }
    }
    Finding::ok("file", format!("{place}, {} KiB", found.len() / 1024))
}

fn model(conn: &Connection) -> Done<Finding> {
    Ok(match models::active(conn)? {
        Some(set) => Finding::ok("model", set.model.to_string()),
        None => Finding::ok("model", "none registered: recall is by words"),
    })
}

/// Work that waits while nobody ran the task for long, or that failed.
fn overdue(task: Task, status: &TaskStatus, now: DateTime<Utc>) -> Finding {
    let check = format!("upkeep {}", task.name());
    if let Some(failure) = status.last_error.as_deref().filter(|_| status.errors > 0) {
        return Finding::warning(
            check,
            format!("failed {} times in a row: {failure}", status.errors),
            format!("run `mnemon upkeep --once --only {}` and read what it says", task.name()),
        );
    }
    let patience = task.interval() * limits::UPKEEP_OVERDUE;
    let late = |last: DateTime<Utc>| (now - last).to_std().is_ok_and(|since| since > patience);
    if status.lag > 0 && status.last_run.is_none_or(late) {
        let last = status.last_run.map_or("never".to_owned(), |at| at.to_rfc3339());
        return Finding::warning(
            check,
            format!("{} rows wait; last run: {last}", status.lag),
            "run `mnemon upkeep --once`, or keep a process with upkeep running",
        );
    }
    Finding::ok(check, "not overdue")
}
