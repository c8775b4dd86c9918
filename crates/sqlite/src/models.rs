//! Embedding sets: one table of vectors per model. The active set's model is the registered one.

use mnemon_core::memories::sets::{self, ModelVector};
use mnemon_core::memories::{ModelSignature, SetState};
use mnemon_core::{Error, Result};
use rusqlite::{Connection, Row};

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        SETS = "select id, name, dimension, hash, semantic, state from embedding_sets order by id";
        ACTIVE = "select id, name, dimension, hash, semantic, state from embedding_sets \
            where state = 'active'";
        REGISTER = "insert into embedding_sets (name, dimension, hash, semantic, state, created_at) \
            values (?1, ?2, ?3, ?4, ?5, mnemon_now()) returning id";
        MAKE = "create table embeddings_{set} (\
            memory integer primary key references memories (memory) on delete cascade, \
            content_hash blob not null, vector blob not null) strict";
        DROP = "drop table embeddings_{set}";
    }
}

/// The number of an embedding set: the only thing put into SQL text, and no text itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SetId(i64);

impl SetId {
    #[cfg(test)]
    pub(crate) fn of(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub(crate) fn number(self) -> i64 {
        self.0
    }

    /// A statement over this set's table.
    pub(crate) fn statement(self, template: &str) -> String {
        template.replace("{set}", &self.0.to_string())
    }
}

/// An embedding set.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) id: SetId,
    pub(crate) model: ModelSignature,
    pub(crate) state: SetState,
}

impl Set {
    fn read(row: &Row<'_>) -> Done<Self> {
        let model = ModelSignature {
            name: row.get(1)?,
            dimension: row.get(2)?,
            hash: row.get(3)?,
            semantic: row.get(4)?,
        };
        let state: String = row.get(5)?;
        Ok(Self { id: SetId(row.get(0)?), model, state: SetState::read(&state)? })
    }
}

/// The set that recall reads, if a model is registered.
pub(crate) fn active(conn: &Connection) -> Done<Option<Set>> {
    let mut statement = conn.prepare_cached(sql::ACTIVE)?;
    let mut rows = statement.query([])?;
    rows.next()?.map(Set::read).transpose()
}

/// Every set, oldest first.
pub(crate) fn sets(conn: &Connection) -> Done<Vec<Set>> {
    let mut statement = conn.prepare_cached(sql::SETS)?;
    let mut rows = statement.query([])?;
    let mut sets = Vec::new();
    while let Some(row) = rows.next()? {
        sets.push(Set::read(row)?);
    }
    Ok(sets)
}

/// The set that a question's vector is compared with: its model's, where the question names one,
/// else the active one. A set that is still filling answers nobody.
pub(crate) fn searched(conn: &Connection, model: Option<&ModelSignature>) -> Done<Set> {
    let active = active(conn)?.ok_or_else(unregistered)?;
    let Some(model) = model.filter(|model| **model != active.model) else { return Ok(active) };
    let retired = |set: &Set| set.state == SetState::Retired && set.model == *model;
    match sets(conn)?.into_iter().find(retired) {
        Some(set) => Ok(set),
        None => Err(mismatch(active, model).into()),
    }
}

fn mismatch(active: Set, offered: &ModelSignature) -> Error {
    Error::ModelMismatch { registered: active.model, offered: offered.clone() }
}

/// A vector was given where none can be kept or compared.
pub(crate) fn unregistered() -> Error {
    Error::invalid("embedding", "is given, but no model is registered")
}

/// Where vectors go, by place in the sets.
pub(crate) fn place<'v>(
    sets: &[Set],
    bare: Option<&'v [f32]>,
    of_models: &'v [ModelVector],
) -> Result<Vec<(usize, &'v [f32])>> {
    sets::place(sets, |set| (&set.model, set.state), bare, of_models)
}

/// Registers a model; the same one again is a no-op. The writer's transaction makes it safe for
/// many processes at once.
pub(crate) fn register(conn: &Connection, model: &ModelSignature) -> Done<()> {
    match active(conn)? {
        Some(set) if set.model == *model => Ok(()),
        Some(set) => Err(mismatch(set, model).into()),
        None => make(conn, model, SetState::Active).map(drop),
    }
}

/// Makes a set with its table.
pub(crate) fn make(conn: &Connection, model: &ModelSignature, state: SetState) -> Done<SetId> {
    let values = (&model.name, model.dimension, &model.hash, model.semantic, state.as_str());
    let id = SetId(conn.prepare_cached(sql::REGISTER)?.query_row(values, |row| row.get(0))?);
    conn.execute(&id.statement(sql::MAKE), [])?;
    Ok(id)
}

/// Drops the tables of sets, before the tables they refer to: of all, or of those that an older
/// schema does not know.
pub(crate) fn drop_tables(conn: &Connection, also_active: bool) -> Done<()> {
    for set in sets(conn)? {
        if also_active || set.state != SetState::Active {
            conn.execute(&set.id.statement(sql::DROP), [])?;
        }
    }
    Ok(())
}
