//! What stands in the way of a write: rows with the same request, key or content, found by looking
//! after the insert left a draft out, and what to make of them.

use std::collections::BTreeMap;

use mnemon_core::memories::Remembered;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, MemoryId};
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::write::Draft;
use crate::error::Fault;

/// How a row stands in a draft's way, first come first served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    /// It is the draft's own row: a repeat of an attempt whose outcome was lost.
    Own,
    /// The same request wrote it, or found it.
    Request,
    /// It has the key.
    Key,
    /// It has the same content.
    Content,
}

/// A row in a draft's way.
pub(super) struct Found {
    draft: Uuid,
    way: Way,
    id: Uuid,
    expired: bool,
    same_content: bool,
}

/// The rows in the way of these drafts.
pub(super) async fn find(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[&Draft],
) -> Result<Vec<Found>, Fault> {
    let ids: Vec<Uuid> = drafts.iter().map(|draft| draft.id).collect();
    let requests: Vec<Option<String>> =
        drafts.iter().map(|draft| draft.request().map(str::to_owned)).collect();
    let keys: Vec<Option<String>> = drafts.iter().map(|draft| draft.memory.key.clone()).collect();
    let namespaces: Vec<String> =
        drafts.iter().map(|draft| draft.memory.namespace.to_string()).collect();
    let hashes: Vec<Option<Vec<u8>>> =
        drafts.iter().map(|draft| Some(draft.hash.to_vec())).collect();
    let dedups: Vec<bool> = drafts.iter().map(|draft| !draft.memory.allow_duplicate).collect();
    let rows = query!(
        r#"
        select g.id as "draft!", f.way as "way!", f.id as "id!",
               coalesce(f.expires_at <= (select mnemon.now()), false) as "expired!",
               f.content_hash = g.hash as "same_content!"
        from unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bool[])
             as g (id, request_id, key, namespace, hash, dedup)
        cross join lateral (
            select 0 as way, m.id, m.expires_at, m.content_hash
            from mnemon.memories m
            where m.tenant = $1 and m.id = g.id
            union all
            select 1, m.id, m.expires_at, m.content_hash
            from mnemon.memories m
            where m.tenant = $1 and m.request_id = g.request_id
              and coalesce(m.user_id, '') = coalesce($2, '')
              and coalesce(m.agent_id, '') = coalesce($3, '')
            union all
            select 1, m.id, m.expires_at, m.content_hash
            from mnemon.memory_requests r
            join mnemon.memories m on m.tenant = r.tenant and m.id = r.memory_id
            where r.tenant = $1 and r.request_id = g.request_id
              and r.user_id = coalesce($2, '') and r.agent_id = coalesce($3, '')
            union all
            select 2, m.id, m.expires_at, m.content_hash
            from mnemon.memories m
            where m.tenant = $1 and m.key = g.key and m.namespace = g.namespace
              and coalesce(m.user_id, '') = coalesce($2, '')
              and coalesce(m.agent_id, '') = coalesce($3, '')
            union all
            select 3, m.id, m.expires_at, m.content_hash
            from mnemon.memories m
            where g.dedup and m.dedup and m.tenant = $1 and m.content_hash = g.hash
              and coalesce(m.user_id, '') = coalesce($2, '')
              and coalesce(m.agent_id, '') = coalesce($3, '') and m.namespace = g.namespace
        ) f
        "#,
        scope.tenant,
        scope.user,
        scope.agent,
        &ids,
        &requests as &[Option<String>],
        &keys as &[Option<String>],
        &namespaces,
        &hashes as &[Option<Vec<u8>>],
        &dedups,
    )
    .fetch_all(conn)
    .await?;
    let way = |n: i32| match n {
        0 => Way::Own,
        1 => Way::Request,
        2 => Way::Key,
        _ => Way::Content,
    };
    Ok(rows
        .into_iter()
        .map(|row| Found {
            draft: row.draft,
            way: way(row.way),
            id: row.id,
            expired: row.expired,
            same_content: row.same_content,
        })
        .collect())
}

/// Takes expired rows out of the way of keys and contents; a request's first outcome stays.
pub(super) async fn remove_expired(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ways: &[Found],
) -> Result<(), Fault> {
    let ids: Vec<Uuid> = ways
        .iter()
        .filter(|found| found.expired && found.way >= Way::Key)
        // A draft whose request is answered needs nothing out of its way.
        .filter(|found| !ways.iter().any(|w| w.draft == found.draft && w.way <= Way::Request))
        .map(|found| found.id)
        .collect();
    remove_over(conn, scope.tenant, &ids).await
}

/// Removes those of some memories whose time is over; their words leave the counts with them.
pub(super) async fn remove_over(
    conn: &mut PgConnection,
    tenant: &str,
    ids: &[Uuid],
) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    query!(
        r#"
        with gone as (
            delete from mnemon.memories m
            where m.tenant = $1 and m.id = any ($2) and m.expires_at <= (select mnemon.now())
            returning m.tenant, m.user_id, m.terms, m.words
        )
        insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
        select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), -1, -words
        from gone
        "#,
        tenant,
        ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Decides the drafts that a live row stands in the way of; hands back those to insert again.
/// `met` gets the requests that wrote nothing, with the memory each found.
pub(super) fn settle<'d>(
    drafts: Vec<&'d Draft>,
    ways: &[Found],
    outcomes: &mut BTreeMap<Uuid, Remembered>,
    met: &mut Vec<(&'d str, Uuid)>,
) -> Result<Vec<&'d Draft>, Error> {
    let mut left = Vec::new();
    for draft in drafts {
        let first = ways
            .iter()
            .filter(|found| found.draft == draft.id)
            .filter(|found| !found.expired || found.way <= Way::Request)
            .min_by_key(|found| found.way);
        match first {
            None => left.push(draft),
            Some(found) if found.way == Way::Key && !found.same_content => {
                let key = draft.memory.key.clone().unwrap_or_default();
                return Err(Error::AlreadyExists { kind: "memory", key });
            }
            Some(found) => {
                let created = found.way == Way::Own;
                if let Some(request) = draft.request().filter(|_| found.way >= Way::Key) {
                    met.push((request, found.id));
                }
                outcomes.insert(draft.id, Remembered { id: MemoryId(found.id), created });
            }
        }
    }
    Ok(left)
}

/// Notes which memory is the outcome of a request that wrote none, so that the same request is
/// answered alike whatever it says then. A memory that is gone meanwhile is no outcome.
pub(super) async fn note_requests(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    met: &[(&str, Uuid)],
) -> Result<(), Fault> {
    if met.is_empty() {
        return Ok(());
    }
    let requests: Vec<String> = met.iter().map(|(request, _)| (*request).to_owned()).collect();
    let memories: Vec<Uuid> = met.iter().map(|(_, memory)| *memory).collect();
    query!(
        r#"
        with kept as (
            select m.id from mnemon.memories m
            where m.tenant = $1 and m.id = any ($5)
            order by m.id
            for key share
        )
        insert into mnemon.memory_requests (tenant, user_id, agent_id, request_id, memory_id)
        select $1, coalesce($2, ''), coalesce($3, ''), g.request_id, k.id
        from unnest($4::text[], $5::uuid[]) as g (request_id, memory_id)
        join kept k on k.id = g.memory_id
        order by g.request_id
        on conflict do nothing
        "#,
        scope.tenant,
        scope.user,
        scope.agent,
        &requests,
        &memories,
    )
    .execute(conn)
    .await?;
    Ok(())
}
