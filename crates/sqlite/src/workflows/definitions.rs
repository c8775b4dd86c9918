//! Definitions: a head that says what is said about it, and versions that are never rewritten.

use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Format,
    NewDefinition,
};
use mnemon_core::{Error, Paged};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde_json::json;

use crate::error::{Done, Fault};
use crate::open::now;
use crate::row;

const WHAT: &str = "a workflow definition";

/// The columns of a definition, with the executions that the scope sees.
macro_rules! info {
    () => {
        "select d.id, d.name, d.version, d.description, d.author, d.tags, d.parameters, \
         d.user_id, d.agent_id, (select count(*) from workflow_executions e \
         where e.tenant = d.tenant and e.definition_id = d.id \
         and (:user is null or e.user_id = :user) and (:agent is null or e.agent_id = :agent)), \
         d.created_at, d.updated_at from workflow_definitions d where d.tenant = :tenant \
         and (:user is null or d.user_id = :user) and (:agent is null or d.agent_id = :agent) "
    };
}

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select version, \
            (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4) \
            from workflow_definitions where tenant = ?1 and id = ?2";
        VERSION = "select label, format, content, created_at from workflow_definition_versions \
            where tenant = ?1 and id = ?2 and version = ?3";
        INSERT = "insert into workflow_definitions (tenant, id, name, version, description, \
            author, tags, parameters, user_id, agent_id, created_at, updated_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)";
        UPDATE = "update workflow_definitions set name = ?3, version = ?4, description = ?5, \
            author = ?6, tags = ?7, parameters = ?8, updated_at = ?9 \
            where tenant = ?1 and id = ?2";
        ADD_VERSION = "insert into workflow_definition_versions (tenant, id, version, label, \
            format, content, user_id, agent_id, created_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        GET = concat!(info!(), "and d.id = :id");
        LIST = concat!(
            info!(),
            "and d.id > :from and (:name is null or instr(d.name, :name) > 0) \
             and (:author is null or d.author = :author) \
             and (:tag is null or exists (select 1 from json_each(d.tags) as t where t.value = :tag)) \
             and (:after is null or d.created_at >= :after) \
             and (:before is null or d.created_at <= :before) order by d.id limit :limit"
        );
        DESCRIBE = "update workflow_definitions set description = ?3, author = ?4, tags = ?5, \
            parameters = ?6, updated_at = ?7 where tenant = ?1 and id = ?2 \
            and (?8 is null or user_id = ?8) and (?9 is null or agent_id = ?9)";
        FORGET_VERSIONS = "delete from workflow_definition_versions where tenant = ?1 and id = ?2";
        FORGET = "delete from workflow_definitions where tenant = ?1 and id = ?2";
    }
}

fn absent(id: &str) -> Fault {
    Error::not_found("workflow definition", id).into()
}

/// The newest version of a definition that the scope sees.
fn head(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<Option<u32>> {
    let found: Option<(u32, Option<bool>)> = conn
        .prepare_cached(sql::HEAD)?
        .query_row(params![scope.tenant, id, scope.user, scope.agent], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some((version, Some(true))) => Ok(Some(version)),
        Some(_) => Err(absent(id)),
    }
}

/// One version's label, format, text and time.
struct Version {
    label: Option<String>,
    format: Format,
    content: String,
    saved_at: chrono::DateTime<chrono::Utc>,
}

fn version(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    number: u32,
) -> Done<Option<Version>> {
    let mut statement = conn.prepare_cached(sql::VERSION)?;
    let mut rows = statement.query(params![scope.tenant, id, number])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Version {
        label: row.get(0)?,
        format: row::named(row, 1, WHAT)?,
        content: row.get(2)?,
        saved_at: row::time(row, 3)?,
    }))
}

/// Saves a definition.
pub(super) fn save(
    conn: &Connection,
    scope: &Admitted<'_>,
    definition: &NewDefinition,
) -> Done<DefinitionSaved> {
    let (id, about, now) = (definition.id.as_str(), &definition.about, now(conn)?);
    let head = head(conn, scope, id)?;
    let newest = match head {
        Some(number) => version(conn, scope, id, number)?.map(|newest| (number, newest)),
        None => None,
    };
    let (number, created) = definition.decide(newest.as_ref().map(|(number, newest)| {
        (*number, newest.content.as_str(), newest.format, newest.label.as_deref())
    }))?;
    let (tags, parameters) = (json!(about.tags).to_string(), json!(about.parameters).to_string());
    if head.is_some() {
        conn.prepare_cached(sql::UPDATE)?.execute(params![
            scope.tenant,
            id,
            definition.name,
            number,
            about.description,
            about.author,
            tags,
            parameters,
            now
        ])?;
    } else {
        conn.prepare_cached(sql::INSERT)?.execute(params![
            scope.tenant,
            id,
            definition.name,
            number,
            about.description,
            about.author,
            tags,
            parameters,
            scope.user,
            scope.agent,
            now
        ])?;
    }
    if created {
        conn.prepare_cached(sql::ADD_VERSION)?.execute(params![
            scope.tenant,
            id,
            number,
            definition.label,
            definition.format.as_str(),
            definition.content,
            scope.user,
            scope.agent,
            now
        ])?;
    }
    Ok(DefinitionSaved { version: number, created })
}

fn info(row: &Row<'_>) -> Done<DefinitionInfo> {
    Ok(DefinitionInfo {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        about: DefinitionAbout {
            description: row.get(3)?,
            author: row.get(4)?,
            tags: row::json(row, 5, WHAT)?,
            parameters: row::json(row, 6, WHAT)?,
        },
        user: row.get(7)?,
        agent: row.get(8)?,
        executions: row.get::<_, i64>(9)?.unsigned_abs(),
        created_at: row::time(row, 10)?,
        updated_at: row::time(row, 11)?,
    })
}

/// A version of a definition.
pub(super) fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    number: Option<u32>,
) -> Done<Definition> {
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut rows = statement.query(named_params! {
        ":tenant": scope.tenant, ":user": scope.user, ":agent": scope.agent, ":id": id,
    })?;
    let info = info(rows.next()?.ok_or_else(|| absent(id))?)?;
    let number = number.unwrap_or(info.version);
    let found = version(conn, scope, id, number)?
        .ok_or_else(|| Error::not_found("workflow definition", format!("{id} version {number}")))?;
    Ok(Definition {
        info,
        version: number,
        label: found.label,
        format: found.format,
        content: found.content,
        saved_at: found.saved_at,
    })
}

/// Definitions after one, by id.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &DefinitionFilter,
    after: &str,
    limit: u32,
) -> Done<Paged<DefinitionInfo>> {
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(named_params! {
        ":tenant": scope.tenant, ":user": scope.user, ":agent": scope.agent, ":from": after,
        ":name": filter.name, ":tag": filter.tag, ":author": filter.author,
        ":after": filter.after.map(|at| at.timestamp_micros()),
        ":before": filter.before.map(|at| at.timestamp_micros()), ":limit": limit + 1,
    })?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(info(row)?);
    }
    Ok(Paged::cut(found, limit, DefinitionInfo::cursor))
}

/// Replaces what is said about a definition.
pub(super) fn describe(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    about: &DefinitionAbout,
) -> Done<()> {
    let changed = conn.prepare_cached(sql::DESCRIBE)?.execute(params![
        scope.tenant,
        id,
        about.description,
        about.author,
        json!(about.tags).to_string(),
        json!(about.parameters).to_string(),
        now(conn)?,
        scope.user,
        scope.agent
    ])?;
    if changed == 1 { Ok(()) } else { Err(absent(id)) }
}

/// Removes a definition with its versions.
pub(super) fn delete(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<()> {
    head(conn, scope, id)?.ok_or_else(|| absent(id))?;
    for statement in [sql::FORGET_VERSIONS, sql::FORGET] {
        conn.prepare_cached(statement)?.execute([scope.tenant, id])?;
    }
    Ok(())
}
