//! Time as the database tells it: `mnemon.now()` of one test database, moved, frozen or let go.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Connection as _;

use crate::database::{TestDatabase, run};
use crate::error::{Context as _, Error, Result};
use crate::server::connect;

/// What the database's clock does now.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    frozen_at: Option<DateTime<Utc>>,
    ahead: TimeDelta,
}

impl Clock {
    /// The function's body. Numbers and a time in a fixed format only: nothing to quote.
    fn body(&self) -> String {
        match self.frozen_at {
            Some(at) => format!("select timestamptz '{}'", at.format("%Y-%m-%d %H:%M:%S%.6f+00")),
            None if self.ahead.is_zero() => "select clock_timestamp()".to_owned(),
            None => format!(
                "select clock_timestamp() + {} * interval '1 microsecond'",
                self.ahead.num_microseconds().unwrap_or_default()
            ),
        }
    }
}

impl TestDatabase {
    /// Moves the database's clock by this much, backwards when negative; further moves add up. A frozen clock
    /// moves and stays frozen. Sessions see it at their next statement.
    ///
    /// # Panics
    /// When the schema has no `mnemon.now()`.
    pub async fn move_clock(&self, by: TimeDelta) {
        let mut clock = self.clock.lock().await;
        match &mut clock.frozen_at {
            Some(at) => *at += by,
            None => clock.ahead += by,
        }
        self.set(&clock).await;
    }

    /// Stops the database's clock where it is, and answers the time at which it stands.
    ///
    /// # Panics
    /// When the schema has no `mnemon.now()`.
    pub async fn freeze_clock(&self) -> DateTime<Utc> {
        let mut clock = self.clock.lock().await;
        let at = self.time().await.unwrap_or_else(|error| panic!("mnemon.now(): {error}"));
        clock.frozen_at = Some(at);
        self.set(&clock).await;
        at
    }

    /// Stops the database's clock at this time (whole microseconds).
    ///
    /// # Panics
    /// When the schema has no `mnemon.now()`.
    pub async fn freeze_clock_at(&self, at: DateTime<Utc>) {
        let mut clock = self.clock.lock().await;
        clock.frozen_at = Some(at);
        self.set(&clock).await;
    }

    /// Lets the database's clock run with the real one again.
    ///
    /// # Panics
    /// When the schema has no `mnemon.now()`.
    pub async fn reset_clock(&self) {
        let mut clock = self.clock.lock().await;
        *clock = Clock::default();
        self.set(&clock).await;
    }

    async fn time(&self) -> Result<DateTime<Utc>> {
        let mut conn = connect(self.url()).await?;
        let now = sqlx::query_scalar("select mnemon.now()").fetch_one(&mut conn).await;
        conn.close().await.and(now).context(|| "read the clock".to_owned())
    }

    async fn set(&self, clock: &Clock) {
        self.replace(&clock.body()).await.unwrap_or_else(|error| panic!("mnemon.now(): {error}"));
    }

    /// Replaces the body and nothing else: the planner treats the function as it does in production.
    async fn replace(&self, body: &str) -> Result<()> {
        let mut conn = connect(self.url()).await?;
        let found: Option<String> = sqlx::query_scalar(
            "select case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end
                    || case p.proparallel when 's' then ' parallel safe' when 'r' then ' parallel restricted' else '' end
             from pg_proc p where p.oid = to_regprocedure('mnemon.now()')",
        )
        .fetch_optional(&mut conn)
        .await
        .context(|| "look for the function".to_owned())?;
        let traits = found.ok_or_else(|| Error::new("this database has no such function"))?;
        run(
            &mut conn,
            &format!(
                "create or replace function mnemon.now() returns timestamptz language sql {traits} as '{}'",
                body.replace('\'', "''")
            ),
        )
        .await?;
        conn.close().await.context(|| "close".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_productions_own_until_the_clock_is_touched() {
        let mut clock = Clock::default();
        assert_eq!(clock.body(), "select clock_timestamp()");

        clock.ahead = TimeDelta::hours(-1);
        assert_eq!(
            clock.body(),
            "select clock_timestamp() + -3600000000 * interval '1 microsecond'"
        );

        clock.frozen_at = DateTime::from_timestamp_micros(1_500_000);
        assert_eq!(clock.body(), "select timestamptz '1970-01-01 00:00:01.500000+00'");
    }
}
