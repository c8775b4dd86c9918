//! The vector branch: an embedding set's unindexed part, stored with its memory and scanned
//! exactly by cosine.
//!
//! Vectors are stored at length one: cosine does not see the difference, and half precision then
//! neither overflows nor loses small ones to zero.

use mnemon_core::memories::MemoryFilter;
use mnemon_core::scope::Admitted;
use pgvector::HalfVector;
use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};
use uuid::Uuid;

use super::read::{push_filter, push_visible};
use crate::error::Fault;
use crate::models::Set;

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

/// Removes a memory's vector from a set.
pub(super) async fn remove(
    conn: &mut PgConnection,
    tenant: &str,
    set: &Set,
    id: Uuid,
) -> Result<(), Fault> {
    let mut query = QueryBuilder::<Postgres>::new("delete from ");
    // The table's name is made of a number.
    query.push(set.table()).push(" where tenant = ").push_bind(tenant.to_owned());
    query.push(" and memory_id = ").push_bind(id);
    query.build().execute(conn).await?;
    Ok(())
}

/// The memories nearest to a vector, best first, each with its cosine similarity; ties by id,
/// newest first.
pub(super) async fn find(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    set: &Set,
    vector: &[f32],
    limit: u32,
) -> Result<Vec<(Uuid, f64)>, Fault> {
    let mut query = find_query(scope, filter, set, vector, limit);
    Ok(query.build_query_as().fetch_all(conn).await?)
}

fn find_query(
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    set: &Set,
    vector: &[f32],
    limit: u32,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select f.id, 1 - f.distance from (select m.id, ");
    query.push("e.embedding <=> ").push_bind(half(vector)).push(" as distance from ");
    // The table's name is made of a number.
    query.push(set.table());
    query.push(" e join mnemon.memories m on m.tenant = e.tenant and m.id = e.memory_id");
    query.push(" where e.tenant = ").push_bind(scope.tenant.to_owned()).push(" and ");
    push_visible(&mut query, scope);
    push_filter(&mut query, filter);
    query.push(" order by distance, m.id desc limit ").push_bind(i64::from(limit));
    query.push(") f order by f.distance, f.id desc");
    query
}

/// The vector at length one, in half precision.
pub(crate) fn half(vector: &[f32]) -> HalfVector {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a component at length one")]
    let unit: Vec<f32> = vector.iter().map(|x| (f64::from(*x) / norm) as f32).collect();
    HalfVector::from_f32_slice(&unit)
}
