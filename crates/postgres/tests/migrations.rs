//! Migrations: many first starts at once, old and newer schemas, steps back, steps that cannot be
//! in a transaction, and roles that may not.

mod common;

use std::borrow::Cow;
use std::process::Stdio;

use mnemon_core::memories::{Memories, NewMemory};
use mnemon_core::migrations::{MigrateMode, Migrations};
use mnemon_core::{Error, Scope, Store as _};
use mnemon_postgres::{Options, PostgresStore};
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

/// A database that a test process was started to open.
const CHILD: &str = "MNEMON_TEST_OPEN_URL";
const PROCESSES: usize = 8;
/// The newest step of this binary, and one that a newer binary would have.
const KNOWN: i64 = 9;
const NEXT: i64 = KNOWN + 1;
/// How many steps there are.
const STEPS: usize = 9;
/// On each of two servers.
const ROUNDS: usize = 20;

fn step(version: i64, down: bool, sql: &'static str, no_tx: bool) -> Migration {
    let kind = if down { MigrationType::ReversibleDown } else { MigrationType::ReversibleUp };
    Migration::new(
        version,
        Cow::Borrowed("fixture"),
        kind,
        AssertSqlSafe(sql).into_sql_str(),
        no_tx,
    )
}

/// Not a case of its own: what the processes of the next one run.
#[tokio::test]
async fn a_process_opens_the_database_it_was_given() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let store = PostgresStore::open(&Options::new(url)).await.unwrap();
    let name = format!("process {}", std::process::id());
    store.remember(&Scope::local(), NewMemory::new(name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_open_an_empty_database_at_once() {
    for server in common::servers() {
        for _ in 0..ROUNDS {
            let db = server.database().await;

            let children: Vec<_> = (0..PROCESSES)
                .map(|_| {
                    tokio::process::Command::new(std::env::current_exe().unwrap())
                        .args(["--exact", "a_process_opens_the_database_it_was_given"])
                        .env(CHILD, db.url())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped())
                        .spawn()
                        .unwrap()
                })
                .collect();
            for child in children {
                let output = child.wait_with_output().await.unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            }

            let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
            assert_eq!(store.count(&Scope::local()).await.unwrap(), PROCESSES as u64);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_refuses_an_empty_database_and_an_old_schema_and_changes_nothing() {
    for server in common::servers() {
        let db = server.database().await;
        let options = Options { migrate: MigrateMode::Verify, ..Options::new(db.url()) };

        let error = PostgresStore::open(&options).await.err().expect("an empty database");
        assert!(matches!(error, Error::Setup { .. }));
        let said = format!("at step 0; this binary needs step {KNOWN}");
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(common::migrator(db.url()).await.status().await.unwrap().current, 0);

        common::migrate(db.url()).await.unwrap();
        PostgresStore::open(&options).await.unwrap();
        let newer = common::migrator(db.url()).await;
        let newer = newer.with_steps(vec![step(NEXT, false, "select 1", false)]);
        let error = newer.verify().await.unwrap_err();
        let said = format!("at step {KNOWN}; this binary needs step {NEXT}");
        assert!(error.to_string().contains(&said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_works_on_the_next_schema_until_min_binary_is_raised() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let expand = "alter table mnemon.memories add column later text; \
                      comment on column mnemon.memories.later is 'Of a newer binary.'";
        let newer = common::migrator(db.url()).await;
        let newer = newer.with_steps(vec![
            step(NEXT, false, expand, false),
            step(NEXT, true, "alter table mnemon.memories drop column later", false),
        ]);
        assert_eq!(newer.up().await.unwrap().len(), 1);

        // This binary does not know that step.
        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        let done = store.remember(&Scope::local(), NewMemory::new("still works")).await.unwrap();
        assert!(store.get(&Scope::local(), done.id).await.is_ok());
        let older = common::migrator(db.url()).await;
        older.verify().await.unwrap();
        assert!(older.up().await.unwrap().is_empty());
        assert!(matches!(older.down(0).await, Err(Error::Setup { .. })));

        let mut conn = common::connect(db.url()).await;
        let raise = format!("update mnemon.meta set min_binary = {NEXT}");
        conn.execute(AssertSqlSafe(raise)).await.unwrap();
        let error = PostgresStore::open(&Options::new(db.url())).await.err().expect("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "the schema (step {NEXT}) admits binaries that know step {NEXT}; this one knows \
                 {KNOWN}; use a newer mnemon"
            )
        );
        conn.execute("update mnemon.meta set min_binary = 1").await.unwrap();
        assert_eq!(newer.down(KNOWN).await.unwrap()[0].version, NEXT);
        assert_eq!(older.status().await.unwrap().current, KNOWN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_down_leaves_nothing_and_the_way_up_works_again() {
    for server in common::servers() {
        let fx = common::fixture(&server).await;
        fx.store.remember(&Scope::local(), NewMemory::new("gone soon")).await.unwrap();
        fx.store
            .register_model(&mnemon_core::memories::ModelSignature {
                name: "m".into(),
                dimension: 8,
                hash: "00".into(),
                semantic: true,
            })
            .await
            .unwrap();
        let migrator = common::migrator(fx.db.url()).await;

        migrator.down(0).await.unwrap();

        let mut conn = common::connect(fx.db.url()).await;
        let left: i64 =
            sqlx::query_scalar("select count(*) from pg_namespace where nspname = 'mnemon'")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        assert_eq!(left, 0);
        assert!(matches!(migrator.down(1).await, Err(Error::Invalid { .. })));
        assert_eq!(migrator.up().await.unwrap().len(), STEPS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_index_waits_for_no_waiting_process_and_replaces_its_invalid_leftover() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let mut conn = common::connect(db.url()).await;
        // What a killed `create index concurrently` leaves behind.
        conn.execute("create index fixture on mnemon.memories (tenant, source)").await.unwrap();
        conn.execute(
            "update pg_index set indisvalid = false where indexrelid = 'mnemon.fixture'::regclass",
        )
        .await
        .unwrap();
        let sql = "-- no-transaction\n\
                   create index concurrently fixture on mnemon.memories (tenant, source)";
        let url = db.url().to_owned();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move {
                    let newer = common::migrator(&url).await;
                    newer.with_steps(vec![step(NEXT, false, sql, true)]).up().await
                })
            })
            .collect();

        let mut applied = 0;
        for task in tasks {
            applied += task.await.unwrap().unwrap().len();
        }

        assert_eq!(applied, 1);
        let valid: bool = sqlx::query_scalar(
            "select indisvalid from pg_index where indexrelid = 'mnemon.fixture'::regclass",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        assert!(valid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_tries_again_while_somebody_uses_the_table() {
    for server in common::servers().into_iter().take(1) {
        let db = common::migrated(&server).await;
        let mut user = common::connect(db.url()).await;
        user.execute("begin; select from mnemon.memories").await.unwrap();
        let newer = common::migrator(db.url()).await;
        let newer = newer.with_steps(vec![step(
            NEXT,
            false,
            "alter table mnemon.memories add column later text",
            false,
        )]);

        let migration = tokio::spawn(async move { newer.up().await });
        // Longer than one attempt waits for the lock.
        tokio::time::sleep(mnemon_core::limits::LOCK_TIMEOUT.mul_f32(1.2)).await;
        user.execute("commit").await.unwrap();

        assert_eq!(migration.await.unwrap().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_step_is_refused() {
    for server in common::servers().into_iter().take(1) {
        let db = common::migrated(&server).await;
        let mut conn = common::connect(db.url()).await;
        conn.execute("update mnemon.schema_migrations set checksum = '\\x00'").await.unwrap();

        let error = PostgresStore::open(&Options::new(db.url())).await.err().expect("refused");

        assert!(error.to_string().starts_with("step 1 of the schema is not the one"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_script_makes_a_schema_that_verifies() {
    for server in common::servers() {
        let db = server.database().await;
        let migrator = common::migrator(db.url()).await;

        let script = migrator.script().await.unwrap();
        let mut conn = common::connect(db.url()).await;
        conn.execute(AssertSqlSafe(script)).await.unwrap();

        migrator.verify().await.unwrap();
        let store = PostgresStore::open(&Options {
            migrate: MigrateMode::Verify,
            ..Options::new(db.url())
        })
        .await
        .unwrap();
        let done = store.remember(&Scope::local(), NewMemory::new("by hand")).await.unwrap();
        assert!(done.created);
        assert!(migrator.script().await.unwrap().starts_with("-- Nothing to do"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_change_the_schema_is_told_who_may() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let role = db.login_role().await;
        let newer = common::migrator(&role).await;
        let newer = newer.with_steps(vec![step(
            NEXT,
            false,
            "alter table mnemon.memories add column later text",
            false,
        )]);

        let error = newer.up().await.unwrap_err();

        assert!(matches!(error, Error::Setup { .. }), "{error:?}");
        assert!(error.to_string().contains("mnemon migrate up --print"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_says_what_it_is() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let mut conn = common::connect(db.url()).await;

        let silent: Vec<String> = sqlx::query_scalar(
            "select c.relname || coalesce('.' || a.attname, '')
             from pg_class c
             left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where c.relnamespace = 'mnemon'::regnamespace and c.relkind in ('r', 'p')
               and c.relname <> 'schema_migrations'
               and (col_description(c.oid, a.attnum) is null
                    or obj_description(c.oid, 'pg_class') is null)",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();

        assert!(silent.is_empty(), "{silent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_makes_the_partitions_of_a_new_season() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        db.move_clock(chrono::TimeDelta::days(400)).await;

        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();

        let finding = store.doctor().await.unwrap();
        let finding = finding.iter().find(|finding| finding.check == "event partitions").unwrap();
        assert_eq!(finding.severity, mnemon_core::store::Severity::Ok, "{finding:?}");
    }
}
