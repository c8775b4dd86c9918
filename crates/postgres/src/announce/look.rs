//! One look per process at the newest places of all tenants that are waited for: hints may be lost
//! with a connection, and some writers give none.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use mnemon_core::{Result, limits};
use sqlx::query;
use tokio::sync::watch;

use super::Moves;
use crate::link::{Call, Link, Retry, work};

/// Up to where everything had been readable when it was looked: epoch, and the transaction id
/// below which every writer had ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Horizon {
    epoch: i64,
    xmin: i64,
}

/// What a look found.
struct Found {
    horizon: Horizon,
    /// Tenants with something at or behind the horizon of the look before.
    moved: Vec<String>,
}

/// Looks now and then, while anybody waits.
pub(super) async fn look(moves: Weak<Moves>, mut closed: watch::Receiver<bool>) {
    let mut before = None;
    loop {
        let pause = match moves.upgrade() {
            Some(moves) if moves.standing.load(Ordering::Acquire) => limits::SUBSCRIPTION_POLL,
            Some(_) => limits::SUBSCRIPTION_POLL_ALONE,
            None => return,
        };
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(moves) = moves.upgrade() else { return };
        let tenants = moves.waiting.tenants();
        if tenants.is_empty() {
            continue;
        }
        if !moves.link.oversees() {
            // Everybody looks alone, as whoever may see its own tenant only has to.
            moves.waiting.tell_all();
            continue;
        }
        before = match newest(moves.link.maintenance(), &tenants, before).await {
            // Whatever was not readable at the look before has come to stand at its horizon or
            // behind it.
            Ok(found) if before.is_some_and(|before| before <= found.horizon) => {
                for tenant in &found.moved {
                    moves.waiting.tell(tenant);
                }
                Some(found.horizon)
            }
            // The first look, or a database that was put back.
            Ok(found) => {
                moves.waiting.tell_all();
                Some(found.horizon)
            }
            // Everybody looks alone, and is told by that whether the database answers.
            Err(error) => {
                tracing::debug!(%error, "subscribers look at the event log one by one");
                moves.waiting.tell_all();
                None
            }
        };
    }
}

/// Looks once. Every tenant's newest place is the end of its index, however long the log is.
async fn newest(link: &Link, tenants: &[String], before: Option<Horizon>) -> Result<Found> {
    let call = Call { doing: "looking for new events", tenant: None, retry: Retry::Never };
    let before = before.unwrap_or(Horizon { epoch: 0, xmin: 0 });
    link.run(call, |conn| {
        work(async move {
            let row = query!(
                r#"
                select m.epoch, pg_snapshot_xmin(s.now)::text::int8 as "xmin!",
                       array(
                           select w.tenant
                           from unnest($1::text[]) as w (tenant),
                                lateral (
                                    select e.epoch, e.tx
                                    from mnemon.events e
                                    where e.tenant = w.tenant
                                    order by e.epoch desc, e.tx desc, e.stream collate "C" desc,
                                             e.version desc
                                    limit 1
                                ) newest
                           where (newest.epoch, newest.tx) >= ($2, $3::text::xid8)
                       ) as "moved!"
                from mnemon.meta m, (select pg_current_snapshot() as now) s
                "#,
                tenants,
                before.epoch,
                before.xmin.to_string(),
            )
            .fetch_one(conn)
            .await?;
            let horizon = Horizon { epoch: row.epoch, xmin: row.xmin };
            Ok(Found { horizon, moved: row.moved })
        })
    })
    .await
}
