//! The vector branch: an embedding set's unindexed part, compared one by one, and its segments,
//! searched by their indexes; see [`crate::segments`].
//!
//! Which way a question goes is decided here and not by the planner, which does not know that an
//! index hands out only so many rows before filters: few memories that pass scope and filter are
//! all compared; many are found through the indexes, which go on until enough pass; and when that
//! comes to its end with fewer than asked for, all are compared after all.
//!
//! Vectors are stored at length one: cosine does not see the difference, and half precision then
//! neither overflows nor loses small ones to zero.

use mnemon_core::limits;
use mnemon_core::memories::{MemoryFilter, Wording};
use mnemon_core::scope::Admitted;
use pgvector::HalfVector;
use serde_json::Value;
use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};
use uuid::Uuid;

use super::read::{push_filter, push_labels, push_visible};
use crate::error::Fault;
use crate::models::Set;
use crate::segments;

/// Writes the vectors of memories just written.
pub(super) async fn store(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    set: &Set,
    vectors: &[(Uuid, &[u8; 32], &[f32])],
) -> Result<(), Fault> {
    if vectors.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = vectors.iter().map(|(id, _, _)| *id).collect();
    let hashes: Vec<Vec<u8>> = vectors.iter().map(|(_, hash, _)| hash.to_vec()).collect();
    let halves: Vec<HalfVector> = vectors.iter().map(|(_, _, vector)| half(vector)).collect();
    // The table's name is made of a number.
    let mut query = QueryBuilder::<Postgres>::new("insert into ");
    query.push(set.table());
    query.push(" (tenant, memory_id, user_id, content_hash, embedding) select ");
    query.push_bind(scope.tenant.to_owned()).push(", g.id, ");
    query.push_bind(scope.user.map(str::to_owned)).push(", g.hash, g.embedding from unnest(");
    query.push_bind(ids).push(", ").push_bind(hashes).push(", ").push_bind(halves);
    query.push(") as g (id, hash, embedding) order by g.id on conflict do nothing");
    query.build().execute(conn).await?;
    Ok(())
}

/// Removes a memory's vector from a set: from the unindexed part, then from every segment, in
/// statements of their own.
pub(super) async fn remove(
    conn: &mut PgConnection,
    tenant: &str,
    set: &Set,
    id: Uuid,
) -> Result<(), Fault> {
    for table in segments::hold_still(conn, set).await? {
        let mut query = QueryBuilder::<Postgres>::new("delete from ");
        // The table's name is made of numbers.
        query.push(table).push(" where tenant = ").push_bind(tenant.to_owned());
        query.push(" and memory_id = ").push_bind(id);
        query.build().execute(&mut *conn).await?;
    }
    Ok(())
}

/// What is asked of the vectors.
pub(super) struct Near<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) filter: &'a MemoryFilter,
    /// The question, of the set's model.
    pub(super) vector: &'a [f32],
    pub(super) limit: u32,
    /// The unindexed part first, then the segments.
    pub(super) tables: &'a [String],
    /// Memories of the tenant.
    pub(super) documents: u64,
    /// Vectors that the segments hold, of all tenants.
    pub(super) indexed: u64,
    /// How words stand, for the words of labels.
    pub(super) wording: Wording,
}

/// The memories nearest to a vector, best first, each with its cosine similarity; ties by id,
/// newest first. In one snapshot with the list of tables.
pub(super) async fn find(
    conn: &mut PgConnection,
    near: &Near<'_>,
) -> Result<Vec<(Uuid, f64)>, Fault> {
    let few = near.few();
    if near.expected(conn).await? <= few
        && let Some(found) = near.all_of(conn, few).await?
    {
        return Ok(found);
    }
    let found: Vec<(Uuid, f64)> = near.by_index().build_query_as().fetch_all(&mut *conn).await?;
    if found.len() >= near.limit as usize {
        return Ok(found);
    }
    Ok(near.all_of(conn, u64::MAX).await?.unwrap_or_default())
}

impl Near<'_> {
    /// Up to how many memories that pass it is cheaper to compare all of them than to go through an
    /// index until enough pass.
    ///
    /// Either looks up a row at a time: all `rows` that pass, or, of `total` that the index holds,
    /// as many as it takes to meet `limit` of them, which is `limit * total / rows`.
    fn few(&self) -> u64 {
        // What upkeep has neither indexed nor counted yet is in neither of them.
        let total = self.indexed.max(self.documents).max(limits::UNINDEXED_ROWS);
        total.saturating_mul(u64::from(self.limit)).isqrt().min(limits::EXACT_ROWS)
    }

    /// How many memories are expected to pass.
    async fn expected(&self, conn: &mut PgConnection) -> Result<u64, Fault> {
        let (scope, filter) = (self.scope, self.filter);
        let all =
            scope.user.is_none() && scope.agent.is_none() && *filter == MemoryFilter::default();
        if all { Ok(self.documents) } else { self.estimate(conn).await }
    }

    /// The nearest of all that pass, unless these are more than expected: about a table that grows
    /// fast the planner can be wrong by any factor.
    async fn all_of(
        &self,
        conn: &mut PgConnection,
        most: u64,
    ) -> Result<Option<Vec<(Uuid, f64)>>, Fault> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let found: Vec<(i64, Option<Uuid>, Option<f64>)> =
            self.exactly(most).build_query_as().fetch_all(conn).await?;
        if found.first().is_some_and(|(rows, _, _)| *rows > most) {
            return Ok(None);
        }
        Ok(Some(found.into_iter().filter_map(|(_, id, near)| id.zip(near)).collect()))
    }

    /// How many memories pass, as the planner believes.
    async fn estimate(&self, conn: &mut PgConnection) -> Result<u64, Fault> {
        let mut query =
            QueryBuilder::new("explain (format json) select from mnemon.memories m where ");
        self.push_passes(&mut query);
        let plan: Value = query.build_query_scalar().fetch_one(conn).await?;
        Ok(plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_u64).unwrap_or(0))
    }

    fn push_passes(&self, query: &mut QueryBuilder<Postgres>) {
        push_visible(query, self.scope);
        push_filter(query, self.filter);
    }

    /// Every vector whose memory passes, compared, and how many pass; of more than `most` none is
    /// compared.
    fn exactly(&self, most: i64) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(
            "with passing as materialized (select m.id from mnemon.memories m where ",
        );
        self.push_passes(&mut query);
        push_labels(&mut query, self.scope, self.filter, self.wording);
        query.push(" limit ").push_bind(most.saturating_add(1));
        query.push("), counted as materialized (select count(*) as rows from passing)");
        query.push(", near as materialized (");
        for (n, table) in self.tables.iter().enumerate() {
            query.push(if n == 0 { "" } else { " union all " });
            query.push("select e.memory_id as id, e.embedding <=> ");
            query.push_bind(half(self.vector)).push(" as distance from passing p join ");
            // The table's name is made of numbers.
            query.push(table).push(" e on e.memory_id = p.id and e.tenant = ");
            query.push_bind(self.scope.tenant.to_owned());
            query.push(" where (select c.rows from counted c) <= ").push_bind(most);
        }
        query.push(
            ") select c.rows, n.id, 1 - n.distance from counted c left join near n on true \
             order by n.distance, n.id desc limit ",
        );
        query.push_bind(i64::from(self.limit));
        query
    }

    /// The nearest of each table whose memory passes. A memory is looked at when its vector's turn
    /// has come: a subquery in the list of conditions is asked row by row.
    fn by_index(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("select f.id, 1 - f.distance from (");
        for (n, table) in self.tables.iter().enumerate() {
            if n == 0 {
                // No index: all distances first, sorted, then those that pass in that order.
                query.push(
                    "(select e.id, e.distance from (select e.memory_id as id, e.embedding <=> ",
                );
                query.push_bind(half(self.vector)).push(" as distance from ");
                // The table's name is made of numbers.
                query.push(table).push(" e where e.tenant = ");
                query.push_bind(self.scope.tenant.to_owned());
                query.push(" order by distance, id desc offset 0) e where ");
                self.push_asked(&mut query, "e.id");
            } else {
                query.push(" union all (select e.memory_id as id, e.embedding <=> ");
                query.push_bind(half(self.vector)).push(" as distance from ");
                query.push(table).push(" e where e.tenant = ");
                query.push_bind(self.scope.tenant.to_owned()).push(" and ");
                self.push_asked(&mut query, "e.memory_id");
                query.push(" order by e.embedding <=> ").push_bind(half(self.vector));
            }
            query.push(" limit ").push_bind(i64::from(self.limit)).push(")");
        }
        query.push(") f order by f.distance, f.id desc limit ").push_bind(i64::from(self.limit));
        query
    }

    fn push_asked(&self, query: &mut QueryBuilder<Postgres>, id: &'static str) {
        query.push("coalesce((select true from mnemon.memories m where m.id = ").push(id);
        query.push(" and ");
        self.push_passes(query);
        query.push("), false)");
    }
}

/// The vector at length one, in half precision.
pub(crate) fn half(vector: &[f32]) -> HalfVector {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a component at length one")]
    let unit: Vec<f32> = vector.iter().map(|x| (f64::from(*x) / norm) as f32).collect();
    HalfVector::from_f32_slice(&unit)
}
