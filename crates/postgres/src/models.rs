//! The registry of embedding models: one active set per database, its vectors in a table of
//! their own.

use std::sync::{Arc, PoisonError, RwLock};

use mnemon_core::Error;
use mnemon_core::limits;
use mnemon_core::memories::sets::{self, ModelVector};
use mnemon_core::memories::{ModelSignature, SetState};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, query, query_scalar};

use crate::error::Fault;

/// Up to here a row with its vector fits a page, the longest names included; above, the vector
/// moves out of line.
const PLAIN_DIMENSIONS: u32 = 3_700;

/// The advisory lock under which a model is registered.
const REGISTER_LOCK: &str = "mnemon.embedding_sets";

/// An embedding set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Set {
    /// Its number.
    pub(crate) id: i32,
    /// Whose vectors it holds.
    pub(crate) model: ModelSignature,
    /// What it is there for.
    pub(crate) state: SetState,
}

impl Set {
    /// Its table: a fixed name and a number, so nothing in it needs quoting.
    pub(crate) fn table(&self) -> String {
        format!("mnemon.embeddings_{}", self.id)
    }
}

/// What a vector is told while no model is registered.
pub(crate) fn unregistered() -> Error {
    Error::invalid("embedding", "is given, but no model is registered in this database")
}

/// The active set.
pub(crate) async fn active(conn: &mut PgConnection) -> Result<Option<Set>, Fault> {
    let row = query!(
        "select id, name, dimension, hash, semantic from mnemon.embedding_sets where state = 'active'"
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Set {
        id: row.id,
        model: ModelSignature {
            name: row.name,
            dimension: row.dimension.unsigned_abs(),
            hash: row.hash,
            semantic: row.semantic,
        },
        state: SetState::Active,
    }))
}

/// Every set, oldest first.
pub(crate) async fn sets(conn: &mut PgConnection) -> Result<Vec<Set>, Fault> {
    let rows = query!(
        "select id, name, dimension, hash, semantic, state from mnemon.embedding_sets order by id"
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let model = ModelSignature {
                name: row.name,
                dimension: row.dimension.unsigned_abs(),
                hash: row.hash,
                semantic: row.semantic,
            };
            Ok(Set { id: row.id, model, state: SetState::read(&row.state)? })
        })
        .collect()
}

/// The sets as one text, which the statement that writes memories compares.
pub(crate) fn listed(sets: &[Set]) -> String {
    let each: Vec<String> =
        sets.iter().map(|set| format!("{}{}", set.id, set.state.as_str())).collect();
    each.join(" ")
}

/// The sets as this process saw them last. Whoever relies on it has the database compare them.
#[derive(Default)]
pub(crate) struct KnownSets(RwLock<Option<Arc<[Set]>>>);

impl KnownSets {
    /// As they were seen last.
    pub(crate) fn get(&self) -> Option<Arc<[Set]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As they are.
    pub(crate) fn set(&self, sets: Vec<Set>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(sets.into());
    }
}

/// The set that a question's vector is compared with: its model's, where the question names one,
/// else the active one. A set that is still filling answers nobody.
pub(crate) async fn searched(
    conn: &mut PgConnection,
    active: Option<Set>,
    model: Option<&ModelSignature>,
) -> Result<Set, Fault> {
    let active = active.ok_or_else(unregistered)?;
    let Some(model) = model.filter(|model| **model != active.model) else { return Ok(active) };
    let retired = |set: &Set| set.state == SetState::Retired && set.model == *model;
    match sets(conn).await?.into_iter().find(retired) {
        Some(set) => Ok(set),
        None => Err(mismatch(active, model).into()),
    }
}

fn mismatch(active: Set, offered: &ModelSignature) -> Error {
    Error::ModelMismatch { registered: active.model, offered: offered.clone() }
}

/// Where vectors go, by place in the sets.
pub(crate) fn place<'v>(
    sets: &[Set],
    bare: Option<&'v [f32]>,
    of_models: &'v [ModelVector],
) -> Result<Vec<(usize, &'v [f32])>, Error> {
    sets::place(sets, |set| (&set.model, set.state), bare, of_models)
}

/// Lets one process at a time begin and drop sets: no row may exist yet, so there is none to lock.
pub(crate) async fn lock(conn: &mut PgConnection) -> Result<(), Fault> {
    query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", REGISTER_LOCK)
        .execute(conn)
        .await?;
    Ok(())
}

/// Registers a model inside the caller's transaction; the same one again changes nothing.
pub(crate) async fn register(conn: &mut PgConnection, model: &ModelSignature) -> Result<(), Fault> {
    lock(conn).await?;
    match active(conn).await? {
        Some(set) if set.model == *model => Ok(()),
        Some(set) => Err(mismatch(set, model).into()),
        None => make(conn, model, SetState::Active).await.map(drop),
    }
}

/// Makes a set with its table.
pub(crate) async fn make(
    conn: &mut PgConnection,
    model: &ModelSignature,
    state: SetState,
) -> Result<Set, Fault> {
    require_extension(conn).await?;
    let id = query_scalar!(
        "insert into mnemon.embedding_sets (name, dimension, hash, semantic, state)
         values ($1, $2, $3, $4, $5) returning id",
        model.name,
        i32::try_from(model.dimension).unwrap_or(i32::MAX),
        model.hash,
        model.semantic,
        state.as_str(),
    )
    .fetch_one(&mut *conn)
    .await?;
    let set = Set { id, model: model.clone(), state };
    make_part(conn, &set, &set.table(), "not in an index: compared one by one").await?;
    Ok(set)
}

/// Says what is missing before vectors can be kept.
async fn require_extension(conn: &mut PgConnection) -> Result<(), Fault> {
    let visible = query_scalar!(r#"select to_regtype('halfvec') is not null as "visible!""#)
        .fetch_one(&mut *conn)
        .await?;
    if visible {
        return Ok(());
    }
    let schema = query_scalar!(
        "select n.nspname::text from pg_extension e join pg_namespace n on n.oid = e.extnamespace
         where e.extname = 'vector'"
    )
    .fetch_optional(conn)
    .await?
    .flatten();
    Err(missing_extension(schema.as_deref()).into())
}

/// The extension is absent, too old, or in a schema that is not searched.
pub(crate) fn missing_extension(schema: Option<&str>) -> Error {
    match schema {
        Some(schema) => Error::setup(
            format!("type halfvec of the extension vector (schema {schema}) is not to be seen"),
            "have it at version 0.8 or newer in a schema of the role's default search_path \
             (`ALTER EXTENSION vector UPDATE`, `ALTER ROLE … SET search_path`)",
        ),
        None => Error::setup(
            "the extension vector is not in this database",
            "install pgvector 0.8 or newer on the server and let a superuser run \
             `CREATE EXTENSION vector` in this database (where the extension is trusted, its owner may)",
        ),
    }
}

/// Makes a table of a set's vectors with the grants and the row-level security of the others.
/// `what` ends its comment; both texts are ours.
pub(crate) async fn make_part(
    conn: &mut PgConnection,
    set: &Set,
    table: &str,
    what: &'static str,
) -> Result<(), Fault> {
    let (id, dimension) = (set.id, set.model.dimension);
    let storage = if dimension <= PLAIN_DIMENSIONS { "plain" } else { "external" };
    // Numbers and words of ours stand in the statement; nothing of a caller's.
    let ddl = format!(
        "create table {table} (
             tenant       text  not null,
             memory_id    uuid  not null,
             user_id      text,
             content_hash bytea not null,
             embedding    halfvec({dimension}) storage {storage} not null,
             primary key (tenant, memory_id),
             foreign key (tenant, memory_id) references mnemon.memories (tenant, id) on delete cascade
         );
         comment on table  {table} is 'Vectors of embedding set {id}, {what}.';
         comment on column {table}.tenant is 'Whose.';
         comment on column {table}.memory_id is 'The memory.';
         comment on column {table}.user_id is 'The memory''s owner.';
         comment on column {table}.content_hash is 'The content that the vector was made of.';
         comment on column {table}.embedding is 'The vector, at length one.';
         select mnemon.share_grants('{table}'), mnemon.guard('{table}');"
    );
    debug_assert!(dimension as usize <= limits::EMBEDDING_DIMENSIONS);
    conn.execute(AssertSqlSafe(ddl)).await?;
    Ok(())
}
