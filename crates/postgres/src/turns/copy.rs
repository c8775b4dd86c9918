//! Portable copies: a memory out, a memory in.

use std::time::Duration;

use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{Export, Imported, Place, Summary, Turn, TurnDefaults};
use mnemon_core::{Error, limits};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::query;

use super::append::queue;
use super::{read, remove};
use crate::error::Fault;

/// A memory as it stands. Turns are only added, so that reading them in pages misses none that
/// was there in the beginning; what a clear took away meanwhile is noticed.
pub(super) async fn export(
    conn: &mut PgConnection,
    place: &Place<'_>,
    defaults: &TurnDefaults,
) -> Result<Export, Fault> {
    let Some(head) = read::head(conn, place).await? else {
        return Ok(Export::new(defaults.settings.strategy, Vec::new(), Vec::new()));
    };
    let mut turns: Vec<Turn> = Vec::new();
    let mut bytes = 0;
    loop {
        let after = turns.last().map_or(0, |turn| turn.seq);
        let left = (head.seq - after).min(i64::from(limits::PAGE_MAX));
        let page = read::following(conn, place, after, left).await?;
        if page.is_empty() {
            break;
        }
        for turn in &page {
            let sides = [&turn.user_message, &turn.assistant_response];
            bytes += sides.into_iter().flatten().map(String::len).sum::<usize>();
        }
        if bytes > limits::TURN_EXPORT_BYTES {
            let most = limits::TURN_EXPORT_BYTES;
            return Err(Error::invalid("export", format!("is over {most} bytes")).into());
        }
        turns.extend(page);
    }
    let mut chain = read::chain(conn, place, 0, i64::MAX).await?;
    chain.retain(|link| link.seq_to <= head.covered);
    let export = Export::new(head.strategy, turns, chain);
    let again = read::head(conn, place).await?;
    if export.last() != head.seq || again.is_none_or(|again| again.seq < head.seq) {
        let key = place.kind.to_owned();
        let conflict = Error::Conflict { kind: "turns", key, expected: None, actual: None };
        return Err(conflict.into());
    }
    Ok(export)
}

/// Replaces what a memory holds.
pub(super) async fn import(
    conn: &mut PgConnection,
    place: &Place<'_>,
    export: &Export,
    retention: Option<Duration>,
) -> Result<Imported, Fault> {
    read::lock(conn, place).await?;
    let standing = read::head(conn, place).await?.map(|head| head.strategy);
    if let Some(strategy) = standing
        && strategy.name() != export.strategy.name()
    {
        let (copy, key) = (export.strategy.name(), strategy.name());
        let reason = format!("is {copy}; this memory's is {key}");
        return Err(Error::invalid("strategy", reason).into());
    }
    remove::clear(conn, place).await?;
    let strategy = standing.unwrap_or(export.strategy);
    let covered = export.summaries.last().map_or(0, |summary| summary.seq_to);
    query!(
        r#"
        insert into mnemon.turn_sessions
            (tenant, user_id, session_id, run_key, kind, seq, covered_seq, strategy,
             budget_tokens, full_zone_turns, retention, created_at, active_at)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, make_interval(secs => $11::float8),
               c.at, c.at
        from (select mnemon.now() as at) as c
        on conflict (tenant, user_id, session_id, run_key, kind) do update
        set seq = excluded.seq, covered_seq = excluded.covered_seq, active_at = excluded.active_at
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        export.last(),
        covered,
        strategy.name(),
        strategy.budget_tokens().map(i64::from),
        strategy.full_zone_turns().map(i64::from),
        retention.map(|retention| retention.as_secs_f64()),
    )
    .execute(&mut *conn)
    .await?;
    for turns in export.turns.chunks(limits::PAGE_MAX as usize) {
        add_turns(conn, place, turns).await?;
    }
    for link in &export.summaries {
        add_summary(conn, place, link, None).await?;
    }
    if waiting(export.last(), covered, strategy) > 0 {
        queue(conn, place).await?;
    }
    Ok(Imported { turns: export.turns.len() as u64, summaries: export.summaries.len() as u64 })
}

/// Turns as rows: lists of texts go as JSON, for no array holds lists of different lengths.
async fn add_turns(
    conn: &mut PgConnection,
    place: &Place<'_>,
    turns: &[Turn],
) -> Result<(), Fault> {
    let rows: Vec<Value> = turns
        .iter()
        .map(|turn| {
            json!({
                "seq": turn.seq, "request_id": turn.request_id, "tokens": turn.tokens,
                "at": turn.at, "agent_id": turn.agent, "run_id": turn.run, "digest": turn.digest,
                "artifacts_shown": turn.artifacts_shown,
                "artifacts_hidden": turn.artifacts_hidden, "metadata": turn.metadata,
                "user_message": turn.user_message,
                "assistant_response": turn.assistant_response,
            })
        })
        .collect();
    query!(
        r#"
        insert into mnemon.turns
            (tenant, user_id, session_id, run_key, kind, seq, request_id, tokens, at, expires_at,
             agent_id, run_id, digest, artifacts_shown, artifacts_hidden, metadata, user_message,
             assistant_response)
        select $1, $2, $3, $4, $5, t.seq, t.request_id, t.tokens, t.at,
               mnemon.now() + s.retention, t.agent_id, t.run_id, t.digest, t.artifacts_shown,
               t.artifacts_hidden, t.metadata, t.user_message, t.assistant_response
        from jsonb_to_recordset($6::jsonb) as t
            (seq bigint, request_id text, tokens bigint, at timestamptz, agent_id text,
             run_id text, digest jsonb, artifacts_shown text[], artifacts_hidden text[],
             metadata jsonb, user_message text, assistant_response text)
        join mnemon.turn_sessions s
          on s.tenant = $1 and s.user_id = $2 and s.session_id = $3 and s.run_key = $4
         and s.kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        Value::from(rows),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds a link to the chain.
pub(super) async fn add_summary(
    conn: &mut PgConnection,
    place: &Place<'_>,
    link: &Summary,
    holder: Option<&str>,
) -> Result<(), Fault> {
    query!(
        r#"
        insert into mnemon.turn_summaries
            (tenant, user_id, session_id, run_key, kind, seq_from, seq_to, extends, tokens, at,
             summary, holder)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        link.seq_from,
        link.seq_to,
        link.extends,
        i64::from(link.tokens),
        link.at,
        link.text,
        holder,
    )
    .execute(conn)
    .await?;
    Ok(())
}
