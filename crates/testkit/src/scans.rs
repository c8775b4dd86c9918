//! Which indexes and tables the server really read: what a plan test looks at, whatever the
//! statement was and wherever it ran, functions included.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Connection as _;

use crate::database::TestDatabase;
use crate::error::{Context as _, Result};
use crate::server::connect;

/// How often the sessions are looked for that have not ended yet.
const POLL: Duration = Duration::from_millis(10);

/// Scans of one database since it was made: sequential ones by table, others by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scans {
    /// Sequential scans per table.
    pub tables: BTreeMap<String, i64>,
    /// Scans per index.
    pub indexes: BTreeMap<String, i64>,
}

impl Scans {
    /// What was scanned since `before`, and how often.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, i64>, then: &BTreeMap<String, i64>| {
            now.iter()
                .map(|(name, count)| (name.clone(), count - then.get(name).unwrap_or(&0)))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            tables: less(&self.tables, &before.tables),
            indexes: less(&self.indexes, &before.indexes),
        }
    }
}

impl TestDatabase {
    /// Reads the counts, once every other session of this database has ended: a session reports when it
    /// ends, so close the store first.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn scans(&self) -> Scans {
        self.read_scans().await.unwrap_or_else(|error| panic!("scans: {error}"))
    }

    async fn read_scans(&self) -> Result<Scans> {
        let mut conn = connect(self.url()).await?;
        let others = "select exists (select from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid()
                        and backend_type = 'client backend')";
        while sqlx::query_scalar(others)
            .fetch_one(&mut conn)
            .await
            .context(|| "look for sessions".to_owned())?
        {
            tokio::time::sleep(POLL).await;
        }
        let tables: Vec<(String, i64)> = sqlx::query_as(
            "select relname::text, seq_scan from pg_stat_user_tables where schemaname = 'mnemon'",
        )
        .fetch_all(&mut conn)
        .await
        .context(|| "read the tables' scans".to_owned())?;
        let indexes: Vec<(String, i64)> = sqlx::query_as(
            "select indexrelname::text, idx_scan from pg_stat_user_indexes where schemaname = 'mnemon'",
        )
        .fetch_all(&mut conn)
        .await
        .context(|| "read the indexes' scans".to_owned())?;
        conn.close().await.context(|| "close".to_owned())?;
        Ok(Scans { tables: tables.into_iter().collect(), indexes: indexes.into_iter().collect() })
    }
}
