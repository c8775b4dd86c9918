//! Changing a memory: its words, counts and vector follow in the same transaction.

use mnemon_core::memories::text::{Document, Wording, analyze};
use mnemon_core::memories::{Memory, MemoryPatch, NewMemory, Visibility};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, MemoryId, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{QueryBuilder, query, query_as};
use uuid::Uuid;

use super::read::push_owned;
use super::rows::{COLUMNS, Row};
use super::{nearest, terms, ways, write};
use crate::error::Fault;
use crate::models;

/// A row that a scope may change, locked.
pub(super) struct Changeable {
    pub(super) memory: Memory,
    dedup: bool,
    language: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Locked {
    #[sqlx(flatten)]
    row: Row,
    dedup: bool,
    language: Option<String>,
}

/// Locks what the scope owns, and unowned ones; what others share with it is not found.
pub(super) async fn changeable(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Result<Changeable, Fault> {
    let mut query = QueryBuilder::new("select ");
    query
        .push(COLUMNS)
        .push(", m.dedup, (select l.language from mnemon.text_language l) as language");
    query.push(" from mnemon.memories m where ");
    push_owned(&mut query, scope);
    query.push(" and m.id = ").push_bind(id.0).push(" for no key update of m");
    let found: Option<Locked> = query.build_query_as().fetch_optional(conn).await?;
    let Locked { row, dedup, language } = found.ok_or_else(|| Error::not_found("memory", id))?;
    Ok(Changeable { memory: row.try_into()?, dedup, language })
}

/// Changes a memory inside the caller's transaction; answers it as it then stands.
pub(crate) async fn update(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
    patch: &MemoryPatch,
) -> Result<Memory, Fault> {
    let Changeable { memory: old, dedup, language } = changeable(conn, scope, id).await?;
    let language = Wording::read(language.as_deref(), None)?.language;
    let new = patch.clone().apply(&old)?;
    write::check_times(&new)?;
    let sets = models::sets(conn).await?;
    let placed = models::place(&sets, new.embedding.as_deref(), &new.vectors)?;
    let rewritten = new.content != old.content;
    let hash = new.content_hash();
    if rewritten && dedup {
        refuse_equal(conn, &old, &hash).await?;
    }
    let reindexed = rewritten || new.node_type != old.node_type || new.tags != old.tags;
    let document = analyze(language, &new.content, &new.node_type, &new.tags);
    change(conn, &old, &new, &hash, rewritten, reindexed.then_some(&document)).await?;
    let owner = Scope { user: old.user.clone(), ..Scope::tenant(old.tenant.as_str()) };
    let owner = owner.admit(Facet::Memories)?;
    for (at, set) in sets.iter().enumerate() {
        let vector = placed.iter().find(|(there, _)| *there == at);
        // Of a new text no set keeps the old vector, whichever writer knows its model.
        if rewritten || vector.is_some() {
            nearest::remove(conn, scope.tenant, set, id.0).await?;
        }
        if let Some((_, vector)) = vector {
            nearest::store(conn, &owner, set, &[(id.0, &hash, vector)]).await?;
        }
    }
    after(conn, scope.tenant, id.0).await
}

/// Writes the row; what its words counted is taken back and counted anew.
async fn change(
    conn: &mut PgConnection,
    old: &Memory,
    new: &NewMemory,
    hash: &[u8; 32],
    rewritten: bool,
    reindexed: Option<&Document>,
) -> Result<(), Fault> {
    let scores = serde_json::to_value(&new.domain_scores).expect("finite numbers are JSON");
    query!(
        r#"
        with old as (
            select tenant, user_id, terms, words from mnemon.memories
            where tenant = $1 and id = $2
        ), changed as (
            update mnemon.memories
            set content = $3, visibility = $4, shared_with = $5, node_type = $6, tags = $7,
                metadata = $8, codebase = $9, source = $10, domains = $11, domain_scores = $12,
                valid_from = $13, valid_until = $14, expires_at = $15,
                updated_at = case when $16 then mnemon.now() else updated_at end,
                content_hash = $17, words = coalesce($18, words),
                terms = coalesce($19::text::tsvector, terms)
            where tenant = $1 and id = $2
            returning tenant, user_id, terms, words
        )
        insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
        select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), -1, -words
        from old where $20
        union all
        select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), 1, words
        from changed where $20
        "#,
        old.tenant,
        old.id.0,
        new.content,
        new.visibility.map_or("private", Visibility::as_str),
        &new.shared_with,
        new.node_type,
        &new.tags,
        new.metadata,
        new.codebase,
        new.source,
        &new.domains,
        scores,
        new.valid_from,
        new.valid_until,
        new.expires_at,
        rewritten,
        hash.as_slice(),
        reindexed.map(|document| i32::try_from(document.words).unwrap_or(i32::MAX)),
        reindexed.map(|document| terms::vector(document, &old.tenant)),
        reindexed.is_some(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Refuses content that another memory of the owner has already.
async fn refuse_equal(conn: &mut PgConnection, old: &Memory, hash: &[u8; 32]) -> Result<(), Fault> {
    let found = query!(
        r#"
        select id, coalesce(expires_at <= (select mnemon.now()), false) as "expired!"
        from mnemon.memories
        where dedup and tenant = $1 and content_hash = $2 and coalesce(user_id, '') = coalesce($3, '')
          and coalesce(agent_id, '') = coalesce($4, '') and namespace = $5 and id <> $6
        "#,
        old.tenant,
        hash.as_slice(),
        old.user,
        old.agent,
        old.namespace.as_str(),
        old.id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match found {
        None => Ok(()),
        Some(found) if found.expired => ways::remove_over(conn, &old.tenant, &[found.id]).await,
        Some(found) => {
            Err(Error::AlreadyExists { kind: "memory", key: found.id.to_string() }.into())
        }
    }
}

/// The row as it stands, also when the change hides it from the one who made it.
async fn after(conn: &mut PgConnection, tenant: &str, id: Uuid) -> Result<Memory, Fault> {
    let row = query_as!(
        Row,
        r#"
        select m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.run_id, m.key, m.namespace,
               m.visibility, m.shared_with, m.content, m.node_type, m.tags, m.metadata, m.codebase,
               m.source, m.domains, m.domain_scores, m.valid_from, m.valid_until, m.expires_at,
               m.created_at, m.updated_at
        from mnemon.memories m
        where m.tenant = $1 and m.id = $2
        "#,
        tenant,
        id,
    )
    .fetch_one(conn)
    .await?;
    Ok(row.try_into()?)
}
