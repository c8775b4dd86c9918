//! How the isolation matrix writes and asks claims.
//!
//! Verbs that need a question to be open, or a line to be contested, have the row's writer make it
//! so first: what the reader then reaches is what is compared.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::claims::{
    AdjudicationResponse, AsOf, Asked, Asserted, AuditQuery, Belief, ClaimId, HandleId, Line,
    NewClaim, Rules, Verdict,
};
use mnemon_core::{Error, Facet, Page, RequestId, Result, Scope, Store};
use serde_json::Value;

use super::{Probe, Row, Seen, Standing, noted};

pub(super) struct ClaimsProbe;

/// The property every row is about.
const PREDICATE: &str = "is";

fn line(row: &Standing) -> Result<Line> {
    Line::parse(row.row.label.as_str(), PREDICATE)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn label(belief: Belief) -> Option<String> {
    belief.primary.and_then(|primary| text(&primary.value))
}

/// Has the row's writer contradict it, once; answers the challenger. Its value is no label.
async fn contested(store: &dyn Store, row: &Standing) -> Result<Asserted> {
    let claim = NewClaim {
        request_id: Some(RequestId::parse(format!("contest {}", row.row.label))?),
        ..NewClaim::new(row.row.label.as_str(), PREDICATE, 0)
    };
    store.claims().assert(&row.row.writer, claim, None).await
}

/// The same, with no question open about it.
async fn unasked(store: &dyn Store, row: &Standing) -> Result<Asserted> {
    let challenger = contested(store, row).await?;
    for handle in open(store, row).await? {
        let unknown = AdjudicationResponse::new(handle, Verdict::Unknown);
        store.claims().submit_adjudication(&row.row.writer, unknown).await?;
    }
    Ok(challenger)
}

/// The questions that the row's writer sees about it.
async fn open(store: &dyn Store, row: &Standing) -> Result<Vec<HandleId>> {
    let all = Page::first(500);
    let open = store.claims().list_pending_adjudications(&row.row.writer, &all).await?;
    let about = |handle: &&mnemon_core::claims::PendingAdjudication| {
        handle.request.subject_line.subject == row.row.label
    };
    Ok(open.items.iter().filter(about).map(|open| open.handle_id).collect())
}

#[async_trait]
impl Probe for ClaimsProbe {
    fn facet(&self) -> Facet {
        Facet::Claims
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["assert"]
    }

    fn reads(&self) -> &'static [&'static str] {
        // First what a change takes its row from: a ledger keeps everything.
        &[
            "list_pending",
            "query_audit",
            "verify_audit",
            "belief",
            "belief_then",
            "belief_served",
            "query_subject",
            "history",
            "note_asked",
            "escalate",
            "reconcile",
            "reconcile_all",
        ]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["submit_adjudication"]
    }

    fn touches(&self) -> &'static [&'static str] {
        &["retract", "reinstate", "re_enter", "derive"]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        store.claims().configure(Rules { oracle: true, ..Rules::default() });
        let claim = NewClaim::new(row.label.as_str(), PREDICATE, row.label.as_str());
        Ok(store.claims().assert(&row.writer, claim, None).await?.id.to_string())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let (claims, all, now) = (store.claims(), Page::first(500), AsOf::default());
        let mut labels = BTreeSet::new();
        match verb {
            "query_audit" => {
                let entries = claims.query_audit(reader, &AuditQuery::default(), &all).await?;
                let payloads = entries.items.into_iter().filter_map(|entry| entry.payload);
                labels.extend(payloads.filter_map(|payload| text(&payload["value"])));
            }
            "verify_audit" => {
                let entries = claims.verify_audit(reader).await?.entries;
                return Ok(Seen::Count(usize::try_from(entries).expect("few rows")));
            }
            "list_pending" => {
                for row in rows {
                    contested(store, row).await?;
                }
                let open = claims.list_pending_adjudications(reader, &all).await?.items;
                labels.extend(open.into_iter().map(|open| open.request.subject_line.subject));
            }
            "reconcile_all" => {
                let mut challengers = Vec::new();
                for row in rows {
                    challengers.push((unasked(store, row).await?.id, row));
                }
                let done = claims.reconcile(reader, &[]).await?;
                let reached = |claim: &ClaimId| done.outcomes.iter().any(|one| one.claim == *claim);
                let reached = challengers.into_iter().filter(|(claim, _)| reached(claim));
                labels.extend(reached.map(|(_, row)| row.row.label.clone()));
            }
            _ => {
                for row in rows {
                    let line = line(row)?;
                    match verb {
                        "belief" => labels.extend(label(claims.belief(reader, &line, now).await?)),
                        "belief_then" => {
                            let first = claims.belief(&row.row.writer, &line, now).await?.as_of;
                            let then = AsOf { as_of: first, valid_at: None };
                            labels.extend(label(claims.belief(reader, &line, then).await?));
                        }
                        "belief_served" => {
                            labels.extend(label(claims.belief_served(reader, &line, now).await?));
                        }
                        "query_subject" => {
                            let found =
                                claims.query_subject(reader, &line.subject, now, &all).await?;
                            labels.extend(found.items.into_iter().filter_map(|p| label(p.belief)));
                        }
                        "history" => {
                            let found = claims.history(reader, &line, now, &all).await?.entries;
                            labels.extend(found.iter().filter_map(|entry| text(&entry.value)));
                        }
                        "note_asked" => {
                            let handle = contested(store, row).await?.handle.expect("is asked");
                            let error = format!("{reader:?}");
                            let retry_after = Duration::from_hours(1);
                            let failed = Asked::Failed { error: error.clone(), retry_after };
                            claims.note_asked(reader, handle, failed).await?;
                            let open =
                                claims.list_pending_adjudications(&row.row.writer, &all).await?;
                            let noted = open.items.iter().any(|open| {
                                open.handle_id == handle && open.last_error.as_ref() == Some(&error)
                            });
                            labels.extend(noted.then(|| row.row.label.clone()));
                        }
                        "escalate" => {
                            unasked(store, row).await?;
                            noted(&mut labels, row, claims.escalate(reader, &line).await)?;
                        }
                        _ => {
                            unasked(store, row).await?;
                            let done = claims.reconcile(reader, &[line]).await?;
                            labels.extend(
                                (!done.escalated.is_empty()).then(|| row.row.label.clone()),
                            );
                        }
                    }
                }
            }
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        store: &dyn Store,
        verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        let (claims, id) = (store.claims(), row.name.parse::<ClaimId>()?);
        match verb {
            "submit_adjudication" => {
                let handle = contested(store, row).await?.handle.expect("is asked");
                let deny = AdjudicationResponse::new(handle, Verdict::Deny);
                claims.submit_adjudication(by, deny).await.map(drop)
            }
            "retract" => claims.retract(by, id, "it was wrong").await.map(drop),
            "reinstate" => {
                claims.retract(&row.row.writer, id, "it was wrong").await?;
                claims.reinstate(by, id, "it was right").await.map(drop)
            }
            "re_enter" => {
                let claim = NewClaim {
                    provenance: mnemon_core::claims::Provenance::RecallReEntry,
                    derived_from: vec![id],
                    ..NewClaim::new(row.row.label.as_str(), PREDICATE, row.row.label.as_str())
                };
                claims.assert(by, claim, None).await.map(drop)
            }
            "derive" => {
                let claim = NewClaim {
                    derived_from: vec![id],
                    ..NewClaim::new(format!("from {}", row.row.label), PREDICATE, 0)
                };
                claims.assert(by, claim, None).await.map(drop)
            }
            _ => Err(Error::invalid("verb", format!("{verb} is no verb of claims"))),
        }
    }
}
