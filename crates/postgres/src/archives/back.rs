//! Archived events come back: to the places they had where this is the log they left, at the end
//! of their streams where it never had them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use mnemon_core::events::{Archived, Fit, Month, Standing, fit};
use mnemon_core::{Error, Result};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use crate::error::Fault;

/// Events by stream, in the order of their versions.
pub(super) struct Rows<'a> {
    streams: BTreeMap<(&'a str, &'a str), Vec<&'a Archived>>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(events: &'a [Archived]) -> Self {
        let mut streams: BTreeMap<(&str, &str), Vec<&Archived>> = BTreeMap::new();
        for event in events {
            streams.entry((&event.tenant, &event.stream)).or_default().push(event);
        }
        for events in streams.values_mut() {
            events.sort_by_key(|event| event.version);
        }
        Self { streams }
    }

    /// Tenants and streams, side by side.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        self.streams
            .keys()
            .map(|(tenant, stream)| ((*tenant).to_owned(), (*stream).to_owned()))
            .unzip()
    }
}

/// Puts back what is not there, inside the caller's transaction; how many.
pub(super) async fn put_back(
    conn: &mut PgConnection,
    rows: &Rows<'_>,
    same_log: bool,
) -> Result<u64, Fault> {
    let stands = lock(conn, rows).await?;
    let mut fits = Vec::new();
    for ((tenant, stream), events) in &rows.streams {
        let stand = stands.get(&((*tenant).to_owned(), (*stream).to_owned()));
        let stand = stand.copied().unwrap_or(Standing { version: 0, first_kept: 1 });
        let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
        let decided = fit(stream, stand, &versions, same_log)?;
        fits.extend(events.iter().copied().zip(decided));
    }
    refuse_strangers(conn, &fits).await?;
    move_heads(conn, &fits).await?;
    let written = insert(conn, &fits).await?;
    settle(conn, rows, &fits, &written).await?;
    Ok(written.len() as u64)
}

/// Locks every head, in order, making those that are not there; where the streams stand.
async fn lock(
    conn: &mut PgConnection,
    rows: &Rows<'_>,
) -> Result<HashMap<(String, String), Standing>, Fault> {
    let (tenants, streams) = rows.names();
    // A condition that never holds leaves a row as it is, but locked.
    query!(
        r#"
        insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
        select g.tenant, g.stream, 0, '-infinity', pg_current_xact_id(), m.epoch
        from mnemon.meta m, unnest($1::text[], $2::text[]) with ordinality as g (tenant, stream, n)
        order by g.n
        on conflict (tenant, stream) do update set version = h.version where false
        "#,
        &tenants,
        &streams,
    )
    .execute(&mut *conn)
    .await?;
    let found = query!(
        "select h.tenant, h.stream, h.version, h.first_kept
         from unnest($1::text[], $2::text[]) as g (tenant, stream)
         join mnemon.event_streams h on h.tenant = g.tenant and h.stream = g.stream",
        &tenants,
        &streams,
    )
    .fetch_all(conn)
    .await?;
    let stand = |version, first_kept| Standing { version, first_kept };
    Ok(found
        .into_iter()
        .map(|row| ((row.tenant, row.stream), stand(row.version, row.first_kept)))
        .collect())
}

type Fitted<'a> = [(&'a Archived, Fit)];

/// Refuses when another event has the place of one.
async fn refuse_strangers(conn: &mut PgConnection, fits: &Fitted<'_>) -> Result<(), Fault> {
    let events = || fits.iter().map(|(event, _)| event);
    let tenants: Vec<String> = events().map(|event| event.tenant.clone()).collect();
    let streams: Vec<String> = events().map(|event| event.stream.clone()).collect();
    let versions: Vec<i64> = events().map(|event| event.version).collect();
    let ids: Vec<Uuid> = events().map(|event| event.id.0).collect();
    let stranger = query!(
        r#"
        select e.stream, e.version
        from unnest($1::text[], $2::text[], $3::int8[], $4::uuid[])
                 as g (tenant, stream, version, id)
        join mnemon.events e
          on e.tenant = g.tenant and e.stream = g.stream and e.version = g.version
        where e.id <> g.id
        limit 1
        "#,
        &tenants,
        &streams,
        &versions,
        &ids,
    )
    .fetch_optional(conn)
    .await?;
    match stranger {
        Some(row) => {
            let key = format!("{}@{}", row.stream, row.version);
            Err(Error::AlreadyExists { kind: "event", key }.into())
        }
        None => Ok(()),
    }
}

/// Moves the heads of streams that go on; one that was new begins with what it gets.
async fn move_heads(conn: &mut PgConnection, fits: &Fitted<'_>) -> Result<(), Fault> {
    let mut moved: BTreeMap<(&str, &str), (i64, i64, DateTime<Utc>)> = BTreeMap::new();
    for (event, _) in fits.iter().filter(|(_, fit)| *fit == Fit::After) {
        let first = (event.version, event.version, event.recorded_at);
        let head = moved.entry((&event.tenant, &event.stream)).or_insert(first);
        *head = (head.0, event.version, event.recorded_at);
    }
    if moved.is_empty() {
        return Ok(());
    }
    let tenants: Vec<String> = moved.keys().map(|(tenant, _)| (*tenant).to_owned()).collect();
    let streams: Vec<String> = moved.keys().map(|(_, stream)| (*stream).to_owned()).collect();
    let firsts: Vec<i64> = moved.values().map(|head| head.0).collect();
    let lasts: Vec<i64> = moved.values().map(|head| head.1).collect();
    let times: Vec<DateTime<Utc>> = moved.values().map(|head| head.2).collect();
    query!(
        r#"
        update mnemon.event_streams h
        set version = g.last, recorded_at = greatest(h.recorded_at, g.recorded_at),
            first_kept = case when h.version = 0 then g.first else h.first_kept end,
            tx = case when h.epoch = m.epoch then greatest(h.tx, pg_current_xact_id())
                      else pg_current_xact_id() end,
            epoch = m.epoch
        from mnemon.meta m,
             unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::timestamptz[])
                 as g (tenant, stream, first, last, recorded_at)
        where h.tenant = g.tenant and h.stream = g.stream
        "#,
        &tenants,
        &streams,
        &firsts,
        &lasts,
        &times,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which events were written.
struct Written {
    tenant: String,
    stream: String,
    version: i64,
}

async fn insert(conn: &mut PgConnection, fits: &Fitted<'_>) -> Result<Vec<Written>, Fault> {
    let fresh: Vec<&(&Archived, Fit)> = fits.iter().filter(|(_, fit)| *fit != Fit::Kept).collect();
    let events = || fresh.iter().map(|(event, _)| *event);
    let text = |part: fn(&Archived) -> &String| -> Vec<String> {
        events().map(|event| part(event).clone()).collect()
    };
    let optional = |part: fn(&Archived) -> &Option<String>| -> Vec<Option<String>> {
        events().map(|event| part(event).clone()).collect()
    };
    let (tenants, streams, kinds) =
        (text(|event| &event.tenant), text(|event| &event.stream), text(|event| &event.kind));
    let correlations = optional(|event| &event.correlation_id);
    let (agents, users) = (optional(|event| &event.agent), optional(|event| &event.user));
    let (sessions, runs) = (optional(|event| &event.session), optional(|event| &event.run));
    let versions: Vec<i64> = events().map(|event| event.version).collect();
    let ids: Vec<Uuid> = events().map(|event| event.id.0).collect();
    let data: Vec<Value> = events().map(|event| event.data.clone()).collect();
    let occurred: Vec<DateTime<Utc>> = events().map(|event| event.occurred_at).collect();
    let recorded: Vec<DateTime<Utc>> = events().map(|event| event.recorded_at).collect();
    // The place it had; its stream's head says it for one that follows.
    let before = |fit: Fit| fit == Fit::Before;
    let epochs: Vec<Option<i64>> =
        fresh.iter().map(|(event, fit)| before(*fit).then_some(event.epoch)).collect();
    let txs: Vec<Option<String>> =
        fresh.iter().map(|(event, fit)| before(*fit).then(|| event.tx.to_string())).collect();
    let written = sqlx::query_as!(
        Written,
        r#"
        insert into mnemon.events
            (tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id,
             run_id, data, occurred_at, recorded_at, tx, epoch)
        select g.tenant, g.stream, g.version, g.id, g.kind, g.correlation_id, g.agent_id,
               g.user_id, g.session_id, g.run_id, g.data, g.occurred_at, g.recorded_at,
               coalesce(g.tx::xid8, h.tx), coalesce(g.epoch, h.epoch)
        from unnest($1::text[], $2::text[], $3::int8[], $4::uuid[], $5::text[], $6::text[],
                    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[],
                    $12::timestamptz[], $13::timestamptz[], $14::text[], $15::int8[])
                 with ordinality as g (tenant, stream, version, id, kind, correlation_id, agent_id,
                                       user_id, session_id, run_id, data, occurred_at,
                                       recorded_at, tx, epoch, n)
        join mnemon.event_streams h on h.tenant = g.tenant and h.stream = g.stream
        order by g.n
        on conflict (tenant, stream, version, recorded_at) do nothing
        returning tenant, stream, version
        "#,
        &tenants,
        &streams,
        &versions,
        &ids,
        &kinds,
        &correlations as &[Option<String>],
        &agents as &[Option<String>],
        &users as &[Option<String>],
        &sessions as &[Option<String>],
        &runs as &[Option<String>],
        &data,
        &occurred,
        &recorded,
        &txs as &[Option<String>],
        &epochs as &[Option<i64>],
    )
    .fetch_all(conn)
    .await?;
    Ok(written)
}

/// What readers were told about what is back is taken back: streams begin earlier once nothing is
/// missing in between, and a month of which all is back is not gone. What is back is searched again.
async fn settle(
    conn: &mut PgConnection,
    rows: &Rows<'_>,
    fits: &Fitted<'_>,
    written: &[Written],
) -> Result<(), Fault> {
    let mut back: BTreeMap<(&str, NaiveDate), i64> = BTreeMap::new();
    let before: HashMap<(&str, &str, i64), &Archived> = fits
        .iter()
        .filter(|(_, fit)| *fit == Fit::Before)
        .map(|(event, _)| ((event.tenant.as_str(), event.stream.as_str(), event.version), *event))
        .collect();
    for row in written {
        if let Some(event) = before.get(&(row.tenant.as_str(), row.stream.as_str(), row.version)) {
            let month = Month::of(event.recorded_at).start().date_naive();
            *back.entry((&event.tenant, month)).or_default() += 1;
        }
    }
    if back.is_empty() {
        return Ok(());
    }
    let (tenants, streams) = rows.names();
    query!(
        r#"
        update mnemon.event_streams h set first_kept = b.first
        from (
            select g.tenant, g.stream, min(e.version) as first, count(*) as events
            from unnest($1::text[], $2::text[]) as g (tenant, stream)
            join mnemon.event_streams k on k.tenant = g.tenant and k.stream = g.stream
            join mnemon.events e on e.tenant = g.tenant and e.stream = g.stream
                                and e.version < k.first_kept
            group by g.tenant, g.stream
        ) b
        where h.tenant = b.tenant and h.stream = b.stream and b.first + b.events = h.first_kept
        "#,
        &tenants,
        &streams,
    )
    .execute(&mut *conn)
    .await?;
    for ((tenant, month), events) in back {
        query!(
            "update mnemon.event_gone g set events = g.events - $3
             where g.tenant = $1 and g.month = $2 and g.removal =
                   (select o.removal from mnemon.event_gone o where o.tenant = $1 and o.month = $2
                    order by o.events desc limit 1)",
            tenant,
            month,
            events,
        )
        .execute(&mut *conn)
        .await?;
    }
    query!("delete from mnemon.event_gone where tenant = any ($1) and events <= 0", &tenants)
        .execute(&mut *conn)
        .await?;
    query!("delete from mnemon.event_search_places where tenant = any ($1)", &tenants)
        .execute(conn)
        .await?;
    Ok(())
}
