//! Appending a turn, and what belongs to its memory.
//!
//! A turn is one statement: it looks for the call's earlier self, moves the head, writes the row
//! there and queues the memory for a summary. Two calls of one request that run at the same time
//! meet in the unique index, so that the later one writes nothing and is sent again; inside a
//! transaction, which that would end, the head is locked first.

use mnemon_core::scope::Admitted;
use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{NewTurn, Place, Settings, Strategy, TurnAppended, TurnDefaults};
use mnemon_core::{Error, RequestId, Result};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::read;
use crate::error::Fault;

/// How often a call looks again that met another one of its request.
pub(super) const ROUNDS: usize = 3;

/// The unique index in which calls of one request meet.
const REQUEST_INDEX: &str = "turns_request";

/// A turn with what is computed from it alone, before any lock is taken.
pub(crate) struct Prepared {
    turn: NewTurn,
    tokens: u32,
    settings: Settings,
    digest: Option<Value>,
    /// Names the call, where the caller names no request and it may be sent twice.
    attempt: Option<Uuid>,
}

impl Prepared {
    pub(crate) fn of(turn: NewTurn, defaults: &TurnDefaults) -> Self {
        let digest = turn
            .digest
            .as_ref()
            .map(|digest| serde_json::to_value(digest).expect("texts and lists are JSON"));
        let tokens = turn.tokens(defaults.counter.as_ref());
        let settings = defaults.settings_for(turn.strategy);
        Self { tokens, settings, digest, attempt: None, turn }
    }

    /// With a name of its own for the call, so that sending it again is the first time.
    pub(super) fn named(mut self) -> Self {
        self.attempt = self.turn.request_id.is_none().then(Uuid::now_v7);
        self
    }
}

/// Whether another call of the same request was faster.
pub(super) fn met(done: &Result<TurnAppended>) -> bool {
    matches!(done, Err(Error::Conflict { kind: "row", key, .. }) if key == REQUEST_INDEX)
}

/// Appends a turn inside the caller's transaction, or answers the first one of its request.
pub(crate) async fn append(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<TurnAppended, Fault> {
    if prepared.turn.request_id.is_some() {
        // The key's lock first: what is read after it includes every earlier turn.
        let key = prepared.turn.key();
        lock(conn, &Place::of(scope, &key)?, &prepared.settings).await?;
    }
    alone(conn, scope, prepared).await
}

/// Locks a key's head until the transaction ends, making it where there is none.
async fn lock(
    conn: &mut PgConnection,
    place: &Place<'_>,
    settings: &Settings,
) -> Result<(), Fault> {
    // A condition that never holds leaves the row as it is, but locked.
    query!(
        r#"
        insert into mnemon.turn_sessions as s
            (tenant, user_id, session_id, run_key, kind, seq, strategy, budget_tokens,
             full_zone_turns, retention, created_at, active_at)
        select $1, $2, $3, $4, $5, 0, $6, $7, $8, make_interval(secs => $9::float8), c.at, c.at
        from (select mnemon.now() as at) as c
        on conflict (tenant, user_id, session_id, run_key, kind)
            do update set seq = s.seq where false
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        settings.strategy.name(),
        settings.strategy.budget_tokens().map(i64::from),
        settings.strategy.full_zone_turns().map(i64::from),
        settings.retention.map(|retention| retention.as_secs_f64()),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Appends a turn by one statement, whole in itself.
pub(super) async fn alone(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<TurnAppended, Fault> {
    let Prepared { turn, tokens, settings, digest, attempt } = prepared;
    let key = turn.key();
    let place = Place::of(scope, &key)?;
    let done = query!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), known as materialized (
            select t.seq from mnemon.turns t
            where t.tenant = $1 and t.user_id = $2 and t.session_id = $3 and t.run_key = $4
              and t.kind = $5 and t.request_id = $6
            union all
            select t.seq from mnemon.turns t where t.tenant = $1 and t.attempt_id = $7
        ), head as (
            insert into mnemon.turn_sessions as s
                (tenant, user_id, session_id, run_key, kind, seq, strategy, budget_tokens,
                 full_zone_turns, retention, created_at, active_at)
            select $1, $2, $3, $4, $5, ($8 <> 'none')::int, $8, $9, $10,
                   make_interval(secs => $11::float8), c.at, c.at
            from clock c
            where not exists (select from known)
            on conflict (tenant, user_id, session_id, run_key, kind) do update
            set seq = s.seq + (s.strategy <> 'none')::int, active_at = excluded.active_at
            where not $12 or (s.strategy = $8 and s.budget_tokens is not distinct from $9
                              and s.full_zone_turns is not distinct from $10)
            returning s.seq, s.strategy, s.full_zone_turns, s.covered_seq, s.retention
        ), made as (
            insert into mnemon.turns
                (tenant, user_id, session_id, run_key, kind, seq, request_id, attempt_id, tokens,
                 at, expires_at, agent_id, run_id, digest, artifacts_shown, artifacts_hidden,
                 metadata, user_message, assistant_response)
            select $1, $2, $3, $4, $5, h.seq, $6, $7, $13, coalesce($14, c.at),
                   c.at + h.retention, $15, $16, $17, $18, $19, $20, $21, $22
            from head h, clock c
            where h.strategy <> 'none'
        ), queued as (
            insert into mnemon.turn_backlog (tenant, user_id, session_id, run_key, kind, due_at)
            select $1, $2, $3, $4, $5, c.at
            from head h, clock c
            where h.strategy = 'rolling_summary' and h.seq - h.full_zone_turns > h.covered_seq
            on conflict (tenant, user_id, session_id, run_key, kind) do nothing
        )
        select h.seq as "seq!", h.strategy <> 'none' as "created!" from head h
        union all
        select k.seq, false from known k
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        turn.request_id.as_ref().map(RequestId::as_str),
        *attempt,
        settings.strategy.name(),
        settings.strategy.budget_tokens().map(i64::from),
        settings.strategy.full_zone_turns().map(i64::from),
        settings.retention.map(|retention| retention.as_secs_f64()),
        turn.strategy.is_some(),
        i64::from(*tokens),
        turn.at,
        scope.agent,
        scope.run,
        digest.as_ref(),
        &turn.artifacts_shown,
        &turn.artifacts_hidden,
        turn.metadata,
        turn.user_message,
        turn.assistant_response,
    )
    .fetch_optional(conn)
    .await?;
    match done {
        None => Err(Strategy::refused(place.kind).into()),
        Some(row) if row.created => Ok(TurnAppended { seq: row.seq, created: true }),
        // The call's own earlier self, whose answer was lost.
        Some(row) if row.seq > 0 => {
            Ok(TurnAppended { seq: row.seq, created: turn.request_id.is_none() })
        }
        Some(_) => Ok(TurnAppended { seq: 0, created: false }),
    }
}

/// Sets what belongs to a memory, before its first turn or later.
pub(super) async fn configure(
    conn: &mut PgConnection,
    place: &Place<'_>,
    settings: &Settings,
) -> Result<(), Fault> {
    lock(conn, place, settings).await?;
    let head = read::head(conn, place).await?;
    let strategy = settings.strategy;
    let (seq, covered) = head.as_ref().map_or((0, 0), |head| (head.seq, head.covered));
    if head.is_some_and(|head| !head.strategy.may_become(strategy, seq)) {
        return Err(Strategy::refused(place.kind).into());
    }
    query!(
        r#"
        update mnemon.turn_sessions
        set strategy = $6, budget_tokens = $7, full_zone_turns = $8,
            retention = make_interval(secs => $9::float8)
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        strategy.name(),
        strategy.budget_tokens().map(i64::from),
        strategy.full_zone_turns().map(i64::from),
        settings.retention.map(|retention| retention.as_secs_f64()),
    )
    .execute(&mut *conn)
    .await?;
    if waiting(seq, covered, strategy) > 0 {
        queue(conn, place).await
    } else {
        unqueue(conn, place).await
    }
}

/// Notes that turns wait for a summary.
pub(super) async fn queue(conn: &mut PgConnection, place: &Place<'_>) -> Result<(), Fault> {
    query!(
        r#"
        insert into mnemon.turn_backlog (tenant, user_id, session_id, run_key, kind, due_at)
        values ($1, $2, $3, $4, $5, mnemon.now())
        on conflict (tenant, user_id, session_id, run_key, kind) do nothing
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that none waits.
pub(super) async fn unqueue(conn: &mut PgConnection, place: &Place<'_>) -> Result<(), Fault> {
    query!(
        "delete from mnemon.turn_backlog
         where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5",
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
    )
    .execute(conn)
    .await?;
    Ok(())
}
