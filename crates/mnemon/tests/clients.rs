//! Ten thousand callers at once, each with a scope of its own, over twenty connections.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mnemon::config::SecretUrl;
use mnemon::workflows::SaveRun;
use mnemon::{Config, Mnemon, Scope};
use mnemon_testkit::{Major, Server, postgres_wanted};
use tokio::task::JoinSet;

const CLIENTS: usize = 10_000;
const POOL: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_are_served_over_a_pool_of_twenty() {
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        let mut config = Config::default();
        config.store.url = Some(SecretUrl::new(database.url()));
        config.pool.max_connections = POOL;
        // Whoever comes last waits for all others.
        config.pool.acquire_timeout = Duration::from_mins(5);
        config.pool.max_waiting = u32::try_from(CLIENTS).unwrap();
        config.upkeep.enabled = false;
        let db = Mnemon::from_config(config).await.unwrap();
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            let db = db.clone();
            clients.spawn(async move {
                let scope = Scope::tenant(format!("tenant-{}", n % 100)).user(format!("user-{n}"));
                db.workflows().save(&scope, SaveRun::new(format!("run-{n}"), "job"), None).await?;
                db.workflows().load(&scope, &format!("run-{n}")).await
            });
        }

        let mut served = 0;
        while let Some(run) = clients.join_next().await {
            assert_eq!(run.unwrap().unwrap().version, 1);
            served += 1;
        }

        assert_eq!(served, CLIENTS);
        let health = db.health().await.unwrap();
        assert!(health.connections <= POOL, "{health:?}");
        assert_eq!(health.waiting, 0, "{health:?}");
        db.close().await;
    }
}
