//! Accesses: which memories a recall brought up, noted when its caller asks for it.

use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use crate::error::Fault;

/// Notes one recall's hits, as one event.
pub(super) async fn note(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: Uuid,
    memories: &[Uuid],
) -> Result<(), Fault> {
    query!(
        "insert into mnemon.memory_accesses (tenant, id, user_id, agent_id, at, memories)
         values ($1, $2, $3, $4, mnemon.now(), $5) on conflict do nothing",
        scope.tenant,
        id,
        scope.user,
        scope.agent,
        memories,
    )
    .execute(conn)
    .await?;
    Ok(())
}
