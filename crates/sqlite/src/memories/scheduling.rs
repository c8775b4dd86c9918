//! Scheduling: reviews, the state they lead to, and what is due.

use chrono::{DateTime, Utc};
use mnemon_core::memories::{Due, Rating, Review, ReviewEvent, Scheduling, decay};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, EventId, MemoryId, Page, Paged, Result};
use rusqlite::{Connection, Row, params};
use serde_json::json;
use uuid::Uuid;

use super::filter::Seen;
use super::{read, rows, update};
use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::memories::filter::visible;
    use crate::memories::rows::columns;

    crate::sql::statements! {
        STATE = "select s.stability, s.difficulty, s.last_review, s.next_review, s.reps, s.lapses \
            from memory_scheduling s join memories m on m.memory = s.memory \
            where m.tenant = ?1 and m.id = ?2";
        KEEP = "insert into memory_scheduling (memory, tenant, user_id, stability, difficulty, \
            last_review, next_review, reps, lapses) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
            on conflict (memory) do update set stability = excluded.stability, \
            difficulty = excluded.difficulty, last_review = excluded.last_review, \
            next_review = excluded.next_review, reps = excluded.reps, lapses = excluded.lapses";
        NOTE = "insert into memory_reviews (tenant, id, user_id, agent_id, memory_id, at, rating, \
            prior, next) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        NOTED = "select memory_id, next from memory_reviews where tenant = ?1 and id = ?2";
        REVIEWS = "select id, at, rating, prior, next from memory_reviews \
            where tenant = ?1 and memory_id = ?2 and (?3 is null or user_id is null \
            or user_id = ?3) and (?4 is null or agent_id = ?4) \
            and (?5 is null or (at, id) < (?5, ?6)) order by at desc, id desc limit ?7";
        DUE = concat!(
            "select ", columns!(), ", s.stability, s.difficulty, s.last_review, s.next_review, \
             s.reps, s.lapses from memory_scheduling s join memories m on m.memory = s.memory \
             where s.tenant = :tenant and s.next_review <= :before and ", visible!(),
            " and (:after is null or (s.next_review, m.id) > (:after, :id)) \
             order by s.next_review, m.id limit :limit"
        );
    }
}

const DUE_LIST: &str = "due";
const REVIEW_LIST: &str = "reviews";

/// Reviews a memory: the event and the new state in one transaction.
pub(crate) fn review(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
    review: &Review,
    event: Uuid,
) -> Done<Scheduling> {
    let at = now(conn)?;
    let found = update::changeable(conn, scope, id, at)?;
    if let Some((of, next)) = noted(conn, scope, event)? {
        if of == id {
            return Ok(next);
        }
        return Err(Error::AlreadyExists { kind: "review", key: event.to_string() }.into());
    }
    let prior = state(conn, scope, id)?;
    let at = decay::time_of(review, prior.as_ref(), rows::time(at)?)?;
    let next = decay::next(id, prior.as_ref(), review.rating, at)?;
    keep(conn, &found, &next)?;
    conn.prepare_cached(sql::NOTE)?.execute(params![
        scope.tenant,
        event.as_bytes(),
        found.memory.user,
        found.memory.agent,
        id.0.as_bytes(),
        at.timestamp_micros(),
        review.rating.number(),
        prior.map(|prior| json!(prior).to_string()),
        json!(next).to_string()
    ])?;
    Ok(next)
}

/// Sets a state as given.
pub(crate) fn set(conn: &Connection, scope: &Admitted<'_>, given: &Scheduling) -> Done<()> {
    let found = update::changeable(conn, scope, given.memory_id, now(conn)?)?;
    keep(conn, &found, given)
}

fn keep(conn: &Connection, of: &update::Changeable, state: &Scheduling) -> Done<()> {
    conn.prepare_cached(sql::KEEP)?.execute(params![
        of.row,
        of.memory.tenant,
        of.memory.user,
        state.stability,
        state.difficulty,
        state.last_review.timestamp_micros(),
        state.next_review.timestamp_micros(),
        state.reps,
        state.lapses
    ])?;
    Ok(())
}

/// The state of a memory that the scope sees.
pub(crate) fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Done<Option<Scheduling>> {
    read::get(conn, scope, id)?;
    state(conn, scope, id)
}

fn state(conn: &Connection, scope: &Admitted<'_>, id: MemoryId) -> Done<Option<Scheduling>> {
    let mut statement = conn.prepare_cached(sql::STATE)?;
    let mut found = statement.query(params![scope.tenant, id.0.as_bytes()])?;
    found.next()?.map(|row| from_row(row, 0, id)).transpose()
}

fn from_row(row: &Row<'_>, first: usize, memory_id: MemoryId) -> Done<Scheduling> {
    Ok(Scheduling {
        memory_id,
        stability: row.get(first)?,
        difficulty: row.get(first + 1)?,
        last_review: row::time(row, first + 2)?,
        next_review: row::time(row, first + 3)?,
        reps: row.get(first + 4)?,
        lapses: row.get(first + 5)?,
    })
}

fn noted(
    conn: &Connection,
    scope: &Admitted<'_>,
    event: Uuid,
) -> Done<Option<(MemoryId, Scheduling)>> {
    let mut statement = conn.prepare_cached(sql::NOTED)?;
    let mut found = statement.query(params![scope.tenant, event.as_bytes()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    Ok(Some((MemoryId(rows::id(row, 0)?), row::json(row, 1, "a review")?)))
}

/// Where a page of due memories starts.
pub(crate) fn due_place(page: &Page) -> Result<Option<(i64, MemoryId)>> {
    place(page, DUE_LIST)
}

/// Where a page of reviews starts.
pub(crate) fn review_place(page: &Page) -> Result<Option<(i64, MemoryId)>> {
    place(page, REVIEW_LIST)
}

fn place(page: &Page, list: &'static str) -> Result<Option<(i64, MemoryId)>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [at, id] = cursor.parts::<2>(list)?;
    let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {list}"));
    Ok(Some((at.parse().map_err(|_| foreign())?, id.parse().map_err(|_| foreign())?)))
}

/// A page of what is due, longest due first.
pub(crate) fn due(
    conn: &Connection,
    scope: &Admitted<'_>,
    before: Option<DateTime<Utc>>,
    after: Option<(i64, MemoryId)>,
    limit: u32,
) -> Done<Paged<Due>> {
    let now = now(conn)?;
    let seen = Seen::by(scope, now);
    let before = before.map_or(now, |before| before.timestamp_micros());
    let id = after.map(|(_, id)| *id.0.as_bytes());
    let (after, id) = (after.map(|(at, _)| at), id.as_ref().map(<[u8; 16]>::as_slice));
    let more = limit + 1;
    let mut values = seen.values();
    values.extend([
        (":before", &before as &dyn rusqlite::ToSql),
        (":after", &after),
        (":id", &id),
        (":limit", &more),
    ]);
    let mut statement = conn.prepare_cached(sql::DUE)?;
    let mut found = statement.query(values.as_slice())?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let memory = rows::memory(row)?;
        let scheduling = from_row(row, 23, memory.id)?;
        all.push(Due { memory, scheduling });
    }
    Ok(Paged::cut(all, limit, |due| {
        let at = due.scheduling.next_review.timestamp_micros().to_string();
        Cursor::of(DUE_LIST, &[&at, &due.memory.id.to_string()])
    }))
}

/// A page of a memory's reviews, latest first.
pub(crate) fn reviews(
    conn: &Connection,
    scope: &Admitted<'_>,
    memory_id: MemoryId,
    before: Option<(i64, MemoryId)>,
    limit: u32,
) -> Done<Paged<ReviewEvent>> {
    let id = before.map(|(_, id)| *id.0.as_bytes());
    let mut statement = conn.prepare_cached(sql::REVIEWS)?;
    let mut found = statement.query(params![
        scope.tenant,
        memory_id.0.as_bytes(),
        scope.user,
        scope.agent,
        before.map(|(at, _)| at),
        id.as_ref().map(<[u8; 16]>::as_slice),
        limit + 1
    ])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let prior: Option<String> = row.get(3)?;
        all.push(ReviewEvent {
            id: EventId(rows::id(row, 0)?),
            memory_id,
            at: row::time(row, 1)?,
            rating: Rating::from_number(row.get(2)?)?,
            prior: match prior {
                Some(_) => Some(row::json(row, 3, "a review")?),
                None => None,
            },
            next: row::json(row, 4, "a review")?,
        });
    }
    Ok(Paged::cut(all, limit, |event| {
        let at = event.at.timestamp_micros().to_string();
        Cursor::of(REVIEW_LIST, &[&at, &event.id.to_string()])
    }))
}
