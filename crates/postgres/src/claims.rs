//! Claims on PostgreSQL: insert-only rows, an agent's head on whose row its writers queue and that
//! gives times and places, and a projection of what counts, so that a current read costs what is
//! live.

mod ledger;
mod read;
mod write;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::claims::{
    AsOf, Asserted, Belief, Claim, ClaimId, Claims, External, LedgerEntry, Line, NewClaim,
    Provenance, ValidTime,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Error, Page, Paged, Result, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;
use crate::{locks, row};

pub(crate) use write::assert;

const WHAT: &str = "a claim";

#[async_trait]
impl Claims for PostgresStore {
    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        let scope = &scope.admit(Facet::Claims)?;
        claim.check()?;
        locks::check_guard(guard)?;
        // Without a request's name a repeat after a lost answer would be one more claim.
        let retry = match claim.request_id {
            Some(_) => Retry::Idempotent,
            None => Retry::Never,
        };
        let call = Call { doing: "asserting a claim", tenant: Some(scope.tenant), retry };
        let claim = &claim;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    write::assert(conn, scope, claim).await
                })
            })
            .await
    }

    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        let scope = &scope.admit(Facet::Claims)?;
        let line = &Line::parse(&line.subject, &line.predicate)?;
        self.link
            .run(reading("reading a belief", scope), |conn| {
                work(async move { read::belief(conn, scope, line, when).await })
            })
            .await
    }

    async fn ledger(&self, scope: &Scope, page: &Page) -> Result<Paged<LedgerEntry>> {
        let scope = &scope.admit(Facet::Claims)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => row::number_of(cursor, ledger::LIST)?,
            None => 0,
        };
        let limit = page.limit;
        let entries = self
            .link
            .run(reading("reading a ledger", scope), |conn| {
                work(async move { ledger::list(conn, scope, after, limit).await })
            })
            .await?;
        Ok(Paged::cut(entries, limit, |entry| Cursor::of(ledger::LIST, &[&entry.seq.to_string()])))
    }
}

fn reading<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

/// An agent's head: what its next write goes on from.
#[derive(Clone, Copy, Debug)]
struct Head {
    last_time: DateTime<Utc>,
    seq: i64,
    hash: [u8; 32],
}

/// The agent of a scope that was admitted for claims.
fn agent<'a>(scope: &Admitted<'a>) -> Result<&'a str> {
    scope.agent.ok_or(Error::ScopeRequired { facet: Facet::Claims, missing: "agent" })
}

/// A claim's columns, as every statement reads them.
struct Row {
    id: Uuid,
    subject: String,
    predicate: String,
    value: Value,
    cardinality: String,
    provenance: String,
    valid_start: Option<DateTime<Utc>>,
    valid_end: Option<DateTime<Utc>>,
    valid_time_confidence: f32,
    start_granularity: Option<String>,
    end_granularity: Option<String>,
    value_confidence: f32,
    criticality: String,
    derivation_depth: i32,
    recorded_at: DateTime<Utc>,
    /// The latest one that the statement's time knows.
    disposition: String,
}

impl TryFrom<Row> for Claim {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: ClaimId(row.id),
            line: Line { subject: row.subject, predicate: row.predicate },
            value: row.value,
            cardinality: row::named(&row.cardinality, WHAT)?,
            provenance: provenance(&row.provenance)?,
            valid_time: ValidTime {
                start: row.valid_start,
                end: row.valid_end,
                valid_time_confidence: row.valid_time_confidence,
                start_granularity: row.start_granularity.map(word).transpose()?,
                end_granularity: row.end_granularity.map(word).transpose()?,
            },
            value_confidence: row.value_confidence,
            criticality: row::named(&row.criticality, WHAT)?,
            derivation_depth: row.derivation_depth.unsigned_abs(),
            recorded_at: row.recorded_at,
        })
    }
}

fn provenance(name: &str) -> Result<Provenance> {
    match name {
        "UserAsserted" => Ok(Provenance::External(External::UserAsserted)),
        "ExternalFirstHand" => Ok(Provenance::External(External::ExternalFirstHand)),
        "RecallReEntry" => Ok(Provenance::RecallReEntry),
        "ModelDerived" => Ok(Provenance::ModelDerived),
        other => Err(Error::corrupt(WHAT, format!("its provenance is {other:?}"))),
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

/// A value that is one word in JSON, from that word.
fn word<T: DeserializeOwned>(text: String) -> Result<T> {
    row::json(Value::String(text), WHAT)
}

/// The word of a value that is one in JSON.
fn word_of<T: Serialize>(value: Option<T>) -> Option<String> {
    match serde_json::to_value(value?) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}
