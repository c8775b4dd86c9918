//! The epoch of the order of events: raised when transaction ids start over, because the data now
//! lives in another cluster or was put back to an earlier state.

use mnemon_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use crate::error::Fault;
use crate::link::{Call, Link, Retry, work};

/// Raises the epoch when this is another cluster than the events were written in, or its
/// transaction ids are smaller than one that was seen. Many processes may ask at once: one does.
///
/// # Errors
///
/// [`Error::Setup`] when the role may not: events written now could not be put in order.
pub(crate) async fn settle(link: &Link) -> Result<()> {
    let call = Call { doing: "looking at the epoch", tenant: None, retry: Retry::Idempotent };
    if !link.run(call, |conn| work(async move { has_started_over(conn).await })).await? {
        return Ok(());
    }
    let raised =
        link.maintenance().transaction(call, |conn| work(async move { follow(conn).await })).await;
    match raised {
        Err(Error::Setup { problem, .. }) => Err(Error::setup(
            format!(
                "this database came from another cluster, and its epoch must be raised: {problem}"
            ),
            "open it once as the schema's owner (`mnemon doctor`)",
        )),
        Err(error) => Err(error),
        Ok(epoch) => {
            tracing::warn!(
                epoch,
                "the database came from another cluster: events begin a new epoch"
            );
            Ok(())
        }
    }
}

async fn has_started_over(conn: &mut PgConnection) -> Result<bool, Fault> {
    let over = query_scalar!(
        r#"
        select m.cluster <> c.system_identifier
               or m.high_tx > pg_snapshot_xmax(pg_current_snapshot()) as "over!"
        from mnemon.meta m, pg_control_system() c
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(over)
}

/// Raises it unless another process just did; where it stands.
async fn follow(conn: &mut PgConnection) -> Result<i64, Fault> {
    query!(
        r#"
        update mnemon.meta m
        set epoch = m.epoch + 1, cluster = c.system_identifier, high_tx = pg_current_xact_id()
        from pg_control_system() c
        where m.cluster <> c.system_identifier
           or m.high_tx > pg_snapshot_xmax(pg_current_snapshot())
        "#
    )
    .execute(&mut *conn)
    .await?;
    Ok(query_scalar!("select epoch from mnemon.meta").fetch_one(conn).await?)
}

/// Raises it whatever the cluster says, because somebody knows that the data was put back. No
/// lease of the time before may be good any more, so every fence grows, too.
pub(super) async fn raise(conn: &mut PgConnection) -> Result<i64, Fault> {
    query!("update mnemon.locks set holder = null, fence = fence + $1", FENCES)
        .execute(&mut *conn)
        .await?;
    let epoch = query_scalar!(
        r#"
        update mnemon.meta m
        set epoch = m.epoch + 1, cluster = c.system_identifier, high_tx = pg_current_xact_id()
        from pg_control_system() c
        returning m.epoch
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(epoch)
}

/// By how much fences grow: more holders than a backup can have missed.
const FENCES: i64 = 1_000_000;

/// Notes how far transaction ids came, so that their starting over is seen.
pub(crate) async fn note_progress(conn: &mut PgConnection) -> Result<(), Fault> {
    query!(
        "update mnemon.meta set high_tx = pg_current_xact_id()
         where high_tx < pg_snapshot_xmin(pg_current_snapshot())"
    )
    .execute(conn)
    .await?;
    Ok(())
}
