//! Counts of what a scope sees, and the sweep of what nobody does.

use mnemon_core::memories::{MemoryStats, Namespace, NamespaceCount, Swept};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Page, Paged, limits};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, query_scalar};

use super::read::{self, push_owned, push_visible};
use super::{domains, ways};
use crate::error::Fault;
use crate::models::{self, Set};
use crate::segments;

const LIST: &str = "namespaces";

/// A page of the namespaces at or below a root.
pub(super) async fn namespaces(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    root: &Namespace,
    page: &Page,
) -> Result<Paged<NamespaceCount>, Fault> {
    let mut query = QueryBuilder::new(
        "select m.namespace collate \"C\" as namespace, count(*) from mnemon.memories m where ",
    );
    push_visible(&mut query, scope);
    read::push_namespace(&mut query, root);
    if let Some(cursor) = &page.cursor {
        let [after] = cursor.parts::<1>(LIST)?;
        query.push(" and m.namespace collate \"C\" > ").push_bind(after.to_owned());
    }
    query.push(" group by m.namespace collate \"C\" order by 1 limit ");
    query.push_bind(i64::from(page.limit) + 1);
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(conn).await?;
    let all = rows
        .into_iter()
        .map(|(name, count)| {
            Ok(NamespaceCount {
                namespace: Namespace::parse(name)?,
                memories: count.unsigned_abs(),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(Paged::cut(all, page.limit, |found| Cursor::of(LIST, &[found.namespace.as_str()])))
}

/// What a scope sees, counted.
pub(super) async fn stats(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
) -> Result<MemoryStats, Fault> {
    let set = models::active(conn).await?;
    let with_vectors = match &set {
        Some(set) => vectors(conn, scope, set).await?,
        None => 0,
    };
    let mut query = QueryBuilder::new(
        "select count(*), count(*) filter (where s.next_review <= (select mnemon.now())) \
         from mnemon.memory_scheduling s join mnemon.memories m \
         on m.tenant = s.tenant and m.id = s.memory_id where ",
    );
    push_visible(&mut query, scope);
    let (scheduled, due): (i64, i64) = query.build_query_as().fetch_one(&mut *conn).await?;
    Ok(MemoryStats {
        memories: read::count(conn, scope).await?,
        with_vectors,
        scheduled: scheduled.unsigned_abs(),
        due: due.unsigned_abs(),
        edges: edges(conn, scope).await?,
        domains: domains::count(conn, scope).await?,
        model: set.map(|set| set.model),
    })
}

async fn vectors(conn: &mut PgConnection, scope: &Admitted<'_>, set: &Set) -> Result<u64, Fault> {
    let mut query = QueryBuilder::new("select count(*) from (");
    for (n, table) in segments::tables(conn, set).await?.iter().enumerate() {
        query.push(if n == 0 { "" } else { " union all " });
        // The table's name is made of numbers.
        query.push("select tenant, memory_id from ").push(table);
        query.push(" where tenant = ").push_bind(scope.tenant.to_owned());
    }
    query.push(") e join mnemon.memories m on m.tenant = e.tenant and m.id = e.memory_id where ");
    push_visible(&mut query, scope);
    one(conn, query).await
}

async fn edges(conn: &mut PgConnection, scope: &Admitted<'_>) -> Result<u64, Fault> {
    let mut query =
        QueryBuilder::new("with seen as materialized (select m.id from mnemon.memories m where ");
    push_visible(&mut query, scope);
    query.push(") select count(*) from mnemon.memory_edges e where e.tenant = ");
    query.push_bind(scope.tenant.to_owned());
    query.push(" and e.source in (select id from seen) and e.target in (select id from seen)");
    one(conn, query).await
}

async fn one(conn: &mut PgConnection, mut query: QueryBuilder<Postgres>) -> Result<u64, Fault> {
    let count: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(count.unsigned_abs())
}

/// Removes what is over and what is nobody's, inside the caller's transaction.
pub(super) async fn sweep(conn: &mut PgConnection, scope: &Admitted<'_>) -> Result<Swept, Fault> {
    let most = limits::SWEEP_BATCH;
    let expired = query_scalar!(
        "select id from mnemon.memories
         where tenant = $1 and expires_at <= (select mnemon.now())
           and ($2::text is null or user_id is null or user_id = $2)
           and ($3::text is null or agent_id = $3)
         order by id limit $4 for update skip locked",
        scope.tenant,
        scope.user,
        scope.agent,
        i64::from(most),
    )
    .fetch_all(&mut *conn)
    .await?;
    ways::remove_over(conn, scope.tenant, &expired).await?;
    let mut orphans = 0;
    for set in models::sets(conn).await? {
        for table in segments::hold_still(conn, &set).await? {
            let mut query = QueryBuilder::<Postgres>::new("delete from ");
            // The table's name is made of numbers.
            query.push(table).push(" e using mnemon.memories m where m.tenant = e.tenant ");
            query.push("and m.id = e.memory_id and e.content_hash <> m.content_hash and ");
            push_owned(&mut query, scope);
            orphans += query.build().execute(&mut *conn).await?.rows_affected();
        }
    }
    let expired = expired.len();
    Ok(Swept { expired: expired as u64, orphans, more: expired == most as usize })
}
