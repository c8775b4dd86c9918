//! What an operator asks of a server that has run for a while: what vacuum left, which indexes
//! nobody reads, whether the log is archived, who lags.

use mnemon_core::store::Finding;
use mnemon_core::{limits, troubles};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use crate::error::Fault;

/// Every check. A role that row-level security holds is not asked what stands in the tables.
pub(super) async fn look(conn: &mut PgConnection, sees_all: bool) -> Result<Vec<Finding>, Fault> {
    let mut findings = vec![
        dead_rows(conn).await?,
        indexes(conn).await?,
        archive(conn).await?,
        slots(conn).await?,
        standbys(conn).await?,
    ];
    if sees_all {
        findings.push(consumers(conn).await?);
        findings.push(dead_letters(conn).await?);
    }
    Ok(findings)
}

async fn dead_rows(conn: &mut PgConnection) -> Result<Finding, Fault> {
    let tables = query!(
        r#"
        select relname::text as "name!", n_live_tup as "live!", n_dead_tup as "dead!",
               greatest(last_vacuum, last_autovacuum) as vacuumed
        from pg_stat_user_tables
        where schemaname = 'mnemon'
        order by n_dead_tup desc, relname
        "#
    )
    .fetch_all(conn)
    .await?;
    let (live, dead) = tables.iter().fold((0, 0), |(l, d), t| (l + t.live, d + t.dead));
    let Some(worst) = tables.first().filter(|worst| worst.dead > 0) else {
        return Ok(Finding::ok("dead rows", format!("none beside {live} live ones")));
    };
    let vacuumed = worst.vacuumed.map_or("never".to_owned(), |at| at.to_rfc3339());
    let message = format!(
        "{dead} beside {live} live ones; most in {}, {} beside {}, vacuumed last: {vacuumed}",
        worst.name, worst.dead, worst.live
    );
    if worst.dead >= limits::DEAD_ROWS && worst.dead > worst.live / 2 {
        return Ok(troubles::DEAD_ROWS.found(message, &[("table", &worst.name)]));
    }
    Ok(Finding::ok("dead rows", message))
}

/// An index that was never read is no fault: what uses it may not be used yet.
async fn indexes(conn: &mut PgConnection) -> Result<Finding, Fault> {
    let found = query!(
        r#"
        select count(*) as "all!",
               count(*) filter (where unread) as "unread!",
               coalesce(sum(size) filter (where unread), 0)::int8 as "bytes!",
               (array_agg(name order by size desc, name) filter (where unread))[1] as largest,
               array_remove(array_agg(name) filter (where not valid), null) as broken
        from (
            select c.relname::text as name, i.indisvalid as valid,
                   s.idx_scan = 0 and not i.indisunique and c.relkind = 'i' as unread,
                   pg_relation_size(c.oid) as size
            from pg_index i
            join pg_class c on c.oid = i.indexrelid
            join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'mnemon'
            left join pg_stat_user_indexes s on s.indexrelid = c.oid
        ) x
        "#
    )
    .fetch_one(conn)
    .await?;
    let message = match (&found.largest, found.unread) {
        (Some(largest), 1..) => format!(
            "{}; {} of them never read yet, {} KiB, the largest {largest}",
            found.all,
            found.unread,
            found.bytes / 1024
        ),
        _ => format!("{}, all of them read", found.all),
    };
    match found.broken {
        Some(broken) if !broken.is_empty() => {
            Ok(troubles::INDEX_INVALID.found(message, &[("indexes", &broken.join(", "))]))
        }
        _ => Ok(Finding::ok("indexes", message)),
    }
}

async fn archive(conn: &mut PgConnection) -> Result<Finding, Fault> {
    const CHECK: &str = "log archive";
    let found = query!(
        r#"
        select current_setting('archive_mode') as "mode!", a.last_archived_time,
               a.last_failed_time, a.failed_count as "failures!"
        from pg_stat_archiver a
        "#
    )
    .fetch_one(conn)
    .await?;
    if found.mode == "off" {
        return Ok(Finding::ok(CHECK, "off: a backup goes back to its own time only"));
    }
    if let Some(failed) = found.last_failed_time
        && found.last_archived_time.is_none_or(|archived| archived < failed)
    {
        let since = found.last_archived_time.map_or("the start".to_owned(), |at| at.to_rfc3339());
        let message = format!("failed {} times, last at {}", found.failures, failed.to_rfc3339());
        return Ok(troubles::ARCHIVE_FAILING.found(message, &[("since", &since)]));
    }
    let last = found.last_archived_time.map_or("none yet".to_owned(), |at| at.to_rfc3339());
    Ok(Finding::ok(CHECK, format!("on, the newest segment: {last}")))
}

async fn slots(conn: &mut PgConnection) -> Result<Finding, Fault> {
    const CHECK: &str = "replication slots";
    let slots = query!(
        r#"
        select slot_name::text as "name!", coalesce(active, false) as "active!",
               pg_size_pretty(coalesce(pg_wal_lsn_diff(
                   case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                        else pg_current_wal_lsn() end, restart_lsn), 0)) as "kept!"
        from pg_replication_slots
        order by restart_lsn nulls last, slot_name
        "#
    )
    .fetch_all(conn)
    .await?;
    let message = format!("{} of them", slots.len());
    match slots.iter().find(|slot| !slot.active) {
        Some(idle) => {
            Ok(troubles::SLOT_IDLE.found(message, &[("slot", &idle.name), ("kept", &idle.kept)]))
        }
        None => Ok(Finding::ok(CHECK, if slots.is_empty() { "none".to_owned() } else { message })),
    }
}

async fn standbys(conn: &mut PgConnection) -> Result<Finding, Fault> {
    let found = query!(
        r#"
        select count(*) as "count!",
               coalesce(extract(epoch from max(replay_lag)), 0)::float8 as "lag!"
        from pg_stat_replication
        where state = 'streaming'
        "#
    )
    .fetch_one(conn)
    .await?;
    let message = match found.count {
        0 => "none in sight".to_owned(),
        count => format!("{count} in sight, the slowest {:.1} s behind", found.lag),
    };
    Ok(Finding::ok("standbys", message))
}

/// A group is away when nobody of it lives and events were written after its last commit.
async fn consumers(conn: &mut PgConnection) -> Result<Finding, Fault> {
    let groups = query!(
        r#"
        select c.consumer as "group!", c.at as "at!",
               c.at < s.at - make_interval(secs => $1)
               and not exists (select from mnemon.event_members m
                               where m.tenant = c.tenant and m.consumer = c.consumer
                                 and m.expires_at > (select mnemon.now())) as "away!"
        from (select tenant, consumer, max(updated_at) as at
              from mnemon.event_consumers group by tenant, consumer) c
        cross join lateral (select max(recorded_at) as at from mnemon.event_streams
                            where tenant = c.tenant) s
        order by c.at
        "#,
        limits::CONSUMER_AWAY.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    let message = format!("{} groups", groups.len());
    match groups.iter().find(|group| group.away) {
        Some(away) => Ok(troubles::CONSUMERS_AWAY
            .found(message, &[("group", &away.group), ("since", &away.at.to_rfc3339())])),
        None => Ok(Finding::ok("consumers", message)),
    }
}

async fn dead_letters(conn: &mut PgConnection) -> Result<Finding, Fault> {
    let most = i64::from(limits::DEPTH_MAX);
    let found = query_scalar!(
        r#"select count(*) as "count!" from (select from mnemon.dead_letters limit $1) d"#,
        most + 1,
    )
    .fetch_one(conn)
    .await?;
    let message = if found > most { format!("more than {most}") } else { found.to_string() };
    Ok(Finding::ok("dead letters", message))
}
