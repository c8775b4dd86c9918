//! The middles of domains, computed anew when their model is no longer the one that is searched.

use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};

use crate::error::Fault;
use crate::models::Set;
use crate::segments;

/// Moves every domain that has its middle by the model before; of the domain's owner count their own
/// and unowned memories, of everybody's all that name it. One without members by the new model
/// keeps what it has, which nobody sees.
pub(super) async fn all(conn: &mut PgConnection, before: &Set, now: &Set) -> Result<u64, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(
        "with middles as (select d.tenant, d.user_id, d.id, avg(e.embedding)::vector as middle \
         from mnemon.memory_domains d join mnemon.memories m on m.tenant = d.tenant \
         and d.id = any (m.domains) and (d.user_id = '' or m.user_id is null \
         or m.user_id = d.user_id) join ",
    );
    let parts = segments::tables(conn, now).await?;
    let parts = parts.iter().map(|part| format!("select tenant, memory_id, embedding from {part}"));
    // The tables' names are made of numbers.
    query.push("(").push(parts.collect::<Vec<_>>().join(" union all ")).push(")");
    query.push(" e on e.tenant = m.tenant and e.memory_id = m.id where d.embedding_set = ");
    query.push_bind(before.id);
    query.push(
        " group by d.tenant, d.user_id, d.id) \
         update mnemon.memory_domains d set centroid = n.middle::real[], embedding_set = ",
    );
    query.push_bind(now.id);
    query.push(
        " from middles n where d.tenant = n.tenant and d.user_id = n.user_id and d.id = n.id \
         and vector_norm(n.middle) > 0",
    );
    Ok(query.build().execute(conn).await?.rows_affected())
}
