//! Definitions: a head that says what is said about it, and versions that are never rewritten.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Format,
    NewDefinition, Parameter,
};
use serde_json::Value;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{FromRow, QueryBuilder, query, query_scalar};

use crate::error::Fault;
use crate::row;

const WHAT: &str = "a workflow definition";

fn absent(id: &str) -> Fault {
    Error::not_found("workflow definition", id).into()
}

/// How often a definition is looked for that somebody else makes and removes meanwhile.
const ROUNDS: usize = 3;

/// Saves a definition, inside the caller's transaction.
pub(super) async fn save(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    definition: &NewDefinition,
) -> Result<DefinitionSaved, Fault> {
    for _ in 0..ROUNDS {
        let found = current(conn, scope, &definition.id).await?;
        let newest = found.as_ref().map(|(version, label, format, content)| {
            (*version, content.as_str(), *format, label.as_deref())
        });
        let (version, created) = definition.decide(newest)?;
        if found.is_some() {
            update(conn, scope, definition, version).await?;
        } else if !insert(conn, scope, definition).await? {
            // Somebody else made it meanwhile.
            continue;
        }
        if created {
            add_version(conn, scope, definition, version).await?;
        }
        return Ok(DefinitionSaved { version, created });
    }
    let key = definition.id.clone();
    Err(Error::Conflict { kind: "workflow definition", key, expected: None, actual: None }.into())
}

/// The newest version, its head locked until the transaction ends.
async fn current(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<Option<(u32, Option<String>, Format, String)>, Fault> {
    let head = query!(
        r#"
        select version,
               coalesce(($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4),
                        false) as "visible!"
        from mnemon.workflow_definitions
        where tenant = $1 and id = $2
        for no key update
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(head) = head else { return Ok(None) };
    if !head.visible {
        return Err(absent(id));
    }
    // Read after the lock: what was committed while it waited is the newest.
    let newest = query!(
        "select label, format, content from mnemon.workflow_definition_versions
         where tenant = $1 and id = $2 and version = $3",
        scope.tenant,
        id,
        head.version,
    )
    .fetch_one(conn)
    .await?;
    let format = row::named(&newest.format, WHAT)?;
    Ok(Some((head.version.unsigned_abs(), newest.label, format, newest.content)))
}

/// Whether the head was made: nobody else was faster.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    definition: &NewDefinition,
) -> Result<bool, Fault> {
    let about = &definition.about;
    let done = query!(
        r#"
        insert into mnemon.workflow_definitions
            (tenant, id, name, version, description, author, tags, parameters, user_id, agent_id,
             created_at, updated_at)
        select $1, $2, $3, 1, $4, $5, $6, $7, $8, $9, c.at, c.at
        from (select mnemon.now() as at) c
        on conflict (tenant, id) do nothing
        "#,
        scope.tenant,
        definition.id,
        definition.name,
        about.description,
        about.author,
        &about.tags,
        serde_json::json!(about.parameters),
        scope.user,
        scope.agent,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn update(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    definition: &NewDefinition,
    version: u32,
) -> Result<(), Fault> {
    let about = &definition.about;
    query!(
        r#"
        update mnemon.workflow_definitions
        set name = $3, version = $4, description = $5, author = $6, tags = $7, parameters = $8,
            updated_at = mnemon.now()
        where tenant = $1 and id = $2
        "#,
        scope.tenant,
        definition.id,
        definition.name,
        version.cast_signed(),
        about.description,
        about.author,
        &about.tags,
        serde_json::json!(about.parameters),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_version(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    definition: &NewDefinition,
    version: u32,
) -> Result<(), Fault> {
    query!(
        r#"
        insert into mnemon.workflow_definition_versions
            (tenant, id, version, label, format, content, user_id, agent_id, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, mnemon.now())
        "#,
        scope.tenant,
        definition.id,
        version.cast_signed(),
        definition.label,
        definition.format.as_str(),
        definition.content,
        scope.user,
        scope.agent,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct InfoRow {
    id: String,
    name: String,
    version: i32,
    description: Option<String>,
    author: Option<String>,
    tags: Vec<String>,
    parameters: Value,
    user_id: Option<String>,
    agent_id: Option<String>,
    executions: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<InfoRow> for DefinitionInfo {
    type Error = Error;

    fn try_from(row: InfoRow) -> Result<Self, Error> {
        let parameters: BTreeMap<String, Parameter> = row::json(row.parameters, WHAT)?;
        Ok(Self {
            id: row.id,
            name: row.name,
            version: row.version.unsigned_abs(),
            about: DefinitionAbout {
                description: row.description,
                author: row.author,
                tags: row.tags,
                parameters,
            },
            user: row.user_id,
            agent: row.agent_id,
            executions: row.executions.unsigned_abs(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The columns of a definition, with the executions that the scope sees.
fn asked(scope: &Admitted<'_>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select d.id, d.name, d.version, d.description, d.author, d.tags, d.parameters, d.user_id, \
         d.agent_id, (select count(*) from mnemon.workflow_executions e \
         where e.tenant = d.tenant and e.definition_id = d.id",
    );
    push_visible(&mut query, scope, " and e.user_id = ", " and e.agent_id = ");
    query.push(
        ") as executions, d.created_at, d.updated_at \
         from mnemon.workflow_definitions d where d.tenant = ",
    );
    query.push_bind(scope.tenant.to_owned());
    push_visible(&mut query, scope, " and d.user_id = ", " and d.agent_id = ");
    query
}

fn push_visible(
    query: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    user: &'static str,
    agent: &'static str,
) {
    for (part, value) in [(user, scope.user), (agent, scope.agent)] {
        if let Some(value) = value {
            query.push(part).push_bind(value.to_owned());
        }
    }
}

/// A version of a definition.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    version: Option<u32>,
) -> Result<Definition, Fault> {
    let mut query = asked(scope);
    query.push(" and d.id = ").push_bind(id.to_owned());
    let head: Option<InfoRow> = query.build_query_as().fetch_optional(&mut *conn).await?;
    let info = DefinitionInfo::try_from(head.ok_or_else(|| absent(id))?)?;
    let version = version.unwrap_or(info.version);
    let number = i32::try_from(version).unwrap_or(i32::MAX);
    let found = query!(
        "select label, format, content, created_at from mnemon.workflow_definition_versions
         where tenant = $1 and id = $2 and version = $3",
        scope.tenant,
        id,
        number,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("workflow definition", format!("{id} version {version}")))?;
    Ok(Definition {
        info,
        version,
        label: found.label,
        format: row::named(&found.format, WHAT)?,
        content: found.content,
        saved_at: found.created_at,
    })
}

/// Definitions after one, by id.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &DefinitionFilter,
    after: &str,
    limit: u32,
) -> Result<Vec<DefinitionInfo>, Fault> {
    let mut query = asked(scope);
    query.push(" and d.id > ").push_bind(after.to_owned());
    if let Some(name) = &filter.name {
        query.push(" and strpos(d.name, ").push_bind(name.clone()).push(") > 0");
    }
    if let Some(tag) = &filter.tag {
        query.push(" and ").push_bind(tag.clone()).push(" = any (d.tags)");
    }
    if let Some(author) = &filter.author {
        query.push(" and d.author = ").push_bind(author.clone());
    }
    if let Some(at) = filter.after {
        query.push(" and d.created_at >= ").push_bind(at);
    }
    if let Some(at) = filter.before {
        query.push(" and d.created_at <= ").push_bind(at);
    }
    query.push(" order by d.id limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<InfoRow> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(|row| DefinitionInfo::try_from(row).map_err(Fault::Core)).collect()
}

/// Replaces what is said about a definition.
pub(super) async fn describe(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    about: &DefinitionAbout,
) -> Result<(), Fault> {
    let done = query!(
        r#"
        update mnemon.workflow_definitions
        set description = $3, author = $4, tags = $5, parameters = $6, updated_at = mnemon.now()
        where tenant = $1 and id = $2
          and ($7::text is null or user_id = $7) and ($8::text is null or agent_id = $8)
        "#,
        scope.tenant,
        id,
        about.description,
        about.author,
        &about.tags,
        serde_json::json!(about.parameters),
        scope.user,
        scope.agent,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(absent(id)) }
}

/// Removes a definition with its versions.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<(), Fault> {
    let gone = query_scalar!(
        r#"
        with gone as (
            delete from mnemon.workflow_definitions
            where tenant = $1 and id = $2
              and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
            returning id
        ), versions as (
            delete from mnemon.workflow_definition_versions v
            using gone g
            where v.tenant = $1 and v.id = g.id
        )
        select count(*) as "count!" from gone
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    if gone == 1 { Ok(()) } else { Err(absent(id)) }
}
