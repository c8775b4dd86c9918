//! Removing turns: a memory's, a session's, a person's, and those whose time is over.

use mnemon_core::scope::Admitted;
use mnemon_core::turns::{Place, Removed};
use rusqlite::{Connection, params, params_from_iter};

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        CLEAR_TURNS = concat!("delete from turns where ", at_key!());
        CLEAR_SUMMARIES = concat!("delete from turn_summaries where ", at_key!());
        CLEAR_BACKLOG = concat!("delete from turn_backlog where ", at_key!());
        /// Whoever was writing a summary has no right to it any more.
        RESET = concat!(
            "update turn_sessions set seq = 0, covered_seq = 0, health = 'healthy', failures = 0, \
             paused = 0, last_error = null, holder = null, lease_until = null, fence = fence + 1 \
             where ", at_key!()
        );
        DELETE_HEADS = "delete from turn_sessions where tenant = ?1 and user_id = ?2 \
            and (?3 is null or session_id = ?3)";
        DELETE_TURNS = "delete from turns where tenant = ?1 and user_id = ?2 \
            and (?3 is null or session_id = ?3)";
        DELETE_SUMMARIES = "delete from turn_summaries where tenant = ?1 and user_id = ?2 \
            and (?3 is null or session_id = ?3)";
        DELETE_BACKLOG = "delete from turn_backlog where tenant = ?1 and user_id = ?2 \
            and (?3 is null or session_id = ?3)";
        /// Turns that still wait for a summary stay until they have it.
        EXPIRED = "select t.rowid, t.tenant, t.user_id, t.session_id, t.run_key, t.kind \
            from turns t join turn_sessions s on s.tenant = t.tenant and s.user_id = t.user_id \
            and s.session_id = t.session_id and s.run_key = t.run_key and s.kind = t.kind \
            where t.expires_at <= ?1 \
            and (s.strategy <> 'rolling_summary' or t.seq <= s.covered_seq) \
            order by t.expires_at limit ?2";
        EXPIRED_COUNT = "select count(*) from turns t join turn_sessions s \
            on s.tenant = t.tenant and s.user_id = t.user_id and s.session_id = t.session_id \
            and s.run_key = t.run_key and s.kind = t.kind where t.expires_at <= ?1 \
            and (s.strategy <> 'rolling_summary' or t.seq <= s.covered_seq)";
        REMOVE = "delete from turns where rowid = ?1";
        LEFT = concat!("select 1 from turns where ", at_key!(), " limit 1");
        DELETE_HEAD = concat!("delete from turn_sessions where ", at_key!());
    }
}

/// Removes what a memory holds; its settings stay.
pub(super) fn clear(conn: &Connection, place: &Place<'_>) -> Done<Removed> {
    let Place { tenant, user, session, run, kind } = *place;
    let at = params![tenant, user, session, run, kind];
    let run =
        |statement: &str| -> Done<u64> { Ok(conn.prepare_cached(statement)?.execute(at)? as u64) };
    let memories = run(sql::RESET)?;
    let removed =
        Removed { memories, turns: run(sql::CLEAR_TURNS)?, summaries: run(sql::CLEAR_SUMMARIES)? };
    run(sql::CLEAR_BACKLOG)?;
    Ok(removed)
}

/// Removes every memory of a session, or of a person.
pub(super) fn delete(
    conn: &Connection,
    scope: &Admitted<'_>,
    session: Option<&str>,
) -> Done<Removed> {
    let at = params![scope.tenant, scope.user, session];
    let run =
        |statement: &str| -> Done<u64> { Ok(conn.prepare_cached(statement)?.execute(at)? as u64) };
    let removed = Removed {
        memories: run(sql::DELETE_HEADS)?,
        turns: run(sql::DELETE_TURNS)?,
        summaries: run(sql::DELETE_SUMMARIES)?,
    };
    run(sql::DELETE_BACKLOG)?;
    Ok(removed)
}

/// Removes a batch of turns whose time is over, and memories that hold none any more; answers how
/// many turns.
pub(crate) fn expire(conn: &Connection, most: u32, now: i64) -> Done<usize> {
    let expired: Vec<(i64, [String; 5])> = conn
        .prepare_cached(sql::EXPIRED)?
        .query_map(params![now, most], |row| {
            Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut keys = std::collections::BTreeSet::new();
    for (turn, key) in &expired {
        conn.prepare_cached(sql::REMOVE)?.execute([turn])?;
        keys.insert(key);
    }
    for key in keys {
        if conn.prepare_cached(sql::LEFT)?.exists(params_from_iter(key))? {
            continue;
        }
        for statement in [sql::DELETE_HEAD, sql::CLEAR_SUMMARIES, sql::CLEAR_BACKLOG] {
            conn.prepare_cached(statement)?.execute(params_from_iter(key))?;
        }
    }
    Ok(expired.len())
}

/// How many turns are to be removed.
pub(crate) fn expired(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::EXPIRED_COUNT)?.query_row([now], |row| row.get(0))?)
}
