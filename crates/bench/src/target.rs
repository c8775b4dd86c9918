//! The databases a bench runs on: a fresh SQLite file, a database on a throw-away PostgreSQL with
//! real durability, or the one a URL names.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use mnemon::config::SecretUrl;
use mnemon::embed::Embedder;
use mnemon::{Config, Mnemon};
use mnemon_testkit::{Major, OwnServer, Server, Settings, TestDatabase};
use tempfile::TempDir;

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum On {
    /// One embedded file.
    Sqlite,
    /// PostgreSQL 18.
    Postgres18,
    /// PostgreSQL 16.
    Postgres16,
}

impl On {
    /// Every database, the embedded one first.
    pub(crate) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres18, Self::Postgres16];

    /// Those that were asked for; all of them when none was.
    pub(crate) fn wanted(asked: &[Self]) -> Vec<Self> {
        if asked.is_empty() { Self::ALL.to_vec() } else { asked.to_vec() }
    }

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres18 => "postgres18",
            Self::Postgres16 => "postgres16",
        }
    }
}

/// Whether row-level security is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rls {
    /// Off, as a database begins.
    Off,
    /// On, and opened by a role that it binds.
    On,
}

/// An open database, gone when this is dropped.
pub(crate) struct Target {
    /// The name in tables.
    pub(crate) name: &'static str,
    /// Open, with no background upkeep: benches run it where it belongs.
    pub(crate) db: Mnemon,
    keep: Keep,
}

/// What must outlive the handle: fields drop in order, so the database goes before its server.
enum Keep {
    Folder(TempDir),
    Server(TestDatabase, Box<OwnServer>),
}

impl Target {
    /// Opens a fresh database.
    pub(crate) async fn open(on: On) -> Result<Self, Box<dyn std::error::Error>> {
        Self::open_with(on, Rls::Off).await
    }

    /// Opens a fresh database, with or without row-level security (which SQLite does not have).
    pub(crate) async fn open_with(on: On, rls: Rls) -> Result<Self, Box<dyn std::error::Error>> {
        let (mut url, keep) = fresh(on).await?;
        if let (Keep::Server(database, _), Rls::On) = (&keep, rls) {
            // The first opening makes the schema and registers the model, as its owner.
            Mnemon::builder(&url).background_upkeep(false).open().await?.close().await;
            let mut config = Config::default();
            config.store.url = Some(SecretUrl::new(url));
            mnemon::migrations(&config).await?.rls(true).await?;
            url = database.login_role().await;
        }
        let db = Mnemon::builder(url).background_upkeep(false).open().await?;
        Ok(Self { name: on.name(), db, keep })
    }

    /// Opens a fresh database for the vectors of a model of the bench's own.
    pub(crate) async fn open_as(
        on: On,
        embedder: Arc<dyn Embedder>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let (url, keep) = fresh(on).await?;
        let db = Mnemon::builder(url).background_upkeep(false).embedder(embedder).open().await?;
        Ok(Self { name: on.name(), db, keep })
    }

    /// The file, of an embedded database.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.keep {
            Keep::Folder(folder) => Some(folder.path().join(FILE)),
            Keep::Server(..) => None,
        }
    }

    /// Host and port of the server, where there is one.
    pub(crate) fn address(&self) -> Option<String> {
        match &self.keep {
            Keep::Folder(_) => None,
            Keep::Server(_, server) => Some(server.server().address()),
        }
    }

    /// The database and its server, where there is one.
    pub(crate) fn server(&self) -> Option<&TestDatabase> {
        match &self.keep {
            Keep::Folder(_) => None,
            Keep::Server(database, _) => Some(database),
        }
    }
}

/// The name of an embedded database's file.
const FILE: &str = "bench.db";

async fn fresh(on: On) -> Result<(String, Keep), Box<dyn std::error::Error>> {
    Ok(match on {
        On::Sqlite => {
            let folder = tempfile::tempdir()?;
            let url = format!("sqlite://{}", folder.path().join(FILE).display());
            (url, Keep::Folder(folder))
        }
        On::Postgres18 => throw_away(Major::V18).await,
        On::Postgres16 => throw_away(Major::V16).await,
    })
}

async fn throw_away(major: Major) -> (String, Keep) {
    let server = Server::own(major, &Settings::durable());
    eprintln!("{} {}", server.server().version(), server.server().origin());
    let database = server.server().database().await;
    (database.url().to_owned(), Keep::Server(database, Box::new(server)))
}
