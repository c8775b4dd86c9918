//! What becomes of a new claim: a pure decision against every live claim of its line.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Asserted;
use super::change::{Change, ClaimEdge, EdgeKind, Entry, Question};
use super::conflict::{Relation, classify};
use super::fold::{Moment, Recorded, Standing, live};
use super::ledger::LedgerKind;
use super::model::{Claim, ClaimId, Disposition, Provenance};
use super::new_claim::NewClaim;
use super::pending::{AdjudicationRequest, HandleId, OverturnReason};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::scope::Admitted;

/// Decides a new claim's disposition; the first rule that matches.
pub fn gate(new: &NewClaim, relation: &Relation, depth: u32, rules: &Rules) -> Disposition {
    if new.provenance == Provenance::ModelDerived {
        return Disposition::CommittedInferred;
    }
    match relation {
        Relation::Free | Relation::Corroborates(_) | Relation::Succession => {
            Disposition::CommittedCheap
        }
        Relation::Conflict(_) if depth > rules.derivation_depth_cap_overturn => {
            Disposition::PendingLowConfidence
        }
        Relation::Conflict(_) if rules.oracle => Disposition::QueuedForAdjudication,
        Relation::Conflict(_) => Disposition::Contested,
    }
}

/// Ids for what a decision may make; core draws none itself.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For the claim.
    pub claim: ClaimId,
    /// For a question about it.
    pub handle: HandleId,
}

/// What a decision about a new claim stands on.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The live claims of the line that may be about the same time.
    pub line: &'a [Recorded],
    /// Whether the line has others.
    pub beyond: bool,
    /// The claims it names, whatever for.
    pub named: &'a [Claim],
    /// The transaction time.
    pub at: DateTime<Utc>,
}

/// A decision about a new claim: what the caller is told and what is written.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// For the caller.
    pub asserted: Asserted,
    /// For the store.
    pub change: Change,
}

/// Decides a new claim.
///
/// # Errors
///
/// [`Error::Invalid`] when it excludes a claim of another line.
pub fn assertion(
    scope: &Admitted<'_>,
    new: &NewClaim,
    fresh: Fresh,
    seen: Seen<'_>,
    rules: &Rules,
) -> Result<Decided> {
    check_excluded(new, seen.named)?;
    let depth = depth(new, seen.named);
    let standing = live(seen.line, rules);
    let relation = classify(new, &standing, seen.beyond, rules);
    let disposition = gate(new, &relation, depth, rules);
    let name = relation.name();
    let contested_with = match relation {
        Relation::Conflict(with) if disposition != Disposition::CommittedInferred => with,
        _ => Vec::new(),
    };
    let claim = Claim {
        id: fresh.claim,
        line: new.line()?,
        value: new.value.clone(),
        cardinality: new.cardinality,
        provenance: new.provenance,
        valid_time: new.valid_time,
        value_confidence: new.value_confidence,
        criticality: new.criticality,
        derivation_depth: depth,
        excludes: new.excludes.clone(),
        recorded_at: seen.at,
    };
    let mut change = Change::new(seen.at);
    change.entries.push(Entry {
        kind: LedgerKind::ClaimCommitted,
        claim: claim.id,
        disposition,
        contested_with: contested_with.clone(),
        request: new.request_id.clone(),
        payload: json!({
            "subject": claim.line.subject,
            "predicate": claim.line.predicate,
            "value": claim.value,
            "provenance": claim.provenance,
            "valid_time": claim.valid_time,
            "relation": name,
            "contested_with": contested_with,
        }),
    });
    change.edges = edges(new, fresh.claim);
    let recorded = Recorded { claim, disposition, bound: None, re_entries: 0 };
    let queued = disposition == Disposition::QueuedForAdjudication;
    if queued {
        let ttl = new.adjudication_ttl_seconds.map(Duration::from_secs);
        let reason = OverturnReason::ExternalContradiction;
        let ask = Ask { handle: fresh.handle, ttl, reason, at: seen.at };
        ask_about(&mut change, scope, &recorded, &opposing(&standing, &contested_with), ask, rules);
    }
    change.touch(&recorded);
    change.claim = Some(recorded.claim);
    let asserted = Asserted {
        id: fresh.claim,
        disposition,
        contested_with,
        handle: queued.then_some(fresh.handle),
        recorded_at: seen.at,
        created: true,
    };
    Ok(Decided { asserted, change })
}

fn check_excluded(new: &NewClaim, named: &[Claim]) -> Result<()> {
    let line = new.line()?;
    let elsewhere =
        |id: &&ClaimId| named.iter().any(|claim| claim.id == **id && claim.line != line);
    match new.excludes.iter().find(elsewhere) {
        Some(id) => Err(Error::invalid("excludes", format!("{id} is a claim of another line"))),
        None => Ok(()),
    }
}

fn depth(new: &NewClaim, named: &[Claim]) -> u32 {
    named
        .iter()
        .filter(|claim| new.derived_from.contains(&claim.id))
        .map(|parent| parent.derivation_depth.saturating_add(1))
        .max()
        .unwrap_or(0)
}

fn edges(new: &NewClaim, from: ClaimId) -> Vec<ClaimEdge> {
    let all = [
        (EdgeKind::DerivedFrom, &new.derived_from),
        (EdgeKind::DependsOn, &new.depends_on),
        (EdgeKind::MutualExclusion, &new.excludes),
    ];
    let mut edges = Vec::new();
    for (kind, targets) in all {
        for to in targets {
            let edge = ClaimEdge { from, kind, to: *to };
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

/// The standing claims of these ids.
pub(super) fn opposing<'a>(standing: &[Standing<'a>], ids: &[ClaimId]) -> Vec<Standing<'a>> {
    standing.iter().filter(|one| ids.contains(&one.claim().id)).copied().collect()
}

/// What a question is asked with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) handle: HandleId,
    pub(super) ttl: Option<Duration>,
    pub(super) reason: OverturnReason,
    pub(super) at: DateTime<Utc>,
}

/// Adds a question about a claim to a change, with its ledger entry.
pub(super) fn ask_about(
    change: &mut Change,
    scope: &Admitted<'_>,
    challenger: &Recorded,
    incumbents: &[Standing<'_>],
    ask: Ask,
    rules: &Rules,
) {
    let ttl = ask.ttl.or(rules.default_adjudication_ttl);
    let expires_at = ttl.map(|ttl| ask.at + ttl);
    let moment = Moment { as_of: Some(ask.at), valid_at: ask.at, seen_at: ask.at };
    let incumbent_ids: Vec<ClaimId> = incumbents.iter().map(|one| one.claim().id).collect();
    let told: Vec<_> =
        incumbents.iter().map(|one| super::fold::believed(&[one], moment, rules)).collect();
    let criticality = incumbents
        .iter()
        .map(|one| one.claim().criticality)
        .chain([challenger.claim.criticality])
        .max()
        .expect("the challenger's own");
    change.note(
        challenger,
        LedgerKind::AdjudicationRequested,
        Disposition::QueuedForAdjudication,
        json!({ "handle": ask.handle, "reason": ask.reason, "incumbents": incumbent_ids }),
    );
    change.questions.push(Question {
        challenger: challenger.claim.id,
        incumbents: incumbent_ids,
        request: AdjudicationRequest {
            handle_id: ask.handle,
            tenant: scope.tenant.to_owned(),
            agent_id: scope.agent.unwrap_or_default().to_owned(),
            subject_line: challenger.claim.line.clone(),
            incumbent: told.first().cloned(),
            incumbents: told,
            challenger: challenger.claim.clone(),
            criticality,
            reason: ask.reason,
            expires_at,
        },
    });
}

/// Decides a claim that came from this memory itself: nothing is written but that it came, and of
/// a flood of them each is kept apart. `recent` counts those of the last hour.
///
/// # Errors
///
/// [`Error::NotFound`] unless the claim named is of the same line and says the same.
pub fn re_entry(
    new: &NewClaim,
    repeated: &Recorded,
    recent: u32,
    at: DateTime<Utc>,
    rules: &Rules,
) -> Result<Decided> {
    let claim = &repeated.claim;
    if claim.line != new.line()? || claim.value != new.value {
        return Err(Error::not_found("claim", claim.id));
    }
    let flood = recent >= rules.quarantine_burst_threshold;
    let (kind, disposition) = if flood {
        (LedgerKind::Quarantined, Disposition::Quarantined)
    } else {
        (LedgerKind::RecallReEntryDetected, repeated.disposition)
    };
    let mut change = Change::new(at);
    change.entries.push(Entry {
        kind,
        claim: claim.id,
        disposition,
        contested_with: Vec::new(),
        request: new.request_id.clone(),
        payload: json!({ "value": new.value, "within_an_hour": recent + 1 }),
    });
    change.touch(repeated).re_entries += 1;
    let asserted = Asserted {
        id: claim.id,
        disposition,
        contested_with: Vec::new(),
        handle: None,
        recorded_at: claim.recorded_at,
        created: false,
    };
    Ok(Decided { asserted, change })
}

/// The transaction time of an agent's next write: the clock's, but above the last one by at
/// least a microsecond, so that it strictly increases however the clock moves.
pub fn next_time(last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    match last {
        Some(last) if last >= now => last + chrono::Duration::microseconds(1),
        _ => now,
    }
}
