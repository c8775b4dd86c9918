//! Scheduling: reviews, the state they lead to, and what is due.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mnemon_core::memories::{Due, Memory, Rating, Review, ReviewEvent, Scheduling, decay};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, EventId, MemoryId, Page, Paged};
use sqlx::postgres::PgConnection;
use sqlx::{QueryBuilder, query, query_as, query_scalar};
use uuid::Uuid;

use super::read::push_visible;
use super::rows::{COLUMNS, Row};
use super::{read, update};
use crate::error::Fault;
use crate::row;

const DUE_LIST: &str = "due";
const REVIEW_LIST: &str = "reviews";

#[derive(sqlx::FromRow)]
struct State {
    stability: f64,
    difficulty: f64,
    last_review: DateTime<Utc>,
    next_review: DateTime<Utc>,
    reps: i32,
    lapses: i32,
}

impl State {
    fn of(self, memory_id: MemoryId) -> Scheduling {
        Scheduling {
            memory_id,
            stability: self.stability,
            difficulty: self.difficulty,
            last_review: self.last_review,
            next_review: self.next_review,
            reps: self.reps.unsigned_abs(),
            lapses: self.lapses.unsigned_abs(),
        }
    }
}

/// Reviews a memory inside the caller's transaction: the event and the new state.
pub(crate) async fn review(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
    review: &Review,
    event: Uuid,
) -> Result<Scheduling, Fault> {
    let found = update::changeable(conn, scope, id).await?.memory;
    if let Some((of, next)) = noted(conn, scope, event).await? {
        if of == id {
            return Ok(next);
        }
        return Err(Error::AlreadyExists { kind: "review", key: event.to_string() }.into());
    }
    let prior = state(conn, scope, id).await?;
    let now = query_scalar!(r#"select mnemon.now() as "now!""#).fetch_one(&mut *conn).await?;
    let at = decay::time_of(review, prior.as_ref(), now)?;
    let next = decay::next(id, prior.as_ref(), review.rating, at)?;
    keep(conn, &found, &next).await?;
    query!(
        "insert into mnemon.memory_reviews
             (tenant, id, user_id, agent_id, memory_id, at, rating, prior, next)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        scope.tenant,
        event,
        found.user,
        found.agent,
        id.0,
        at,
        review.rating.number(),
        prior.map(|prior| serde_json::to_value(prior).expect("plain data is JSON")),
        serde_json::to_value(&next).expect("plain data is JSON"),
    )
    .execute(conn)
    .await?;
    Ok(next)
}

/// Sets a state as given, inside the caller's transaction.
pub(super) async fn set(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    given: &Scheduling,
) -> Result<(), Fault> {
    let found = update::changeable(conn, scope, given.memory_id).await?.memory;
    keep(conn, &found, given).await
}

async fn keep(conn: &mut PgConnection, of: &Memory, state: &Scheduling) -> Result<(), Fault> {
    let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    query!(
        "insert into mnemon.memory_scheduling
             (tenant, memory_id, user_id, stability, difficulty, last_review, next_review, reps,
              lapses)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (tenant, memory_id) do update
         set stability = excluded.stability, difficulty = excluded.difficulty,
             last_review = excluded.last_review, next_review = excluded.next_review,
             reps = excluded.reps, lapses = excluded.lapses",
        of.tenant,
        of.id.0,
        of.user,
        state.stability,
        state.difficulty,
        state.last_review,
        state.next_review,
        whole(state.reps),
        whole(state.lapses),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The state of a memory that the scope sees.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Result<Option<Scheduling>, Fault> {
    read::get(conn, scope, id).await?;
    state(conn, scope, id).await
}

async fn state(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Result<Option<Scheduling>, Fault> {
    let found = query_as!(
        State,
        "select stability, difficulty, last_review, next_review, reps, lapses
         from mnemon.memory_scheduling where tenant = $1 and memory_id = $2",
        scope.tenant,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|state| state.of(id)))
}

async fn noted(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    event: Uuid,
) -> Result<Option<(MemoryId, Scheduling)>, Fault> {
    let found = query!(
        "select memory_id, next from mnemon.memory_reviews where tenant = $1 and id = $2",
        scope.tenant,
        event,
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some((MemoryId(found.memory_id), row::json(found.next, "a review")?)))
}

/// How likely some memories are recalled at a time (now without one); new ones are not among them.
pub(super) async fn retrievability(
    conn: &mut PgConnection,
    tenant: &str,
    ids: &[Uuid],
    at: Option<DateTime<Utc>>,
) -> Result<HashMap<Uuid, f64>, Fault> {
    let found = query!(
        r#"
        select memory_id, mnemon.retrievability(
            stability, last_review, coalesce($3, (select mnemon.now()))) as "retrievability!"
        from mnemon.memory_scheduling where tenant = $1 and memory_id = any ($2)
        "#,
        tenant,
        ids,
        at,
    )
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(|row| (row.memory_id, row.retrievability)).collect())
}

fn place(page: &Page, list: &'static str) -> Result<Option<(DateTime<Utc>, Uuid)>, Error> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [at, id] = cursor.parts::<2>(list)?;
    let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {list}"));
    let at = at.parse().ok().and_then(DateTime::from_timestamp_micros).ok_or_else(foreign)?;
    Ok(Some((at, Uuid::parse_str(id).map_err(|_| foreign())?)))
}

#[derive(sqlx::FromRow)]
struct DueRow {
    #[sqlx(flatten)]
    row: Row,
    #[sqlx(flatten)]
    state: State,
}

/// A page of what is due, longest due first.
pub(super) async fn due(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    before: Option<DateTime<Utc>>,
    page: &Page,
) -> Result<Paged<Due>, Fault> {
    let after = place(page, DUE_LIST)?;
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS);
    query.push(
        ", s.stability, s.difficulty, s.last_review, s.next_review, s.reps, s.lapses \
         from mnemon.memory_scheduling s join mnemon.memories m \
         on m.tenant = s.tenant and m.id = s.memory_id where s.tenant = ",
    );
    query.push_bind(scope.tenant.to_owned()).push(" and s.next_review <= ");
    match before {
        Some(before) => query.push_bind(before),
        None => query.push("(select mnemon.now())"),
    };
    if let Some((at, id)) = after {
        query.push(" and (s.next_review, s.memory_id) > (").push_bind(at).push(", ");
        query.push_bind(id).push(")");
    }
    query.push(" and ");
    push_visible(&mut query, scope);
    query.push(" order by s.next_review, s.memory_id limit ").push_bind(i64::from(page.limit) + 1);
    let rows: Vec<DueRow> = query.build_query_as().fetch_all(conn).await?;
    let all = rows
        .into_iter()
        .map(|DueRow { row, state }| {
            let memory = Memory::try_from(row)?;
            let scheduling = state.of(memory.id);
            Ok(Due { memory, scheduling })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(Paged::cut(all, page.limit, |due| {
        let at = due.scheduling.next_review.timestamp_micros().to_string();
        Cursor::of(DUE_LIST, &[&at, &due.memory.id.to_string()])
    }))
}

/// A page of a memory's reviews, latest first.
pub(super) async fn reviews(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    memory_id: MemoryId,
    page: &Page,
) -> Result<Paged<ReviewEvent>, Fault> {
    let before = place(page, REVIEW_LIST)?;
    let rows = query!(
        r#"
        select id, at, rating, prior, next from mnemon.memory_reviews
        where tenant = $1 and memory_id = $2 and ($3::text is null or user_id is null or user_id = $3)
          and ($4::text is null or agent_id = $4)
          and ($5::timestamptz is null or (at, id) < ($5, $6))
        order by at desc, id desc
        limit $7
        "#,
        scope.tenant,
        memory_id.0,
        scope.user,
        scope.agent,
        before.map(|(at, _)| at),
        before.map(|(_, id)| id),
        i64::from(page.limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let all = rows
        .into_iter()
        .map(|found| {
            Ok(ReviewEvent {
                id: EventId(found.id),
                memory_id,
                at: found.at,
                rating: Rating::from_number(found.rating.into())?,
                prior: found.prior.map(|prior| row::json(prior, "a review")).transpose()?,
                next: row::json(found.next, "a review")?,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(Paged::cut(all, page.limit, |event| {
        let at = event.at.timestamp_micros().to_string();
        Cursor::of(REVIEW_LIST, &[&at, &event.id.to_string()])
    }))
}
