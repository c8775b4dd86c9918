//! Is there a pooler in between, and does it keep every client's prepared statements apart?
//!
//! A pooler that hands server connections from client to client, but knows nothing of prepared
//! statements, answers one client with another's statement: wrong rows and no error. It shows
//! when several connections prepare different statements under the same name, which the driver
//! does by itself, and run them while the pooler deals its server connections out anew.

use std::time::Duration;

use futures_util::future::join_all;
use mnemon_core::{Error, Result};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::error;
use crate::target::{Candidate, Target};

/// Connections that take part.
const CONNECTIONS: usize = 4;
/// Rounds in which all of them ask at once.
const ROUNDS: usize = 4;
/// Longer than it takes to send four questions, so that they need four server connections.
const QUESTION_MS: u32 = 2;
/// How long one question may take in all: a pooler may have a single server connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands between us and the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// Every connection kept a server process of its own.
    Direct,
    /// A pooler that keeps statements apart.
    Pooled,
}

struct Party {
    conn: PgConnection,
    question: String,
    answer: i32,
    server: Option<i32>,
}

/// Finds out, with `first` and a few more connections to the same candidate.
///
/// # Errors
///
/// [`Error::Setup`] for an unsafe pooler, naming what to change; [`Error::Unavailable`].
pub(crate) async fn examine(target: &Target, at: &Candidate, first: PgConnection) -> Result<Path> {
    let mut parties = gather(target, at, first).await;
    let path = examine_all(&mut parties).await;
    join_all(parties.into_iter().map(|party| party.conn.close())).await;
    let path = path?;
    if path == Path::Pooled && target.has_options {
        return Err(Error::setup(
            format!("the pooler at {} cannot keep start-up options apart", at.shown),
            "leave `options` out of the connection string (and PGOPTIONS)",
        ));
    }
    Ok(path)
}

async fn gather(target: &Target, at: &Candidate, first: PgConnection) -> Vec<Party> {
    let more = (1..CONNECTIONS)
        .map(|_| tokio::time::timeout(target.connect_timeout, at.options.connect()));
    // A server with few connections left gives fewer: the test is then as good as it can be.
    let more = join_all(more).await.into_iter().filter_map(|conn| conn.ok()?.ok());
    std::iter::once(first)
        .chain(more)
        .zip(1..)
        .map(|(conn, number)| Party {
            conn,
            question: format!(
                "select {number}::int4, pg_backend_pid() from pg_sleep({QUESTION_MS} / 1000.0)"
            ),
            answer: number,
            server: None,
        })
        .collect()
}

async fn examine_all(parties: &mut [Party]) -> Result<Path> {
    let mut moved = false;
    // One after the other: a pooler gives all of them the same server connection.
    for party in parties.iter_mut() {
        moved |= party.ask().await?;
    }
    for _ in 0..ROUNDS {
        // The pooler hands out its connections in the order of arrival, so that is changed.
        parties.rotate_left(1);
        for answer in join_all(parties.iter_mut().map(Party::ask)).await {
            moved |= answer?;
        }
    }
    let servers: Vec<_> = parties.iter().filter_map(|party| party.server).collect();
    let shared = (1..servers.len()).any(|at| servers[at..].contains(&servers[at - 1]));
    parties[0].transaction().await?;
    Ok(if moved || shared { Path::Pooled } else { Path::Direct })
}

impl Party {
    /// Asks the question; answers whether another server process answered than the last time.
    async fn ask(&mut self) -> Result<bool> {
        // Made of two numbers of ours.
        let question = sqlx::query(AssertSqlSafe(self.question.clone()));
        let row = tokio::time::timeout(PATIENCE, question.fetch_one(&mut self.conn))
            .await
            .map_err(|_| slow())?
            .map_err(judge)?;
        let (answer, server) = read(&row).map_err(judge)?;
        if answer != self.answer {
            return Err(error::unsafe_pooler());
        }
        Ok(self.server.replace(server).is_some_and(|last| last != server))
    }

    /// A pooler in statement mode refuses transactions.
    async fn transaction(&mut self) -> Result<()> {
        let work = async {
            let tx = self.conn.begin().await?;
            tx.rollback().await
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| slow())?.map_err(|cause| match cause
        {
            sqlx::Error::Io(_) => error::sql("testing for a pooler", cause),
            _ => error::unsafe_pooler(),
        })
    }
}

fn read(row: &PgRow) -> Result<(i32, i32), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Another client's statement has other columns, other parameters, or is not there.
fn judge(cause: sqlx::Error) -> Error {
    let swapped = match &cause {
        sqlx::Error::Database(_) => {
            matches!(error::code(&cause).as_deref(), Some("26000" | "42P05" | "08P01" | "42P18"))
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    };
    if swapped { error::unsafe_pooler() } else { error::sql("testing for a pooler", cause) }
}

fn slow() -> Error {
    Error::Unavailable {
        what: format!("PostgreSQL did not answer a small question within {} s", PATIENCE.as_secs()),
        retry_after: None,
    }
}
