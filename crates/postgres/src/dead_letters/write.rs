//! Burying: one statement writes the item and the attempt.

use mnemon_core::Error;
use mnemon_core::dead_letters::{Burial, Buried};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query_scalar;

use crate::error::Fault;

/// Keeps a failure with its attempt. Again is one more attempt, visible at once; an item that the
/// scope does not see stays as it is.
pub(crate) async fn bury(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    burial: &Burial,
) -> Result<Buried, Fault> {
    let attempts = query_scalar!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), item as (
            insert into mnemon.dead_letters as d
                (tenant, queue, item_id, attempts, reprocess_eligible, manual_review_required,
                 delivery, taken, visible_at, buried_at, user_id, agent_id, session_id, run_id,
                 error_signature, error, metadata, item)
            select $1, $2, $3, 1, $4, $5, 0, false, c.at, c.at, $6, $7, $8, $9, $10, $11, $12, $13
            from clock c
            on conflict (tenant, queue, item_id) do update
            set attempts = d.attempts + 1, reprocess_eligible = $4, manual_review_required = $5,
                delivery = d.delivery + 1, taken = false, visible_at = excluded.visible_at,
                error_signature = $10, error = $11, metadata = $12, item = $13
            where ($6::text is null or d.user_id = $6) and ($7::text is null or d.agent_id = $7)
            returning attempts
        )
        insert into mnemon.dead_letter_attempts
            (tenant, queue, item_id, attempt, at, user_id, agent_id, session_id, run_id,
             error_signature, error, detail)
        select $1, $2, $3, i.attempts, c.at, $6, $7, $8, $9, $10, $11, $14
        from item i, clock c
        returning attempt
        "#,
        scope.tenant,
        burial.queue,
        burial.item_id,
        burial.reprocess_eligible,
        burial.manual_review_required,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        burial.signature(),
        burial.error,
        burial.metadata,
        burial.item,
        burial.detail,
    )
    .fetch_optional(conn)
    .await?;
    let attempts = attempts.ok_or_else(|| {
        Error::not_found("dead letter", format!("{}/{}", burial.queue, burial.item_id))
    })?;
    Ok(Buried { attempts: attempts.unsigned_abs() })
}
