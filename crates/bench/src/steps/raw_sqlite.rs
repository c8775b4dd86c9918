//! The limit on SQLite: the rows that Mnemon wrote, written again by prepared statements, one
//! transaction a step. One connection is behind one mutex: faster than several connections that
//! poll for the file's lock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::load::{PASS, rate};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Tables that get a row a step, and that are keyed by tenant.
const APPENDED: [&str; 5] = ["receipts", "turns", "events", "checkpoints", "checkpoint_chunks"];
/// Heads: one row a tenant, moved by every step.
const HEADS: [(&str, &str); 3] = [
    (
        "turn_sessions",
        "on conflict (tenant, user_id, session_id, run_key, kind) do update set seq = seq + 1",
    ),
    (
        "event_streams",
        "on conflict (tenant, stream) do update set version = version + 1, \
         recorded_at = excluded.recorded_at",
    ),
    (
        "threads",
        "on conflict (tenant, thread_id, namespace) do update set version = version + 1, \
         head_id = excluded.head_id",
    ),
];
const ADD_TERM: &str = "insert into text_terms (tenant, term, documents) values (?1, ?2, 1) \
    on conflict (tenant, term) do update set documents = documents + 1 returning id";
const ADD_POSTING: &str = "insert into text_postings (term_id, memory, words, occurrences) \
    values (?1, ?2, ?3, ?4)";
const ADD_DOCUMENT: &str = "insert into text_corpus (tenant, documents, words) values (?1, 1, ?2) \
    on conflict (tenant) do update set documents = documents + 1, words = words + ?2";
const ADD_VECTOR: &str =
    "insert into embeddings_1 (memory, content_hash, vector) values (?1, ?2, ?3)";
const WORDS: &str = "select t.term, p.words, p.occurrences from text_postings p \
    join text_terms t on t.id = p.term_id where p.memory = ?1";

/// A statement, where its row holds the tenant, and a row for every step.
struct Table {
    sql: String,
    tenant: usize,
    rows: Vec<Vec<Value>>,
}

struct Memory {
    number: i64,
    words: i64,
    terms: Vec<(String, i64, Vec<u8>)>,
    vector: Option<(Vec<u8>, Vec<u8>)>,
}

/// The rows of one pass, as Mnemon wrote them for a tenant.
struct Rows {
    tables: Vec<Table>,
    memories: Table,
    words: Vec<Memory>,
}

/// The raw side of one file.
pub(super) struct Raw {
    conn: Arc<Mutex<Connection>>,
    rows: Arc<Rows>,
}

impl Raw {
    /// Reads what `tenant` wrote, and opens the file as Mnemon does.
    pub(super) fn open(path: &Path, tenant: &str) -> Result<Self, Failed> {
        let conn = Connection::open(PathBuf::from(path))?;
        conn.busy_timeout(Duration::from_secs(10))?;
        conn.set_prepared_statement_cache_capacity(64);
        for (name, value) in [("synchronous", "full"), ("temp_store", "memory")] {
            conn.pragma_update(None, name, value)?;
        }
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "secure_delete", "fast")?;
        conn.pragma_update(None, "cache_size", -8 * 1024)?;
        let rows = Rows::read(&conn, tenant)?;
        Ok(Self { conn: Arc::new(Mutex::new(conn)), rows: Arc::new(rows) })
    }

    /// Steps a second of `writers`.
    pub(super) async fn run(
        &self,
        name: &str,
        writers: usize,
        time: Duration,
    ) -> Result<f64, Box<dyn std::error::Error>> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let (conn, rows) = (self.conn.clone(), self.rows.clone());
                let name = format!("{name}-{writer}");
                tokio::task::spawn_blocking(move || write(&conn, &rows, &name, begun + time))
            })
            .collect();
        let mut steps = 0;
        for task in tasks {
            steps += task.await?.map_err(|error| error.to_string())?;
        }
        Ok(rate(steps, begun))
    }
}

fn write(
    conn: &Mutex<Connection>,
    rows: &Rows,
    name: &str,
    until: Instant,
) -> rusqlite::Result<usize> {
    let mut done = 0;
    while Instant::now() < until {
        let tenant = Value::from(format!("{name}-{}", done / PASS));
        let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
        conn.prepare_cached("begin immediate")?.execute([])?;
        rows.write(&conn, &tenant, done % PASS)?;
        conn.prepare_cached("commit")?.execute([])?;
        done += 1;
    }
    Ok(done)
}

impl Rows {
    fn read(conn: &Connection, tenant: &str) -> Result<Self, Failed> {
        let mut tables = Vec::new();
        for table in APPENDED {
            tables.push(Table::read(conn, table, "", tenant)?);
        }
        for (table, suffix) in HEADS {
            tables.push(Table::read(conn, table, suffix, tenant)?);
        }
        Ok(Self {
            tables,
            memories: Table::read(conn, "memories", "", tenant)?,
            words: words(conn, tenant)?,
        })
    }

    fn write(&self, conn: &Connection, tenant: &Value, step: usize) -> rusqlite::Result<()> {
        for table in &self.tables {
            table.write(conn, tenant, step)?;
        }
        self.memories.write(conn, tenant, step)?;
        let number = conn.last_insert_rowid();
        let memory = &self.words[step];
        for (term, words, occurrences) in &memory.terms {
            let id: i64 = conn
                .prepare_cached(ADD_TERM)?
                .query_row(params![tenant, term], |row| row.get(0))?;
            conn.prepare_cached(ADD_POSTING)?.execute(params![id, number, words, occurrences])?;
        }
        conn.prepare_cached(ADD_DOCUMENT)?.execute(params![tenant, memory.words])?;
        if let Some((hash, vector)) = &memory.vector {
            conn.prepare_cached(ADD_VECTOR)?.execute(params![number, hash, vector])?;
        }
        Ok(())
    }
}

impl Table {
    fn read(conn: &Connection, table: &str, suffix: &str, tenant: &str) -> Result<Self, Failed> {
        // The tables' names are constants of this file.
        let mut statement = conn.prepare(&format!("select * from {table} where tenant = ?1"))?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        // SQLite numbers memories and events itself.
        let numbered =
            |name: &str| matches!((table, name), ("memories", "memory") | ("events", "position"));
        let kept: Vec<usize> = (0..names.len()).filter(|at| !numbered(&names[*at])).collect();
        let rows = statement
            .query_map([tenant], |row| kept.iter().map(|at| row.get(*at)).collect())?
            .collect::<rusqlite::Result<Vec<Vec<Value>>>>()?;
        if rows.is_empty() {
            return Err(format!("{table} holds no rows to write again").into());
        }
        let columns: Vec<&str> = kept.iter().map(|at| names[*at].as_str()).collect();
        let marks = vec!["?"; columns.len()].join(", ");
        let sql = format!("insert into {table} ({}) values ({marks}) {suffix}", columns.join(", "));
        let tenant = columns.iter().position(|name| *name == "tenant").ok_or("no tenant")?;
        Ok(Self { sql, tenant, rows })
    }

    fn write(&self, conn: &Connection, tenant: &Value, step: usize) -> rusqlite::Result<()> {
        let row = &self.rows[step % self.rows.len()];
        let values = row
            .iter()
            .enumerate()
            .map(|(at, value)| if at == self.tenant { tenant } else { value });
        conn.prepare_cached(&self.sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

/// Words and vectors of the tenant's memories.
fn words(conn: &Connection, tenant: &str) -> Result<Vec<Memory>, Failed> {
    let mut memories = conn
        .prepare("select memory, words from memories where tenant = ?1")?
        .query_map([tenant], |row| {
            Ok(Memory { number: row.get(0)?, words: row.get(1)?, terms: vec![], vector: None })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut terms = conn.prepare(WORDS)?;
    let mut vector =
        conn.prepare("select content_hash, vector from embeddings_1 where memory = ?1")?;
    for memory in &mut memories {
        memory.terms = terms
            .query_map([memory.number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        memory.vector = vector
            .query_map([memory.number], |row| Ok((row.get(0)?, row.get(1)?)))?
            .next()
            .transpose()?;
    }
    Ok(memories)
}
