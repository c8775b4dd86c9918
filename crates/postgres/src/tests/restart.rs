//! PostgreSQL is killed and stopped under load: nobody panics, and what was acknowledged stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mnemon_core::Error;
use mnemon_testkit::{Major, OwnServer, Server, Settings, StopMode};

use super::{call, execute, open};
use crate::link::{Link, Retry, work};

const WRITERS: i64 = 8;
/// Ids of one writer lie this far from the next one's.
const SPAN: i64 = 1_000_000;

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// Writes rows with known ids until told to stop; answers those acknowledged.
async fn write(link: Link, load: Arc<Load>, writer: i64) -> Vec<i64> {
    let mut kept = Vec::new();
    for id in (writer * SPAN).. {
        if load.stop.load(Ordering::Relaxed) {
            break;
        }
        let written = link
            .transaction(call(Retry::Idempotent), |conn| {
                work(async move {
                    sqlx::query("insert into rows values ($1) on conflict do nothing")
                        .bind(id)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await;
        match written {
            Ok(()) => {
                kept.push(id);
                load.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Unavailable { retry_after, .. }) => {
                load.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(retry_after.unwrap_or_default()).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    kept
}

/// Waits until `enough` more writes were acknowledged.
async fn progress(load: &Load, enough: u64) {
    let goal = load.acknowledged.load(Ordering::Relaxed) + enough;
    while load.acknowledged.load(Ordering::Relaxed) < goal {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the breaker has opened.
async fn opened(link: &Link) {
    while link.health_counts().3 == "closed" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts and stops block, and the writers need the runtime meanwhile.
async fn blocking(
    server: OwnServer,
    act: impl FnOnce(&mut OwnServer) + Send + 'static,
) -> OwnServer {
    tokio::task::spawn_blocking(move || {
        let mut server = server;
        act(&mut server);
        server
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_lose_nothing_that_was_acknowledged() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let mut server = tokio::task::spawn_blocking(|| Server::own(Major::V18, &Settings::default()))
        .await
        .unwrap();
    let db = server.server().database().await;
    let link = open(db.url()).await.unwrap();
    execute(&link, "create table rows (id int8 primary key)").await.unwrap();
    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(link.clone(), Arc::clone(&load), writer)))
        .collect();
    progress(&load, 200).await;

    server = blocking(server, |server| server.kill_9()).await;
    opened(&link).await;
    server = blocking(server, OwnServer::start).await;
    progress(&load, 200).await;
    assert_eq!(link.health_counts().3, "closed");
    server = blocking(server, |server| server.restart(StopMode::Immediate)).await;
    progress(&load, 200).await;

    load.stop.store(true, Ordering::Relaxed);
    let mut kept = Vec::new();
    for writer in writers {
        kept.extend(writer.await.expect("no writer panics"));
    }
    let kept = &kept;
    let lost: i64 = link
        .run(call(Retry::Idempotent), |conn| {
            work(async move {
                Ok(sqlx::query_scalar(
                    "select count(*) from unnest($1::int8[]) kept (id) \
                     where not exists (select from rows where rows.id = kept.id)",
                )
                .bind(kept)
                .fetch_one(conn)
                .await?)
            })
        })
        .await
        .unwrap();
    assert_eq!(lost, 0, "of {} acknowledged", kept.len());
    assert!(load.refused.load(Ordering::Relaxed) > 0);
    link.close().await;
    drop(db);
    drop(server);
}
