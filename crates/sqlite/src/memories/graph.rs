//! Edges between memories, and walks along them; core decides how far.

use std::collections::{BTreeMap, HashSet};

use mnemon_core::memories::graph::Walk;
use mnemon_core::memories::{Edge, Memory, Neighbor, NewEdge};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, MemoryId, Page, Paged, Result, limits};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::filter::{Filtered, Named, Seen};
use super::{read, rows, update};
use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::memories::filter::{filtered, visible};
    use crate::memories::rows::columns;

    /// An edge `e` of which the other end, `m`, is seen.
    macro_rules! edge {
        () => {
            "e.source, e.target, e.type, e.weight, e.created_at"
        };
    }

    crate::sql::statements! {
        ADD = "insert into memory_edges (tenant, source, target, type, user_id, weight, \
            created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
            on conflict (tenant, source, target, type) do update set weight = excluded.weight \
            returning created_at";
        REMOVE = "delete from memory_edges where tenant = ?1 and source = ?2 and target = ?3 \
            and (?4 is null or type = ?4)";
        OF = concat!(
            "select * from (select ", edge!(), " from memory_edges e join memories m \
             on m.tenant = e.tenant and m.id = e.target where e.tenant = :tenant \
             and e.source = :id and (:type is null or e.type = :type) and ", visible!(),
            " union all select ", edge!(), " from memory_edges e join memories m \
             on m.tenant = e.tenant and m.id = e.source where e.tenant = :tenant \
             and e.target = :id and (:type is null or e.type = :type) and ", visible!(),
            ") where :after_source is null \
             or (source, target, type) > (:after_source, :after_target, :after_type) \
             order by source, target, type limit :limit"
        );
        /// Out of a frontier, the strongest; the frontier's own ends are seen already.
        OUT = concat!(
            "select ", edge!(), " from json_each(:ids) i cross join memory_edges e \
             on e.tenant = :tenant and e.source = unhex(replace(i.value, '-', '')) \
             join memories m on m.tenant = e.tenant and m.id = e.target where ", visible!(),
            " order by e.weight desc, e.source, e.target, e.type limit :limit"
        );
        INTO = concat!(
            "select ", edge!(), " from json_each(:ids) i cross join memory_edges e \
             on e.tenant = :tenant and e.target = unhex(replace(i.value, '-', '')) \
             join memories m on m.tenant = e.tenant and m.id = e.source where ", visible!(),
            " order by e.weight desc, e.source, e.target, e.type limit :limit"
        );
        SEEN = concat!(
            "select ", columns!(), " from json_each(:ids) i cross join memories m \
             on m.tenant = :tenant and m.id = unhex(replace(i.value, '-', '')) where ", visible!()
        );
        ADMITTED = concat!(
            "select m.id from json_each(:ids) i cross join memories m \
             on m.tenant = :tenant and m.id = unhex(replace(i.value, '-', '')) where ", visible!(),
            " and ", filtered!()
        );
    }
}

const LIST: &str = "edges";

/// Connects two memories.
pub(crate) fn add(conn: &Connection, scope: &Admitted<'_>, edge: &NewEdge) -> Done<Edge> {
    let now = now(conn)?;
    let source = update::changeable(conn, scope, edge.source, now)?;
    read::get(conn, scope, edge.target)?;
    let created_at: i64 = conn.prepare_cached(sql::ADD)?.query_row(
        params![
            scope.tenant,
            edge.source.0.as_bytes(),
            edge.target.0.as_bytes(),
            edge.edge_type,
            source.memory.user,
            edge.weight,
            now
        ],
        |row| row.get(0),
    )?;
    Ok(Edge {
        source: edge.source,
        target: edge.target,
        edge_type: edge.edge_type.clone(),
        weight: edge.weight,
        created_at: rows::time(created_at)?,
    })
}

/// Removes the edges of a type, or all, from one memory to another.
pub(crate) fn remove(
    conn: &Connection,
    scope: &Admitted<'_>,
    source: MemoryId,
    target: MemoryId,
    edge_type: Option<&str>,
) -> Done<u64> {
    update::changeable(conn, scope, source, now(conn)?)?;
    read::get(conn, scope, target)?;
    let removed = conn.prepare_cached(sql::REMOVE)?.execute(params![
        scope.tenant,
        source.0.as_bytes(),
        target.0.as_bytes(),
        edge_type
    ])?;
    if removed == 0 {
        return Err(Error::not_found("edge", format!("{source} to {target}")).into());
    }
    Ok(removed as u64)
}

/// Where a page of edges starts.
pub(crate) type Place = (MemoryId, MemoryId, String);

/// The place that a page names.
pub(crate) fn place(page: &Page) -> Result<Option<Place>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [source, target, edge_type] = cursor.parts::<3>(LIST)?;
    let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {LIST}"));
    let id = |text: &str| text.parse::<MemoryId>().map_err(|_| foreign());
    Ok(Some((id(source)?, id(target)?, edge_type.to_owned())))
}

/// A page of a memory's edges, in either direction.
pub(crate) fn edges(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
    edge_type: Option<&str>,
    after: Option<&Place>,
    limit: u32,
) -> Done<Paged<Edge>> {
    read::get(conn, scope, id)?;
    let seen = Seen::by(scope, now(conn)?);
    let id = id.0.as_bytes().as_slice();
    let source = after.map(|(source, _, _)| source.0.as_bytes().as_slice());
    let target = after.map(|(_, target, _)| target.0.as_bytes().as_slice());
    let kind = after.map(|(_, _, kind)| kind.as_str());
    let more = limit + 1;
    let mut values = seen.values();
    values.extend([
        (":id", &id as &dyn rusqlite::ToSql),
        (":type", &edge_type),
        (":after_source", &source),
        (":after_target", &target),
        (":after_type", &kind),
        (":limit", &more),
    ]);
    let found = read_edges(conn, sql::OF, &values)?;
    Ok(Paged::cut(found, limit, |edge| {
        let (source, target) = (edge.source.to_string(), edge.target.to_string());
        Cursor::of(LIST, &[&source, &target, &edge.edge_type])
    }))
}

fn read_edges(conn: &Connection, statement: &str, values: &[Named<'_>]) -> Done<Vec<Edge>> {
    let mut statement = conn.prepare_cached(statement)?;
    let mut found = statement.query(values)?;
    let mut edges = Vec::new();
    while let Some(row) = found.next()? {
        edges.push(edge(row)?);
    }
    Ok(edges)
}

fn edge(row: &Row<'_>) -> Done<Edge> {
    Ok(Edge {
        source: MemoryId(rows::id(row, 0)?),
        target: MemoryId(rows::id(row, 1)?),
        edge_type: row.get(2)?,
        weight: row.get(3)?,
        created_at: row::time(row, 4)?,
    })
}

/// Walks some hops along edges of which the scope sees both ends.
pub(super) fn walk(conn: &Connection, seen: &Seen<'_>, mut walk: Walk, depth: u32) -> Done<Walk> {
    for _ in 0..depth {
        let frontier = walk.frontier();
        if frontier.is_empty() {
            break;
        }
        let ids = json!(frontier).to_string();
        let mut values = seen.values();
        values.push((":ids", &ids));
        values.push((":limit", &limits::GRAPH_EDGES));
        let mut edges = read_edges(conn, sql::OUT, &values)?;
        edges.extend(read_edges(conn, sql::INTO, &values)?);
        walk.absorb(edges);
    }
    Ok(walk)
}

/// The memories near another one.
pub(crate) fn neighbors(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
    depth: u32,
) -> Done<Vec<Neighbor>> {
    read::get(conn, scope, id)?;
    let seen = Seen::by(scope, now(conn)?);
    let reached = walk(conn, &seen, Walk::from(id), depth)?.finish();
    let ids = json!(reached.iter().map(|(id, _)| id).collect::<Vec<_>>()).to_string();
    let mut values = seen.values();
    values.push((":ids", &ids));
    let mut statement = conn.prepare_cached(sql::SEEN)?;
    let mut found = statement.query(values.as_slice())?;
    let mut memories: BTreeMap<MemoryId, Memory> = BTreeMap::new();
    while let Some(row) = found.next()? {
        let memory = rows::memory(row)?;
        memories.insert(memory.id, memory);
    }
    let near = reached.into_iter().filter_map(|(id, reached)| {
        let memory = memories.remove(&id)?;
        let (weight, hops) = (reached.weight, reached.hops);
        Some(Neighbor { memory, weight, hops, via_edge: reached.via })
    });
    Ok(near.collect())
}

/// Those of some memories that the scope sees and the filter lets through.
pub(super) fn admitted(
    conn: &Connection,
    seen: &Seen<'_>,
    filtered: &Filtered<'_>,
    ids: &[MemoryId],
) -> Done<HashSet<MemoryId>> {
    let ids = json!(ids).to_string();
    let mut values = seen.values();
    values.extend(filtered.values());
    values.push((":ids", &ids));
    let mut statement = conn.prepare_cached(sql::ADMITTED)?;
    let mut found = statement.query(values.as_slice())?;
    let mut admitted = HashSet::new();
    while let Some(row) = found.next()? {
        admitted.insert(MemoryId(rows::id(row, 0)?));
    }
    Ok(admitted)
}
