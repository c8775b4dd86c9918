//! What every call through the link keeps: retries, timeouts, waiting, closing, the tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mnemon_core::{Error, limits};

use super::{call, database, execute, number, open, options};
use crate::link::{Call, Link, Retry, work};

/// Fails with a serialisation failure until its `n`-th attempt.
async fn contended(link: &Link, retry: Retry, n: u32) -> (Result<i64, Error>, u32) {
    let attempts = &AtomicU32::new(0);
    let result = link
        .transaction(call(retry), |conn| {
            work(async move {
                if attempts.fetch_add(1, Ordering::Relaxed) + 1 < n {
                    sqlx::raw_sql("do $$ begin raise sqlstate '40001'; end $$")
                        .execute(conn)
                        .await?;
                }
                Ok(7)
            })
        })
        .await;
    (result, attempts.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_only_where_twice_is_once() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();

    let (result, attempts) = contended(&link, Retry::Idempotent, 3).await;
    assert_eq!((result.unwrap(), attempts), (7, 3));

    let (result, attempts) = contended(&link, Retry::Never, 3).await;
    assert!(result.unwrap_err().is_retryable());
    assert_eq!(attempts, 1);

    let (result, attempts) = contended(&link, Retry::Idempotent, u32::MAX).await;
    assert!(result.unwrap_err().is_retryable());
    assert_eq!(attempts as usize, limits::RETRY_ATTEMPTS);
    link.close().await;
}

#[tokio::test]
async fn connections_that_died_unnoticed_cost_no_call_anything() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();
    let killer = open(db.url()).await.unwrap();
    for retry in [Retry::Idempotent, Retry::Never] {
        // Several idle connections, all of them dead.
        let warm = (0..5).map(|_| number(&link, retry, "select 1::int8 from pg_sleep(0.05)"));
        for answer in futures_util::future::join_all(warm).await {
            answer.unwrap();
        }
        number(
            &killer,
            Retry::Idempotent,
            "select count(pg_terminate_backend(pid)) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await
        .unwrap();

        assert_eq!(number(&link, retry, "select 42::int8").await.unwrap(), 42);
        assert_eq!(link.health_counts().3, "closed");
    }
    link.close().await;
    killer.close().await;
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_ended_and_the_next_one_works() {
    let Some(db) = database().await else { return };
    let short = options(db.url(), |pool| pool.statement_timeout = Duration::from_millis(200));
    let link = Link::open(&short).await.unwrap();
    for retry in [Retry::Idempotent, Retry::Never] {
        let error = number(&link, retry, "select 1::int8 from pg_sleep(30)").await.unwrap_err();

        assert!(matches!(error, Error::Unavailable { retry_after: None, .. }), "{error:?}");
        assert_eq!(number(&link, retry, "select 42::int8").await.unwrap(), 42);
    }
    link.close().await;
}

#[tokio::test]
async fn the_waiting_room_is_bounded_and_closing_empties_it_while_running_work_drains() {
    let Some(db) = database().await else { return };
    let narrow = options(db.url(), |pool| {
        pool.max_connections = 1;
        pool.max_waiting = 1;
    });
    let link = Link::open(&narrow).await.unwrap();
    let (started, go) =
        (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let running = tokio::spawn({
        let (link, started, go) = (link.clone(), Arc::clone(&started), Arc::clone(&go));
        async move {
            let (started, go) = (&*started, &*go);
            link.transaction(call(Retry::Never), |conn| {
                work(async move {
                    started.notify_one();
                    go.notified().await;
                    Ok(sqlx::query_scalar::<_, i64>("select 1::int8").fetch_one(conn).await?)
                })
            })
            .await
        }
    });
    started.notified().await;
    let waiting = tokio::spawn({
        let link = link.clone();
        async move { number(&link, Retry::Idempotent, "select 2::int8").await }
    });
    while link.health_counts().2 == 0 {
        tokio::task::yield_now().await;
    }

    let refused = number(&link, Retry::Idempotent, "select 3::int8").await.unwrap_err();
    assert!(refused.to_string().contains("waiting"), "{refused}");

    let closing = tokio::spawn({
        let link = link.clone();
        async move { link.close().await }
    });
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    assert!(matches!(number(&link, Retry::Idempotent, "select 4::int8").await, Err(Error::Closed)));
    assert!(!closing.is_finished(), "the running call is still there");
    go.notify_one();
    assert_eq!(running.await.unwrap().unwrap(), 1);
    closing.await.unwrap();
}

#[tokio::test]
async fn closing_leaves_somebody_elses_pool_open() {
    let Some(db) = database().await else { return };
    let pool = sqlx::PgPool::connect(db.url()).await.unwrap();
    let link = Link::over(pool.clone(), crate::PoolOptions::default()).await.unwrap();
    assert_eq!(number(&link, Retry::Idempotent, "select 1::int8").await.unwrap(), 1);

    link.close().await;

    assert!(matches!(number(&link, Retry::Idempotent, "select 1::int8").await, Err(Error::Closed)));
    let answer: i64 = sqlx::query_scalar("select 2::int8").fetch_one(&pool).await.unwrap();
    assert_eq!(answer, 2);
}

#[tokio::test]
async fn a_call_given_up_half_way_leaves_nothing_behind() {
    let Some(db) = database().await else { return };
    let link = Link::open(&options(db.url(), |pool| pool.max_connections = 1)).await.unwrap();
    execute(&link, "create table rows (id int8)").await.unwrap();
    let inserted = &tokio::sync::Notify::new();
    let half = link.transaction(call(Retry::Never), |conn| {
        work(async move {
            sqlx::raw_sql("insert into rows values (1)").execute(&mut *conn).await?;
            inserted.notify_one();
            std::future::pending::<()>().await;
            Ok(())
        })
    });

    tokio::select! {
        _ = half => unreachable!("it waits for ever"),
        () = inserted.notified() => {}
    }

    let count = number(&link, Retry::Idempotent, "select count(*) from rows").await.unwrap();
    assert_eq!(count, 0);
    link.close().await;
}

#[tokio::test]
async fn refusals_of_the_database_say_what_to_change() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();
    execute(&link, "create schema mnemon; create table mnemon.secrets (id int8 primary key)")
        .await
        .unwrap();
    execute(&link, "insert into mnemon.secrets values (1)").await.unwrap();

    let race = execute(&link, "insert into mnemon.secrets values (1)").await.unwrap_err();
    assert!(matches!(race, Error::Conflict { .. }), "{race:?}");
    assert_eq!(race.to_string(), "row secrets_pkey changed at the same time");

    let lacking = execute(&link, "select * from mnemon.nothing").await.unwrap_err();
    assert!(matches!(lacking, Error::Setup { .. }), "{lacking:?}");

    execute(&link, "create table mnemon.later (id int8)").await.unwrap();
    let role = open(&db.login_role().await).await.unwrap();
    execute(&link, "revoke all on mnemon.later from public; create table mnemon.mine (id int8)")
        .await
        .unwrap();
    let denied = execute(&role, "select * from mnemon.mine").await.unwrap_err();
    assert!(matches!(denied, Error::Setup { .. }), "{denied:?}");
    assert!(denied.to_string().contains("grant"), "{denied}");
    role.close().await;
    link.close().await;
}

#[tokio::test]
async fn under_row_level_security_every_call_carries_its_tenant_and_leaves_none() {
    let Some(db) = database().await else { return };
    let link = Link::open(&options(db.url(), |pool| pool.max_connections = 1)).await.unwrap();
    link.set_rls(true);
    let setting = "select coalesce(nullif(current_setting('mnemon.tenant', true), ''), 'none')";
    let ask = |tenant: Option<&'static str>| {
        let call = Call { doing: "testing", tenant, retry: Retry::Idempotent };
        link.run(call, move |conn| {
            work(async move { Ok(sqlx::query_scalar::<_, String>(setting).fetch_one(conn).await?) })
        })
    };

    assert_eq!(ask(Some("it's \"x\"")).await.unwrap(), "it's \"x\"");
    assert_eq!(ask(None).await.unwrap(), "none");
    link.close().await;
}

#[tokio::test]
async fn a_table_changed_under_prepared_statements_costs_no_call_anything() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();
    execute(&link, "create table rows (id int8); insert into rows values (1)").await.unwrap();
    let read = |retry| {
        link.run(call(retry), |conn| {
            work(async move {
                let row = sqlx::query("select * from rows from_all, pg_sleep(0.02)");
                Ok(row.fetch_all(conn).await?.len())
            })
        })
    };
    for (retry, change) in [
        (Retry::Idempotent, "alter table rows add column more text"),
        (Retry::Never, "alter table rows add column again text"),
    ] {
        for rows in futures_util::future::join_all((0..5).map(|_| read(retry))).await {
            assert_eq!(rows.unwrap(), 1);
        }
        execute(&link, change).await.unwrap();

        for rows in futures_util::future::join_all((0..5).map(|_| read(retry))).await {
            assert_eq!(rows.unwrap(), 1);
        }
    }
    link.close().await;
}

#[tokio::test]
async fn writes_that_a_standby_refuses_do_not_stop_its_reads() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();
    execute(&link, "create table rows (id int8)").await.unwrap();
    let write = "begin read only; insert into rows values (1)";
    for _ in 0..limits::BREAKER_FAILURES {
        let error = execute(&link, write).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("read-only"), "{error:?}");
    }

    assert_eq!(number(&link, Retry::Idempotent, "select 42::int8").await.unwrap(), 42);
    assert_eq!(link.health_counts().3, "closed");
    link.close().await;
}

#[test]
fn a_link_may_be_dropped_where_no_runtime_is_left() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let link = runtime.block_on(async {
        let db = database().await?;
        let link = open(db.url()).await.unwrap();
        assert_eq!(number(&link, Retry::Idempotent, "select 1::int8").await.unwrap(), 1);
        Some(link)
    });
    drop(runtime);

    drop(link);
}

#[tokio::test]
async fn many_calls_share_few_connections_and_all_are_answered() {
    let Some(db) = database().await else { return };
    let link = Link::open(&options(db.url(), |pool| pool.max_connections = 3)).await.unwrap();
    let calls = (0..200).map(|at| {
        let retry = if at % 2 == 0 { Retry::Idempotent } else { Retry::Never };
        number(&link, retry, "select 42::int8")
    });

    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), 42);
    }

    let (connections, _, waiting, _) = link.health_counts();
    assert!(connections <= 3);
    assert_eq!(waiting, 0);
    link.close().await;
    assert_eq!(link.health_counts().0, 0);
}
