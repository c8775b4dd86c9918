//! Counts of what a scope sees, and the sweep of what nobody does.

use mnemon_core::memories::{MemoryStats, Namespace, NamespaceCount, Swept};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Page, Paged, Result, limits};
use rusqlite::{Connection, params};

use super::filter::{Named, Seen};
use super::write;
use crate::error::Done;
use crate::models;
use crate::open::now;

pub(crate) mod sql {
    use crate::memories::filter::visible;

    crate::sql::statements! {
        NAMESPACES = concat!(
            "select m.namespace, count(*) from memories m where ", visible!(),
            " and (:root = '' or m.namespace = :root \
              or (m.namespace >= :root || '/' and m.namespace < :root || '0')) \
             and (:after is null or m.namespace > :after) \
             group by m.namespace order by m.namespace limit :limit"
        );
        VECTORS = concat!(
            "select count(*) from embeddings_{set} e join memories m on m.memory = e.memory \
             where ", visible!()
        );
        SCHEDULED = concat!(
            "select count(*), coalesce(sum(s.next_review <= :now), 0) from memory_scheduling s \
             join memories m on m.memory = s.memory where s.tenant = :tenant and ", visible!()
        );
        EDGES = concat!(
            "with seen as materialized (select m.id from memories m where ", visible!(), ") \
             select count(*) from memory_edges e where e.tenant = :tenant \
             and e.source in (select id from seen) and e.target in (select id from seen)"
        );
        EXPIRED = "select memory from memories where tenant = ?1 and expires_at <= ?2 \
            and (?3 is null or user_id is null or user_id = ?3) \
            and (?4 is null or agent_id = ?4) limit ?5";
        ORPHANS = "delete from embeddings_{set} where memory in (\
            select e.memory from embeddings_{set} e join memories m on m.memory = e.memory \
            where m.tenant = ?1 and e.content_hash <> m.content_hash \
            and (?2 is null or m.user_id is null or m.user_id = ?2) \
            and (?3 is null or m.agent_id = ?3))";
    }
}

const LIST: &str = "namespaces";

/// The namespace that a page starts after.
pub(crate) fn place(page: &Page) -> Result<Option<String>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [namespace] = cursor.parts::<1>(LIST)?;
    Ok(Some(namespace.to_owned()))
}

/// A page of the namespaces at or below a root.
pub(crate) fn namespaces(
    conn: &Connection,
    scope: &Admitted<'_>,
    root: &Namespace,
    after: Option<&str>,
    limit: u32,
) -> Done<Paged<NamespaceCount>> {
    let seen = Seen::by(scope, now(conn)?);
    let (root, more) = (root.as_str(), limit + 1);
    let mut values = seen.values();
    values.extend([
        (":root", &root as &dyn rusqlite::ToSql),
        (":after", &after),
        (":limit", &more),
    ]);
    let mut statement = conn.prepare_cached(sql::NAMESPACES)?;
    let mut found = statement.query(values.as_slice())?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let (name, count): (String, i64) = (row.get(0)?, row.get(1)?);
        let namespace = Namespace::parse(name)?;
        all.push(NamespaceCount { namespace, memories: count.unsigned_abs() });
    }
    Ok(Paged::cut(all, limit, |found| Cursor::of(LIST, &[found.namespace.as_str()])))
}

/// What a scope sees, counted.
pub(crate) fn stats(conn: &Connection, scope: &Admitted<'_>) -> Done<MemoryStats> {
    let seen = Seen::by(scope, now(conn)?);
    let set = models::active(conn)?;
    let values = seen.values();
    let with_vectors = match &set {
        Some(set) => count(conn, &set.id.statement(sql::VECTORS), &values)?,
        None => 0,
    };
    let mut statement = conn.prepare_cached(sql::SCHEDULED)?;
    let (scheduled, due): (i64, i64) =
        statement.query_row(values.as_slice(), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(MemoryStats {
        memories: super::read::count(conn, scope)?,
        with_vectors,
        scheduled: scheduled.unsigned_abs(),
        due: due.unsigned_abs(),
        edges: count(conn, sql::EDGES, &values)?,
        domains: super::domains::count(conn, scope)?,
        model: set.map(|set| set.model),
    })
}

fn count(conn: &Connection, statement: &str, values: &[Named<'_>]) -> Done<u64> {
    let found: i64 = conn.prepare_cached(statement)?.query_row(values, |row| row.get(0))?;
    Ok(found.unsigned_abs())
}

/// Removes what is over and what is nobody's.
pub(crate) fn sweep(conn: &Connection, scope: &Admitted<'_>) -> Done<Swept> {
    let most = limits::SWEEP_BATCH;
    let expired: Vec<i64> = conn
        .prepare_cached(sql::EXPIRED)?
        .query_map(params![scope.tenant, now(conn)?, scope.user, scope.agent, most], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    for memory in &expired {
        write::remove(conn, *memory)?;
    }
    let mut orphans = 0;
    for set in models::sets(conn)? {
        orphans += conn.prepare_cached(&set.id.statement(sql::ORPHANS))?.execute(params![
            scope.tenant,
            scope.user,
            scope.agent
        ])?;
    }
    Ok(Swept {
        expired: expired.len() as u64,
        orphans: orphans as u64,
        more: expired.len() == most as usize,
    })
}
