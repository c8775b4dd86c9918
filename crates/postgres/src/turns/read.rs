//! Reading turns: heads, pages, contexts, summaries, sessions.

use chrono::{DateTime, Utc};
use mnemon_core::scope::Admitted;
use mnemon_core::turns::context::{Parts, compose, wants_more};
use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{
    Context, Health, Place, SessionInfo, Standing, Strategy, Summary, Turn, TurnDefaults,
};
use mnemon_core::{Error, Page, RequestId, Result, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use crate::error::Fault;
use crate::row;

/// The lists that cursors of this facet belong to.
pub(super) const LIST: &str = "turns";
pub(super) const SUMMARIES: &str = "summaries";
pub(super) const SESSIONS: &str = "sessions";

/// Where a page of a list by place begins.
pub(super) fn after(page: &Page, list: &str) -> Result<i64> {
    page.check()?;
    match &page.cursor {
        Some(cursor) => row::number_of(cursor, list),
        None => Ok(0),
    }
}

/// The head of a memory.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) strategy: Strategy,
    pub(super) covered: i64,
    pub(super) health: Health,
    pub(super) failures: u32,
    pub(super) paused: bool,
    pub(super) last_error: Option<String>,
    pub(super) holder: Option<String>,
    pub(super) fence: i64,
    pub(super) lease_until: Option<DateTime<Utc>>,
    /// When it was read.
    pub(super) now: DateTime<Utc>,
}

impl Head {
    /// Turns that wait for a summary.
    pub(super) fn waiting(&self) -> i64 {
        waiting(self.seq, self.covered, self.strategy)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            health: self.health,
            failures: self.failures,
            paused: self.paused,
            backlog: self.waiting(),
            covered: self.covered,
            last_error: self.last_error.clone(),
        }
    }
}

pub(super) async fn head(
    conn: &mut PgConnection,
    place: &Place<'_>,
) -> Result<Option<Head>, Fault> {
    let found = query!(
        r#"
        select seq, strategy, budget_tokens, full_zone_turns, covered_seq, health, failures,
               paused, last_error, holder, fence, lease_until, mnemon.now() as "now!"
        from mnemon.turn_sessions
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(Head {
        seq: row.seq,
        strategy: Strategy::from_columns(&row.strategy, row.budget_tokens, row.full_zone_turns)?,
        covered: row.covered_seq,
        health: row::named(&row.health, "a session's health")?,
        failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
        paused: row.paused,
        last_error: row.last_error,
        holder: row.holder,
        fence: row.fence,
        lease_until: row.lease_until,
        now: row.now,
    }))
}

/// Locks the head of a memory until the transaction ends; whether there is one.
pub(super) async fn lock(conn: &mut PgConnection, place: &Place<'_>) -> Result<bool, Fault> {
    let found = query_scalar!(
        r#"
        select true as "there!" from mnemon.turn_sessions
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        for no key update
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

struct Row {
    seq: i64,
    user_message: Option<String>,
    assistant_response: Option<String>,
    digest: Option<Value>,
    artifacts_shown: Vec<String>,
    artifacts_hidden: Vec<String>,
    metadata: Value,
    tokens: i64,
    at: DateTime<Utc>,
    agent_id: Option<String>,
    run_id: Option<String>,
    request_id: Option<String>,
}

impl TryFrom<Row> for Turn {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("turn {}", row.seq), what.to_owned());
        Ok(Self {
            seq: row.seq,
            digest: row
                .digest
                .map(serde_json::from_value)
                .transpose()
                .map_err(|_| corrupt("its digest is none"))?,
            tokens: u32::try_from(row.tokens).map_err(|_| corrupt("its tokens are no count"))?,
            user_message: row.user_message,
            assistant_response: row.assistant_response,
            artifacts_shown: row.artifacts_shown,
            artifacts_hidden: row.artifacts_hidden,
            metadata: row.metadata,
            at: row.at,
            agent: row.agent_id,
            run: row.run_id,
            request_id: row.request_id.map(RequestId::parse).transpose()?,
        })
    }
}

/// Turns after a place, oldest first, as many as asked.
pub(super) async fn following(
    conn: &mut PgConnection,
    place: &Place<'_>,
    after: i64,
    most: i64,
) -> Result<Vec<Turn>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select seq, user_message, assistant_response, digest, artifacts_shown, artifacts_hidden,
               metadata, tokens, at, agent_id, run_id, request_id
        from mnemon.turns
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
          and seq > $6
        order by seq
        limit $7
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        after,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Turn::try_from).collect::<Result<_>>()?)
}

pub(super) async fn context(
    conn: &mut PgConnection,
    place: &Place<'_>,
    defaults: &TurnDefaults,
) -> Result<Context, Fault> {
    let head = head(conn, place).await?;
    let strategy = head.as_ref().map_or(defaults.settings.strategy, |head| head.strategy);
    let summary = match strategy {
        Strategy::RollingSummary { .. } => newest_summary(conn, place).await?,
        _ => None,
    };
    let covered = summary.as_ref().map_or(0, |summary| summary.seq_to);
    let newest_first = newest(conn, place, strategy, covered).await?;
    let parts = Parts {
        strategy,
        health: head.as_ref().map(|head| head.health).unwrap_or_default(),
        standing: standing(conn, place, newest_first.first(), covered).await?,
        newest_first,
        summary,
    };
    Ok(compose(parts, defaults.counter.as_ref()))
}

/// How many turns there are after the summary up to the newest that was read. Places have no
/// gaps, so that the first one says.
async fn standing(
    conn: &mut PgConnection,
    place: &Place<'_>,
    newest: Option<&Turn>,
    covered: i64,
) -> Result<u64, Fault> {
    let Some(newest) = newest else { return Ok(0) };
    let first = query_scalar!(
        "select seq from mnemon.turns
         where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
         order by seq limit 1",
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .fetch_optional(conn)
    .await?;
    let before = first.map_or(newest.seq, |first| covered.max(first - 1));
    Ok(u64::try_from(newest.seq - before).unwrap_or(0))
}

/// Reads backwards, a page at a time, as long as more is wanted.
async fn newest(
    conn: &mut PgConnection,
    place: &Place<'_>,
    strategy: Strategy,
    covered: i64,
) -> Result<Vec<Turn>, Fault> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut taken: u32 = 0;
    while wants_more(strategy, turns.len(), taken) {
        let below = turns.last().map_or(i64::MAX, |turn| turn.seq);
        let rows = query_as!(
            Row,
            r#"
            select seq, user_message, assistant_response, digest, artifacts_shown,
                   artifacts_hidden, metadata, tokens, at, agent_id, run_id, request_id
            from mnemon.turns
            where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
              and seq < $6 and seq > $7
            order by seq desc
            limit $8
            "#,
            place.tenant,
            place.user,
            place.session,
            place.run,
            place.kind,
            below,
            covered,
            i64::from(limits::PAGE_DEFAULT),
        )
        .fetch_all(&mut *conn)
        .await?;
        let last = rows.len() < limits::PAGE_DEFAULT as usize;
        for row in rows {
            if !wants_more(strategy, turns.len(), taken) {
                break;
            }
            let turn = Turn::try_from(row)?;
            taken = taken.saturating_add(turn.tokens);
            turns.push(turn);
        }
        if last {
            break;
        }
    }
    Ok(turns)
}

struct Link {
    seq_from: i64,
    seq_to: i64,
    extends: Option<i64>,
    summary: String,
    tokens: i64,
    at: DateTime<Utc>,
}

impl From<Link> for Summary {
    fn from(row: Link) -> Self {
        Self {
            seq_from: row.seq_from,
            seq_to: row.seq_to,
            extends: row.extends,
            text: row.summary,
            tokens: u32::try_from(row.tokens).unwrap_or(u32::MAX),
            at: row.at,
        }
    }
}

/// Links after a place, oldest first, as many as asked.
pub(super) async fn chain(
    conn: &mut PgConnection,
    place: &Place<'_>,
    after: i64,
    most: i64,
) -> Result<Vec<Summary>, Fault> {
    let rows = query_as!(
        Link,
        r#"
        select seq_from, seq_to, extends, summary, tokens, at
        from mnemon.turn_summaries
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
          and seq_to > $6
        order by seq_to
        limit $7
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        after,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Summary::from).collect())
}

pub(super) async fn newest_summary(
    conn: &mut PgConnection,
    place: &Place<'_>,
) -> Result<Option<Summary>, Fault> {
    let row = query_as!(
        Link,
        r#"
        select seq_from, seq_to, extends, summary, tokens, at
        from mnemon.turn_summaries
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        order by seq_to desc
        limit 1
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Summary::from))
}

pub(super) async fn sessions(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<SessionInfo>, Fault> {
    let rows = query!(
        r#"
        select session_id, count(*) as "memories!", sum(seq)::int8 as "turns!",
               max(active_at) as "active_at!"
        from mnemon.turn_sessions
        where tenant = $1 and user_id = $2 and session_id > $3
        group by session_id
        order by session_id
        limit $4
        "#,
        scope.tenant,
        scope.user,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SessionInfo {
            session: row.session_id,
            memories: row.memories.unsigned_abs(),
            turns: row.turns.unsigned_abs(),
            active_at: row.active_at,
        })
        .collect())
}
