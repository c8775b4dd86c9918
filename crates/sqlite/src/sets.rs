//! The life of embedding sets: begun, filled under a lease, switched to, dropped.

pub(crate) mod recentre;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::sets::{check_batch, check_lease};
use mnemon_core::memories::{
    EmbeddingSet, EmbeddingSets, FillLease, Filled, Filling, Lacking, ModelSignature, SetCounts,
    SetId, SetState, SetsReport, Switch,
};
use mnemon_core::{Cursor, Error, Fence, MemoryId, Page, Paged, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;
use crate::memories::{rows, vectors};
use crate::models::{self, Set};
use crate::open::now;
use crate::store::SqliteStore;

pub(crate) mod sql {
    crate::sql::statements! {
        CREATED = "select created_at from embedding_sets where id = ?1";
        STATE = "update embedding_sets set state = ?2 where id = ?1";
        /// Takes a set that nobody fills; the fence grows with every holder.
        CLAIM = "update embedding_sets set holder = ?2, fence = fence + 1, lease_until = ?3 + ?4 \
            where id = ?1 and (holder is null or lease_until <= ?3) returning fence";
        HELD = "select lease_until from embedding_sets where id = ?1 and holder is not null \
            and lease_until > ?2";
        RENEW = "update embedding_sets set lease_until = ?3 where id = ?1 and fence = ?2 \
            and holder is not null";
        RELEASE = "update embedding_sets set holder = null, lease_until = null, lacking = ?3 \
            where id = ?1 and fence = ?2 and holder is not null";
        HOLDER = "select holder from embedding_sets where id = ?1 and lease_until > ?2";
        BREAK_LOG = "insert into vector_changes (seq, memory) \
            select coalesce(max(seq), 0) + 2, 0 from vector_changes";
        CUT_LOG = "delete from vector_changes where seq < (select max(seq) from vector_changes)";
        FORGET = "delete from embedding_sets where id = ?1";
        FORGET_CENTROIDS = "update memory_domains set embedding_set = null, centroid = null \
            where embedding_set = ?1";
        MEMORIES = "select count(*) from memories where expires_at is null or expires_at > ?1";
        VECTORS = "select count(*) from embeddings_{set}";
        ALL_MEMORIES = "select memory, tenant, id, content, content_hash from memories \
            where memory > ?1 and (expires_at is null or expires_at > ?2) order by memory limit ?3";
        LACKING = "select m.memory, m.tenant, m.id, m.content, m.content_hash from memories m \
            where m.memory > ?1 and (m.expires_at is null or m.expires_at > ?2) \
            and not exists (select 1 from embeddings_{set} e where e.memory = m.memory \
            and e.content_hash = m.content_hash) order by m.memory limit ?3";
        /// Those changed at or after a time do not count, where one is given.
        COUNT_LACKING = "select count(*) from memories m \
            where (m.expires_at is null or m.expires_at > ?1) \
            and (?2 is null or m.updated_at < ?2) \
            and not exists (select 1 from embeddings_{set} e where e.memory = m.memory \
            and e.content_hash = m.content_hash)";
        /// Only where the memory still has the text that was embedded.
        FILL = "insert into embeddings_{set} (memory, content_hash, vector) \
            select memory, content_hash, ?4 from memories \
            where tenant = ?1 and id = ?2 and content_hash = ?3 \
            on conflict (memory) do update set content_hash = excluded.content_hash, \
            vector = excluded.vector";
        BACKLOG = "select coalesce(sum(lacking), 0) from embedding_sets where state = 'active'";
    }
}

const LIST: &str = "lacking";

#[async_trait]
impl EmbeddingSets for SqliteStore {
    async fn sets(&self) -> Result<SetsReport> {
        self.alive()?;
        self.read("counting embedding sets", report).await
    }

    async fn begin(&self, model: &ModelSignature) -> Result<EmbeddingSet> {
        self.alive()?;
        model.check()?;
        let model = model.clone();
        self.write("beginning an embedding set", move |conn| begin(conn, &model)).await
    }

    async fn claim(&self, set: SetId, holder: &str, lasts: Duration) -> Result<FillLease> {
        self.alive()?;
        check_lease(lasts)?;
        let holder = holder.to_owned();
        self.write("claiming an embedding set", move |conn| claim(conn, set, &holder, lasts)).await
    }

    async fn lacking(&self, set: Option<SetId>, page: &Page) -> Result<Paged<Lacking>> {
        self.alive()?;
        page.check()?;
        let after = place(page)?;
        let limit = page.limit;
        self.read("looking for memories to embed", move |conn| lacking(conn, set, after, limit))
            .await
    }

    async fn fill(&self, lease: &FillLease, vectors: Vec<Filling>) -> Result<Filled> {
        self.alive()?;
        check_batch(&vectors)?;
        let lease = lease.clone();
        self.write("filling an embedding set", move |conn| fill(conn, &lease, &vectors)).await
    }

    async fn switch(&self, lease: &FillLease, since: Option<DateTime<Utc>>) -> Result<Switch> {
        self.alive()?;
        let lease = lease.clone();
        self.write("switching embedding sets", move |conn| switch(conn, &lease, since)).await
    }

    async fn release(&self, lease: &FillLease, lacking: u64) -> Result<()> {
        self.alive()?;
        let lease = lease.clone();
        self.write("releasing an embedding set", move |conn| {
            let lacking = i64::try_from(lacking).unwrap_or(i64::MAX);
            let values = params![lease.set.0, lease.fence.0, lacking];
            held(&lease, conn.prepare_cached(sql::RELEASE)?.execute(values)?)
        })
        .await
    }

    async fn drop_set(&self, set: SetId) -> Result<()> {
        self.alive()?;
        self.write("dropping an embedding set", move |conn| drop_set(conn, set)).await
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The row that a page starts after.
fn place(page: &Page) -> Result<i64> {
    let Some(cursor) = &page.cursor else { return Ok(0) };
    let [row] = cursor.parts::<1>(LIST)?;
    row.parse().map_err(|_| Error::invalid("page.cursor", format!("is not a cursor of {LIST}")))
}

fn find(conn: &Connection, set: SetId) -> Done<Set> {
    let found = models::sets(conn)?.into_iter().find(|other| other.id.number() == i64::from(set.0));
    found.ok_or_else(|| Error::not_found("embedding set", set).into())
}

fn described(conn: &Connection, set: Set) -> Done<EmbeddingSet> {
    let created_at: i64 =
        conn.prepare_cached(sql::CREATED)?.query_row([set.id.number()], |row| row.get(0))?;
    let id = i32::try_from(set.id.number())
        .map_err(|_| Error::corrupt("an embedding set", "its number is out of range"))?;
    let created_at = rows::time(created_at)?;
    Ok(EmbeddingSet { id: SetId(id), model: set.model, state: set.state, created_at })
}

fn report(conn: &Connection) -> Done<SetsReport> {
    let now = now(conn)?;
    let count = |statement: &str, values: &[&dyn rusqlite::ToSql]| -> Done<u64> {
        let found: i64 = conn.prepare(statement)?.query_row(values, |row| row.get(0))?;
        Ok(found.unsigned_abs())
    };
    let mut sets = Vec::new();
    for set in models::sets(conn)? {
        let number = set.id.number();
        let anytime: Option<i64> = None;
        sets.push(SetCounts {
            vectors: count(&set.id.statement(sql::VECTORS), &[])?,
            lacking: count(&set.id.statement(sql::COUNT_LACKING), &[&now, &anytime])?,
            holder: conn
                .prepare_cached(sql::HOLDER)?
                .query_row([number, now], |row| row.get(0))
                .optional()?,
            set: described(conn, set)?,
        });
    }
    Ok(SetsReport { memories: count(sql::MEMORIES, &[&now])?, sets })
}

fn begin(conn: &Connection, model: &ModelSignature) -> Done<EmbeddingSet> {
    let sets = models::sets(conn)?;
    if let Some(known) = sets.iter().find(|set| set.model == *model)
        && known.state != SetState::Retired
    {
        return described(conn, known.clone());
    }
    if let Some(other) = sets.iter().find(|set| set.state == SetState::Filling) {
        let key = other.model.to_string();
        return Err(Error::AlreadyExists { kind: "a set being filled, of", key }.into());
    }
    let active = sets.iter().any(|set| set.state == SetState::Active);
    let state = if active { SetState::Filling } else { SetState::Active };
    let id = match sets.into_iter().find(|set| set.model == *model) {
        Some(retired) => {
            let number = retired.id.number();
            conn.prepare_cached(sql::STATE)?.execute(params![number, state.as_str()])?;
            retired.id
        }
        None => models::make(conn, model, state)?,
    };
    described(conn, Set { id, model: model.clone(), state })
}

fn claim(conn: &Connection, set: SetId, holder: &str, lasts: Duration) -> Done<FillLease> {
    find(conn, set)?;
    let now = now(conn)?;
    let fence: Option<i64> = conn
        .prepare_cached(sql::CLAIM)?
        .query_row(params![set.0, holder, now, micros(lasts)], |row| row.get(0))
        .optional()?;
    let Some(fence) = fence else {
        refuse_held(conn, set, now)?;
        return Err(Error::not_found("embedding set", set).into());
    };
    Ok(FillLease { set, fence: Fence(fence), lasts })
}

fn refuse_held(conn: &Connection, set: SetId, now: i64) -> Done<()> {
    let until: Option<i64> = conn
        .prepare_cached(sql::HELD)?
        .query_row([i64::from(set.0), now], |row| row.get(0))
        .optional()?;
    match until {
        Some(until) => {
            Err(Error::Held { key: format!("embedding set {set}"), until: rows::time(until)? }
                .into())
        }
        None => Ok(()),
    }
}

fn held(lease: &FillLease, changed: usize) -> Done<()> {
    match changed {
        0 => Err(Error::Fenced { key: format!("embedding set {}", lease.set) }.into()),
        _ => Ok(()),
    }
}

/// Renewing the lease is the check: no row, no right.
fn renew(conn: &Connection, lease: &FillLease) -> Done<()> {
    let until = now(conn)? + micros(lease.lasts);
    let values = params![lease.set.0, lease.fence.0, until];
    held(lease, conn.prepare_cached(sql::RENEW)?.execute(values)?)
}

fn lacking(conn: &Connection, set: Option<SetId>, after: i64, limit: u32) -> Done<Paged<Lacking>> {
    let statement = match set {
        Some(set) => find(conn, set)?.id.statement(sql::LACKING),
        None => sql::ALL_MEMORIES.to_owned(),
    };
    let mut statement = conn.prepare_cached(&statement)?;
    let mut found = statement.query(params![after, now(conn)?, limit + 1])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let id = rows::id(row, 2)?;
        let hash = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        let content_hash = hash
            .try_into()
            .map_err(|_| Error::corrupt(format!("memory {id}"), "its hash is not 32 bytes"))?;
        let (tenant, content) = (row.get(1)?, row.get(3)?);
        let memory: i64 = row.get(0)?;
        all.push((memory, Lacking { tenant, id: MemoryId(id), content, content_hash }));
    }
    let page = Paged::cut(all, limit, |(memory, _)| Cursor::of(LIST, &[&memory.to_string()]));
    let items = page.items.into_iter().map(|(_, lacking)| lacking).collect();
    Ok(Paged { items, next: page.next })
}

fn fill(conn: &Connection, lease: &FillLease, vectors: &[Filling]) -> Done<Filled> {
    renew(conn, lease)?;
    let set = find(conn, lease.set)?;
    for filling in vectors {
        set.model.check_vector("embedding", &filling.vector)?;
    }
    let mut statement = conn.prepare_cached(&set.id.statement(sql::FILL))?;
    let mut stored = 0;
    for filling in vectors {
        stored += statement.execute(params![
            filling.tenant,
            filling.id.0.as_bytes(),
            filling.content_hash.as_slice(),
            vectors::pack(&filling.vector)
        ])?;
    }
    Ok(Filled { stored: stored as u64, skipped: (vectors.len() - stored) as u64 })
}

fn switch(conn: &Connection, lease: &FillLease, since: Option<DateTime<Utc>>) -> Done<Switch> {
    renew(conn, lease)?;
    let set = find(conn, lease.set)?;
    match set.state {
        SetState::Active => return Ok(Switch::Switched { recentred: 0 }),
        SetState::Filling => {}
        SetState::Retired => return Err(Error::invalid("set", "is retired: begin it again").into()),
    }
    let since = since.map(|at| at.timestamp_micros());
    let lacking: i64 = conn
        .prepare(&set.id.statement(sql::COUNT_LACKING))?
        .query_row(params![now(conn)?, since], |row| row.get(0))?;
    if lacking > 0 {
        return Ok(Switch::Refused { lacking: lacking.unsigned_abs() });
    }
    let before = models::active(conn)?;
    let mut state = conn.prepare_cached(sql::STATE)?;
    if let Some(before) = &before {
        state.execute(params![before.id.number(), SetState::Retired.as_str()])?;
    }
    state.execute(params![set.id.number(), SetState::Active.as_str()])?;
    let recentred = match &before {
        Some(before) => recentre::all(conn, before, &set)?,
        None => 0,
    };
    Ok(Switch::Switched { recentred })
}

fn drop_set(conn: &Connection, set: SetId) -> Done<()> {
    let found = find(conn, set)?;
    if found.state == SetState::Active {
        return Err(Error::invalid("set", "is the active one, which recall searches").into());
    }
    refuse_held(conn, set, now(conn)?)?;
    conn.execute(&found.id.statement(models::sql::DROP), [])?;
    // Its number may come again: who holds its vectors in memory must not take them for the new
    // ones, and reads everything anew where the log has a gap.
    conn.execute(sql::BREAK_LOG, [])?;
    conn.execute(sql::CUT_LOG, [])?;
    conn.prepare_cached(sql::FORGET_CENTROIDS)?.execute([set.0])?;
    conn.prepare_cached(sql::FORGET)?.execute([set.0])?;
    Ok(())
}

/// Memories that the active set lacked when upkeep looked last.
pub(crate) fn backlog(conn: &Connection) -> Done<i64> {
    Ok(conn.prepare_cached(sql::BACKLOG)?.query_row([], |row| row.get(0))?)
}
