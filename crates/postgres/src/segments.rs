//! Indexed parts of embedding sets.
//!
//! New vectors are committed with their memory into the set's own table, the unindexed part, which
//! recall compares one by one. Upkeep copies them in bulk into a segment, a table with an HNSW
//! index, and then moves them over in one transaction; segments are merged when little happens.
//!
//! *Nothing is unfindable or found twice.* A segment is searched from the transaction on that also
//! takes its rows out of where they stood before, and a recall reads one snapshot.
//!
//! *Nothing comes back.* Whoever removes a vector removes it from the unindexed part first and then
//! from every segment, in statements of their own. Who copies a row holds its lock until the copy
//! is committed: one who removes the row meanwhile waits for that, and its next statement sees the
//! copy. That it knows of the segment at all is sure because the segment is written down first, and
//! nothing is copied before everybody has ended who may have read the list without it
//! ([`quiesce`]; [`hold_still`] is their side of it). Removing a memory cascades: a copy needs the
//! memory's row lock as well.
//!
//! *No transaction id is held for long.* Copies are batches, the move is one statement over at most
//! [`limits::SEGMENT_ROWS`] rows, and an index is built by CREATE INDEX CONCURRENTLY, whose long
//! phases run in transactions that have no id: nobody waits for events because of it.

mod build;
mod merge;
mod pressure;

use mnemon_core::memories::ModelSignature;
use mnemon_core::{Result, limits};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Executor as _, QueryBuilder, query, query_as, query_scalar};

use crate::error::Fault;
use crate::models::Set;

pub(crate) use build::{batch, build_all};
pub(crate) use pressure::Pressure;

/// The advisory lock between those who remove vectors and those who begin a segment.
const LOCK: &str = "mnemon.embedding_segments";

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// The embedding set.
    pub(crate) set_id: i32,
    /// The number in the table's name.
    pub(crate) number: i32,
    state: String,
    sources: Vec<i32>,
    rows: i64,
}

impl Segment {
    /// Its table: a fixed name and two numbers, so nothing in it needs quoting.
    pub(crate) fn table(&self) -> String {
        table(self.set_id, self.number)
    }

    fn index(&self) -> String {
        format!("embeddings_{}_seg_{}_hnsw", self.set_id, self.number)
    }
}

/// The table of a segment.
pub(crate) fn table(set: i32, number: i32) -> String {
    format!("mnemon.embeddings_{set}_seg_{number}")
}

/// Whether pgvector can index the vectors of a model.
pub(crate) fn can_index(model: &ModelSignature) -> bool {
    model.dimension as usize <= limits::INDEXED_DIMENSIONS
}

/// The settings under which segments are searched, to be put behind BEGIN.
pub(crate) fn search_settings(limit: u32) -> String {
    let ef = (2 * limit).clamp(limits::EF_SEARCH_MIN, limits::EF_SEARCH_MAX);
    format!("; set local hnsw.ef_search = {ef}; set local hnsw.iterative_scan = relaxed_order")
}

/// Every segment of a set that may hold vectors, in the order in which they are made.
async fn in_use(conn: &mut PgConnection, set: i32) -> Result<Vec<Segment>, Fault> {
    let found = query_as!(
        Segment,
        "select set_id, number, state, sources, rows from mnemon.embedding_segments
         where set_id = $1 and state <> 'free' order by number",
        set
    )
    .fetch_all(conn)
    .await?;
    Ok(found)
}

/// The tables that a set's vectors stand in: the unindexed part first, then its segments.
///
/// For reads: in one snapshot with what reads the tables.
pub(crate) async fn tables(conn: &mut PgConnection, set: &Set) -> Result<Vec<String>, Fault> {
    let ready = query_scalar!(
        "select number from mnemon.embedding_segments
         where set_id = $1 and state = 'ready' order by number",
        set.id
    )
    .fetch_all(conn)
    .await?;
    let segments = ready.into_iter().map(|number| table(set.id, number));
    Ok(std::iter::once(set.table()).chain(segments).collect())
}

/// What is done before vectors are removed, in the same transaction: no segment begins to be
/// filled until that ends. Answers the tables to remove from, in the order to do it.
pub(crate) async fn hold_still(conn: &mut PgConnection, set: &Set) -> Result<Vec<String>, Fault> {
    // A statement of its own: the list must be read after the lock is there.
    query!(
        "select pg_advisory_xact_lock_shared(hashtextextended($1, $2))",
        LOCK,
        i64::from(set.id)
    )
    .execute(&mut *conn)
    .await?;
    let segments = in_use(conn, set.id).await?;
    Ok(std::iter::once(set.table()).chain(segments.iter().map(Segment::table)).collect())
}

/// Waits for everybody who removes vectors and may not know of the newest segment.
async fn quiesce(conn: &mut PgConnection, set: i32) -> Result<(), Fault> {
    query!("select pg_advisory_xact_lock(hashtextextended($1, $2))", LOCK, i64::from(set))
        .execute(conn)
        .await?;
    Ok(())
}

/// How a set stands.
pub(crate) struct Standing {
    /// Vectors that no index holds.
    pub(crate) unindexed: u64,
    /// Segments that are searched.
    pub(crate) segments: u64,
    /// Vectors in them, when they were made.
    pub(crate) indexed: u64,
}

/// Counts a set.
pub(crate) async fn standing(conn: &mut PgConnection, set: &Set) -> Result<Standing, Fault> {
    let ready = query!(
        r#"select count(*) as "segments!", coalesce(sum(rows), 0)::bigint as "rows!"
           from mnemon.embedding_segments where set_id = $1 and state = 'ready'"#,
        set.id
    )
    .fetch_one(&mut *conn)
    .await?;
    Ok(Standing {
        unindexed: unindexed(conn, set, i64::MAX).await?,
        segments: ready.segments.unsigned_abs(),
        indexed: ready.rows.unsigned_abs(),
    })
}

/// The rows of a set's unindexed part, counted up to a number.
async fn unindexed(conn: &mut PgConnection, set: &Set, most: i64) -> Result<u64, Fault> {
    let mut query = QueryBuilder::<Postgres>::new("select count(*) from (select from ");
    // The table's name is made of a number.
    query.push(set.table()).push(" limit ").push_bind(most).push(") as counted");
    let rows: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(rows.unsigned_abs())
}

/// Vectors of all sets that wait for an index: what is above the threshold.
pub(crate) async fn waiting(conn: &mut PgConnection) -> Result<u64, Fault> {
    let mut all = 0;
    for set in crate::models::sets(conn).await? {
        if can_index(&set.model) {
            let rows = unindexed(conn, &set, i64::MAX).await?;
            all += if rows > limits::UNINDEXED_ROWS { rows } else { 0 };
        }
    }
    Ok(all)
}

/// Drops every segment of a set with its vectors, inside the caller's transaction: for a set that
/// goes as a whole. The caller is the schema's owner.
pub(crate) async fn drop_all(conn: &mut PgConnection, set: &Set) -> Result<(), Fault> {
    quiesce(conn, set.id).await?;
    let numbers = query_scalar!(
        "delete from mnemon.embedding_segments where set_id = $1 returning number",
        set.id
    )
    .fetch_all(&mut *conn)
    .await?;
    for number in numbers {
        // The table's name is made of two numbers.
        let drop = format!("drop table {}", table(set.id, number));
        conn.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(())
}
