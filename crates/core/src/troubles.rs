//! What `doctor` can find wrong, in one table: what people notice, why it is so, what to do.
//! `doctor` prints from it, and the runbook in `docs/` is made from it.
//!
//! Words in braces are filled in when a finding is made: `{missing}`.

use std::fmt::Display;

use crate::store::{Finding, Severity};

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The check that finds it, as `doctor` names it.
    pub check: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What people notice.
    pub symptom: &'static str,
    /// Why it is so; `doctor` prints it after what it found.
    pub cause: &'static str,
    /// What to do; `doctor` prints it below.
    pub fix: &'static str,
}

impl Trouble {
    /// The finding: what was found, the cause, the fix, with these words filled in.
    pub fn found(&self, found: impl Display, words: &[(&str, &str)]) -> Finding {
        self.under(self.check, found, words)
    }

    /// As [`Self::found`], for a check that is one of a family: `upkeep receipts`.
    pub fn under(
        &self,
        check: impl Into<String>,
        found: impl Display,
        words: &[(&str, &str)],
    ) -> Finding {
        let fill = |text: &str| {
            words.iter().fold(text.to_owned(), |text, (name, word)| {
                text.replace(&format!("{{{name}}}"), word)
            })
        };
        let (found, cause) = (found.to_string(), fill(self.cause));
        Finding {
            check: check.into(),
            severity: self.severity,
            message: if found.is_empty() { cause } else { format!("{found}: {cause}") },
            fix: Some(fill(self.fix)),
        }
    }
}

macro_rules! troubles {
    ($($(#[$doc:meta])+ $name:ident = $check:literal, $severity:ident, $symptom:literal, $cause:literal, $fix:literal;)+) => {
        $(
            $(#[$doc])+
            pub const $name: Trouble = Trouble {
                check: $check,
                severity: Severity::$severity,
                symptom: $symptom,
                cause: $cause,
                fix: $fix,
            };
        )+

        /// Every row, in the order of the runbook.
        pub const ALL: &[Trouble] = &[$($name),+];
    };
}

troubles! {
    /// The schema is older than the binary.
    SCHEMA_BEHIND = "schema", Error,
        "opening is refused, or a command says that a table or column is missing",
        "this binary needs {latest}",
        "run `mnemon migrate up` as the schema's owner";
    /// The schema is newer, and says that this binary is too old for it.
    SCHEMA_REFUSES = "schema", Error,
        "opening is refused after somebody else migrated",
        "it needs a binary that knows {needed}",
        "update this mnemon";
    /// The schema is newer, and still admits this binary.
    SCHEMA_AHEAD = "schema", Warning,
        "all works, with an older binary than the schema's",
        "newer than this binary's {latest}, which it still admits",
        "update this mnemon as well";
    /// A server between the tested ones.
    VERSION_UNTESTED = "version", Warning,
        "nothing, as long as that server answers as its neighbours do",
        "tested are 16 and 18",
        "use one of them, or run Mnemon's conformance suite on this one";
    /// A database that cannot hold every text.
    ENCODING_NARROW = "encoding", Error,
        "some texts are refused with an error of the server's",
        "texts with other characters are refused",
        "move to a database made with `encoding 'UTF8' template template0`";
    /// The server offers pgvector, the database lacks it.
    PGVECTOR_ABSENT = "pgvector", Warning,
        "recall is by words only",
        "no vectors; the server offers {offered}",
        "let a superuser run `CREATE EXTENSION vector` in it, then open again";
    /// The server does not have pgvector.
    PGVECTOR_MISSING = "pgvector", Warning,
        "recall is by words only, and `CREATE EXTENSION vector` fails",
        "no vectors",
        "install pgvector 0.8 or newer, then `CREATE EXTENSION vector` as a superuser";
    /// A pgvector without what recall needs.
    PGVECTOR_TOO_OLD = "pgvector", Error,
        "recall by vector fails",
        "at least 0.8.0 is needed",
        "install a newer pgvector, then `ALTER EXTENSION vector UPDATE` as its owner";
    /// A pgvector with known faults.
    PGVECTOR_FAULTY = "pgvector", Warning,
        "recall by vector misses memories now and then",
        "0.8.4 mended what it finds",
        "install a newer pgvector, then `ALTER EXTENSION vector UPDATE` as its owner";
    /// The extension's types are not found.
    PGVECTOR_OUT_OF_SIGHT = "search path", Error,
        "recall by vector says that the type halfvec does not exist",
        "pgvector is in schema {schema}, which is not searched",
        "`ALTER ROLE … SET search_path = {path}, {schema}`, or `ALTER EXTENSION vector SET SCHEMA public`";
    /// No embedder can be used.
    NO_VECTORS = "embedder", Warning,
        "recall finds words, but nothing that means the same",
        "this database takes no vectors",
        "install pgvector (`CREATE EXTENSION vector`) and open again";
    /// More vectors than recall should compare one by one.
    VECTORS_UNINDEXED = "vectors", Warning,
        "recall by vector is slow, and so are writes of memories with vectors",
        "too many vectors wait for an index",
        "run `mnemon upkeep --once --only vector-segments` as the schema's owner, or keep a process open that does upkeep";
    /// Months ahead have no partition.
    PARTITIONS_MISSING = "event partitions", Warning,
        "nothing yet; at the month's end, appends fail",
        "upkeep did not make them, or may not",
        "run `mnemon upkeep --once --only event-partitions` as the schema's owner";
    /// This month has no partition.
    PARTITION_OF_NOW_MISSING = "event partitions", Error,
        "every append fails, and so does every step with events",
        "no event can be written",
        "run `mnemon upkeep --once --only event-partitions` as the schema's owner";
    /// An archive of months was interrupted after the log let them go.
    ARCHIVE_UNFINISHED = "event archive", Warning,
        "disk space of archived months is not given back",
        "these months were taken out and not removed; an archive was interrupted",
        "archive again: `mnemon events archive --before {next} --to DIR`";
    /// A transaction holds subscribers back.
    HORIZON_HELD = "event horizon", Warning,
        "subscribers and consumers are told nothing new, although events are written; the metric `event_horizon_age` grows",
        "a transaction that wrote is open somewhere in the cluster, and subscribers see nothing newer",
        "find it: `select pid, datname, xact_start, query from pg_stat_activity where backend_xid is not null order by xact_start`, or in `pg_prepared_xacts`; end it, and set `idle_in_transaction_session_timeout`";
    /// Policies are not as they should be.
    RLS_DIFFERS = "row-level security", Error,
        "rows of other tenants could be seen by a role that row-level security should hold",
        "it is not as `meta` says on {tables}",
        "run `mnemon migrate rls on` (or off) as the schema's owner";
    /// It is on, and does not bind this role.
    RLS_BYPASSED = "row-level security", Warning,
        "nothing; the second wall between tenants is not there",
        "on, but it does not hold for role {role} (the owner, or one that bypasses it)",
        "log in as a role of its own after `select mnemon.grant_to('<role>')`";
    /// More callers wait than are served.
    POOL_CROWDED = "pool", Warning,
        "calls are slow while the server is idle; the metric `pool_waiting` stays above 0",
        "more callers wait than connections serve",
        "raise `max_connections` in section `[pool]`, or let fewer callers in at once";
    /// The circuit breaker is not closed.
    BREAKER_OPEN = "pool", Warning,
        "calls fail at once with `unavailable`",
        "the circuit breaker is {state}: connections failed several times in a row",
        "see whether the server answers; the breaker closes by itself once it does";
    /// Dead row versions pile up.
    DEAD_ROWS = "dead rows", Warning,
        "tables grow although their rows do not; reads slow down over days",
        "vacuum does not keep up, or a transaction or replication slot holds it back",
        "look at `select * from pg_stat_activity where backend_xmin is not null` and `pg_replication_slots`; then `vacuum mnemon.{table}` as its owner";
    /// An index that no query can use.
    INDEX_INVALID = "indexes", Error,
        "one kind of query is slow, or a migration stopped half-way",
        "an index was not built to its end: {indexes}",
        "`drop index mnemon.<index>`, then run `mnemon migrate up` as the schema's owner";
    /// Segments of the write-ahead log are not archived.
    ARCHIVE_FAILING = "log archive", Error,
        "the server's disk fills with `pg_wal`, and the newest backup cannot be brought up to now",
        "the server's `archive_command` fails since {since}",
        "look into the server's log for its message; what is not archived yet is kept until it works";
    /// A replication slot keeps the log.
    SLOT_IDLE = "replication slots", Warning,
        "the server's disk fills with `pg_wal`",
        "nobody reads slot {slot}, and it keeps {kept} of log",
        "start its standby again, or `select pg_drop_replication_slot('{slot}')`; set `max_slot_wal_keep_size`";
    /// A task of upkeep fails.
    UPKEEP_FAILING = "upkeep", Warning,
        "what the task does is not done: see its name",
        "it said: {error}",
        "run `mnemon upkeep --once --only {task}` and read what it says";
    /// A task of upkeep does not run.
    UPKEEP_OVERDUE = "upkeep", Warning,
        "expired rows stay, partitions are not made, the metric `upkeep_lag` grows",
        "no process does upkeep; it last ran {last}",
        "run `mnemon upkeep --once --only {task}`, or keep a process open that does upkeep";
    /// The clocks differ.
    CLOCK_SKEWED = "clock", Warning,
        "leases seem to end early or late, seen from this machine",
        "the database's clock and this machine's are apart; the database's decides",
        "set both clocks by NTP";
    /// A consumers' group lags with nobody at work.
    CONSUMERS_AWAY = "consumers", Warning,
        "events are written, and a group does not handle them",
        "nobody is at work for group {group}, and events were written since {since}",
        "start a process that consumes as this group; it goes on where the last one committed";
    /// The file is not in write-ahead mode.
    JOURNAL_MODE = "journal", Error,
        "reads wait for writes, and writes for reads",
        "readers and the writer block each other",
        "close every program that uses the file, then open it with mnemon again";
    /// The log beside the file does not shrink.
    LOG_LARGE = "journal", Warning,
        "the file `-wal` beside the database grows",
        "a program that reads for long keeps it from being folded in",
        "close what has the file open for long; it shrinks with the next checkpoint";
    /// The file is damaged.
    FILE_DAMAGED = "integrity", Error,
        "calls fail with `corrupt`",
        "the file is damaged",
        "copy the file away, then restore a backup or save what is readable with the `.recover` command of the sqlite3 shell";
    /// There was no time to look through the file.
    FILE_UNCHECKED = "integrity", Warning,
        "nothing: the file is large",
        "not checked through in that time",
        "run `pragma quick_check` with the sqlite3 shell when there is time";
    /// The file was removed while it is open.
    FILE_GONE = "file", Error,
        "all seems to work, and nothing of it is there after a restart",
        "it is not there any more",
        "restore it; what is written now is lost when the last process closes it";
    /// Others may read the file.
    FILE_OPEN_TO_OTHERS = "file", Warning,
        "other accounts of the machine can read what is kept",
        "it is open to others",
        "run `chmod 600 {file}`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_none_is_left_open() {
        let finding = INDEX_INVALID.found("1 of 60", &[("indexes", "turns_seq")]);

        assert_eq!(finding.message, "1 of 60: an index was not built to its end: turns_seq");
        let finding = FILE_OPEN_TO_OTHERS.found("/tmp/a.db, mode 644", &[("file", "/tmp/a.db")]);
        assert_eq!(finding.fix.as_deref(), Some("run `chmod 600 /tmp/a.db`"));
    }

    #[test]
    fn every_row_says_what_is_noticed_why_and_what_to_do() {
        for trouble in ALL {
            for text in [trouble.check, trouble.symptom, trouble.cause, trouble.fix] {
                assert!(!text.is_empty() && !text.contains('|'), "{trouble:?}");
            }
            assert_ne!(trouble.severity, Severity::Ok, "{trouble:?}");
        }
    }
}
