//! Turns in SQLite: a head per key counts, rows are appended and never rewritten.

use async_trait::async_trait;
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::turns::truncate::{Estimate, has_room, tokens_of, truncate};
use mnemon_core::turns::{Context, NewTurn, Strategy, Turn, TurnAppended, Turns, check_kind};
use mnemon_core::{Cursor, Error, Facet, Page, Paged, RequestId, Result, Scope};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use crate::error::Done;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{locks, row};

/// The columns of `turns`, in the order [`turn`] reads them.
macro_rules! columns {
    () => {
        "seq, user_message, assistant_response, digest, artifacts_shown, artifacts_hidden, \
         metadata, tokens, at"
    };
}

pub(crate) mod sql {
    crate::sql::statements! {
        BY_REQUEST = "select seq from turns where tenant = ?1 and user_id = ?2 \
            and session_id = ?3 and kind = ?4 and request_id = ?5";
        /// The next place; the strategy is the key's from its first turn on.
        ADVANCE = "insert into turn_sessions (tenant, user_id, session_id, kind, seq, strategy, \
            budget_tokens, created_at) values (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7) \
            on conflict (tenant, user_id, session_id, kind) do update set seq = seq + 1 \
            returning seq";
        APPEND = "insert into turns (tenant, user_id, session_id, kind, seq, request_id, tokens, \
            at, agent_id, run_id, digest, artifacts_shown, artifacts_hidden, metadata, \
            user_message, assistant_response) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        LIST = concat!(
            "select ", columns!(), " from turns where tenant = ?1 and user_id = ?2 \
             and session_id = ?3 and kind = ?4 and seq > ?5 order by seq limit ?6"
        );
        NEWEST_FIRST = concat!(
            "select ", columns!(), " from turns where tenant = ?1 and user_id = ?2 \
             and session_id = ?3 and kind = ?4 order by seq desc"
        );
        STRATEGY = "select strategy, budget_tokens from turn_sessions where tenant = ?1 \
            and user_id = ?2 and session_id = ?3 and kind = ?4";
    }
}

const CURSOR: &str = "turns";
const NONE: &str = "none";
const TRUNCATION: &str = "truncation";

#[async_trait]
impl Turns for SqliteStore {
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        self.alive()?;
        scope.admit(Facet::Turns)?;
        turn.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("appending a turn", move |conn| {
            let scope = scope.admit(Facet::Turns)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            append(conn, &scope, &turn)
        })
        .await
    }

    async fn list(&self, scope: &Scope, kind: &str, page: &Page) -> Result<Paged<Turn>> {
        self.alive()?;
        scope.admit(Facet::Turns)?;
        check_kind(kind)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => row::number_of(cursor, CURSOR)?,
            None => 0,
        };
        let (scope, kind, limit) = (scope.clone(), kind.to_owned(), page.limit);
        self.read("listing turns", move |conn| {
            list(conn, &scope.admit(Facet::Turns)?, &kind, after, limit)
        })
        .await
    }

    async fn context(&self, scope: &Scope, kind: &str) -> Result<Context> {
        self.alive()?;
        scope.admit(Facet::Turns)?;
        check_kind(kind)?;
        let (scope, kind) = (scope.clone(), kind.to_owned());
        self.read("reading a context", move |conn| {
            context(conn, &scope.admit(Facet::Turns)?, &kind)
        })
        .await
    }
}

/// Appends a turn, or answers the first one of its request.
pub(crate) fn append(
    conn: &Connection,
    scope: &Admitted<'_>,
    turn: &NewTurn,
) -> Done<TurnAppended> {
    let (tenant, user, session, kind) = (scope.tenant, scope.user, scope.session, &turn.kind);
    let request = turn.request_id.as_ref().map(RequestId::as_str);
    if let Some(request) = request {
        let first: Option<i64> = conn
            .prepare_cached(sql::BY_REQUEST)?
            .query_row(params![tenant, user, session, kind, request], |row| row.get(0))
            .optional()?;
        if let Some(seq) = first {
            return Ok(TurnAppended { seq, created: false });
        }
    }
    let now = now(conn)?;
    let (strategy, budget) = at_rest(Strategy::default());
    let seq: i64 = conn
        .prepare_cached(sql::ADVANCE)?
        .query_row(params![tenant, user, session, kind, strategy, budget, now], |row| row.get(0))?;
    let tokens = turn.tokens.unwrap_or_else(|| {
        tokens_of(&Estimate, turn.user_message.as_deref(), turn.assistant_response.as_deref())
    });
    conn.prepare_cached(sql::APPEND)?.execute(params![
        tenant,
        user,
        session,
        kind,
        seq,
        request,
        tokens,
        turn.at.map_or(now, |at| at.timestamp_micros()),
        scope.agent,
        scope.run,
        turn.digest.as_ref().map(|digest| json!(digest).to_string()),
        json!(turn.artifacts_shown).to_string(),
        json!(turn.artifacts_hidden).to_string(),
        turn.metadata.to_string(),
        turn.user_message,
        turn.assistant_response,
    ])?;
    Ok(TurnAppended { seq, created: true })
}

fn at_rest(strategy: Strategy) -> (&'static str, Option<u32>) {
    match strategy {
        Strategy::Truncation { budget_tokens } => (TRUNCATION, Some(budget_tokens)),
        _ => (NONE, None),
    }
}

fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    kind: &str,
    after: i64,
    limit: u32,
) -> Done<Paged<Turn>> {
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let values = params![scope.tenant, scope.user, scope.session, kind, after, limit + 1];
    let mut rows = statement.query(values)?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(turn(row)?);
    }
    Ok(Paged::cut(turns, limit, |turn| Cursor::of(CURSOR, &[&turn.seq.to_string()])))
}

fn context(conn: &Connection, scope: &Admitted<'_>, kind: &str) -> Done<Context> {
    let strategy = strategy(conn, scope, kind)?.unwrap_or_default();
    let recent_turns = match strategy {
        Strategy::Truncation { budget_tokens } => {
            let newest_first = newest(conn, scope, kind, budget_tokens)?;
            truncate(newest_first, budget_tokens, &Estimate)
        }
        _ => Vec::new(),
    };
    let tokens = recent_turns.iter().fold(0, |sum: u32, turn| sum.saturating_add(turn.tokens));
    Ok(Context { strategy, recent_turns, tokens })
}

fn strategy(conn: &Connection, scope: &Admitted<'_>, kind: &str) -> Done<Option<Strategy>> {
    let found: Option<(String, Option<u32>)> = conn
        .prepare_cached(sql::STRATEGY)?
        .query_row(params![scope.tenant, scope.user, scope.session, kind], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some((name, _)) if name == NONE => Ok(Some(Strategy::None)),
        Some((name, Some(budget_tokens))) if name == TRUNCATION => {
            Ok(Some(Strategy::Truncation { budget_tokens }))
        }
        Some((name, _)) => {
            Err(Error::corrupt("a session of turns", format!("its strategy is {name:?}")).into())
        }
    }
}

/// Reads backwards as long as the budget has room; one row is read at a time.
fn newest(
    conn: &Connection,
    scope: &Admitted<'_>,
    kind: &str,
    budget_tokens: u32,
) -> Done<Vec<Turn>> {
    let mut statement = conn.prepare_cached(sql::NEWEST_FIRST)?;
    let mut rows = statement.query(params![scope.tenant, scope.user, scope.session, kind])?;
    let mut turns: Vec<Turn> = Vec::new();
    let mut taken: u32 = 0;
    while has_room(taken, budget_tokens)
        && let Some(row) = rows.next()?
    {
        let turn = turn(row)?;
        taken = taken.saturating_add(turn.tokens);
        turns.push(turn);
    }
    Ok(turns)
}

fn turn(row: &Row<'_>) -> Done<Turn> {
    let digest = match row.get_ref(3)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(row::json(row, 3, "a turn's digest")?),
    };
    Ok(Turn {
        seq: row.get(0)?,
        user_message: row.get(1)?,
        assistant_response: row.get(2)?,
        digest,
        artifacts_shown: row::json(row, 4, "a turn's artifacts")?,
        artifacts_hidden: row::json(row, 5, "a turn's artifacts")?,
        metadata: row::json(row, 6, "a turn's metadata")?,
        tokens: row.get(7)?,
        at: row::time(row, 8)?,
    })
}
