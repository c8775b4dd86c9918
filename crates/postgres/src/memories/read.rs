//! Reading, listing, counting and deleting memories. Visibility stands in every statement: a
//! scope with a user sees its own, unowned ones, the tenant's and those shared with its groups;
//! an agent restricts; what has expired is gone.

use mnemon_core::memories::{Memory, MemoryFilter, Namespace, Wording};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, MemoryId, Page, Paged};
use serde_json::Value;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, query, query_as, query_scalar};
use uuid::Uuid;

use super::rows::{COLUMNS, Row};
use super::{language, terms};
use crate::error::Fault;

/// The list that cursors of this facet belong to.
const LIST: &str = "memories";

/// The visible ones of these ids, in no order.
pub(super) async fn load(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
) -> Result<Vec<Memory>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.run_id, m.key, m.namespace,
               m.visibility, m.shared_with, m.content, m.node_type, m.tags, m.metadata, m.codebase,
               m.source, m.domains, m.domain_scores, m.valid_from, m.valid_until, m.expires_at,
               m.created_at, m.updated_at
        from mnemon.memories m
        where m.tenant = $1 and m.id = any ($2)
          and (m.expires_at is null or m.expires_at > (select mnemon.now()))
          and ($3::text is null or m.agent_id = $3)
          and ($4::text is null or m.user_id is null or m.user_id = $4 or m.visibility = 'tenant'
               or (m.visibility = 'shared' and m.shared_with && $5))
        "#,
        scope.tenant,
        ids,
        scope.agent,
        scope.user,
        scope.groups,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Memory::try_from(row).map_err(Fault::Core)).collect()
}

/// One memory.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Result<Memory, Fault> {
    let found = load(conn, scope, &[id.0]).await?.pop();
    found.ok_or_else(|| Error::not_found("memory", id).into())
}

/// The memory of a key: the scope's own before an unowned one before another's, then the newest.
pub(super) async fn by_key(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    namespace: &Namespace,
    key: &str,
) -> Result<Memory, Fault> {
    let row = query_as!(
        Row,
        r#"
        select m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.run_id, m.key, m.namespace,
               m.visibility, m.shared_with, m.content, m.node_type, m.tags, m.metadata, m.codebase,
               m.source, m.domains, m.domain_scores, m.valid_from, m.valid_until, m.expires_at,
               m.created_at, m.updated_at
        from mnemon.memories m
        where m.tenant = $1 and m.namespace = $2 and m.key = $3
          and (m.expires_at is null or m.expires_at > (select mnemon.now()))
          and ($4::text is null or m.agent_id = $4)
          and ($5::text is null or m.user_id is null or m.user_id = $5 or m.visibility = 'tenant'
               or (m.visibility = 'shared' and m.shared_with && $6))
        order by m.user_id is not distinct from $5 desc, m.user_id is null desc, m.id desc
        limit 1
        "#,
        scope.tenant,
        namespace.as_str(),
        key,
        scope.agent,
        scope.user,
        scope.groups,
    )
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| Error::not_found("memory", key))?;
    Ok(row.try_into()?)
}

/// How many the scope sees.
pub(super) async fn count(conn: &mut PgConnection, scope: &Admitted<'_>) -> Result<u64, Fault> {
    let count = query_scalar!(
        r#"
        select count(*) as "count!"
        from mnemon.memories m
        where m.tenant = $1
          and (m.expires_at is null or m.expires_at > (select mnemon.now()))
          and ($2::text is null or m.agent_id = $2)
          and ($3::text is null or m.user_id is null or m.user_id = $3 or m.visibility = 'tenant'
               or (m.visibility = 'shared' and m.shared_with && $4))
        "#,
        scope.tenant,
        scope.agent,
        scope.user,
        scope.groups,
    )
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}

/// Deletes one memory that the scope owns or nobody does; its words leave the counts with it, its
/// vectors by cascade.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: MemoryId,
) -> Result<(), Fault> {
    let done = query!(
        r#"
        with gone as (
            delete from mnemon.memories m
            where m.tenant = $1 and m.id = $2
              and (m.expires_at is null or m.expires_at > (select mnemon.now()))
              and ($3::text is null or m.agent_id = $3)
              and ($4::text is null or m.user_id is null or m.user_id = $4)
            returning m.tenant, m.user_id, m.terms, m.words
        )
        insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
        select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), -1, -words
        from gone
        "#,
        scope.tenant,
        id.0,
        scope.agent,
        scope.user,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::not_found("memory", id).into());
    }
    Ok(())
}

/// A page, newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    page: &Page,
) -> Result<Paged<Memory>, Fault> {
    let before = match &page.cursor {
        Some(cursor) => Some(place(cursor)?),
        None => None,
    };
    // In one snapshot with the list.
    let wording =
        if filter.has_labels() { language::wording(conn).await? } else { Wording::default() };
    let mut query = list_query(scope, filter, before, page.limit, wording);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    let memories = rows.into_iter().map(Memory::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Paged::cut(memories, page.limit, |memory| Cursor::of(LIST, &[&memory.id.to_string()])))
}

fn place(cursor: &Cursor) -> Result<Uuid, Error> {
    let [id] = cursor.parts::<1>(LIST)?;
    Uuid::parse_str(id)
        .map_err(|_| Error::invalid("page.cursor", format!("is not a cursor of {LIST}")))
}

fn list_query(
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    before: Option<Uuid>,
    limit: u32,
    wording: Wording,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS).push(" from mnemon.memories m where ");
    push_visible(&mut query, scope);
    push_filter(&mut query, filter);
    push_labels(&mut query, scope, filter, wording);
    if let Some(before) = before {
        query.push(" and m.id < ").push_bind(before);
    }
    // One more than asked says whether there is a next page.
    query.push(" order by m.id desc limit ").push_bind(i64::from(limit) + 1);
    query
}

/// The visibility predicate over `m`.
pub(super) fn push_visible(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>) {
    query.push("m.tenant = ").push_bind(scope.tenant.to_owned());
    query.push(" and (m.expires_at is null or m.expires_at > (select mnemon.now()))");
    if let Some(agent) = scope.agent {
        query.push(" and m.agent_id = ").push_bind(agent.to_owned());
    }
    if let Some(user) = scope.user {
        query.push(" and (m.user_id is null or m.user_id = ").push_bind(user.to_owned());
        query.push(" or m.visibility = 'tenant'");
        if !scope.groups.is_empty() {
            query.push(" or (m.visibility = 'shared' and m.shared_with && ");
            query.push_bind(scope.groups.to_vec()).push(")");
        }
        query.push(")");
    }
}

/// The predicate over `m` for what the scope may change: its own, and unowned ones.
pub(super) fn push_owned(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>) {
    query.push("m.tenant = ").push_bind(scope.tenant.to_owned());
    query.push(" and (m.expires_at is null or m.expires_at > (select mnemon.now()))");
    if let Some(agent) = scope.agent {
        query.push(" and m.agent_id = ").push_bind(agent.to_owned());
    }
    if let Some(user) = scope.user {
        query.push(" and (m.user_id is null or m.user_id = ").push_bind(user.to_owned()).push(")");
    }
}

/// A namespace and those below it; everything is below the root.
pub(super) fn push_namespace(query: &mut QueryBuilder<Postgres>, namespace: &Namespace) {
    if !namespace.as_str().is_empty() {
        // The first condition is the index's own.
        query
            .push(" and m.namespace <> '' and (m.namespace = ")
            .push_bind(namespace.as_str().to_owned());
        query.push(" or starts_with(m.namespace, ");
        query.push_bind(format!("{namespace}/")).push("))");
    }
}

/// The caller's filter over `m`.
pub(super) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &MemoryFilter) {
    if let Some(namespace) = &filter.namespace {
        push_namespace(query, namespace);
    }
    if !filter.domains.is_empty() {
        query.push(" and m.domains && ").push_bind(filter.domains.clone());
    }
    if let Some(tests) = metadata(filter) {
        query.push(" and mnemon.metadata_passes(m.metadata, ").push_bind(tests).push(")");
    }
    push_times(query, filter);
    if !filter.tags.is_empty() {
        query.push(" and m.tags && ").push_bind(filter.tags.clone());
    }
    if !filter.node_types.is_empty() {
        query.push(" and m.node_type = any (").push_bind(filter.node_types.clone()).push(")");
    }
}

/// Lets the index of words find those with any of the filter's tags, and of its node types: the
/// words of either are among a memory's own. Where one of them has no words this says nothing.
///
/// Beside [`push_filter`], which decides, and not where the planner is asked for an estimate: it
/// would take the two conditions for independent.
pub(super) fn push_labels(
    query: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    filter: &MemoryFilter,
    wording: Wording,
) {
    for labels in [&filter.tags, &filter.node_types] {
        if let Some(labelled) = terms::labelled(labels, scope.tenant, wording) {
            query.push(" and m.terms @@ ").push_bind(labelled).push("::text::tsquery");
        }
    }
}

/// The tests of the metadata as SQL takes them.
pub(super) fn metadata(filter: &MemoryFilter) -> Option<Value> {
    let tests = &filter.metadata;
    (!tests.is_empty()).then(|| serde_json::to_value(tests).expect("plain data is JSON"))
}

fn push_times(query: &mut QueryBuilder<Postgres>, filter: &MemoryFilter) {
    if let Some(from) = filter.valid_from {
        query.push(" and (m.valid_until is null or m.valid_until > ").push_bind(from).push(")");
    }
    if let Some(to) = filter.valid_to {
        query.push(" and (m.valid_from is null or m.valid_from < ").push_bind(to).push(")");
    }
    if let Some(at) = filter.as_of {
        query.push(" and m.created_at <= ").push_bind(at);
        query.push(" and (m.valid_from is null or m.valid_from <= ").push_bind(at);
        query.push(") and (m.valid_until is null or m.valid_until > ").push_bind(at).push(")");
    }
    if let Some(least) = filter.min_retrievability {
        query.push(
            " and coalesce((select mnemon.retrievability(s.stability, s.last_review, coalesce(",
        );
        query.push_bind(filter.as_of).push(", (select mnemon.now()))) ");
        query.push("from mnemon.memory_scheduling s where s.tenant = m.tenant ");
        query.push("and s.memory_id = m.id), 1) >= ").push_bind(least);
    }
    if let Some(from) = filter.created_from {
        query.push(" and m.created_at >= ").push_bind(from);
    }
    if let Some(to) = filter.created_to {
        query.push(" and m.created_at < ").push_bind(to);
    }
}
