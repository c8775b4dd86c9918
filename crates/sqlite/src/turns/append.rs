//! Appending a turn, and what belongs to its memory.

use mnemon_core::RequestId;
use mnemon_core::scope::Admitted;
use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{NewTurn, Place, Settings, Strategy, TurnAppended, TurnDefaults};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::read;
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        BY_REQUEST = "select seq from turns where tenant = ?1 and user_id = ?2 \
            and session_id = ?3 and run_key = ?4 and kind = ?5 and request_id = ?6";
        /// The next place, if the key's strategy is the one counted on.
        ADVANCE = "insert into turn_sessions (tenant, user_id, session_id, run_key, kind, seq, \
            strategy, budget_tokens, full_zone_turns, retention, created_at, active_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6 <> 'none', ?6, ?7, ?8, ?9, ?10, ?10) \
            on conflict (tenant, user_id, session_id, run_key, kind) do update set \
            seq = seq + (strategy <> 'none'), active_at = ?10 \
            where not ?11 or (strategy = ?6 and budget_tokens is ?7 and full_zone_turns is ?8) \
            returning seq, strategy, budget_tokens, full_zone_turns, covered_seq, retention";
        APPEND = "insert into turns (tenant, user_id, session_id, run_key, kind, seq, request_id, \
            tokens, at, expires_at, agent_id, run_id, digest, artifacts_shown, artifacts_hidden, \
            metadata, user_message, assistant_response) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
            ?18)";
        QUEUE = "insert into turn_backlog (tenant, user_id, session_id, run_key, kind, due_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6) \
            on conflict (tenant, user_id, session_id, run_key, kind) do nothing";
        CONFIGURE = "insert into turn_sessions (tenant, user_id, session_id, run_key, kind, seq, \
            strategy, budget_tokens, full_zone_turns, retention, created_at, active_at) \
            values (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10, ?10) \
            on conflict (tenant, user_id, session_id, run_key, kind) do update set \
            strategy = ?6, budget_tokens = ?7, full_zone_turns = ?8, retention = ?9";
        UNQUEUE = "delete from turn_backlog where tenant = ?1 and user_id = ?2 \
            and session_id = ?3 and run_key = ?4 and kind = ?5";
    }
}

/// A turn with what is computed from it alone, before any lock is taken.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    turn: NewTurn,
    tokens: u32,
    settings: Settings,
}

impl Prepared {
    pub(crate) fn of(turn: NewTurn, defaults: &TurnDefaults) -> Self {
        let tokens = turn.tokens(defaults.counter.as_ref());
        Self { tokens, settings: defaults.settings_for(turn.strategy), turn }
    }
}

/// The head after it was advanced.
struct Advanced {
    seq: i64,
    strategy: Strategy,
    covered: i64,
    retention: Option<i64>,
}

/// Appends a turn, or answers the first one of its request.
pub(crate) fn append(
    conn: &Connection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Done<TurnAppended> {
    let turn = &prepared.turn;
    let key = turn.key();
    let place = Place::of(scope, &key)?;
    let Place { tenant, user, session, run, kind } = place;
    let request = turn.request_id.as_ref().map(RequestId::as_str);
    if let Some(request) = request {
        let first: Option<i64> = conn
            .prepare_cached(sql::BY_REQUEST)?
            .query_row(params![tenant, user, session, run, kind, request], |row| row.get(0))
            .optional()?;
        if let Some(seq) = first {
            return Ok(TurnAppended { seq, created: false });
        }
    }
    let now = now(conn)?;
    let head = advance(conn, &place, prepared, now)?;
    if head.strategy == Strategy::None {
        return Ok(TurnAppended { seq: 0, created: false });
    }
    conn.prepare_cached(sql::APPEND)?.execute(params![
        tenant,
        user,
        session,
        run,
        kind,
        head.seq,
        request,
        prepared.tokens,
        turn.at.map_or(now, |at| at.timestamp_micros()),
        head.retention.map(|retention| now.saturating_add(retention)),
        scope.agent,
        scope.run,
        turn.digest.as_ref().map(|digest| json!(digest).to_string()),
        json!(turn.artifacts_shown).to_string(),
        json!(turn.artifacts_hidden).to_string(),
        turn.metadata.to_string(),
        turn.user_message,
        turn.assistant_response,
    ])?;
    if waiting(head.seq, head.covered, head.strategy) > 0 {
        queue(conn, &place, now)?;
    }
    Ok(TurnAppended { seq: head.seq, created: true })
}

fn advance(conn: &Connection, place: &Place<'_>, prepared: &Prepared, now: i64) -> Done<Advanced> {
    let Settings { strategy, retention } = prepared.settings;
    let mut statement = conn.prepare_cached(sql::ADVANCE)?;
    let mut rows = statement.query(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        strategy.name(),
        strategy.budget_tokens(),
        strategy.full_zone_turns(),
        retention.map(micros),
        now,
        prepared.turn.strategy.is_some(),
    ])?;
    let Some(row) = rows.next()? else { return Err(Strategy::refused(place.kind).into()) };
    let name: String = row.get(1)?;
    Ok(Advanced {
        seq: row.get(0)?,
        strategy: Strategy::from_columns(&name, row.get(2)?, row.get(3)?)?,
        covered: row.get(4)?,
        retention: row.get(5)?,
    })
}

/// Notes that turns wait for a summary.
pub(super) fn queue(conn: &Connection, place: &Place<'_>, now: i64) -> Done<()> {
    let Place { tenant, user, session, run, kind } = *place;
    conn.prepare_cached(sql::QUEUE)?.execute(params![tenant, user, session, run, kind, now])?;
    Ok(())
}

/// Notes that none waits.
pub(super) fn unqueue(conn: &Connection, place: &Place<'_>) -> Done<()> {
    let Place { tenant, user, session, run, kind } = *place;
    conn.prepare_cached(sql::UNQUEUE)?.execute(params![tenant, user, session, run, kind])?;
    Ok(())
}

/// Sets what belongs to a memory, before its first turn or later.
pub(super) fn configure(conn: &Connection, place: &Place<'_>, settings: &Settings) -> Done<()> {
    let strategy = settings.strategy;
    let head = read::head(conn, place)?;
    let (seq, covered) = head.as_ref().map_or((0, 0), |head| (head.seq, head.covered));
    if head.is_some_and(|head| !head.strategy.may_become(strategy, seq)) {
        return Err(Strategy::refused(place.kind).into());
    }
    let now = now(conn)?;
    conn.prepare_cached(sql::CONFIGURE)?.execute(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        strategy.name(),
        strategy.budget_tokens(),
        strategy.full_zone_turns(),
        settings.retention.map(micros),
        now,
    ])?;
    if waiting(seq, covered, strategy) > 0 { queue(conn, place, now) } else { unqueue(conn, place) }
}

pub(super) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
