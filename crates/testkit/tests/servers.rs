//! The kit itself: shared servers, templates, databases, roles and clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_testkit::{Major, Server, TestDatabase, postgres_wanted};
use sqlx::{Connection as _, PgConnection};

/// As much of Mnemon's schema as the kit touches.
const SCHEMA: &str = "
    create schema mnemon;
    create function mnemon.now() returns timestamptz language sql stable parallel safe
        as 'select clock_timestamp()';
    create table mnemon.things (id bigint generated always as identity, v vector(3));
    insert into mnemon.things (v) values ('[1,2,3]');
";

async fn make_schema(url: String) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(&url).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut conn).await?;
    Ok(())
}

async fn database(major: Major) -> TestDatabase {
    Server::get(major).template("kit: things", make_schema).await.database().await
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database answers")
}

async fn count(conn: &mut PgConnection) -> i64 {
    let count = sqlx::query_scalar("select count(*) from mnemon.things").fetch_one(conn).await;
    count.expect("the table is there")
}

async fn now(conn: &mut PgConnection) -> DateTime<Utc> {
    let now = sqlx::query_scalar("select mnemon.now()").fetch_one(conn).await;
    now.expect("the function is there")
}

#[tokio::test]
async fn two_databases_of_one_template_are_apart_on_both_versions() {
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let server = Server::get(major);
        assert!(server.version().starts_with(&major.to_string()), "{server:?}");
        let (one, two) = tokio::join!(database(major), database(major));

        let (mut in_one, mut in_two) = (connect(one.url()).await, connect(two.url()).await);
        sqlx::query("delete from mnemon.things").execute(&mut in_one).await.unwrap();

        assert_eq!((count(&mut in_one).await, count(&mut in_two).await), (0, 1));
    }
}

#[tokio::test]
async fn a_template_is_migrated_once_however_many_ask_and_survives_a_migration_that_failed() {
    if !postgres_wanted() {
        return;
    }
    let server = Server::get(Major::V18);
    let key = format!("kit: once {}", std::process::id());
    let failed = tokio::spawn({
        let (server, key) = (server.clone(), key.clone());
        async move { server.template(&key, |_| async { Err("on purpose") }).await }
    });
    assert!(failed.await.unwrap_err().is_panic());

    let runs = Arc::new(AtomicU32::new(0));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (server, key, runs) = (server.clone(), key.clone(), Arc::clone(&runs));
        asked.spawn(async move {
            let migrate = |url| {
                runs.fetch_add(1, Ordering::SeqCst);
                make_schema(url)
            };
            let db = server.template(&key, migrate).await.database().await;
            count(&mut connect(db.url()).await).await
        });
    }

    assert_eq!(asked.join_all().await, vec![1; 8]);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dropped_database_is_gone_with_its_roles_although_somebody_is_connected() {
    if !postgres_wanted() {
        return;
    }
    let db = database(Major::V16).await;
    let role = db.login_role().await;
    let (name, admin_url) = (db.name().to_owned(), db.admin_url().to_owned());
    let _open = connect(&role).await;

    drop(db);

    let mut admin = connect(&admin_url).await;
    let exists = "select exists (select from pg_database where datname = $1)";
    let exists: bool = sqlx::query_scalar(exists).bind(&name).fetch_one(&mut admin).await.unwrap();
    assert!(!exists);
    let exists = "select exists (select from pg_roles where rolname = $1)";
    let exists: bool = sqlx::query_scalar(exists)
        .bind(url::Url::parse(&role).unwrap().username())
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert!(!exists);
}

#[tokio::test]
async fn a_login_role_may_write_rows_but_neither_own_nor_bypass_anything() {
    if !postgres_wanted() {
        return;
    }
    let db = database(Major::V18).await;
    let mut conn = connect(&db.login_role().await).await;

    sqlx::query("insert into mnemon.things (v) values ('[4,5,6]')")
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(count(&mut conn).await, 2);
    now(&mut conn).await;

    assert!(sqlx::query("drop table mnemon.things").execute(&mut conn).await.is_err());
    let powers = "select rolsuper or rolbypassrls or rolcreaterole from pg_roles where rolname = current_user";
    assert!(!sqlx::query_scalar::<_, bool>(powers).fetch_one(&mut conn).await.unwrap());
}

#[tokio::test]
async fn a_moved_or_frozen_clock_is_seen_by_sessions_that_are_open_and_keeps_its_volatility() {
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let db = database(major).await;
        let mut conn = connect(db.url()).await;
        let before = now(&mut conn).await;

        db.move_clock(TimeDelta::days(400)).await;
        assert!(now(&mut conn).await - before >= TimeDelta::days(400));

        let frozen = db.freeze_clock().await;
        assert_eq!(now(&mut conn).await, frozen);
        db.move_clock(TimeDelta::days(-500)).await;
        assert_eq!(now(&mut conn).await, frozen - TimeDelta::days(500));

        db.reset_clock().await;
        assert!(now(&mut conn).await - before < TimeDelta::days(1));
        let traits = "select provolatile::text || proparallel::text from pg_proc where proname = 'now' \
                      and pronamespace = 'mnemon'::regnamespace";
        assert_eq!(
            sqlx::query_scalar::<_, String>(traits).fetch_one(&mut conn).await.unwrap(),
            "ss"
        );
    }
}
