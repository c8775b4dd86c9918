//! Raw single inserts, with and without NOTIFY in the same transaction.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query};

use crate::events::Failed;
use crate::events::load::payload;

const INSERT: &str = "insert into mnemon.events (tenant, stream, version, id, kind, data, \
    occurred_at, recorded_at, tx, epoch) \
    select 'raw', $1, $2, gen_random_uuid(), 'agent.progress', $3, clock_timestamp(), \
    clock_timestamp(), pg_current_xact_id(), 1";
const INSERT_AND_NOTIFY: &str = "with n as (select pg_notify('bench_events', $1)) \
    insert into mnemon.events (tenant, stream, version, id, kind, data, \
    occurred_at, recorded_at, tx, epoch) \
    select 'raw', $1, $2, gen_random_uuid(), 'agent.progress', $3, clock_timestamp(), \
    clock_timestamp(), pg_current_xact_id(), 1 from n";

/// Commits a second.
pub(super) async fn rate(
    url: &str,
    writers: usize,
    notify: bool,
    time: Duration,
) -> Result<f64, Failed> {
    let mut connections = Vec::new();
    for _ in 0..writers {
        connections.push(PgConnection::connect(url).await?);
    }
    let sql = if notify { INSERT_AND_NOTIFY } else { INSERT };
    let run = uuid::Uuid::now_v7();
    let begun = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(writer, mut conn)| {
            let stream = format!("{run}-{writer}");
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < time {
                    query(sql)
                        .bind(&stream)
                        .bind(i64::from(done))
                        .bind(payload(u64::from(done)))
                        .execute(&mut conn)
                        .await?;
                    done += 1;
                }
                conn.close().await?;
                Ok::<u32, sqlx::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}
