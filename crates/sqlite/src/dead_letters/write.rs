//! Burying: the item's row and the attempt's.

use mnemon_core::Error;
use mnemon_core::dead_letters::{Burial, Buried};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        /// Again is one more attempt, visible at once; an item that the scope does not see stays.
        BURY = "insert into dead_letters (tenant, queue, item_id, attempts, reprocess_eligible, \
            manual_review_required, delivery, taken, visible_at, buried_at, user_id, agent_id, \
            session_id, run_id, error_signature, error, metadata, item) \
            values (?1, ?2, ?3, 1, ?4, ?5, 0, 0, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
            on conflict (tenant, queue, item_id) do update set attempts = attempts + 1, \
            reprocess_eligible = ?4, manual_review_required = ?5, delivery = delivery + 1, \
            taken = 0, visible_at = ?6, error_signature = ?11, error = ?12, metadata = ?13, \
            item = ?14 \
            where (?7 is null or user_id = ?7) and (?8 is null or agent_id = ?8) \
            returning attempts";
        ATTEMPT = "insert into dead_letter_attempts (tenant, queue, item_id, attempt, at, user_id, \
            agent_id, session_id, run_id, error_signature, error, detail) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    }
}

/// Keeps a failure with its attempt.
pub(crate) fn bury(conn: &Connection, scope: &Admitted<'_>, burial: &Burial) -> Done<Buried> {
    let (now, signature) = (now(conn)?, burial.signature());
    let attempts: Option<u32> = conn
        .prepare_cached(sql::BURY)?
        .query_row(
            params![
                scope.tenant,
                burial.queue,
                burial.item_id,
                burial.reprocess_eligible,
                burial.manual_review_required,
                now,
                scope.user,
                scope.agent,
                scope.session,
                scope.run,
                signature,
                burial.error,
                burial.metadata.to_string(),
                burial.item.to_string(),
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(attempts) = attempts else {
        let name = format!("{}/{}", burial.queue, burial.item_id);
        return Err(Error::not_found("dead letter", name).into());
    };
    conn.prepare_cached(sql::ATTEMPT)?.execute(params![
        scope.tenant,
        burial.queue,
        burial.item_id,
        attempts,
        now,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        signature,
        burial.error,
        burial.detail.to_string(),
    ])?;
    Ok(Buried { attempts })
}
