//! Reading memories by id, by key, and in order.

use mnemon_core::memories::{Memory, MemoryFilter, Namespace};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, MemoryId, Page, Paged, Result};
use rusqlite::Connection;

use super::filter::{Filtered, Seen};
use super::narrow::narrow;
use super::rows;
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    use crate::memories::filter::{below, filtered, visible, worded};
    use crate::memories::rows::columns;

    crate::sql::statements! {
        GET = concat!("select ", columns!(), " from memories m where ", visible!(), " and m.id = :id");
        /// The caller's own first, then unowned ones, then others' that it sees.
        BY_KEY = concat!(
            "select ", columns!(), " from memories m where ", visible!(),
            " and m.namespace = :space and m.key = :key \
              order by m.user_id is :user desc, m.user_id is null desc, m.id desc limit 1"
        );
        LIST = concat!(
            "select ", columns!(), " from memories m where ", visible!(), " and ", filtered!(),
            " and (:before is null or m.id < :before) order by m.id desc limit :limit"
        );
        LIST_WORDED = concat!(
            "select ", columns!(), " from memories m where ", worded!(), " and ", visible!(), " and ",
            filtered!(), " and (:before is null or m.id < :before) order by m.id desc limit :limit"
        );
        LIST_BELOW = concat!(
            "select ", columns!(), " from memories m where ", below!(), " and ", visible!(), " and ",
            filtered!(), " and (:before is null or m.id < :before) order by m.id desc limit :limit"
        );
        COUNT = concat!("select count(*) from memories m where ", visible!());
    }
}

const CURSOR: &str = "memories";

/// One memory by id.
pub(crate) fn get(conn: &Connection, scope: &Admitted<'_>, id: MemoryId) -> Done<Memory> {
    let seen = Seen::by(scope, now(conn)?);
    let bytes = id.0.as_bytes().as_slice();
    let mut values = seen.values();
    values.push((":id", &bytes));
    one(conn, sql::GET, &values)?.ok_or_else(|| Error::not_found("memory", id).into())
}

/// One memory by the caller's key.
pub(crate) fn by_key(
    conn: &Connection,
    scope: &Admitted<'_>,
    namespace: &Namespace,
    key: &str,
) -> Done<Memory> {
    let seen = Seen::by(scope, now(conn)?);
    let space = namespace.as_str();
    let mut values = seen.values();
    values.push((":space", &space));
    values.push((":key", &key));
    one(conn, sql::BY_KEY, &values)?.ok_or_else(|| Error::not_found("memory", key).into())
}

fn one(
    conn: &Connection,
    statement: &str,
    values: &[super::filter::Named<'_>],
) -> Done<Option<Memory>> {
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(rows::memory).transpose()
}

/// The id a page starts below.
pub(crate) fn place(page: &Page) -> Result<Option<MemoryId>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [id] = cursor.parts::<1>(CURSOR)?;
    id.parse().map(Some).map_err(|_| Error::invalid("page.cursor", "holds no id"))
}

/// A page, newest first.
pub(crate) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    before: Option<MemoryId>,
    limit: u32,
) -> Done<Paged<Memory>> {
    let (seen, filtered) = (Seen::by(scope, now(conn)?), Filtered::by(filter));
    let before = before.map(|id| *id.0.as_bytes());
    let before = before.as_ref().map(<[u8; 16]>::as_slice);
    let more = limit + 1;
    let mut values = seen.values();
    values.extend(filtered.values());
    values.push((":before", &before));
    values.push((":limit", &more));
    let narrow = narrow(conn, scope.tenant, filter)?;
    values.extend(narrow.values());
    let statement = narrow.of(sql::LIST, sql::LIST_WORDED, sql::LIST_BELOW);
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::memory(row)?);
    }
    Ok(Paged::cut(found, limit, |memory| Cursor::of(CURSOR, &[&memory.id.to_string()])))
}

/// How many memories a scope sees.
pub(crate) fn count(conn: &Connection, scope: &Admitted<'_>) -> Done<u64> {
    let seen = Seen::by(scope, now(conn)?);
    let mut statement = conn.prepare_cached(sql::COUNT)?;
    let count: i64 = statement.query_row(seen.values().as_slice(), |row| row.get(0))?;
    Ok(u64::try_from(count).expect("a count is not negative"))
}
