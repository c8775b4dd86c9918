//! Opening the embedded store.

use std::sync::Arc;

use mnemon_core::migrations::Migrations;
use mnemon_core::turns::TurnDefaults;
use mnemon_core::{Result, Store};
use mnemon_sqlite::{Location, Options, SqliteMigrator, SqliteStore};

use super::Builder;
use crate::config::{Config, SecretUrl};

pub(super) async fn open(
    builder: &Builder,
    url: &SecretUrl,
    turns: TurnDefaults,
    notices: &mut Vec<String>,
) -> Result<Arc<dyn Store>> {
    let mut options = options(&builder.config, url)?;
    if let Some(clock) = &builder.clock {
        options.clock = clock.clone();
    }
    // Said when the file is made, so once.
    if builder.config.store.url.is_none() && is_new(&options.location) {
        let place = &options.location;
        notices.push(format!("no database is configured: memories are kept in {place}"));
    }
    Ok(Arc::new(SqliteStore::open(options).await?.with_turns(turns)))
}

pub(super) fn migrations(config: &Config, url: &SecretUrl) -> Result<Box<dyn Migrations>> {
    Ok(Box::new(SqliteMigrator::new(options(config, url)?)))
}

fn options(config: &Config, url: &SecretUrl) -> Result<Options> {
    let mut options = Options::parse(url.reveal())?;
    options.migrate = config.migrate.mode;
    // A folder somebody wrote may be a mistake; the default one is ours to make.
    options.create_parent = config.store.url.is_none();
    Ok(options)
}

fn is_new(location: &Location) -> bool {
    matches!(location, Location::File(path) if !path.exists())
}
