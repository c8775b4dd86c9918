//! The other side of one database: what fills, measures and packs its tables without Mnemon.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::postgres::{self, Peer};
use super::{Failed, sqlite};
use crate::target::Target;

/// Where the tables are.
pub(super) enum Raw {
    /// In a file.
    File(PathBuf),
    /// On a server.
    Server(String),
}

impl Raw {
    pub(super) fn of(target: &Target) -> Result<Self, Failed> {
        match target.server() {
            Some(database) => Ok(Self::Server(database.url().to_owned())),
            None => Ok(Self::File(target.file().ok_or("neither a file nor a server")?)),
        }
    }

    /// What Mnemon opens.
    pub(super) fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite://{}", path.display()),
            Self::Server(url) => url.clone(),
        }
    }

    /// Puts items into a queue of Mnemon's.
    pub(super) async fn fill(&self, queue: &str, items: f64) -> Result<(), Failed> {
        match self {
            Self::File(path) => sqlite::fill(path, queue, items),
            Self::Server(url) => {
                let mut conn = PgConnection::connect(url).await?;
                postgres::fill(&mut conn, queue, items).await?;
                Ok(conn.close().await?)
            }
        }
    }

    /// Items a second of all consumers of a peer.
    pub(super) async fn rate(
        &self,
        peer: Peer,
        queue: &str,
        time: Duration,
    ) -> Result<f64, Failed> {
        match self {
            Self::File(path) => sqlite::rate(path, queue, time).await,
            Self::Server(url) => peer.rate(url, queue, time).await,
        }
    }

    /// Removes every item.
    pub(super) async fn empty(&self) -> Result<(), Failed> {
        match self {
            Self::File(path) => sqlite::empty(path),
            Self::Server(url) => postgres::empty(url).await,
        }
    }

    /// Packs the tables anew.
    pub(super) async fn pack(&self) -> Result<(), Failed> {
        match self {
            Self::File(path) => sqlite::pack(path),
            Self::Server(url) => postgres::pack(url).await,
        }
    }

    /// What the tables take, with their indexes, in bytes; of a file, all of it.
    pub(super) async fn size(&self) -> Result<f64, Failed> {
        match self {
            Self::File(path) => sqlite::size(path),
            Self::Server(url) => postgres::size(url).await,
        }
    }
}
