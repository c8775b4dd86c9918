//! The limit: a turn's row written again by prepared statements, and its head moved, in one
//! transaction, to the end of the long session's copy under a tenant of its own.

use rusqlite::{Connection, params};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query};

use crate::target::Target;

type Failed = Box<dyn std::error::Error>;

/// Names the copy.
const TENANT: &str = "raw";
const COPY: [(&str, &str); 2] = [
    (
        "turn_sessions",
        "tenant, user_id, session_id, run_key, kind, seq, strategy, created_at, active_at",
    ),
    (
        "turns",
        "tenant, user_id, session_id, run_key, kind, seq, tokens, at, artifacts_shown, \
         artifacts_hidden, metadata, user_message, assistant_response",
    ),
];

/// The raw side of one database.
pub(super) enum Raw {
    Sqlite(Box<Connection>, String),
    Postgres(PgConnection, String),
}

impl Raw {
    /// Copies a session of the bench, so that the tables and indexes are as large.
    pub(super) async fn open(target: &Target, session: &str) -> Result<Self, Failed> {
        let statements = |schema: &str, mark: &str| {
            // Names are constants of this file.
            COPY.map(|(table, columns)| {
                let rest = columns.strip_prefix("tenant, ").unwrap_or(columns);
                format!(
                    "insert into {schema}{table} ({columns}) select '{TENANT}', {rest} \
                     from {schema}{table} where tenant = 'bench' and session_id = {mark}"
                )
            })
        };
        if let Some(database) = target.server() {
            let mut conn = PgConnection::connect(database.url()).await?;
            for statement in statements("mnemon.", "$1") {
                query(sqlx::AssertSqlSafe(statement)).bind(session).execute(&mut conn).await?;
            }
            return Ok(Self::Postgres(conn, session.to_owned()));
        }
        let conn = Connection::open(target.file().ok_or("neither a file nor a server")?)?;
        conn.busy_timeout(std::time::Duration::from_secs(10))?;
        conn.pragma_update(None, "synchronous", "full")?;
        for statement in statements("", "?1") {
            conn.execute(&statement, [session])?;
        }
        Ok(Self::Sqlite(Box::new(conn), session.to_owned()))
    }

    /// Appends one turn.
    pub(super) async fn append(&mut self, n: usize) -> Result<(), Failed> {
        let user = format!("Question {n}: {}", "what did we say about the trip? ".repeat(3));
        let assistant = format!("Answer {n}: {}", "by train, in May, as planned. ".repeat(3));
        match self {
            Self::Sqlite(conn, session) => {
                conn.prepare_cached("begin immediate")?.execute([])?;
                let seq: i64 = conn
                    .prepare_cached(
                        "update turn_sessions set seq = seq + 1, active_at = ?3 \
                         where tenant = ?1 and user_id = 'ada' and session_id = ?2 \
                         and run_key = '' and kind = 'conversation' returning seq",
                    )?
                    .query_row(params![TENANT, session.as_str(), 0], |row| row.get(0))?;
                conn.prepare_cached(
                    "insert into turns (tenant, user_id, session_id, run_key, kind, seq, tokens, \
                     at, artifacts_shown, artifacts_hidden, metadata, user_message, \
                     assistant_response) values (?1, 'ada', ?2, '', 'conversation', ?3, 50, 0, \
                     '[]', '[]', '{}', ?4, ?5)",
                )?
                .execute(params![
                    TENANT,
                    session.as_str(),
                    seq,
                    user,
                    assistant
                ])?;
                conn.prepare_cached("commit")?.execute([])?;
            }
            Self::Postgres(conn, session) => {
                query(
                    "with head as (
                        update mnemon.turn_sessions set seq = seq + 1, active_at = mnemon.now()
                        where tenant = $1 and user_id = 'ada' and session_id = $2 and run_key = ''
                          and kind = 'conversation'
                        returning seq
                     )
                     insert into mnemon.turns (tenant, user_id, session_id, run_key, kind, seq,
                        tokens, at, artifacts_shown, artifacts_hidden, metadata, user_message,
                        assistant_response)
                     select $1, 'ada', $2, '', 'conversation', head.seq, 50, mnemon.now(), '{}',
                            '{}', '{}', $3, $4 from head",
                )
                .bind(TENANT)
                .bind(session.as_str())
                .bind(user)
                .bind(assistant)
                .execute(conn)
                .await?;
            }
        }
        Ok(())
    }
}
