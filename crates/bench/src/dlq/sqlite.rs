//! The raw loop over an embedded file: two prepared statements, each a commit of its own, of eight
//! threads on one connection behind a mutex: faster than connections that poll for the file's lock.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{CONSUMERS, Failed, TENANT, enough};

const FILL: &str = "insert into dead_letters (tenant, queue, item_id, attempts, \
    reprocess_eligible, manual_review_required, delivery, taken, visible_at, buried_at, \
    error_signature, error, metadata, item) \
    with recursive n (n) as (select 1 union all select n + 1 from n where n < ?3) \
    select ?1, ?2, 'i' || n, 1, 1, 0, 0, 0, ?4, ?4, 'failed', 'failed', '{}', \
    json_object('n', n, 'path', 'src/lib.rs', 'text', ?5) from n";
const FILL_ATTEMPTS: &str = "insert into dead_letter_attempts (tenant, queue, item_id, attempt, \
    at, error_signature, error, detail) select tenant, queue, item_id, 1, buried_at, 'failed', \
    'failed', '{}' from dead_letters where tenant = ?1 and queue = ?2";
const TAKE: &str = "update dead_letters set visible_at = ?3 + 60000000, delivery = delivery + 1, \
    taken = 1 where rowid = (select rowid from dead_letters where tenant = ?1 and queue = ?2 \
    and visible_at <= ?3 and reprocess_eligible = 1 and manual_review_required = 0 \
    order by visible_at, buried_at, item_id limit 1) \
    returning item_id, delivery, item, error, attempts, buried_at, visible_at";
const ACK: &str = "delete from dead_letters \
    where tenant = ?1 and queue = ?2 and item_id = ?3 and delivery = ?4";
const ACK_ATTEMPTS: &str = "delete from dead_letter_attempts \
    where tenant = ?1 and queue = ?2 and item_id = ?3";

fn open(path: &Path) -> Result<Connection, Failed> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(30))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    Ok(conn)
}

fn now() -> Result<i64, Failed> {
    Ok(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros())?)
}

pub(super) fn fill(path: &Path, queue: &str, items: f64) -> Result<(), Failed> {
    let mut conn = open(path)?;
    let tx = conn.transaction()?;
    tx.execute(FILL, params![TENANT, queue, items, now()?, "x".repeat(240)])?;
    tx.execute(FILL_ATTEMPTS, params![TENANT, queue])?;
    Ok(tx.commit()?)
}

pub(super) fn empty(path: &Path) -> Result<(), Failed> {
    let conn = open(path)?;
    conn.execute_batch("delete from dead_letters; delete from dead_letter_attempts")?;
    pack(path)
}

pub(super) fn pack(path: &Path) -> Result<(), Failed> {
    Ok(open(path)?.execute_batch("vacuum")?)
}

pub(super) fn size(path: &Path) -> Result<f64, Failed> {
    let sql =
        "select p.page_count * s.page_size * 1.0 from pragma_page_count p, pragma_page_size s";
    Ok(open(path)?.query_row(sql, [], |row| row.get(0))?)
}

/// Items a second of all consumers.
pub(super) async fn rate(path: &Path, queue: &str, time: Duration) -> Result<f64, Failed> {
    fill(path, queue, enough(time))?;
    let conn = Arc::new(Mutex::new(open(path)?));
    let begun = Instant::now();
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| {
            let (conn, queue) = (Arc::clone(&conn), queue.to_owned());
            tokio::task::spawn_blocking(move || consume(&conn, &queue, begun + time))
        })
        .collect();
    let mut done = 0;
    for consumer in consumers {
        done += consumer.await??;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

fn consume(conn: &Mutex<Connection>, queue: &str, until: Instant) -> Result<u32, Failed> {
    let mut done = 0;
    while Instant::now() < until {
        // Let go between the two, as others may come between take and ack.
        let taken = {
            let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut take = conn.prepare_cached(TAKE)?;
            take.query_row(params![TENANT, queue, now()?], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?
        };
        let Some((item, delivery)) = taken else { continue };
        let mut conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = conn.transaction()?;
        tx.prepare_cached(ACK)?.execute(params![TENANT, queue, item, delivery])?;
        tx.prepare_cached(ACK_ATTEMPTS)?.execute(params![TENANT, queue, item])?;
        tx.commit()?;
        done += 1;
    }
    Ok(done)
}
