//! The loops beside: prepared statements on a connection per consumer, autocommit, the durability
//! of the server.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::{CONSUMERS, Failed, TENANT, enough};

/// Who does the same work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// Mnemon's own tables and indexes, by hand.
    Raw,
    /// A table of pgmq's shape: a number as key, an index on the visibility time.
    PgmqShape,
    /// pgmq's own functions.
    Pgmq,
}

/// Items as they fail: some 300 bytes.
const ITEM: &str = r"jsonb_build_object('n', n, 'path', 'src/lib.rs', 'text', repeat('x', 240))";
/// Moves one item out of sight.
const RAW_TAKE: &str = "update mnemon.dead_letters d \
    set visible_at = clock_timestamp() + interval '60 s', delivery = d.delivery + 1, taken = true \
    where d.ctid = (select r.ctid from mnemon.dead_letters r where r.tenant = $1 and r.queue = $2 \
    and r.visible_at <= clock_timestamp() and r.reprocess_eligible \
    and not r.manual_review_required order by r.visible_at, r.buried_at, r.item_id limit 1 \
    for no key update skip locked) \
    returning d.item_id, d.delivery, d.item, d.error, d.attempts, d.buried_at, d.visible_at";
const RAW_ACK: &str = "with gone as (delete from mnemon.dead_letters \
    where tenant = $1 and queue = $2 and item_id = $3 and delivery = $4 returning item_id) \
    delete from mnemon.dead_letter_attempts a using gone g \
    where a.tenant = $1 and a.queue = $2 and a.item_id = g.item_id";
const SHAPE_TAKE: &str = "with chosen as (select id from dlq_peer where visible_at <= \
    clock_timestamp() order by id limit 1 for update skip locked) \
    update dlq_peer q set visible_at = clock_timestamp() + interval '60 s', \
    reads = q.reads + 1 from chosen c where q.id = c.id returning q.id, q.reads, q.message";
const SHAPE_ACK: &str = "delete from dlq_peer where id = $1";
const PGMQ_TAKE: &str = "select msg_id, message from pgmq.read('dlq_peer', 60, 1)";
const PGMQ_ACK: &str = "select pgmq.delete('dlq_peer', $1::bigint)";

/// Loads pgmq's own SQL.
pub(super) async fn install(url: &str, sql: &str) -> Result<(), Failed> {
    let mut conn = PgConnection::connect(url).await?;
    conn.execute("create schema if not exists pgmq").await?;
    // A file that the caller named, into a database that this bench made.
    conn.execute(AssertSqlSafe(sql.to_owned())).await?;
    conn.close().await?;
    Ok(())
}

/// Puts items into a queue of Mnemon's.
pub(super) async fn fill(conn: &mut PgConnection, queue: &str, items: f64) -> Result<(), Failed> {
    let letters = format!(
        "insert into mnemon.dead_letters (tenant, queue, item_id, attempts, reprocess_eligible, \
         manual_review_required, delivery, taken, visible_at, buried_at, error_signature, error, \
         metadata, item) select $1, $2, 'i' || n, 1, true, false, 0, false, mnemon.now(), \
         mnemon.now(), 'failed', 'failed', '{{}}', {ITEM} \
         from generate_series(1, $3::float8::int) as n"
    );
    // Put together from constants of this bench.
    let letters = sqlx::query(AssertSqlSafe(letters)).bind(TENANT).bind(queue).bind(items);
    letters.execute(&mut *conn).await?;
    sqlx::query(
        "insert into mnemon.dead_letter_attempts (tenant, queue, item_id, attempt, at, \
         error_signature, error, detail) select tenant, queue, item_id, 1, buried_at, 'failed', \
         'failed', '{}' from mnemon.dead_letters where tenant = $1 and queue = $2",
    )
    .bind(TENANT)
    .bind(queue)
    .execute(&mut *conn)
    .await?;
    conn.execute("vacuum analyze mnemon.dead_letters").await?;
    conn.execute("vacuum analyze mnemon.dead_letter_attempts").await?;
    Ok(())
}

/// What both tables take, with their indexes, in bytes.
pub(super) async fn size(url: &str) -> Result<f64, Failed> {
    let mut conn = PgConnection::connect(url).await?;
    let size = sqlx::query_scalar(
        "select (pg_total_relation_size('mnemon.dead_letters') \
         + pg_total_relation_size('mnemon.dead_letter_attempts'))::float8",
    );
    let size = size.fetch_one(&mut conn).await?;
    conn.close().await?;
    Ok(size)
}

pub(super) async fn empty(url: &str) -> Result<(), Failed> {
    let mut conn = PgConnection::connect(url).await?;
    conn.execute("truncate mnemon.dead_letters, mnemon.dead_letter_attempts").await?;
    Ok(conn.close().await?)
}

pub(super) async fn pack(url: &str) -> Result<(), Failed> {
    let mut conn = PgConnection::connect(url).await?;
    conn.execute("vacuum full mnemon.dead_letters").await?;
    conn.execute("vacuum full mnemon.dead_letter_attempts").await?;
    Ok(conn.close().await?)
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "the raw loop",
            Self::PgmqShape => "a loop of pgmq's shape",
            Self::Pgmq => "pgmq's own functions",
        }
    }

    /// Items a second of all consumers.
    pub(super) async fn rate(self, url: &str, queue: &str, time: Duration) -> Result<f64, Failed> {
        self.prepare(url, queue, time).await?;
        let mut connections = Vec::new();
        for _ in 0..CONSUMERS {
            connections.push(PgConnection::connect(url).await?);
        }
        let begun = Instant::now();
        let consumers: Vec<_> = connections
            .into_iter()
            .map(|conn| {
                let queue = queue.to_owned();
                tokio::spawn(async move { self.consume(conn, &queue, begun + time).await })
            })
            .collect();
        let mut done = 0;
        for consumer in consumers {
            done += consumer.await??;
        }
        Ok(f64::from(done) / begun.elapsed().as_secs_f64())
    }

    async fn prepare(self, url: &str, queue: &str, time: Duration) -> Result<(), Failed> {
        let items = enough(time);
        let mut conn = PgConnection::connect(url).await?;
        if self == Self::Raw {
            fill(&mut conn, queue, items).await?;
            return Ok(conn.close().await?);
        }
        let send = if self == Self::PgmqShape {
            conn.execute("drop table if exists dlq_peer").await?;
            conn.execute(
                "create table dlq_peer (id bigint generated always as identity primary key, \
                 reads int not null default 0, enqueued_at timestamptz not null default \
                 clock_timestamp(), visible_at timestamptz not null, message jsonb not null)",
            )
            .await?;
            conn.execute("create index on dlq_peer (visible_at)").await?;
            format!(
                "insert into dlq_peer (visible_at, message) select clock_timestamp(), {ITEM} \
                 from generate_series(1, $1::float8::int) as n"
            )
        } else {
            conn.execute("select pgmq.create('dlq_peer')").await?;
            format!(
                "select count(*) from (select pgmq.send('dlq_peer', {ITEM}) \
                 from generate_series(1, $1::float8::int) as n) as sent"
            )
        };
        // Put together from constants of this bench.
        sqlx::query(AssertSqlSafe(send)).bind(items).execute(&mut conn).await?;
        conn.execute("vacuum analyze").await?;
        conn.close().await?;
        Ok(())
    }

    async fn consume(
        self,
        mut conn: PgConnection,
        queue: &str,
        until: Instant,
    ) -> Result<u32, Failed> {
        let mut done = 0;
        while Instant::now() < until {
            if self == Self::Raw {
                let taken = sqlx::query(RAW_TAKE).bind(TENANT).bind(queue);
                let Some(row) = taken.fetch_optional(&mut conn).await? else { continue };
                let (item, delivery): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
                let ack = sqlx::query(RAW_ACK).bind(TENANT).bind(queue).bind(item).bind(delivery);
                ack.execute(&mut conn).await?;
            } else {
                let (take, ack) = match self {
                    Self::PgmqShape => (SHAPE_TAKE, SHAPE_ACK),
                    _ => (PGMQ_TAKE, PGMQ_ACK),
                };
                let Some(row) = sqlx::query(take).fetch_optional(&mut conn).await? else {
                    continue;
                };
                let id: i64 = row.try_get(0)?;
                sqlx::query(ack).bind(id).execute(&mut conn).await?;
            }
            done += 1;
        }
        conn.close().await?;
        Ok(done)
    }
}
