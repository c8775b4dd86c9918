//! What a set lacks: memories without a vector in it, or with one of another text.

use chrono::{DateTime, Utc};
use mnemon_core::memories::Lacking;
use mnemon_core::{Cursor, Error, MemoryId, Page, Paged};
use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};
use uuid::Uuid;

use crate::error::Fault;
use crate::models::Set;
use crate::segments;

const LIST: &str = "lacking";

#[derive(sqlx::FromRow)]
struct Row {
    tenant: String,
    id: Uuid,
    content: String,
    content_hash: Vec<u8>,
}

/// Memories `m` that are not over.
const ALIVE: &str = "(m.expires_at is null or m.expires_at > (select mnemon.now()))";

/// Looks into every part of the set. A segment that comes to be between the list and the question
/// makes memories look as if they lacked a vector, never the other way round.
fn push_lacking(query: &mut QueryBuilder<Postgres>, parts: &[String]) {
    for part in parts {
        query.push(" and not exists (select from ");
        // The table's name is made of numbers.
        query.push(part);
        query.push(
            " e where e.tenant = m.tenant and e.memory_id = m.id \
             and e.content_hash = m.content_hash)",
        );
    }
}

/// A page of them; of no set, of all memories.
pub(super) async fn page(
    conn: &mut PgConnection,
    set: Option<&Set>,
    page: &Page,
) -> Result<Paged<Lacking>, Fault> {
    let Some(set) = set else { return page_of(conn, &[], page).await };
    let mut parts = segments::tables(conn, set).await?;
    loop {
        let found = page_of(conn, &parts, page).await?;
        // Upkeep may have moved vectors into a segment between the two statements.
        let now = segments::tables(conn, set).await?;
        if now == parts {
            return Ok(found);
        }
        parts = now;
    }
}

async fn page_of(
    conn: &mut PgConnection,
    parts: &[String],
    page: &Page,
) -> Result<Paged<Lacking>, Fault> {
    let mut query = QueryBuilder::new(
        "select m.tenant, m.id, m.content, m.content_hash from mnemon.memories m where ",
    );
    query.push(ALIVE);
    if let Some(cursor) = &page.cursor {
        // An id holds no colon, a tenant may.
        let [id, tenant] = cursor.parts::<2>(LIST)?;
        let id: Uuid = id
            .parse()
            .map_err(|_| Error::invalid("page.cursor", format!("is not a cursor of {LIST}")))?;
        query.push(" and (m.tenant, m.id) > (").push_bind(tenant.to_owned());
        query.push(", ").push_bind(id).push(")");
    }
    push_lacking(&mut query, parts);
    query.push(" order by m.tenant, m.id limit ").push_bind(i64::from(page.limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    let rows = rows.into_iter().map(lacking).collect::<Result<Vec<_>, Error>>()?;
    Ok(Paged::cut(rows, page.limit, |row| Cursor::of(LIST, &[&row.id.to_string(), &row.tenant])))
}

fn lacking(row: Row) -> Result<Lacking, Error> {
    let corrupt = |_| Error::corrupt(format!("memory {}", row.id), "its hash is not 32 bytes");
    let content_hash = row.content_hash.try_into().map_err(corrupt)?;
    Ok(Lacking { tenant: row.tenant, id: MemoryId(row.id), content: row.content, content_hash })
}

/// How many there are; those changed at or after a time do not count, where one is given.
pub(super) async fn count(
    conn: &mut PgConnection,
    set: &Set,
    since: Option<DateTime<Utc>>,
) -> Result<u64, Fault> {
    let mut query = QueryBuilder::new("select count(*) from mnemon.memories m where ");
    query.push(ALIVE);
    if let Some(since) = since {
        query.push(" and m.updated_at < ").push_bind(since);
    }
    push_lacking(&mut query, &segments::tables(conn, set).await?);
    let count: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(count.unsigned_abs())
}

/// How many vectors a set holds.
pub(super) async fn vectors(conn: &mut PgConnection, set: &Set) -> Result<u64, Fault> {
    let mut all = 0;
    for part in segments::tables(conn, set).await? {
        let mut query = QueryBuilder::<Postgres>::new("select count(*) from ");
        // The table's name is made of numbers.
        query.push(part);
        let count: i64 = query.build_query_scalar().fetch_one(&mut *conn).await?;
        all += count.unsigned_abs();
    }
    Ok(all)
}
