//! Tests of the connection on real servers; they run when PostgreSQL is asked for.

mod bad_input;
mod calls;
mod fake;
mod outage;
mod pgbouncer;
mod restart;
mod segments;
mod swapper;
mod tls;

use mnemon_core as core;
use mnemon_testkit::{Major, Server, TestDatabase};

use crate::error::Fault;
use crate::link::{Call, Link, Retry, work};
use crate::options::Options;

/// A database of one's own, when PostgreSQL is asked for.
async fn database() -> Option<TestDatabase> {
    if !mnemon_testkit::postgres_wanted() {
        return None;
    }
    Some(Server::get(Major::V18).database().await)
}

fn call(retry: Retry) -> Call<'static> {
    Call { doing: "testing", tenant: None, retry }
}

async fn open(url: &str) -> core::Result<Link> {
    Link::open(&Options::new(url)).await
}

/// Options with one thing changed.
fn options(url: &str, change: impl FnOnce(&mut crate::PoolOptions)) -> Options {
    let mut options = Options::new(url);
    change(&mut options.pool);
    options
}

/// Asks the server for a number.
async fn number(link: &Link, retry: Retry, sql: &'static str) -> core::Result<i64> {
    link.run(call(retry), |conn| {
        work(async move { Ok(sqlx::query_scalar(sql).fetch_one(conn).await?) })
    })
    .await
}

/// Runs statements through the link.
async fn execute(link: &Link, sql: &'static str) -> core::Result<()> {
    link.run(call(Retry::Idempotent), |conn| {
        work(async move {
            sqlx::raw_sql(sql).execute(conn).await?;
            Ok::<_, Fault>(())
        })
    })
    .await
}

/// The same URL with `extra` as one more parameter.
fn with(url: &str, extra: &str) -> String {
    format!("{url}{}{extra}", if url.contains('?') { '&' } else { '?' })
}
