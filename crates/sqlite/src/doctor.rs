//! What `doctor` looks at in a SQLite file, each with what to do about it.

use std::fs;
use std::sync::mpsc;

use mnemon_core::store::Finding;
use mnemon_core::{limits, troubles};
use rusqlite::{Connection, ErrorCode};

use crate::error::{Done, Fault};
use crate::memories::rows;
use crate::open::Opener;
use crate::{migrate, models};

pub(crate) mod sql {
    crate::sql::statements! {
        MODE = "pragma journal_mode";
        /// Bounded: the first faults tell enough.
        CHECK = "pragma quick_check(5)";
        SPACE = "select p.page_count, f.freelist_count, s.page_size \
            from pragma_page_count p, pragma_freelist_count f, pragma_page_size s";
        CONSUMERS = "select c.consumer, c.at, \
            c.at + ?1 < (select max(s.recorded_at) from event_streams s where s.tenant = c.tenant) \
            and not exists (select 1 from event_members m where m.tenant = c.tenant \
            and m.consumer = c.consumer and m.expires_at > mnemon_now()) \
            from (select tenant, consumer, max(updated_at) as at from event_consumers \
            group by tenant, consumer) c order by c.at";
        LETTERS = "select count(*) from (select 1 from dead_letters limit ?1)";
    }
}

/// Rights of others on a file.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Every check, good or bad.
pub(crate) fn look(opener: &Opener, conn: &Connection) -> Done<Vec<Finding>> {
    Ok(vec![
        Finding::ok("version", format!("SQLite {}", rusqlite::version())),
        schema(opener, conn)?,
        journal(opener, conn)?,
        integrity(conn)?,
        file(opener),
        space(conn)?,
        model(conn)?,
        consumers(conn)?,
        dead_letters(conn)?,
    ])
}

fn schema(opener: &Opener, conn: &Connection) -> Done<Finding> {
    let (found, latest) = (migrate::stand(opener, conn)?.version, migrate::latest(migrate::STEPS));
    let (version, words) = (format!("version {found}"), [("latest", &*latest.to_string())]);
    Ok(match found.cmp(&latest) {
        std::cmp::Ordering::Less => troubles::SCHEMA_BEHIND.found(version, &words),
        std::cmp::Ordering::Equal => Finding::ok("schema", format!("{version}, the newest")),
        std::cmp::Ordering::Greater => troubles::SCHEMA_AHEAD.found(version, &words),
    })
}

fn journal(opener: &Opener, conn: &Connection) -> Done<Finding> {
    let mode: String = conn.query_row(sql::MODE, [], |row| row.get(0))?;
    if mode != "wal" {
        return Ok(troubles::JOURNAL_MODE.found(format!("mode {mode}"), &[]));
    }
    let mut log = opener.path().as_os_str().to_owned();
    log.push("-wal");
    let bytes = fs::metadata(log).map_or(0, |found| found.len());
    let message = format!("a write-ahead log of {} KiB: readers never wait", bytes / 1024);
    Ok(if bytes > limits::LOG_BYTES {
        troubles::LOG_LARGE.found(message, &[])
    } else {
        Finding::ok("journal", message)
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
    let damaged = |what: String| troubles::FILE_DAMAGED.found(what, &[]);
    match faults {
        Ok(faults) if faults == ["ok"] => Ok(Finding::ok("integrity", "no damage found")),
        Ok(faults) => Ok(damaged(faults.join("; "))),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                let seconds = limits::INTEGRITY_CHECK.as_secs();
                Ok(troubles::FILE_UNCHECKED.found(format!("{seconds} s"), &[]))
            }
            Some(ErrorCode::DatabaseCorrupt) => Ok(damaged(error.to_string())),
            _ => Err(Fault::from(error)),
        },
    }
}

fn file(opener: &Opener) -> Finding {
    let place = opener.place();
    let found = match fs::metadata(opener.path()) {
        Ok(found) => found,
        Err(error) => return troubles::FILE_GONE.found(format!("{place}: {error}"), &[]),
    };
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions());
        if mode & OTHERS != 0 {
            let message = format!("{place}, mode {:o}", mode & 0o777);
            return troubles::FILE_OPEN_TO_OTHERS.found(message, &[("file", place)]);
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

/// What deleted rows left: the file keeps it for the next ones.
fn space(conn: &Connection) -> Done<Finding> {
    let (pages, free, size): (i64, i64, i64) =
        conn.query_row(sql::SPACE, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let kib = |pages: i64| pages * size / 1024;
    let message = format!("{} KiB of {} free for new rows", kib(free), kib(pages));
    Ok(Finding::ok("space", message))
}

/// A group is away when nobody of it lives and events were written after its last commit.
fn consumers(conn: &Connection) -> Done<Finding> {
    let patience = i64::try_from(limits::CONSUMER_AWAY.as_micros()).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(sql::CONSUMERS)?;
    let groups = statement
        .query_map([patience], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64, bool)>>>()?;
    let message = format!("{} groups", groups.len());
    Ok(match groups.iter().find(|(_, _, away)| *away) {
        Some((group, at, _)) => {
            let since = rows::time(*at)?.to_rfc3339();
            troubles::CONSUMERS_AWAY.found(message, &[("group", group), ("since", &since)])
        }
        None => Finding::ok("consumers", message),
    })
}

fn dead_letters(conn: &Connection) -> Done<Finding> {
    let most = i64::from(limits::DEPTH_MAX);
    let found: i64 = conn.query_row(sql::LETTERS, [most + 1], |row| row.get(0))?;
    let message = if found > most { format!("more than {most}") } else { found.to_string() };
    Ok(Finding::ok("dead letters", message))
}
