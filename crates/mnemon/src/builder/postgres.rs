//! Opening PostgreSQL.

use std::sync::Arc;

use mnemon_core::migrations::Migrations;
use mnemon_core::turns::TurnDefaults;
use mnemon_core::{Result, Store};
use mnemon_postgres::{Options, PgPool, PoolOptions, PostgresMigrator, PostgresStore};

use super::Opened;
use crate::config::{Config, SecretUrl};

pub(super) async fn open(config: &Config, url: &SecretUrl, turns: TurnDefaults) -> Result<Opened> {
    Ok(opened(PostgresStore::open(&options(config, url)).await?.with_turns(turns)))
}

pub(super) async fn from_pool(pool: PgPool, turns: TurnDefaults) -> Result<Opened> {
    Ok(opened(PostgresStore::from_pool(pool).await?.with_turns(turns)))
}

fn opened(store: PostgresStore) -> Opened {
    let store = Arc::new(store);
    Opened { store: Arc::clone(&store) as Arc<dyn Store>, postgres: Some(store) }
}

pub(super) async fn migrations(config: &Config, url: &SecretUrl) -> Result<Box<dyn Migrations>> {
    Ok(Box::new(PostgresMigrator::connect(&options(config, url)).await?))
}

fn options(config: &Config, url: &SecretUrl) -> Options {
    let reveal = |url: &Option<SecretUrl>| url.as_ref().map(|url| url.reveal().to_owned());
    let pool = &config.pool;
    Options {
        url: url.reveal().to_owned(),
        direct_url: reveal(&config.store.direct_url),
        maintenance_url: reveal(&config.store.maintenance_url),
        pool: PoolOptions {
            max_connections: pool.max_connections,
            min_connections: pool.min_connections,
            acquire_timeout: pool.acquire_timeout,
            idle_timeout: pool.idle_timeout,
            max_lifetime: pool.max_lifetime,
            statement_timeout: pool.statement_timeout,
            max_waiting: pool.max_waiting,
        },
        migrate: config.migrate.mode,
    }
}
