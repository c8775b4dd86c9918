//! Reading events: a stream by its versions, the log by its positions, and lists by time.
//!
//! One writer commits after the other, so that positions are the order of commits.

use mnemon_core::events::{Event, EventFilter, Position, Slice, Start, ahead, version_gone};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, EventId, Paged, Result};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::error::Done;
use crate::memories::rows;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        /// A user or an agent in the scope filters.
        READ = "select version, id, kind, data, recorded_at, occurred_at, correlation_id, \
            user_id, agent_id, stream, position from events \
            where tenant = ?1 and stream = ?2 and version > ?3 \
            and (?4 is null or user_id = ?4) \
            and (?5 is null or agent_id = ?5) order by version limit ?6";
        /// Completed by an index and what a filter asks for, with numbered parameters.
        SELECT = "select version, id, kind, data, recorded_at, occurred_at, correlation_id, \
            user_id, agent_id, stream, position from events";
        COUNT = "select count(*) from events where tenant = ?1";
        FIRST_KEPT = "select first_kept from event_streams where tenant = ?1 and stream = ?2";
        /// The greatest place of anything that retention took from a tenant.
        GONE = "select position, stream, version from event_gone where tenant = ?1 \
            order by position desc limit 1";
        EPOCHS = "select epoch, after from event_epochs order by epoch";
        /// The largest number ever given, whether its event is kept or not.
        NEWEST = "select coalesce(max(seq), 0) from sqlite_sequence where name = 'events'";
    }
}

/// The list that cursors of a stream belong to.
const STREAM: &str = "events";
/// The list that cursors of [`list`] belong to.
const LIST: &str = "event_list";

/// Where each epoch begins, oldest first: after the number given.
pub(crate) struct Epochs(Vec<(i64, i64)>);

impl Epochs {
    pub(crate) fn read(conn: &Connection) -> Done<Self> {
        let mut statement = conn.prepare_cached(sql::EPOCHS)?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self(found.collect::<rusqlite::Result<_>>()?))
    }

    pub(super) fn current(&self) -> i64 {
        self.0.last().map_or(1, |(epoch, _)| *epoch)
    }

    /// The epoch of an event's number.
    pub(crate) fn of(&self, number: i64) -> i64 {
        let begun = self.0.iter().rev().find(|(_, after)| number > *after);
        begun.map_or(1, |(epoch, _)| *epoch)
    }

    /// The number behind which a place of any epoch lies: what a later epoch wrote is behind it
    /// even where numbers were given twice.
    fn number(&self, place: &Position) -> i64 {
        let later = self.0.iter().find(|(epoch, _)| *epoch > place.epoch);
        later.map_or(place.tx, |(_, after)| place.tx.min(*after))
    }
}

fn event(row: &Row<'_>, tenant: &str, epochs: &Epochs) -> Done<Event> {
    let id = EventId(rows::id(row, 1)?);
    let data = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
    let (stream, version): (String, i64) = (row.get(9)?, row.get(0)?);
    let number: i64 = row.get(10)?;
    Ok(Event {
        id,
        version,
        position: Position::of(tenant, epochs.of(number), number, stream.as_str(), version),
        stream,
        kind: row.get(2)?,
        data: serde_json::from_str(data)
            .map_err(|error| Error::corrupt(format!("event {id}"), error.to_string()))?,
        correlation_id: row.get(6)?,
        user: row.get(7)?,
        agent: row.get(8)?,
        occurred_at: row::time(row, 5)?,
        recorded_at: row::time(row, 4)?,
    })
}

/// The version behind which a page of a stream begins.
pub(super) fn version(cursor: &Cursor) -> Result<i64> {
    let [version] = cursor.parts::<1>(STREAM)?;
    version.parse().map_err(|_| Error::invalid("page.cursor", "holds no version"))
}

/// A page of a stream.
pub(super) fn stream(
    conn: &Connection,
    scope: &Admitted<'_>,
    stream: &str,
    after: Option<i64>,
    limit: u32,
) -> Done<Paged<Event>> {
    if let Some(after) = after {
        check_kept(conn, scope, stream, after)?;
    }
    let after = after.unwrap_or(0);
    let epochs = Epochs::read(conn)?;
    let mut statement = conn.prepare_cached(sql::READ)?;
    let parameters =
        rusqlite::params![scope.tenant, stream, after, scope.user, scope.agent, limit + 1];
    let mut found = statement.query(parameters)?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(event(row, scope.tenant, &epochs)?);
    }
    Ok(Paged::cut(events, limit, |event| Cursor::of(STREAM, &[&event.version.to_string()])))
}

/// Refuses a place in a stream behind which something is gone.
fn check_kept(conn: &Connection, scope: &Admitted<'_>, stream: &str, after: i64) -> Done<()> {
    let first: Option<i64> = conn
        .prepare_cached(sql::FIRST_KEPT)?
        .query_row([scope.tenant, stream], |row| row.get(0))
        .optional()?;
    match first {
        Some(first) if after < first - 1 => {
            let next = Cursor::of(STREAM, &[&(first - 1).to_string()]);
            Err(version_gone(stream, first, next).into())
        }
        _ => Ok(()),
    }
}

/// A statement that is put together from constants, and its values.
pub(super) struct Question {
    /// What stands before a column's name.
    of: &'static str,
    sql: String,
    values: Vec<Bound>,
}

impl Question {
    /// Begins with a statement that ends in a condition on the tenant; then what the scope and the
    /// filter ask for.
    fn new(begin: &str, scope: &Admitted<'_>, filter: &EventFilter) -> Self {
        Self::over(begin, "", scope, filter)
    }

    /// The same over several tables: `of` stands before the names of the events' columns.
    pub(super) fn over(
        begin: &str,
        of: &'static str,
        scope: &Admitted<'_>,
        filter: &EventFilter,
    ) -> Self {
        let values = vec![Bound::Text(scope.tenant.to_owned())];
        let mut question = Self { of, sql: begin.to_owned(), values };
        question.equal("user_id", scope.user);
        question.equal("agent_id", scope.agent);
        question.equal("user_id", filter.user.as_deref());
        question.equal("agent_id", filter.agent.as_deref());
        question.equal("stream", filter.stream.as_deref());
        question.equal("correlation_id", filter.correlation_id.as_deref());
        if !filter.kinds.is_empty() {
            let marks: Vec<String> =
                filter.kinds.iter().map(|kind| question.bind(Bound::Text(kind.clone()))).collect();
            question.add(&[" and ", of, "kind in (", &marks.join(", "), ")"]);
        }
        for (compare, time) in [(">=", filter.from), ("<", filter.to)] {
            if let Some(time) = time {
                let mark = question.bind(Bound::Integer(time.timestamp_micros()));
                question.add(&[" and ", of, "recorded_at ", compare, " ", &mark]);
            }
        }
        question
    }

    fn equal(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            let mark = self.bind(Bound::Text(value.to_owned()));
            // A column's name of this file, and a bound value.
            self.add(&[" and ", self.of, column, " = ", &mark]);
        }
    }

    /// Goes on with constants of this file and marks of bound values.
    pub(super) fn add(&mut self, parts: &[&str]) {
        self.sql.extend(parts.iter().copied());
    }

    /// Binds a value; its mark.
    pub(super) fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    pub(super) fn events(
        &self,
        conn: &Connection,
        tenant: &str,
        epochs: &Epochs,
    ) -> Done<Vec<Event>> {
        let mut statement = conn.prepare_cached(&self.sql)?;
        let mut found = statement.query(params_from_iter(&self.values))?;
        let mut events = Vec::new();
        while let Some(row) = found.next()? {
            events.push(event(row, tenant, epochs)?);
        }
        Ok(events)
    }
}

/// The log after a place.
pub(super) fn log(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    start: &Start,
    limit: u32,
) -> Done<Slice> {
    let after = &start.after;
    let epochs = Epochs::read(conn)?;
    let newest: i64 = conn.prepare_cached(sql::NEWEST)?.query_row([], |row| row.get(0))?;
    if after.is_ahead(epochs.current(), newest) {
        return Err(ahead().into());
    }
    let gone = gone(conn, scope.tenant, &epochs)?;
    start.check(gone.as_ref())?;
    // What can be most of the log is read in its order, whatever else could find it.
    let few = filter.stream.is_some() || filter.correlation_id.is_some();
    let begin = select(if few { "" } else { " indexed by events_position" });
    let mut question = Question::new(&begin, scope, filter);
    let mark = question.bind(Bound::Integer(epochs.number(after)));
    let most = question.bind(Bound::Integer(i64::from(limit)));
    question.add(&[" and position > ", &mark, " order by position limit ", &most]);
    let events = question.events(conn, scope.tenant, &epochs)?;
    let caught_up = events.len() < limit as usize;
    let last = events.last().map_or(after, |event| &event.position);
    let next = if caught_up && (last.epoch, last.tx) < (epochs.current(), newest) {
        Position::of(scope.tenant, epochs.current(), newest, "", 0)
    } else {
        last.clone()
    };
    let next = start.then(next, gone.as_ref());
    Ok(Slice { events, next, caught_up, pending: false })
}

/// The greatest place of anything that retention took from the tenant.
fn gone(conn: &Connection, tenant: &str, epochs: &Epochs) -> Done<Option<Position>> {
    let found: Option<(i64, String, i64)> = conn
        .prepare_cached(sql::GONE)?
        .query_row([tenant], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found.map(|(number, stream, version)| {
        Position::of(tenant, epochs.of(number), number, stream, version)
    }))
}

/// Where a list's page begins: time, stream, version.
pub(super) struct Place {
    recorded_at: i64,
    stream: String,
    version: i64,
}

impl Place {
    pub(super) fn of(event: &Event) -> Self {
        let recorded_at = event.recorded_at.timestamp_micros();
        Self { recorded_at, stream: event.stream.clone(), version: event.version }
    }

    pub(super) fn cursor(&self) -> Cursor {
        let Self { recorded_at, stream, version } = self;
        Cursor::of(LIST, &[&recorded_at.to_string(), &version.to_string(), stream])
    }

    /// Time, stream and version, to be bound.
    pub(super) fn bound(&self) -> [Bound; 3] {
        let stream = Bound::Text(self.stream.clone());
        [Bound::Integer(self.recorded_at), stream, Bound::Integer(self.version)]
    }
}

pub(super) fn place(cursor: Option<&Cursor>) -> Result<Option<Place>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {LIST}"));
    let [micros, version, stream] = cursor.parts::<3>(LIST).map_err(|_| foreign())?;
    let whole = || {
        Some(Place {
            recorded_at: micros.parse().ok()?,
            version: version.parse().ok()?,
            stream: stream.to_owned(),
        })
    };
    whole().map(Some).ok_or_else(foreign)
}

/// The statement over an index; without statistics the planner takes what spares it a sort, and
/// reads everything for a few.
fn select(index: &str) -> String {
    format!("{}{index} where tenant = ?1", sql::SELECT)
}

/// The index that finds what is asked for in the order of time; of a stream, of versions.
fn by_time(scope: &Admitted<'_>, filter: &EventFilter) -> &'static str {
    if filter.stream.is_some() {
        " indexed by events_stream"
    } else if filter.correlation_id.is_some() {
        " indexed by events_correlation"
    } else if filter.kinds.len() == 1 {
        " indexed by events_kind"
    } else if filter.agent.is_some() || scope.agent.is_some() {
        " indexed by events_agent"
    } else if filter.user.is_some() || scope.user.is_some() {
        " indexed by events_user"
    } else {
        " indexed by events_time"
    }
}

/// Events, the last recorded first.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    after: Option<&Place>,
    limit: u32,
) -> Done<Paged<Event>> {
    let mut question = Question::new(&select(by_time(scope, filter)), scope, filter);
    if let Some(place) = after {
        let [time, stream, version] = place.bound().map(|value| question.bind(value));
        if filter.stream.is_some() {
            question.add(&[" and version < ", &version]);
        }
        question.add(&[
            " and (recorded_at, stream, version) < (",
            &[time, stream, version].join(", "),
            ")",
        ]);
    }
    let most = question.bind(Bound::Integer(i64::from(limit) + 1));
    // Within a stream times never go back.
    let order = if filter.stream.is_some() { "" } else { "recorded_at desc, stream desc, " };
    question.add(&[" order by ", order, "version desc limit ", &most]);
    let events = question.events(conn, scope.tenant, &Epochs::read(conn)?)?;
    Ok(listed(events, limit))
}

/// A page of a list, of at least one event more than asked where there are more.
pub(super) fn listed(events: Vec<Event>, limit: u32) -> Paged<Event> {
    Paged::cut(events, limit, |event| Place::of(event).cursor())
}

/// How many events there are.
pub(super) fn count(conn: &Connection, scope: &Admitted<'_>, filter: &EventFilter) -> Done<u64> {
    let question = Question::new(sql::COUNT, scope, filter);
    let count: i64 = conn
        .prepare_cached(&question.sql)?
        .query_row(params_from_iter(&question.values), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
