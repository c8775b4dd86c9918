//! The language of words: one row says what is written in and, while it is changed, what is still
//! to be cut anew.
//!
//! Whoever begins a change locks the table of memories against writers for a moment: what is on its
//! way is committed by then, and every later statement reads the new language. So only what stands
//! behind the place in that row can be of the old one.

use mnemon_core::memories::text::{Language, Wording, analyze};
use mnemon_core::upkeep::Batch;
use mnemon_core::{Error, limits};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, query, query_scalar};
use uuid::Uuid;

use super::terms;
use crate::error::Fault;

/// Writers that hold the table longer are waited for again, by whoever begins the change.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '5s'";

/// The oldest schema whose binaries know of languages.
const KNOWN_SINCE: i32 = 8;

/// How words stand, for this statement's snapshot.
pub(crate) async fn wording(conn: &mut PgConnection) -> Result<Wording, Fault> {
    let row = query!("select language, before from mnemon.text_language").fetch_one(conn).await?;
    Ok(Wording::read(row.language.as_deref(), row.before.as_deref())?)
}

/// The language that somebody chose.
pub(super) async fn chosen(conn: &mut PgConnection) -> Result<Option<Language>, Fault> {
    let chosen = query_scalar!("select language from mnemon.text_language").fetch_one(conn).await?;
    Ok(chosen.as_deref().map(Language::read).transpose()?)
}

/// Settles the language where it is open; see the trait.
pub(super) async fn register(conn: &mut PgConnection, language: Language) -> Result<(), Fault> {
    let chosen = query_scalar!("select language from mnemon.text_language for update")
        .fetch_one(&mut *conn)
        .await?;
    hold_writers(conn).await?;
    let registered = Wording::read(chosen.as_deref(), None)?.language;
    if registered != language {
        let any = query_scalar!(r#"select exists (select from mnemon.memories) as "any!""#);
        if chosen.is_some() || any.fetch_one(&mut *conn).await? {
            return Err(Error::LanguageMismatch { registered, offered: language }.into());
        }
    }
    if chosen.is_none() {
        settle(conn, Wording { language, before: None }).await?;
    }
    Ok(())
}

/// Begins a change; see the trait.
pub(super) async fn change(conn: &mut PgConnection, to: Language) -> Result<Wording, Fault> {
    // First the row, as a batch does: in the other order the two could wait for each other.
    query!("select from mnemon.text_language for update").execute(&mut *conn).await?;
    hold_writers(conn).await?;
    let found = wording(conn).await?;
    let Some(changed) = found.changed(to)? else { return Ok(found) };
    settle(conn, changed).await?;
    Ok(changed)
}

/// Waits for those who write memories now, and lets others wait until the transaction ends.
async fn hold_writers(conn: &mut PgConnection) -> Result<(), Fault> {
    conn.execute(LOCK_TIMEOUT).await?;
    conn.execute("lock table mnemon.memories in share mode").await?;
    Ok(())
}

/// Writes how words stand, before the first memory. A binary that cuts words in English whatever
/// is written here must not write any more.
async fn settle(conn: &mut PgConnection, wording: Wording) -> Result<(), Fault> {
    query!(
        "update mnemon.text_language
         set language = $1, before = $2, at_tenant = default, at_memory = default",
        wording.language.name(),
        wording.before.map(Language::name),
    )
    .execute(&mut *conn)
    .await?;
    if wording.language != Language::default() {
        query!("update mnemon.meta set min_binary = greatest(min_binary, $1)", KNOWN_SINCE)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Cuts the next memories anew, and says how words stand when none is left. Their rows are locked:
/// who changes one meanwhile is waited for, and who comes later waits.
pub(crate) async fn batch(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let row = query!(
        "select language, before, at_tenant, at_memory from mnemon.text_language for update"
    )
    .fetch_one(&mut *conn)
    .await?;
    let Wording { language, before } =
        Wording::read(row.language.as_deref(), row.before.as_deref())?;
    if before.is_none() {
        return Ok(Batch::default());
    }
    let found = query!(
        "select tenant, id, content, node_type, tags from mnemon.memories
         where (tenant, id) > ($1, $2) order by tenant, id limit $3 for no key update",
        row.at_tenant,
        row.at_memory,
        i64::from(size),
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut cut = Cut::default();
    for memory in &found {
        let document = analyze(language, &memory.content, &memory.node_type, &memory.tags);
        cut.tenants.push(memory.tenant.clone());
        cut.ids.push(memory.id);
        cut.words.push(i32::try_from(document.words).unwrap_or(i32::MAX));
        cut.terms.push(terms::vector(&document, &memory.tenant));
    }
    cut.write(conn).await?;
    let rows = found.len() as u64;
    let more = rows == u64::from(size);
    match found.last() {
        Some(last) if more => {
            query!(
                "update mnemon.text_language set at_tenant = $1, at_memory = $2",
                last.tenant,
                last.id
            )
            .execute(conn)
            .await?;
        }
        _ => settle(conn, Wording { language, before: None }).await?,
    }
    Ok(Batch { rows, more })
}

/// Memories and their new words, a column each.
#[derive(Default)]
struct Cut {
    tenants: Vec<String>,
    ids: Vec<Uuid>,
    words: Vec<i32>,
    terms: Vec<String>,
}

impl Cut {
    /// Writes those whose words are others now; what they counted is taken back and counted anew.
    async fn write(&self, conn: &mut PgConnection) -> Result<(), Fault> {
        query!(
            r#"
            with given as (
                select g.tenant, g.id, g.words, g.terms::tsvector as terms
                from unnest($1::text[], $2::uuid[], $3::int4[], $4::text[])
                     as g (tenant, id, words, terms)
            ), old as (
                select m.tenant, m.id, m.user_id, m.terms, m.words
                from given g
                join mnemon.memories m on m.tenant = g.tenant and m.id = g.id
                where m.terms <> g.terms or m.words <> g.words
            ), changed as (
                update mnemon.memories m
                set words = g.words, terms = g.terms
                from given g
                join old o on o.tenant = g.tenant and o.id = g.id
                where m.tenant = g.tenant and m.id = g.id
                returning m.tenant, m.user_id, m.terms, m.words
            )
            insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
            select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), -1, -words
            from old
            union all
            select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), 1, words
            from changed
            "#,
            &self.tenants,
            &self.ids,
            &self.words,
            &self.terms,
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Memories still to be cut anew, up to [`limits::DEPTH_MAX`].
pub(crate) async fn waiting(conn: &mut PgConnection) -> Result<u64, Fault> {
    let waiting = query_scalar!(
        r#"
        select count(*) as "waiting!" from (
            select from mnemon.text_language l
            join mnemon.memories m on (m.tenant, m.id) > (l.at_tenant, l.at_memory)
            where l.before is not null
            limit $1
        ) w
        "#,
        i64::from(limits::DEPTH_MAX),
    )
    .fetch_one(conn)
    .await?;
    Ok(waiting.unsigned_abs())
}
