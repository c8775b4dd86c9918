//! Every way in which a connection can be asked for wrongly, and what is said about it.

use std::os::unix::fs::PermissionsExt as _;

use mnemon_core::Error;
use mnemon_testkit::{Major, Server, Settings};

use super::{database, fake, open, with};

/// Opens, expects a refusal, and checks that it keeps the password to itself.
async fn refusal(url: &str) -> Error {
    let error = open(url).await.map(|_| ()).expect_err(url);
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    error
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_the_time_it_was_tried() {
    let address = fake::nobody().await;

    let error = refusal(&format!("postgres://u:canary@{address}/mem")).await;

    let said = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(said.contains(&address.to_string()) && said.contains("tried for"), "{said}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_its_time_only() {
    let address = fake::silent().await;

    let error = refusal(&format!("postgres://u:canary@{address}/mem?connect_timeout=1")).await;

    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer within 1.0 s"), "{error}");
}

#[tokio::test]
async fn every_host_that_was_tried_is_named() {
    let (first, second) = (fake::nobody().await, fake::refusing("57P03", "starting up").await);

    let error = refusal(&format!("postgres://u:canary@{first},{second}/mem")).await;

    let said = error.to_string();
    assert!(said.contains(&first.to_string()), "{said}");
    assert!(said.contains(&format!("{second} (starting up)")), "{said}");
}

#[tokio::test]
async fn what_a_server_refuses_a_login_for_is_said_with_what_to_change() {
    for (code, says) in [
        ("28P01", "refused the password of user u"),
        ("28000", "refused user u"),
        ("3D000", "createdb mem"),
        ("08P01", "PGOPTIONS"),
        ("XX000", "change the connection string"),
    ] {
        let address = fake::refusing(code, "no").await;
        let error = refusal(&format!("postgres://u:canary@{address}/mem")).await;

        let said = error.to_string();
        assert!(matches!(error, Error::Setup { .. }), "{code}: {error:?}");
        assert!(said.contains(says) && said.contains(&address.to_string()), "{code}: {said}");
    }
}

#[tokio::test]
async fn a_server_with_no_connection_free_is_unavailable() {
    let address = fake::refusing("53300", "too many clients already").await;

    let error = refusal(&format!("postgres://u:canary@{address}/mem")).await;

    assert!(error.is_retryable() && error.to_string().contains("too many clients"), "{error:?}");
}

#[tokio::test]
async fn something_that_is_not_postgresql_is_called_that() {
    let address = fake::answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;

    let error = refusal(&format!("postgres://u:canary@{address}/mem?sslmode=disable")).await;

    assert!(error.to_string().contains(&address.to_string()), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_tls_is_asked_for() {
    let address = fake::refusing("XX000", "no").await;

    let error = refusal(&format!("postgres://u:canary@{address}/mem?sslmode=require")).await;

    assert!(matches!(error, Error::Setup { .. }) && error.to_string().contains("TLS"), "{error:?}");
}

#[tokio::test]
async fn strings_are_refused_in_the_name_of_their_setting() {
    let options =
        crate::Options { direct_url: None, ..crate::Options::new("mysql://u:canary@h/db") };
    let error = crate::link::Link::open(&options).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("url: "), "{error}");

    let options = crate::Options {
        maintenance_url: Some("postgres://u:canary@h/db?bogus=1".into()),
        ..crate::Options::new("postgres://h/db")
    };
    let error = crate::link::Link::open(&options).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("maintenance_url: "), "{error}");
    assert!(!format!("{error:?} {options:?}").contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_by_name_and_the_right_one_serves() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        rules.path(),
        "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n",
    )
    .unwrap();
    // The server runs as somebody else.
    std::fs::set_permissions(rules.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let settings = Settings::default().with("hba_file", rules.path().to_str().unwrap());
    let server =
        tokio::task::spawn_blocking(move || Server::own(Major::V16, &settings)).await.unwrap();
    let db = server.server().database().await;
    let admin = open(db.url()).await.unwrap();
    super::execute(&admin, "create role locked login password 'right canary'").await.unwrap();
    admin.close().await;
    let url = |password: &str| {
        format!("postgres://locked:{password}@{}/{}", server.server().address(), db.name())
    };

    let error = refusal(&url("wrong-canary")).await;

    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("refused the password of user locked"), "{error}");
    open(&url("right%20canary")).await.unwrap().close().await;
    drop(db);
    drop(server);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let Some(db) = database().await else { return };

    let error = refusal(&db.url().replace(db.name(), "no_such_database")).await;

    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("no_such_database"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_passed_over_when_writes_are_asked_for() {
    let Some(db) = database().await else { return };
    let link = open(db.url()).await.unwrap();
    // The database's name is the test kit's: letters, digits and underscores.
    let sql = format!("alter database {} set default_transaction_read_only = on", db.name());
    let statement = &sql;
    link.run(super::call(crate::link::Retry::Never), |conn| {
        crate::link::work(async move {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(conn).await?;
            Ok(())
        })
    })
    .await
    .unwrap();

    let error = refusal(&with(db.url(), "target_session_attrs=read-write")).await;

    assert!(error.is_retryable() && error.to_string().contains("takes no writes"), "{error:?}");
    open(&with(db.url(), "target_session_attrs=any")).await.unwrap().close().await;
}
