//! Domains: kept, filled from a tag, and classified into by SQL.

use chrono::{DateTime, Utc};
use mnemon_core::memories::{Classified, Domain, NewDomain};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Page, Paged, limits};
use pgvector::Vector;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, query, query_scalar};

use super::read::{push_owned, push_visible};
use crate::error::Fault;
use crate::models::{self, Set};
use crate::segments;

const LIST: &str = "domains";

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: String,
    label: String,
    centroid: Option<Vec<f32>>,
    top_terms: Vec<String>,
    created_at: DateTime<Utc>,
    memories: i64,
}

impl From<Row> for Domain {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            user: Some(row.user_id).filter(|user| !user.is_empty()),
            label: row.label,
            centroid: row.centroid,
            top_terms: row.top_terms,
            memory_count: row.memories.unsigned_abs(),
            created_at: row.created_at,
        }
    }
}

/// What the scope sees of domains `d`, each with what it sees in it.
fn select(scope: &Admitted<'_>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select d.id, d.user_id, d.label, case when d.embedding_set = (select s.id \
         from mnemon.embedding_sets s where s.state = 'active') then d.centroid end as centroid, \
         d.top_terms, d.created_at, (select count(*) from mnemon.memories m \
         where d.id = any (m.domains) and ",
    );
    push_visible(&mut query, scope);
    query.push(") as memories from mnemon.memory_domains d where d.tenant = ");
    query.push_bind(scope.tenant.to_owned());
    push_seen(&mut query, scope);
    query
}

fn push_seen(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>) {
    if let Some(user) = scope.user {
        query.push(" and d.user_id in ('', ").push_bind(user.to_owned()).push(")");
    }
}

/// A page of domains.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    page: &Page,
) -> Result<Paged<Domain>, Fault> {
    let mut query = select(scope);
    if let Some(cursor) = &page.cursor {
        let [id, user] = cursor.parts::<2>(LIST)?;
        query.push(" and (d.id collate \"C\", d.user_id collate \"C\") > (");
        query.push_bind(id.to_owned()).push(", ").push_bind(user.to_owned()).push(")");
    }
    query.push(" order by d.id collate \"C\", d.user_id collate \"C\" limit ");
    query.push_bind(i64::from(page.limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    let all = rows.into_iter().map(Domain::from).collect();
    Ok(Paged::cut(all, page.limit, |domain: &Domain| {
        Cursor::of(LIST, &[&domain.id, domain.user.as_deref().unwrap_or_default()])
    }))
}

/// One domain: the scope's own first, then everybody's.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<Domain, Fault> {
    find(conn, scope, id).await?.ok_or_else(|| Error::not_found("domain", id).into())
}

async fn find(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<Option<Domain>, Fault> {
    let mut query = select(scope);
    query.push(" and d.id = ").push_bind(id.to_owned()).push(" order by d.user_id = ");
    query.push_bind(scope.user.unwrap_or_default().to_owned());
    query.push(" desc, d.user_id collate \"C\" limit 1");
    let row: Option<Row> = query.build_query_as().fetch_optional(conn).await?;
    Ok(row.map(Domain::from))
}

/// How many domains a scope sees.
pub(super) async fn count(conn: &mut PgConnection, scope: &Admitted<'_>) -> Result<u64, Fault> {
    let count = query_scalar!(
        r#"select count(*) as "count!" from mnemon.memory_domains
           where tenant = $1 and ($2::text is null or user_id in ('', $2))"#,
        scope.tenant,
        scope.user,
    )
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}

/// Writes a domain of the scope's, inside the caller's transaction.
pub(super) async fn upsert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewDomain,
) -> Result<Domain, Fault> {
    let set = match &new.centroid {
        None => None,
        Some(centroid) => {
            let set = models::active(conn).await?.ok_or_else(|| unregistered("centroid"))?;
            set.model.check_vector("centroid", centroid)?;
            Some(set.id)
        }
    };
    query!(
        "insert into mnemon.memory_domains
             (tenant, user_id, id, label, embedding_set, centroid, top_terms, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, mnemon.now())
         on conflict (tenant, id, user_id) do update
         set label = excluded.label, embedding_set = excluded.embedding_set,
             centroid = excluded.centroid, top_terms = excluded.top_terms",
        scope.tenant,
        scope.user.unwrap_or_default(),
        new.id,
        new.label,
        set,
        new.centroid.as_deref(),
        &new.top_terms,
    )
    .execute(&mut *conn)
    .await?;
    get(conn, scope, &new.id).await
}

fn unregistered(field: &'static str) -> Error {
    Error::invalid(field, "is given, but no model is registered")
}

/// Deletes the domain that [`get`] answers, inside the caller's transaction.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<(), Fault> {
    let found = get(conn, scope, id).await?;
    let done = query!(
        "delete from mnemon.memory_domains where tenant = $1 and id = $2 and user_id = $3",
        scope.tenant,
        id,
        found.user.unwrap_or_default(),
    )
    .execute(conn)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::not_found("domain", id).into()),
        _ => Ok(()),
    }
}

/// The domains nearest to a vector: centroids of the active set only, so that no two dimensions
/// meet.
pub(super) async fn classify(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    vector: &[f32],
    limit: u32,
) -> Result<Vec<Classified>, Fault> {
    let set = models::active(conn).await?.ok_or_else(|| unregistered("vector"))?;
    set.model.check_vector("vector", vector)?;
    let mut query =
        QueryBuilder::new("select d.id, max(1 - (l2_normalize(d.centroid::vector) <=> ");
    query.push_bind(Vector::from(unit(vector))).push(")) as similarity ");
    query.push("from mnemon.memory_domains d where d.tenant = ").push_bind(scope.tenant.to_owned());
    query.push(" and d.embedding_set = ").push_bind(set.id).push(" and d.centroid is not null");
    push_seen(&mut query, scope);
    query.push(" group by d.id order by similarity desc, d.id collate \"C\" limit ");
    query.push_bind(i64::from(limit));
    let rows: Vec<(String, f64)> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(id, similarity)| Classified { id, similarity }).collect())
}

/// The vector at length one: cosine does not see the difference, and no square overflows.
fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a component at length one")]
    let unit = vector.iter().map(|x| (f64::from(*x) / norm) as f32).collect();
    unit
}

/// Fills a domain with what has a tag, inside the caller's transaction.
pub(super) async fn set_from_tag(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    tag: &str,
) -> Result<Domain, Fault> {
    let mut tagged = QueryBuilder::new("select exists (select from mnemon.memories m where ");
    push_tagged(&mut tagged, scope, tag);
    tagged.push(")");
    let any: bool = tagged.build_query_scalar().fetch_one(&mut *conn).await?;
    if !any {
        return Err(Error::not_found("tag", tag).into());
    }
    fill(conn, scope, id, tag).await?;
    let centroid = match models::active(conn).await? {
        Some(set) => middle(conn, scope, &set, tag).await?,
        None => None,
    };
    let owner = scope.user.unwrap_or_default();
    let standing = find(conn, scope, id).await?;
    let standing = standing.filter(|found| found.user.as_deref().unwrap_or_default() == owner);
    let (label, top_terms) = match standing {
        Some(domain) => (domain.label, domain.top_terms),
        None => (id.to_owned(), Vec::new()),
    };
    upsert(conn, scope, &NewDomain { id: id.to_owned(), label, centroid, top_terms }).await
}

fn push_tagged(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>, tag: &str) {
    push_owned(query, scope);
    query.push(" and ").push_bind(tag.to_owned()).push(" = any (m.tags)");
}

/// Puts what has the tag into the domain, unless it is in as many as it may be; in the order of
/// ids, so that two of these do not wait for each other.
async fn fill(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    tag: &str,
) -> Result<(), Fault> {
    let mut query = QueryBuilder::<Postgres>::new(
        "with tagged as materialized (select m.tenant, m.id from mnemon.memories m where ",
    );
    push_tagged(&mut query, scope, tag);
    query.push(" and not ").push_bind(id.to_owned()).push(" = any (m.domains)");
    query.push(" and cardinality(m.domains) < ");
    query.push_bind(i32::try_from(limits::DOMAINS_MAX).unwrap_or(i32::MAX));
    query.push(" order by m.id for no key update of m) ");
    query.push("update mnemon.memories m set domains = array_append(m.domains, ");
    query.push_bind(id.to_owned());
    query.push(") from tagged t where m.tenant = t.tenant and m.id = t.id");
    query.build().execute(conn).await?;
    Ok(())
}

/// The middle of the tagged memories' vectors (which stand at length one); none without a
/// direction.
async fn middle(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    set: &Set,
    tag: &str,
) -> Result<Option<Vec<f32>>, Fault> {
    let mut tables = segments::tables(conn, set).await?;
    let middle = loop {
        let mut query = QueryBuilder::new("select avg(e.embedding)::vector::real[] from (");
        for (n, table) in tables.iter().enumerate() {
            query.push(if n == 0 { "" } else { " union all " });
            // The table's name is made of numbers.
            query.push("select tenant, memory_id, embedding from ").push(table);
            query.push(" where tenant = ").push_bind(scope.tenant.to_owned());
        }
        query.push(
            ") e join mnemon.memories m on m.tenant = e.tenant and m.id = e.memory_id where ",
        );
        push_tagged(&mut query, scope, tag);
        let middle: Option<Vec<f32>> = query.build_query_scalar().fetch_one(&mut *conn).await?;
        // Upkeep may have moved vectors between the two statements.
        let now = segments::tables(conn, set).await?;
        if now == tables {
            break middle;
        }
        tables = now;
    };
    Ok(middle.filter(|middle| set.model.check_vector("centroid", middle).is_ok()))
}
