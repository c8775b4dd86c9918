//! The proxies: what passes, what is held, what is cut, and at which message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mnemon_testkit::{
    Major, Proxy, Server, TestDatabase, TlsProxy, Trip, When, postgres_wanted, rcgen, rustls,
};
use sqlx::{Connection as _, PgConnection};

async fn table() -> (TestDatabase, Proxy) {
    let db = Server::get(Major::V18).database().await;
    let mut conn = PgConnection::connect(db.url()).await.expect("the database answers");
    sqlx::raw_sql("create table rows (n int)").execute(&mut conn).await.expect("a table");
    let proxy = Proxy::to(&db.server().address());
    (db, proxy)
}

/// One transaction of one row.
async fn write(url: &str) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(url).await?;
    let mut tx = conn.begin().await?;
    sqlx::query("insert into rows values ($1)").bind(1).execute(&mut *tx).await?;
    tx.commit().await
}

async fn rows(db: &TestDatabase) -> i64 {
    let mut conn = PgConnection::connect(db.url()).await.expect("the database answers");
    sqlx::query_scalar("select count(*) from rows").fetch_one(&mut conn).await.expect("a count")
}

#[tokio::test]
async fn a_commit_cut_before_it_arrives_writes_nothing_and_one_cut_before_its_answer_writes_the_row()
 {
    if !postgres_wanted() {
        return;
    }
    let (db, proxy) = table().await;
    let url = proxy.url(db.url());

    proxy.cut_at(Trip::Statement("commit".to_owned()), When::Before);
    write(&url).await.unwrap_err();
    assert_eq!(rows(&db).await, 0);

    proxy.cut_at(Trip::Statement("commit".to_owned()), When::After);
    write(&url).await.unwrap_err();
    assert_eq!(rows(&db).await, 1);

    write(&url).await.unwrap();
    assert_eq!(rows(&db).await, 2);
}

#[tokio::test]
async fn every_message_of_a_transaction_can_be_the_last_and_the_row_is_there_or_not() {
    if !postgres_wanted() {
        return;
    }
    let (db, proxy) = table().await;
    let url = proxy.url(db.url());
    let before = proxy.messages();
    write(&url).await.unwrap();
    // The last one, the farewell, is not waited for and so may be counted late.
    let count = proxy.messages() - before - 1;
    assert!(count > 3, "{count} messages");

    for when in [When::Before, When::After] {
        for n in 1..=count {
            let struck = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&struck);
            let had = rows(&db).await;
            proxy.call_at(Trip::Message(n), when, move || seen.store(true, Ordering::SeqCst));

            let answer = write(&url).await;

            assert!(struck.load(Ordering::SeqCst), "message {n} of {count}");
            answer.unwrap_err();
            let written = rows(&db).await - had;
            assert!(
                written == 0 || (written == 1 && n == count && when == When::After),
                "message {n}"
            );
        }
    }
}

#[tokio::test]
async fn a_proxy_pauses_drops_refuses_and_accepts_again() {
    if !postgres_wanted() {
        return;
    }
    let (db, proxy) = table().await;
    let url = proxy.url(db.url());
    let mut conn = PgConnection::connect(&url).await.unwrap();

    proxy.pause();
    let held = tokio::time::timeout(Duration::from_millis(200), conn.ping());
    assert!(held.await.is_err(), "a paused proxy answers nothing");
    proxy.resume();
    let mut conn = PgConnection::connect(&url).await.unwrap();

    proxy.drop_all();
    conn.ping().await.unwrap_err();

    proxy.refuse();
    let error = PgConnection::connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    proxy.accept();
    write(&url).await.unwrap();
}

#[tokio::test]
async fn the_tls_proxy_takes_tls_under_the_right_name_and_nothing_else() {
    if !postgres_wanted() {
        return;
    }
    let (db, _) = table().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key.into())
    .unwrap();
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), made.cert.pem()).unwrap();
    let proxy = TlsProxy::to(&db.server().address(), Arc::new(config));
    let url = |host, mode| {
        format!(
            "{}?sslmode={mode}&sslrootcert={}",
            proxy.url(db.url(), host),
            root.path().display()
        )
    };

    write(&url("localhost", "verify-full")).await.unwrap();
    assert_eq!(rows(&db).await, 1);
    write(&url("127.0.0.1", "verify-full")).await.unwrap_err();
    let error = write(&url("localhost", "disable")).await.unwrap_err();
    assert!(error.to_string().contains("TLS only"), "{error}");
}
