//! Acknowledgements over connections that break: an item is removed once, and its worker is told
//! that it is, or that nobody knows.

mod common;

use std::time::Duration;

use mnemon_core::dead_letters::{Burial, DeadLetters as _};
use mnemon_core::{Error, Scope, Store as _};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Proxy, Trip, When};

/// More messages than are ever sent.
const NEVER: u64 = 1 << 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_message_acknowledges_an_item_once() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let direct = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        let proxy = Proxy::to(&server.address());
        let mut options = Options::new(proxy.url(db.url()));
        options.pool.max_connections = 1;
        let (mut told, mut unknown) = (0, 0);
        for n in 1..=8 {
            for when in [When::Before, When::After] {
                let scope = Scope::tenant(format!("{n} {when:?}"));
                let burial = Burial::new("q", "i", serde_json::json!(1), "it failed");
                direct.bury(&scope, burial, None).await.unwrap();
                let store = PostgresStore::open(&options).await.unwrap();
                let taken = store.take(&scope, "q", 1, Duration::from_mins(1)).await.unwrap();
                proxy.cut_at(Trip::Message(n), when);

                let done = store.ack(&scope, &taken[0].receipt).await;

                proxy.cut_at(Trip::Message(NEVER), When::Before);
                match done {
                    Ok(()) => told += 1,
                    Err(Error::Backend { .. }) => unknown += 1,
                    Err(error) => panic!("{n} {when:?}: {error:?}"),
                }
                let again = store.ack(&scope, &taken[0].receipt).await;
                assert!(matches!(again, Err(Error::NotFound { .. })), "{n} {when:?}: {again:?}");
                store.close().await;
            }
        }
        assert!(told > 0 && unknown > 0, "{told} were told, {unknown} not");
        direct.close().await;
    }
}
