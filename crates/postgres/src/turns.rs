//! Turns on PostgreSQL: a head per key counts, rows are appended and never rewritten.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::turns::truncate::{Estimate, has_room, tokens_of, truncate};
use mnemon_core::turns::{Context, NewTurn, Strategy, Turn, TurnAppended, Turns, check_kind};
use mnemon_core::{Cursor, Error, Page, Paged, RequestId, Result, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

/// The list that cursors of this facet belong to.
const LIST: &str = "turns";
const NONE: &str = "none";
const TRUNCATION: &str = "truncation";

#[async_trait]
impl Turns for PostgresStore {
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        let scope = &scope.admit(Facet::Turns)?;
        turn.check()?;
        locks::check_guard(guard)?;
        // Without a request's name a repeat after a lost answer would be one more turn.
        let retry = match turn.request_id {
            Some(_) => Retry::Idempotent,
            None => Retry::Never,
        };
        let call = Call { doing: "appending a turn", tenant: Some(scope.tenant), retry };
        let turn = &turn;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    append(conn, scope, turn).await
                })
            })
            .await
    }

    async fn list(&self, scope: &Scope, kind: &str, page: &Page) -> Result<Paged<Turn>> {
        let scope = &scope.admit(Facet::Turns)?;
        check_kind(kind)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => crate::row::number_of(cursor, LIST)?,
            None => 0,
        };
        let limit = page.limit;
        let turns = self
            .link
            .run(reading("listing turns", scope), |conn| {
                work(async move { list(conn, scope, kind, after, limit).await })
            })
            .await?;
        Ok(Paged::cut(turns, limit, |turn| Cursor::of(LIST, &[&turn.seq.to_string()])))
    }

    async fn context(&self, scope: &Scope, kind: &str) -> Result<Context> {
        let scope = &scope.admit(Facet::Turns)?;
        check_kind(kind)?;
        self.link
            .run(reading("reading a context", scope), |conn| {
                work(async move { context(conn, scope, kind).await })
            })
            .await
    }
}

fn reading<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

/// Appends a turn inside the caller's transaction, or answers the first one of its request.
pub(crate) async fn append(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    turn: &NewTurn,
) -> Result<TurnAppended, Fault> {
    let request = turn.request_id.as_ref().map(RequestId::as_str);
    if let Some(request) = request {
        // The key's lock first: what is read after it includes every earlier turn.
        lock(conn, scope, &turn.kind).await?;
        let first = query_scalar!(
            "select seq from mnemon.turns
             where tenant = $1 and user_id = $2 and session_id = $3 and kind = $4
               and request_id = $5",
            scope.tenant,
            scope.user,
            scope.session,
            turn.kind,
            request,
        )
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(seq) = first {
            return Ok(TurnAppended { seq, created: false });
        }
    }
    let seq = insert(conn, scope, turn, request).await?;
    Ok(TurnAppended { seq, created: true })
}

/// Locks a key's head until the transaction ends, making it where there is none.
async fn lock(conn: &mut PgConnection, scope: &Admitted<'_>, kind: &str) -> Result<(), Fault> {
    let (strategy, budget) = at_rest(Strategy::default());
    // A condition that never holds leaves the row as it is, but locked.
    query!(
        r#"
        insert into mnemon.turn_sessions as s
            (tenant, user_id, session_id, kind, seq, strategy, budget_tokens, created_at)
        values ($1, $2, $3, $4, 0, $5, $6, mnemon.now())
        on conflict (tenant, user_id, session_id, kind) do update set seq = s.seq where false
        "#,
        scope.tenant,
        scope.user,
        scope.session,
        kind,
        strategy,
        budget,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves the head and writes the turn there, in one statement; its place.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    turn: &NewTurn,
    request: Option<&str>,
) -> Result<i64, Fault> {
    let (strategy, budget) = at_rest(Strategy::default());
    let tokens = turn.tokens.unwrap_or_else(|| {
        tokens_of(&Estimate, turn.user_message.as_deref(), turn.assistant_response.as_deref())
    });
    let digest = turn
        .digest
        .as_ref()
        .map(|digest| serde_json::to_value(digest).expect("texts and lists are JSON"));
    let seq = query_scalar!(
        r#"
        with head as (
            insert into mnemon.turn_sessions as s
                (tenant, user_id, session_id, kind, seq, strategy, budget_tokens, created_at)
            values ($1, $2, $3, $4, 1, $5, $6, mnemon.now())
            on conflict (tenant, user_id, session_id, kind) do update set seq = s.seq + 1
            returning seq
        )
        insert into mnemon.turns
            (tenant, user_id, session_id, kind, seq, request_id, tokens, at, agent_id, run_id,
             digest, artifacts_shown, artifacts_hidden, metadata, user_message,
             assistant_response)
        select $1, $2, $3, $4, head.seq, $7, $8, coalesce($9, mnemon.now()), $10, $11, $12, $13,
               $14, $15, $16, $17
        from head
        returning seq
        "#,
        scope.tenant,
        scope.user,
        scope.session,
        turn.kind,
        strategy,
        budget,
        request,
        i64::from(tokens),
        turn.at,
        scope.agent,
        scope.run,
        digest,
        &turn.artifacts_shown,
        &turn.artifacts_hidden,
        turn.metadata,
        turn.user_message,
        turn.assistant_response,
    )
    .fetch_one(conn)
    .await?;
    Ok(seq)
}

fn at_rest(strategy: Strategy) -> (&'static str, Option<i64>) {
    match strategy {
        Strategy::Truncation { budget_tokens } => (TRUNCATION, Some(i64::from(budget_tokens))),
        _ => (NONE, None),
    }
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
        })
    }
}

async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    kind: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<Turn>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select seq, user_message, assistant_response, digest, artifacts_shown, artifacts_hidden,
               metadata, tokens, at
        from mnemon.turns
        where tenant = $1 and user_id = $2 and session_id = $3 and kind = $4 and seq > $5
        order by seq
        limit $6
        "#,
        scope.tenant,
        scope.user,
        scope.session,
        kind,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Turn::try_from).collect::<Result<_>>()?)
}

async fn context(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    kind: &str,
) -> Result<Context, Fault> {
    let strategy = strategy(conn, scope, kind).await?.unwrap_or_default();
    let recent_turns = match strategy {
        Strategy::Truncation { budget_tokens } => {
            let newest_first = newest(conn, scope, kind, budget_tokens).await?;
            truncate(newest_first, budget_tokens, &Estimate)
        }
        _ => Vec::new(),
    };
    let tokens = recent_turns.iter().fold(0, |sum: u32, turn| sum.saturating_add(turn.tokens));
    Ok(Context { strategy, recent_turns, tokens })
}

async fn strategy(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    kind: &str,
) -> Result<Option<Strategy>, Fault> {
    let found = query!(
        "select strategy, budget_tokens from mnemon.turn_sessions
         where tenant = $1 and user_id = $2 and session_id = $3 and kind = $4",
        scope.tenant,
        scope.user,
        scope.session,
        kind,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let budget = row.budget_tokens.and_then(|tokens| u32::try_from(tokens).ok());
    match (row.strategy.as_str(), budget) {
        (NONE, _) => Ok(Some(Strategy::None)),
        (TRUNCATION, Some(budget_tokens)) => Ok(Some(Strategy::Truncation { budget_tokens })),
        (name, _) => {
            Err(Error::corrupt("a session of turns", format!("its strategy is {name:?}")).into())
        }
    }
}

/// Reads backwards, a page at a time, as long as the budget has room.
async fn newest(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    kind: &str,
    budget_tokens: u32,
) -> Result<Vec<Turn>, Fault> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut taken: u32 = 0;
    while has_room(taken, budget_tokens) {
        let below = turns.last().map_or(i64::MAX, |turn| turn.seq);
        let rows = query_as!(
            Row,
            r#"
            select seq, user_message, assistant_response, digest, artifacts_shown,
                   artifacts_hidden, metadata, tokens, at
            from mnemon.turns
            where tenant = $1 and user_id = $2 and session_id = $3 and kind = $4 and seq < $5
            order by seq desc
            limit $6
            "#,
            scope.tenant,
            scope.user,
            scope.session,
            kind,
            below,
            i64::from(limits::PAGE_DEFAULT),
        )
        .fetch_all(&mut *conn)
        .await?;
        let last = rows.len() < limits::PAGE_DEFAULT as usize;
        for row in rows {
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
