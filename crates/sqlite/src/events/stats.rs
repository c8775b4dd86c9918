//! A stream in figures, and how far the log can be read.

use std::time::Duration;

use mnemon_core::events::{Horizon, KindStats, StreamStats};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, OptionalExtension, params};

use super::read;
use crate::error::Done;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select version, first_kept from event_streams where tenant = ?1 and stream = ?2";
        KINDS = "select kind, count(*), \
            coalesce(sum(json_type(data, '$.success') = 'true'), 0), \
            coalesce(sum(json_type(data, '$.success') = 'false'), 0), \
            min(occurred_at), max(occurred_at), count(ms), coalesce(total(ms), 0) \
            from (select kind, data, occurred_at, case \
                when json_type(data, '$.duration_ms') in ('integer', 'real') \
                    then json_extract(data, '$.duration_ms') \
                when json_type(data, '$.duration[0]') in ('integer', 'real') \
                    and json_type(data, '$.duration[1]') in ('integer', 'real') \
                    then json_extract(data, '$.duration[0]') * 1e3 \
                        + json_extract(data, '$.duration[1]') / 1e6 \
                when json_type(data, '$.duration.secs') in ('integer', 'real') \
                    and json_type(data, '$.duration.nanos') in ('integer', 'real') \
                    then json_extract(data, '$.duration.secs') * 1e3 \
                        + json_extract(data, '$.duration.nanos') / 1e6 \
                end as ms from events \
                where tenant = ?1 and stream = ?2 and (?3 is null or user_id = ?3) \
                and (?4 is null or agent_id = ?4)) \
            group by kind order by kind";
        RAISE = "insert into event_epochs (epoch, after) \
            select max(epoch) + 1, ?1 from event_epochs";
        FENCES = "update locks set holder = null, fence = fence + 1000000";
    }
}

/// A stream in figures.
pub(super) fn stream(conn: &Connection, scope: &Admitted<'_>, stream: &str) -> Done<StreamStats> {
    let head: Option<(i64, i64)> = conn
        .prepare_cached(sql::HEAD)?
        .query_row([scope.tenant, stream], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut statement = conn.prepare_cached(sql::KINDS)?;
    let mut found = statement.query(params![scope.tenant, stream, scope.user, scope.agent])?;
    let mut kinds = Vec::new();
    while let Some(row) = found.next()? {
        kinds.push(KindStats {
            kind: row.get(0)?,
            events: row.get::<_, i64>(1)?.unsigned_abs(),
            succeeded: row.get::<_, i64>(2)?.unsigned_abs(),
            failed: row.get::<_, i64>(3)?.unsigned_abs(),
            first_at: row::moment(row, 4)?,
            last_at: row::moment(row, 5)?,
            timed: row.get::<_, i64>(6)?.unsigned_abs(),
            total_ms: row.get(7)?,
        });
    }
    let (version, first_kept) = head.unwrap_or((0, 1));
    Ok(StreamStats::of(stream, version, first_kept, kinds))
}

/// Everything committed can be read.
pub(super) fn horizon(conn: &Connection) -> Done<Horizon> {
    let epoch = read::Epochs::read(conn)?.current();
    let tx = conn.prepare_cached(read::sql::NEWEST)?.query_row([], |row| row.get(0))?;
    Ok(Horizon { epoch, tx, age: Duration::ZERO })
}

/// A new epoch begins behind the newest event, and no lease of the time before is good any more.
pub(super) fn raise(conn: &Connection) -> Done<i64> {
    let newest: i64 = conn.prepare_cached(read::sql::NEWEST)?.query_row([], |row| row.get(0))?;
    conn.prepare_cached(sql::RAISE)?.execute([newest])?;
    conn.prepare_cached(sql::FENCES)?.execute([])?;
    Ok(read::Epochs::read(conn)?.current())
}
