//! Edges between memories, and walks along them; core decides how far.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use mnemon_core::memories::graph::Walk;
use mnemon_core::memories::{Edge, Memory, MemoryFilter, Neighbor, NewEdge};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, MemoryId, Page, Paged, limits};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, query, query_scalar};
use uuid::Uuid;

use super::read::{push_filter, push_visible};
use super::{read, update};
use crate::error::Fault;

const LIST: &str = "edges";

#[derive(sqlx::FromRow)]
struct Row {
    source: Uuid,
    target: Uuid,
    r#type: String,
    weight: f64,
    created_at: DateTime<Utc>,
}

impl From<Row> for Edge {
    fn from(row: Row) -> Self {
        Self {
            source: MemoryId(row.source),
            target: MemoryId(row.target),
            edge_type: row.r#type,
            weight: row.weight,
            created_at: row.created_at,
        }
    }
}

/// Connects two memories, inside the caller's transaction.
pub(super) async fn add(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    edge: &NewEdge,
) -> Result<Edge, Fault> {
    let source = update::changeable(conn, scope, edge.source).await?.memory;
    read::get(conn, scope, edge.target).await?;
    let created_at = query_scalar!(
        "insert into mnemon.memory_edges (tenant, source, target, type, user_id, weight, created_at)
         values ($1, $2, $3, $4, $5, $6, mnemon.now())
         on conflict (tenant, source, target, type) do update set weight = excluded.weight
         returning created_at",
        scope.tenant,
        edge.source.0,
        edge.target.0,
        edge.edge_type,
        source.user,
        edge.weight,
    )
    .fetch_one(conn)
    .await?;
    Ok(Edge {
        source: edge.source,
        target: edge.target,
        edge_type: edge.edge_type.clone(),
        weight: edge.weight,
        created_at,
    })
}

/// Removes the edges of a type, or all, from one memory to another, inside the caller's
/// transaction.
pub(super) async fn remove(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    source: MemoryId,
    target: MemoryId,
    edge_type: Option<&str>,
) -> Result<u64, Fault> {
    update::changeable(conn, scope, source).await?;
    read::get(conn, scope, target).await?;
    let done = query!(
        "delete from mnemon.memory_edges
         where tenant = $1 and source = $2 and target = $3 and ($4::text is null or type = $4)",
        scope.tenant,
        source.0,
        target.0,
        edge_type,
    )
    .execute(conn)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::not_found("edge", format!("{source} to {target}")).into()),
        removed => Ok(removed),
    }
}

/// One direction: edges `e` whose `near` end is asked about and whose other end, `m`, is seen.
fn push_edges(
    query: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    (near, far): (&'static str, &'static str),
    ids: &[Uuid],
) {
    query.push(
        "select e.source, e.target, e.type, e.weight, e.created_at from mnemon.memory_edges e ",
    );
    query.push("join mnemon.memories m on m.tenant = e.tenant and m.id = e.").push(far);
    query.push(" where e.tenant = ").push_bind(scope.tenant.to_owned());
    query.push(" and e.").push(near).push(" = any (").push_bind(ids.to_vec()).push(") and ");
    push_visible(query, scope);
}

/// Both directions, each by its own index.
const DIRECTIONS: [(&str, &str); 2] = [("source", "target"), ("target", "source")];

/// A page of a memory's edges, in either direction.
pub(super) async fn edges(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
    edge_type: Option<&str>,
    page: &Page,
) -> Result<Paged<Edge>, Fault> {
    let after = place(page)?;
    read::get(conn, scope, id).await?;
    let mut query = QueryBuilder::new("select * from (");
    for (n, direction) in DIRECTIONS.into_iter().enumerate() {
        if n > 0 {
            query.push(" union all ");
        }
        push_edges(&mut query, scope, direction, &[id.0]);
        if let Some(edge_type) = edge_type {
            query.push(" and e.type = ").push_bind(edge_type.to_owned());
        }
    }
    query.push(") e");
    if let Some((source, target, kind)) = after {
        query.push(" where (e.source, e.target, e.type collate \"C\") > (");
        query.push_bind(source).push(", ").push_bind(target).push(", ").push_bind(kind).push(")");
    }
    query.push(" order by e.source, e.target, e.type collate \"C\" limit ");
    query.push_bind(i64::from(page.limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    let edges = rows.into_iter().map(Edge::from).collect();
    Ok(Paged::cut(edges, page.limit, |edge: &Edge| {
        let (source, target) = (edge.source.to_string(), edge.target.to_string());
        Cursor::of(LIST, &[&source, &target, &edge.edge_type])
    }))
}

fn place(page: &Page) -> Result<Option<(Uuid, Uuid, String)>, Error> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [source, target, edge_type] = cursor.parts::<3>(LIST)?;
    let foreign = |_| Error::invalid("page.cursor", format!("is not a cursor of {LIST}"));
    let id = |text: &str| Uuid::parse_str(text).map_err(foreign);
    Ok(Some((id(source)?, id(target)?, edge_type.to_owned())))
}

/// Walks some hops along edges of which the scope sees both ends, a statement each hop.
pub(super) async fn walk(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    mut walk: Walk,
    depth: u32,
) -> Result<Walk, Fault> {
    for _ in 0..depth {
        let frontier: Vec<Uuid> = walk.frontier().iter().map(|id| id.0).collect();
        if frontier.is_empty() {
            break;
        }
        let mut query = QueryBuilder::new("");
        for (n, direction) in DIRECTIONS.into_iter().enumerate() {
            query.push(if n > 0 { " union all (" } else { "(" });
            push_edges(&mut query, scope, direction, &frontier);
            query.push(" order by e.weight desc, e.source, e.target, e.type collate \"C\" limit ");
            query.push_bind(i64::from(limits::GRAPH_EDGES)).push(")");
        }
        let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *conn).await?;
        walk.absorb(rows.into_iter().map(Edge::from).collect());
    }
    Ok(walk)
}

/// The memories near another one.
pub(super) async fn neighbors(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
    depth: u32,
) -> Result<Vec<Neighbor>, Fault> {
    read::get(conn, scope, id).await?;
    let reached = walk(conn, scope, Walk::from(id), depth).await?.finish();
    let ids: Vec<Uuid> = reached.iter().map(|(id, _)| id.0).collect();
    let rows = read::load(conn, scope, &ids).await?;
    let mut memories: HashMap<MemoryId, Memory> =
        rows.into_iter().map(|memory| (memory.id, memory)).collect();
    let near = reached.into_iter().filter_map(|(id, reached)| {
        let memory = memories.remove(&id)?;
        let (weight, hops) = (reached.weight, reached.hops);
        Some(Neighbor { memory, weight, hops, via_edge: reached.via })
    });
    Ok(near.collect())
}

/// Those of some memories that the scope sees and the filter lets through.
pub(super) async fn admitted(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    ids: &[MemoryId],
) -> Result<HashSet<MemoryId>, Fault> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut query = QueryBuilder::new("select m.id from mnemon.memories m where ");
    push_visible(&mut query, scope);
    query.push(" and m.id = any (").push_bind(ids).push(")");
    push_filter(&mut query, filter);
    let found: Vec<Uuid> = query.build_query_scalar().fetch_all(conn).await?;
    Ok(found.into_iter().map(MemoryId).collect())
}
