//! The limits: whole states written by one prepared statement and read by their primary key, with
//! the durability Mnemon opens the database with.

use rusqlite::{Connection, params};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query, query_scalar};

use super::Failed;
use crate::target::Target;

const TABLES: &str = "create table bench_json (id text primary key, state jsonb not null);
    create table bench_bytes (id text primary key, state bytea not null);";

const TABLES_SQLITE: &str = "create table bench_json (id text primary key, state text not null);
    create table bench_bytes (id text primary key, state blob not null);";

/// The raw side of one database.
pub(super) enum Raw {
    Sqlite(Box<Connection>),
    Postgres(PgConnection),
}

impl Raw {
    pub(super) async fn open(target: &Target) -> Result<Self, Failed> {
        if let Some(database) = target.server() {
            let mut conn = PgConnection::connect(database.url()).await?;
            sqlx::raw_sql(TABLES).execute(&mut conn).await?;
            return Ok(Self::Postgres(conn));
        }
        let conn = Connection::open(target.file().ok_or("neither a file nor a server")?)?;
        conn.busy_timeout(std::time::Duration::from_secs(10))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.execute_batch(TABLES_SQLITE)?;
        Ok(Self::Sqlite(Box::new(conn)))
    }

    /// The whole state as JSON: JSONB on a server, text in a file.
    pub(super) async fn upsert_json(&mut self, id: &str, state: &str) -> Result<(), Failed> {
        match self {
            Self::Sqlite(conn) => {
                conn.prepare_cached(
                    "insert into bench_json (id, state) values (?1, ?2) \
                     on conflict (id) do update set state = excluded.state",
                )?
                .execute(params![id, state])?;
            }
            Self::Postgres(conn) => {
                query(
                    "insert into bench_json (id, state) values ($1, $2::text::jsonb) \
                     on conflict (id) do update set state = excluded.state",
                )
                .bind(id)
                .bind(state)
                .execute(conn)
                .await?;
            }
        }
        Ok(())
    }

    /// The whole state as bytes.
    pub(super) async fn upsert_bytes(&mut self, id: &str, state: &[u8]) -> Result<(), Failed> {
        match self {
            Self::Sqlite(conn) => {
                conn.prepare_cached(
                    "insert into bench_bytes (id, state) values (?1, ?2) \
                     on conflict (id) do update set state = excluded.state",
                )?
                .execute(params![id, state])?;
            }
            Self::Postgres(conn) => {
                query(
                    "insert into bench_bytes (id, state) values ($1, $2) \
                     on conflict (id) do update set state = excluded.state",
                )
                .bind(id)
                .bind(state)
                .execute(conn)
                .await?;
            }
        }
        Ok(())
    }

    /// The bytes by their key.
    pub(super) async fn select(&mut self, id: &str) -> Result<Vec<u8>, Failed> {
        match self {
            Self::Sqlite(conn) => Ok(conn
                .prepare_cached("select state from bench_bytes where id = ?1")?
                .query_row([id], |row| row.get(0))?),
            Self::Postgres(conn) => Ok(query_scalar("select state from bench_bytes where id = $1")
                .bind(id)
                .fetch_one(conn)
                .await?),
        }
    }

    /// Bytes that tables take whose names begin so, with their indexes; `None` in a file, which
    /// does not say.
    pub(super) async fn size(&mut self, schema: &str, names: &str) -> Result<Option<i64>, Failed> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(conn) => Ok(query_scalar(
                "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where n.nspname = $1 and c.relkind = 'r'
                   and (c.relname like $2 || '%' or c.relname = 'threads')",
            )
            .bind(schema)
            .bind(names)
            .fetch_one(conn)
            .await?),
        }
    }
}
