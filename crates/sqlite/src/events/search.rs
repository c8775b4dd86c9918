//! Searching events by their words, and filling the postings that serve it.
//!
//! The rarest word's postings are walked from the newest on; the others are looked up. Phrases and
//! what is excluded are decided by core from the event itself.

use mnemon_core::events::{Event, EventFilter, Sought, document};
use mnemon_core::scope::Admitted;
use mnemon_core::upkeep::Batch;
use mnemon_core::{Paged, limits};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, OptionalExtension, params};

use super::read::{self, Epochs, Place, Question};
use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        TERM = "select id from event_terms where tenant = ?1 and term = ?2";
        /// How many events hold a word, as far as it matters.
        COUNT = "select count(*) from (select 1 from event_postings where term_id = ?1 limit ?2)";
        PLACE = "select position from event_search_place";
        NEXT = "select position, tenant, kind, data, recorded_at from events where position > ?1 \
            order by position limit ?2";
        ADD_TERM = "insert into event_terms (tenant, term) values (?1, ?2) returning id";
        ADD = "insert or ignore into event_postings (term_id, recorded_at, event) \
            values (?1, ?2, ?3)";
        MOVE = "update event_search_place set position = ?1";
        /// Completed by words, a filter and a place, with numbered parameters.
        MATCHES = "select e.version, e.id, e.kind, e.data, e.recorded_at, e.occurred_at, \
            e.correlation_id, e.user_id, e.agent_id, e.stream, e.position \
            from event_postings p cross join events e on e.position = p.event where e.tenant = ?1";
        WAITING = "select count(*) from (select 1 from events where position > \
            (select position from event_search_place) limit 100000)";
    }
}

/// Candidates that are read at once.
const CHUNK: u32 = 250;

/// Events that hold what is sought, the last recorded first.
pub(super) fn search(
    conn: &Connection,
    scope: &Admitted<'_>,
    sought: &Sought,
    filter: &EventFilter,
    after: Option<Place>,
    limit: u32,
) -> Done<Paged<Event>> {
    let Some(terms) = terms(conn, scope.tenant, sought)? else {
        return Ok(Paged { items: Vec::new(), next: None });
    };
    let epochs = Epochs::read(conn)?;
    let wanted = limit as usize + 1;
    let (mut found, mut place, mut scanned) = (Vec::new(), after, 0);
    loop {
        let mut question = Question::over(sql::MATCHES, "e.", scope, filter);
        let (first, rest) = terms.split_first().expect("a text holds a word");
        let mark = question.bind(Bound::Integer(*first));
        question.add(&[" and p.term_id = ", &mark]);
        for term in rest {
            let mark = question.bind(Bound::Integer(*term));
            question.add(&[
                " and exists (select 1 from event_postings q where q.term_id = ",
                &mark,
                " and q.recorded_at = p.recorded_at and q.event = p.event)",
            ]);
        }
        if let Some(place) = &place {
            let [time, stream, version] = place.bound().map(|value| question.bind(value));
            question.add(&[
                " and p.recorded_at <= ",
                &time,
                " and (p.recorded_at, e.stream, e.version) < (",
                &[time.as_str(), &stream, &version].join(", "),
                ")",
            ]);
        }
        let most = question.bind(Bound::Integer(i64::from(CHUNK)));
        question
            .add(&[" order by p.recorded_at desc, e.stream desc, e.version desc limit ", &most]);
        let events = question.events(conn, scope.tenant, &epochs)?;
        let last = events.len() < CHUNK as usize;
        scanned += CHUNK;
        place = events.last().map(Place::of);
        found.extend(
            events.into_iter().filter(|event| sought.fits(&document(&event.kind, &event.data))),
        );
        if last || found.len() >= wanted {
            return Ok(read::listed(found, limit));
        }
        if scanned >= limits::EVENT_SEARCH_SCANNED {
            let next = place.as_ref().map(Place::cursor);
            return Ok(Paged { items: found, next });
        }
    }
}

/// The ids of the words that must be there, the rarest first; none when one is nowhere.
fn terms(conn: &Connection, tenant: &str, sought: &Sought) -> Done<Option<Vec<i64>>> {
    let mut terms: Vec<(i64, i64)> = Vec::new();
    for (_, lexeme) in sought.required.iter().flatten() {
        let found: Option<i64> = conn
            .prepare_cached(sql::TERM)?
            .query_row([tenant, lexeme], |row| row.get(0))
            .optional()?;
        let Some(id) = found else { return Ok(None) };
        if terms.iter().any(|(_, term)| *term == id) {
            continue;
        }
        let count = conn
            .prepare_cached(sql::COUNT)?
            .query_row(params![id, limits::EVENT_SEARCH_SCANNED], |row| row.get(0))?;
        terms.push((count, id));
    }
    terms.sort_unstable();
    Ok(Some(terms.into_iter().map(|(_, id)| id).collect()))
}

/// An event that is to be indexed.
struct Next {
    position: i64,
    tenant: String,
    kind: String,
    data: String,
    recorded_at: i64,
}

/// Indexes the next events of the file.
pub(crate) fn fill(conn: &Connection, size: u32) -> Done<Batch> {
    let place: i64 = conn.prepare_cached(sql::PLACE)?.query_row([], |row| row.get(0))?;
    let mut statement = conn.prepare_cached(sql::NEXT)?;
    let events = statement
        .query_map(params![place, size], |row| {
            Ok(Next {
                position: row.get(0)?,
                tenant: row.get(1)?,
                kind: row.get(2)?,
                data: row.get(3)?,
                recorded_at: row.get(4)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for event in &events {
        let data = serde_json::from_str(&event.data).unwrap_or_default();
        for lexeme in document(&event.kind, &data).lexemes.keys() {
            let term = term(conn, &event.tenant, lexeme)?;
            conn.prepare_cached(sql::ADD)?.execute([term, event.recorded_at, event.position])?;
        }
    }
    if let Some(last) = events.last() {
        conn.prepare_cached(sql::MOVE)?.execute([last.position])?;
    }
    Ok(Batch { rows: events.len() as u64, more: events.len() == size as usize })
}

fn term(conn: &Connection, tenant: &str, lexeme: &str) -> Done<i64> {
    let known =
        conn.prepare_cached(sql::TERM)?.query_row([tenant, lexeme], |row| row.get(0)).optional()?;
    match known {
        Some(id) => Ok(id),
        None => {
            Ok(conn.prepare_cached(sql::ADD_TERM)?.query_row([tenant, lexeme], |row| row.get(0))?)
        }
    }
}

/// Events that wait to be indexed, up to a hundred thousand; none where nothing ever was.
pub(crate) fn waiting(conn: &Connection) -> Done<i64> {
    let place: i64 = conn.prepare_cached(sql::PLACE)?.query_row([], |row| row.get(0))?;
    if place == 0 {
        return Ok(0);
    }
    Ok(conn.prepare_cached(sql::WAITING)?.query_row([], |row| row.get(0))?)
}
