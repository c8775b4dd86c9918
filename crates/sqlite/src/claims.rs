//! Claims in SQLite: insert-only rows, an agent's head that gives times and places, and a
//! projection of what counts, so that a current read costs what is live.

pub(crate) mod ledger;
pub(crate) mod read;
pub(crate) mod write;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::claims::{
    AsOf, Asserted, Belief, Claim, ClaimId, Claims, External, LedgerEntry, Line, NewClaim,
    Provenance, ValidTime,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Facet, Page, Paged, Result, Scope};
use rusqlite::{Connection, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Done;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select last_time, ledger_seq, ledger_hash from claim_agents \
            where tenant = ?1 and agent_id = ?2";
    }
}

#[async_trait]
impl Claims for SqliteStore {
    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        claim.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("asserting a claim", move |conn| {
            let scope = scope.admit(Facet::Claims)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            write::assert(conn, &scope, &claim)
        })
        .await
    }

    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let line = Line::parse(&line.subject, &line.predicate)?;
        let scope = scope.clone();
        self.read("reading a belief", move |conn| {
            read::belief(conn, &scope.admit(Facet::Claims)?, &line, when)
        })
        .await
    }

    async fn ledger(&self, scope: &Scope, page: &Page) -> Result<Paged<LedgerEntry>> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => row::number_of(cursor, ledger::CURSOR)?,
            None => 0,
        };
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("reading a ledger", move |conn| {
            ledger::list(conn, &scope.admit(Facet::Claims)?, after, limit)
        })
        .await
    }
}

/// An agent's head: what its next write goes on from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    last_time: DateTime<Utc>,
    seq: i64,
    hash: [u8; 32],
}

/// The agent of a scope that was admitted for claims.
fn agent<'a>(scope: &Admitted<'a>) -> Result<&'a str> {
    scope.agent.ok_or(Error::ScopeRequired { facet: Facet::Claims, missing: "agent" })
}

fn head(conn: &Connection, scope: &Admitted<'_>) -> Done<Option<Head>> {
    let mut statement = conn.prepare_cached(sql::HEAD)?;
    let mut rows = statement.query([scope.tenant, agent(scope)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Head {
        last_time: row::time(row, 0)?,
        seq: row.get(1)?,
        hash: row::hash(row, 2, "an agent's ledger")?,
    }))
}

/// The columns of `claims c`, in the order [`claim`] reads them.
macro_rules! columns {
    () => {
        "c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start, \
         c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity, \
         c.value_confidence, c.criticality, c.derivation_depth, c.recorded_at"
    };
}
use columns;

fn claim(row: &Row<'_>) -> Done<Claim> {
    const WHAT: &str = "a claim";
    Ok(Claim {
        id: ClaimId(row::id(row, 0)?),
        line: Line { subject: row.get(1)?, predicate: row.get(2)? },
        value: row::json(row, 3, WHAT)?,
        cardinality: row::named(row, 4, WHAT)?,
        provenance: provenance(&row.get::<_, String>(5)?)?,
        valid_time: ValidTime {
            start: row::moment(row, 6)?,
            end: row::moment(row, 7)?,
            valid_time_confidence: row.get(8)?,
            start_granularity: row.get::<_, Option<String>>(9)?.map(word).transpose()?,
            end_granularity: row.get::<_, Option<String>>(10)?.map(word).transpose()?,
        },
        value_confidence: row.get(11)?,
        criticality: row::named(row, 12, WHAT)?,
        derivation_depth: row.get(13)?,
        recorded_at: row::time(row, 14)?,
    })
}

fn provenance(name: &str) -> Result<Provenance> {
    match name {
        "UserAsserted" => Ok(Provenance::External(External::UserAsserted)),
        "ExternalFirstHand" => Ok(Provenance::External(External::ExternalFirstHand)),
        "RecallReEntry" => Ok(Provenance::RecallReEntry),
        "ModelDerived" => Ok(Provenance::ModelDerived),
        other => Err(Error::corrupt("a claim", format!("its provenance is {other:?}"))),
    }
}

fn provenance_name(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::External(External::UserAsserted) => "UserAsserted",
        Provenance::External(External::ExternalFirstHand) => "ExternalFirstHand",
        Provenance::RecallReEntry => "RecallReEntry",
        Provenance::ModelDerived => "ModelDerived",
    }
}

/// A unit variant from its serde name.
fn word<T: DeserializeOwned>(name: String) -> Result<T> {
    serde_json::from_value(Value::String(name))
        .map_err(|error| Error::corrupt("a claim", error.to_string()))
}

/// A unit variant's serde name.
fn word_of<T: Serialize>(value: Option<T>) -> Option<String> {
    let value = serde_json::to_value(value?).expect("a unit variant is a name");
    value.as_str().map(str::to_owned)
}
