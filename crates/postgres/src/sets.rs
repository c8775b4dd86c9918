//! The life of embedding sets: begun, filled under a lease, switched to, dropped. All of it is work
//! over all tenants, on the link for upkeep.

mod lacking;
mod recentre;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::sets::{check_batch, check_lease};
use mnemon_core::memories::{
    EmbeddingSet, EmbeddingSets, FillLease, Filled, Filling, Lacking, ModelSignature, SetCounts,
    SetId, SetState, SetsReport, Switch,
};
use mnemon_core::{Error, Fence, Page, Paged, Result};
use pgvector::HalfVector;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Executor as _, QueryBuilder, query, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::memories::nearest::half;
use crate::models::{self, Set};
use crate::segments;
use crate::store::PostgresStore;

#[async_trait]
impl EmbeddingSets for PostgresStore {
    async fn sets(&self) -> Result<SetsReport> {
        let call = call("counting embedding sets", Retry::Idempotent);
        self.link.maintenance().run(call, |conn| work(async move { report(conn).await })).await
    }

    async fn begin(&self, model: &ModelSignature) -> Result<EmbeddingSet> {
        model.check()?;
        let call = call("beginning an embedding set", Retry::Idempotent);
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { begin(conn, model).await }))
            .await
    }

    async fn claim(&self, set: SetId, holder: &str, lasts: Duration) -> Result<FillLease> {
        check_lease(lasts)?;
        let call = call("claiming an embedding set", Retry::Never);
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { claim(conn, set, holder, lasts).await }))
            .await
    }

    async fn lacking(&self, set: Option<SetId>, page: &Page) -> Result<Paged<Lacking>> {
        page.check()?;
        let call = call("looking for memories to embed", Retry::Idempotent);
        self.link
            .maintenance()
            .run(call, |conn| {
                work(async move {
                    let set = match set {
                        Some(set) => Some(find(conn, set).await?),
                        None => None,
                    };
                    lacking::page(conn, set.as_ref(), page).await
                })
            })
            .await
    }

    async fn fill(&self, lease: &FillLease, vectors: Vec<Filling>) -> Result<Filled> {
        check_batch(&vectors)?;
        let vectors = &vectors;
        let call = call("filling an embedding set", Retry::Idempotent);
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { fill(conn, lease, vectors).await }))
            .await
    }

    async fn switch(&self, lease: &FillLease, since: Option<DateTime<Utc>>) -> Result<Switch> {
        let call = call("switching embedding sets", Retry::Idempotent);
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { switch(conn, lease, since).await }))
            .await
    }

    async fn release(&self, lease: &FillLease, lacking: u64) -> Result<()> {
        let lacking = i64::try_from(lacking).unwrap_or(i64::MAX);
        let call = call("releasing an embedding set", Retry::Never);
        self.link
            .maintenance()
            .run(call, |conn| work(async move { release(conn, lease, lacking).await }))
            .await
    }

    async fn drop_set(&self, set: SetId) -> Result<()> {
        let call = call("dropping an embedding set", Retry::Idempotent);
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { drop_set(conn, set).await }))
            .await
    }
}

fn call(doing: &'static str, retry: Retry) -> Call<'static> {
    Call { doing, tenant: None, retry }
}

async fn find(conn: &mut PgConnection, set: SetId) -> Result<Set, Fault> {
    let found = models::sets(conn).await?.into_iter().find(|other| other.id == set.0);
    found.ok_or_else(|| Error::not_found("embedding set", set).into())
}

async fn described(conn: &mut PgConnection, set: Set) -> Result<EmbeddingSet, Fault> {
    let created_at =
        query_scalar!("select created_at from mnemon.embedding_sets where id = $1", set.id)
            .fetch_one(conn)
            .await?;
    Ok(EmbeddingSet { id: SetId(set.id), model: set.model, state: set.state, created_at })
}

async fn report(conn: &mut PgConnection) -> Result<SetsReport, Fault> {
    let memories = query_scalar!(
        r#"select count(*) as "count!" from mnemon.memories
           where expires_at is null or expires_at > (select mnemon.now())"#
    )
    .fetch_one(&mut *conn)
    .await?;
    let mut sets = Vec::new();
    for set in models::sets(conn).await? {
        let holder = query_scalar!(
            "select holder from mnemon.embedding_sets where id = $1 and lease_until > mnemon.now()",
            set.id
        )
        .fetch_optional(&mut *conn)
        .await?
        .flatten();
        sets.push(SetCounts {
            vectors: lacking::vectors(conn, &set).await?,
            lacking: lacking::count(conn, &set, None).await?,
            holder,
            set: described(conn, set).await?,
        });
    }
    Ok(SetsReport { memories: memories.unsigned_abs(), sets })
}

async fn begin(conn: &mut PgConnection, model: &ModelSignature) -> Result<EmbeddingSet, Fault> {
    models::lock(conn).await?;
    wait_briefly(conn).await?;
    let sets = models::sets(conn).await?;
    if let Some(known) = sets.iter().find(|set| set.model == *model)
        && known.state != SetState::Retired
    {
        return described(conn, known.clone()).await;
    }
    if let Some(other) = sets.iter().find(|set| set.state == SetState::Filling) {
        let key = other.model.to_string();
        return Err(Error::AlreadyExists { kind: "a set being filled, of", key }.into());
    }
    let active = sets.iter().any(|set| set.state == SetState::Active);
    let state = if active { SetState::Filling } else { SetState::Active };
    let set = match sets.into_iter().find(|set| set.model == *model) {
        Some(retired) => {
            stand(conn, &retired, state).await?;
            Set { state, ..retired }
        }
        None => models::make(conn, model, state).await?,
    };
    described(conn, set).await
}

/// Making and dropping a table that refers to memories waits for those who write there, and lets
/// nobody write while it waits.
async fn wait_briefly(conn: &mut PgConnection) -> Result<(), Fault> {
    conn.execute("set local lock_timeout = '1s'").await?;
    Ok(())
}

async fn stand(conn: &mut PgConnection, set: &Set, state: SetState) -> Result<(), Fault> {
    query!("update mnemon.embedding_sets set state = $2 where id = $1", set.id, state.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes a set that nobody fills; the fence grows with every holder.
async fn claim(
    conn: &mut PgConnection,
    set: SetId,
    holder: &str,
    lasts: Duration,
) -> Result<FillLease, Fault> {
    let fence = query_scalar!(
        "update mnemon.embedding_sets
         set holder = $2, fence = fence + 1, lease_until = mnemon.now() + make_interval(secs => $3)
         where id = $1 and (holder is null or lease_until <= mnemon.now()) returning fence",
        set.0,
        holder,
        lasts.as_secs_f64(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(fence) = fence else {
        refuse_held(conn, set).await?;
        return Err(Error::not_found("embedding set", set).into());
    };
    Ok(FillLease { set, fence: Fence(fence), lasts })
}

async fn refuse_held(conn: &mut PgConnection, set: SetId) -> Result<(), Fault> {
    let until = query_scalar!(
        r#"select lease_until as "until!" from mnemon.embedding_sets
           where id = $1 and holder is not null and lease_until > mnemon.now()"#,
        set.0
    )
    .fetch_optional(conn)
    .await?;
    match until {
        Some(until) => Err(Error::Held { key: format!("embedding set {set}"), until }.into()),
        None => Ok(()),
    }
}

fn fenced(lease: &FillLease) -> Fault {
    Error::Fenced { key: format!("embedding set {}", lease.set) }.into()
}

/// Renewing the lease is the check, and holds the row to the end: no row, no right.
async fn renew(conn: &mut PgConnection, lease: &FillLease) -> Result<(), Fault> {
    let renewed = query!(
        "update mnemon.embedding_sets set lease_until = mnemon.now() + make_interval(secs => $3)
         where id = $1 and fence = $2 and holder is not null",
        lease.set.0,
        lease.fence.0,
        lease.lasts.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    if renewed.rows_affected() == 0 { Err(fenced(lease)) } else { Ok(()) }
}

async fn release(conn: &mut PgConnection, lease: &FillLease, lacking: i64) -> Result<(), Fault> {
    let released = query!(
        "update mnemon.embedding_sets set holder = null, lease_until = null, lacking = $3
         where id = $1 and fence = $2 and holder is not null",
        lease.set.0,
        lease.fence.0,
        lacking,
    )
    .execute(conn)
    .await?;
    if released.rows_affected() == 0 { Err(fenced(lease)) } else { Ok(()) }
}

async fn fill(
    conn: &mut PgConnection,
    lease: &FillLease,
    vectors: &[Filling],
) -> Result<Filled, Fault> {
    renew(conn, lease).await?;
    let set = find(conn, lease.set).await?;
    for filling in vectors {
        set.model.check_vector("embedding", &filling.vector)?;
    }
    let tenants: Vec<String> = vectors.iter().map(|filling| filling.tenant.clone()).collect();
    let ids: Vec<Uuid> = vectors.iter().map(|filling| filling.id.0).collect();
    let hashes: Vec<Vec<u8>> = vectors.iter().map(|f| f.content_hash.to_vec()).collect();
    let halves: Vec<HalfVector> = vectors.iter().map(|filling| half(&filling.vector)).collect();
    // What an indexed part may still have of another text goes first: no vector is found twice.
    let parts = segments::hold_still(conn, &set).await?;
    for part in parts.iter().skip(1) {
        // The table's name is made of two numbers.
        let mut query = QueryBuilder::<Postgres>::new("delete from ");
        query.push(part).push(" e using unnest(").push_bind(tenants.clone()).push(", ");
        query.push_bind(ids.clone());
        query.push(") as g (tenant, id) where e.tenant = g.tenant and e.memory_id = g.id");
        query.build().execute(&mut *conn).await?;
    }
    // Whoever changes one of these texts has locked its row; waiting shows the text as it then is.
    // Whoever comes later waits for this, and removes the vector that is written here.
    let mut query = QueryBuilder::<Postgres>::new(
        "with kept as materialized (select m.tenant, m.id, m.user_id, m.content_hash, g.embedding \
         from unnest(",
    );
    query.push_bind(tenants).push(", ").push_bind(ids).push(", ").push_bind(hashes).push(", ");
    query.push_bind(halves).push(
        ") as g (tenant, id, hash, embedding) join mnemon.memories m on m.tenant = g.tenant \
         and m.id = g.id and m.content_hash = g.hash order by m.tenant, m.id for share of m) \
         insert into ",
    );
    // The table's name is made of a number.
    query.push(set.table());
    query.push(
        " as e (tenant, memory_id, user_id, content_hash, embedding) \
         select tenant, id, user_id, content_hash, embedding from kept \
         on conflict (tenant, memory_id) do update \
         set content_hash = excluded.content_hash, embedding = excluded.embedding",
    );
    let stored = query.build().execute(conn).await?.rows_affected();
    Ok(Filled { stored, skipped: vectors.len() as u64 - stored })
}

async fn switch(
    conn: &mut PgConnection,
    lease: &FillLease,
    since: Option<DateTime<Utc>>,
) -> Result<Switch, Fault> {
    renew(conn, lease).await?;
    let set = find(conn, lease.set).await?;
    match set.state {
        SetState::Active => return Ok(Switch::Switched { recentred: 0 }),
        SetState::Filling => {}
        SetState::Retired => return Err(Error::invalid("set", "is retired: begin it again").into()),
    }
    let lacking = lacking::count(conn, &set, since).await?;
    if lacking > 0 {
        return Ok(Switch::Refused { lacking });
    }
    let before = models::active(conn).await?;
    if let Some(before) = &before {
        stand(conn, before, SetState::Retired).await?;
    }
    stand(conn, &set, SetState::Active).await?;
    let recentred = match &before {
        Some(before) => recentre::all(conn, before, &set).await?,
        None => 0,
    };
    Ok(Switch::Switched { recentred })
}

async fn drop_set(conn: &mut PgConnection, set: SetId) -> Result<(), Fault> {
    models::lock(conn).await?;
    let found = find(conn, set).await?;
    if found.state == SetState::Active {
        return Err(Error::invalid("set", "is the active one, which recall searches").into());
    }
    refuse_held(conn, set).await?;
    query!(
        "update mnemon.memory_domains set embedding_set = null, centroid = null
         where embedding_set = $1",
        set.0
    )
    .execute(&mut *conn)
    .await?;
    wait_briefly(conn).await?;
    // Writers take the tables in this order, too.
    conn.execute("lock table mnemon.memories in access exclusive mode").await?;
    segments::drop_all(conn, &found).await?;
    query!("delete from mnemon.embedding_sets where id = $1", set.0).execute(&mut *conn).await?;
    // Made of a number.
    conn.execute(AssertSqlSafe(format!("drop table {}", found.table()))).await?;
    Ok(())
}
