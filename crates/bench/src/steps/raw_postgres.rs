//! The limit on PostgreSQL: the rows that Mnemon wrote, written again by prepared statements, one
//! transaction a step, a connection per writer. Values travel as text, as libpq sends them.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::load::{PASS, rate};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Every table a step writes to, heads first; what follows the insert of a head.
const TABLES: [(&str, &str); 11] = [
    ("receipts", ""),
    (
        "threads",
        "on conflict (tenant, thread_id, namespace) do update set version = threads.version + 1, \
         head_id = excluded.head_id",
    ),
    ("checkpoint_chunks", ""),
    ("checkpoints", ""),
    (
        "event_streams",
        "on conflict (tenant, stream) do update set version = event_streams.version + 1, \
         recorded_at = excluded.recorded_at, tx = pg_current_xact_id()",
    ),
    ("events", ""),
    (
        "turn_sessions",
        "on conflict (tenant, user_id, session_id, run_key, kind) do update set seq = turn_sessions.seq + 1",
    ),
    ("turns", ""),
    ("memories", ""),
    ("text_deltas", ""),
    ("embeddings_1", ""),
];
/// What a client may write, in order.
const COLUMNS: &str = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute \
    where attrelid = $1::text::regclass and attnum > 0 and not attisdropped \
    and attidentity <> 'a' and attgenerated = '' order by attnum";

/// A statement, where its row holds the tenant, and a row for every step.
#[derive(Clone)]
struct Table {
    sql: String,
    tenant: usize,
    rows: Vec<Vec<Option<String>>>,
}

/// The raw side of one database.
pub(super) struct Raw {
    url: String,
    tables: std::sync::Arc<Vec<Table>>,
}

impl Raw {
    /// Reads what `tenant` wrote; the URL is one that row-level security lets through.
    pub(super) async fn open(url: &str, tenant: &str) -> Result<Self, Failed> {
        let mut conn = PgConnection::connect(url).await?;
        let mut tables = Vec::new();
        for (table, suffix) in TABLES {
            tables.push(Table::read(&mut conn, table, suffix, tenant).await?);
        }
        conn.close().await?;
        Ok(Self { url: url.to_owned(), tables: std::sync::Arc::new(tables) })
    }

    /// Steps a second of `writers`.
    pub(super) async fn run(
        &self,
        name: &str,
        writers: usize,
        time: Duration,
    ) -> Result<f64, Box<dyn std::error::Error>> {
        let mut connections = Vec::new();
        for _ in 0..writers {
            connections.push(PgConnection::connect(&self.url).await?);
        }
        let begun = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .zip(connections)
            .map(|(writer, conn)| {
                let (tables, name) = (self.tables.clone(), format!("{name}-{writer}"));
                tokio::spawn(write(conn, tables, name, begun + time))
            })
            .collect();
        let mut steps = 0;
        for task in tasks {
            steps += task.await??;
        }
        Ok(rate(steps, begun))
    }
}

async fn write(
    mut conn: PgConnection,
    tables: std::sync::Arc<Vec<Table>>,
    name: String,
    until: Instant,
) -> sqlx::Result<usize> {
    let mut done = 0;
    while Instant::now() < until {
        let tenant = format!("{name}-{}", done / PASS);
        conn.execute("begin").await?;
        for table in tables.iter() {
            table.write(&mut conn, &tenant, done % PASS).await?;
        }
        conn.execute("commit").await?;
        done += 1;
    }
    conn.close().await?;
    Ok(done)
}

impl Table {
    async fn read(
        conn: &mut PgConnection,
        table: &str,
        suffix: &str,
        tenant: &str,
    ) -> Result<Self, Failed> {
        let columns: Vec<(String, String)> =
            sqlx::query_as(COLUMNS).bind(format!("mnemon.{table}")).fetch_all(&mut *conn).await?;
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let texts: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
        // Names come from this file and from the catalog of a database the bench made.
        // A vector's row names its memory's: both are written again in one order.
        let key = ["memory_id", "id"].into_iter().find(|key| names.contains(key));
        let order = key.map_or_else(String::new, |key| format!(" order by {key}"));
        let select =
            format!("select {} from mnemon.{table} where tenant = $1{order}", texts.join(", "));
        let found = sqlx::query(AssertSqlSafe(select)).bind(tenant).fetch_all(&mut *conn).await?;
        let rows = found
            .iter()
            .map(|row| (0..names.len()).map(|at| row.try_get(at)).collect())
            .collect::<sqlx::Result<Vec<Vec<Option<String>>>>>()?;
        if rows.is_empty() {
            return Err(format!("{table} holds no rows to write again").into());
        }
        let marks: Vec<String> = (1..)
            .zip(&columns)
            .map(|(place, (_, kind))| format!("${place}::text::{kind}"))
            .collect();
        let sql = format!(
            "insert into mnemon.{table} ({}) values ({}) {suffix}",
            names.join(", "),
            marks.join(", ")
        );
        let tenant = names.iter().position(|name| *name == "tenant").ok_or("no tenant")?;
        Ok(Self { sql, tenant, rows })
    }

    async fn write(&self, conn: &mut PgConnection, tenant: &str, step: usize) -> sqlx::Result<()> {
        let row = &self.rows[step % self.rows.len()];
        // Made above from names of this file and of the catalog.
        let mut query = sqlx::query(AssertSqlSafe(self.sql.clone()));
        for (at, value) in row.iter().enumerate() {
            query = query.bind(if at == self.tenant { Some(tenant) } else { value.as_deref() });
        }
        query.execute(conn).await?;
        Ok(())
    }
}
