//! Appends to many streams in one commit: what a process gathered while the last one was under way.
//!
//! Heads are locked in the order of their names. Where nothing has to be looked up, the whole is
//! one statement.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use mnemon_core::events::{Append, Appended, Known, NewEvent, place};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use uuid::Uuid;

use super::append::known;
use crate::error::Fault;

/// Appends with an id for each event; sent again, they carry the same ones.
pub(crate) struct Batch {
    appends: Vec<(Append, Vec<Uuid>)>,
}

/// The new events of each stream, in order.
type New<'a> = BTreeMap<&'a str, Vec<(&'a NewEvent, Uuid)>>;

impl Batch {
    pub(crate) fn of(appends: Vec<Append>) -> Self {
        let with_ids = |append: Append| {
            let made = |event: &NewEvent| event.id.map_or_else(Uuid::now_v7, |id| id.0);
            let ids = append.events.iter().map(made).collect();
            (append, ids)
        };
        Self { appends: appends.into_iter().map(with_ids).collect() }
    }

    /// Whether nothing has to be looked up when it is sent for the first time.
    pub(crate) fn is_new(&self) -> bool {
        self.appends.iter().all(|(append, _)| {
            append.expected_version.is_none()
                && append.events.iter().all(|event| event.id.is_none())
        })
    }
}

/// Appends events none of which can be there: one statement, whole in itself.
pub(crate) async fn unseen(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    batch: &Batch,
) -> Result<Vec<Result<Appended>>, Fault> {
    let mut new = New::new();
    for (append, ids) in &batch.appends {
        let events = append.events.iter().zip(ids.iter().copied());
        new.entry(&append.stream).or_default().extend(events);
    }
    let heads = insert(conn, scope, &new).await?;
    let mut next: HashMap<&str, i64> = new
        .iter()
        .map(|(stream, events)| {
            let end = heads.get(*stream).copied().unwrap_or_default();
            (*stream, end - length(events.len()) + 1)
        })
        .collect();
    let answer = |(append, _): &(Append, Vec<Uuid>)| {
        let first = next.get_mut(append.stream.as_str()).expect("counted above");
        let end = *first + length(append.events.len());
        let versions = (*first..end).collect();
        *first = end;
        Ok(Appended { versions, stream_version: end - 1 })
    };
    Ok(batch.appends.iter().map(answer).collect())
}

/// Decides every append under the lock of its stream, and writes what is new.
pub(crate) async fn seen(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    batch: &Batch,
) -> Result<Vec<Result<Appended>>, Fault> {
    let mut heads = lock(conn, scope, batch).await?;
    let ids: Vec<Uuid> = batch.appends.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
    let mut found = known(conn, scope, &ids).await?;
    let (mut new, mut outcomes) = (New::new(), Vec::with_capacity(batch.appends.len()));
    for (append, ids) in &batch.appends {
        let head = heads.entry(append.stream.clone()).or_default();
        let known: Vec<Option<Known>> = ids.iter().map(|id| found.get(id).cloned()).collect();
        let outcome = place(append, *head, &known);
        if let Ok(placed) = &outcome {
            *head = placed.stream_version;
            let fresh = append.events.iter().zip(ids).zip(&known).zip(&placed.versions);
            for (((event, id), known), version) in fresh {
                if known.is_none() {
                    let stream = append.stream.clone();
                    found.insert(*id, Known { stream, version: *version });
                    new.entry(&append.stream).or_default().push((event, *id));
                }
            }
        }
        outcomes.push(outcome);
    }
    if !new.is_empty() {
        insert(conn, scope, &new).await?;
    }
    Ok(outcomes)
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

struct Head {
    stream: String,
    version: i64,
}

/// Locks the head of every stream, in the order of their names; where each stands.
async fn lock(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    batch: &Batch,
) -> Result<HashMap<String, i64>, Fault> {
    let mut streams: Vec<String> =
        batch.appends.iter().map(|(append, _)| append.stream.clone()).collect();
    streams.sort_unstable();
    streams.dedup();
    // A condition that never holds leaves a row as it is, but locked.
    query!(
        r#"
        insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
        select $1, g.stream, 0, mnemon.now(), pg_current_xact_id(), (select epoch from mnemon.meta)
        from unnest($2::text[]) with ordinality as g (stream, n)
        order by g.n
        on conflict (tenant, stream) do update set version = h.version where false
        "#,
        scope.tenant,
        &streams,
    )
    .execute(&mut *conn)
    .await?;
    let heads = query_as!(
        Head,
        "select stream, version from mnemon.event_streams
         where tenant = $1 and stream = any ($2)",
        scope.tenant,
        &streams,
    )
    .fetch_all(conn)
    .await?;
    Ok(heads.into_iter().map(|head| (head.stream, head.version)).collect())
}

/// Moves every head and writes the events behind it; where the streams stand then.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &New<'_>,
) -> Result<HashMap<String, i64>, Fault> {
    let streams: Vec<String> = new.keys().map(|stream| (*stream).to_owned()).collect();
    let counts: Vec<i64> = new.values().map(|events| length(events.len())).collect();
    let mut of: Vec<i64> = Vec::new();
    let mut nth: Vec<i64> = Vec::new();
    let mut ids: Vec<Uuid> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    let mut data: Vec<Value> = Vec::new();
    let mut correlations: Vec<Option<String>> = Vec::new();
    let mut occurred: Vec<Option<DateTime<Utc>>> = Vec::new();
    for (stream, events) in (1..).zip(new.values()) {
        for (n, (event, id)) in (1..).zip(events) {
            of.push(stream);
            nth.push(n);
            ids.push(*id);
            kinds.push(event.kind.clone());
            data.push(event.data.clone());
            correlations.push(event.correlation_id.clone());
            occurred.push(event.occurred_at);
        }
    }
    let heads = query_as!(
        Head,
        r#"
        with asked as materialized (
            select s.stream, s.count, s.n
            from unnest($2::text[], $3::int8[]) with ordinality as s (stream, count, n)
        ), head as (
            insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
            select $1, a.stream, a.count, mnemon.now(), pg_current_xact_id(),
                   (select epoch from mnemon.meta)
            from asked a
            order by a.n
            on conflict (tenant, stream) do update
            set version = h.version + excluded.version,
                recorded_at = greatest(h.recorded_at, excluded.recorded_at),
                tx = case when h.epoch = excluded.epoch then greatest(h.tx, excluded.tx)
                          else excluded.tx end,
                epoch = excluded.epoch
            returning stream, version, recorded_at, tx, epoch
        ), written as (
            insert into mnemon.events
                (tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id,
                 run_id, data, occurred_at, recorded_at, tx, epoch)
            select $1, h.stream, h.version - a.count + g.nth, g.id, g.kind, g.correlation_id, $4,
                   $5, $6, $7, g.data, coalesce(g.occurred_at, h.recorded_at), h.recorded_at, h.tx,
                   h.epoch
            from unnest($8::int8[], $9::int8[], $10::uuid[], $11::text[], $12::jsonb[],
                        $13::text[], $14::timestamptz[])
                     as g (n, nth, id, kind, data, correlation_id, occurred_at)
            join asked a on a.n = g.n
            join head h on h.stream = a.stream
        )
        select stream, version from head
        "#,
        scope.tenant,
        &streams,
        &counts,
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        &of,
        &nth,
        &ids,
        &kinds,
        &data,
        &correlations as &[Option<String>],
        &occurred as &[Option<DateTime<Utc>>],
    )
    .fetch_all(conn)
    .await?;
    if heads.len() != streams.len() {
        return Err(Error::corrupt("an append", "not every stream answered").into());
    }
    Ok(heads.into_iter().map(|head| (head.stream, head.version)).collect())
}
