//! Cases for verdicts: the thirteen scenarios of the system before, and what it got wrong.

use chrono::TimeDelta;
use mnemon_core::Page;
use mnemon_core::claims::{
    AdjudicationResponse, AsOf, Asserted, AuditQuery, BeliefStatus, Criticality, Disposition,
    HandleId, LedgerKind, Marker, NewClaim, PendingAdjudication, Provenance, Rules, Verdict,
};

use super::{believed, ceo, dated, planner, say, valid_at};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

pub(super) fn with_oracle(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
}

/// A dated incumbent and a challenger that an oracle is asked about.
pub(super) async fn asked(ctx: &Ctx) -> (Asserted, Asserted, HandleId) {
    with_oracle(ctx);
    let incumbent = say(ctx, dated("ada", "2019", None)).await;
    let challenger = say(ctx, dated("bob", "2021", None)).await;
    let handle = challenger.handle.expect("an oracle is asked");
    (incumbent, challenger, handle)
}

pub(super) async fn open(ctx: &Ctx) -> Vec<PendingAdjudication> {
    let open = ctx.claims().list_pending_adjudications(&planner(), &Page::default()).await;
    open.expect("are listed").items
}

pub(super) async fn answer(
    ctx: &Ctx,
    handle: HandleId,
    verdict: Verdict,
) -> mnemon_core::Result<Disposition> {
    let response = AdjudicationResponse::new(handle, verdict);
    let done = ctx.claims().submit_adjudication(&planner(), response).await?;
    assert_eq!(done.handle_id, handle);
    Ok(done.disposition)
}

pub(super) async fn kinds(ctx: &Ctx) -> Vec<(LedgerKind, Disposition)> {
    let all = AuditQuery::oldest_first();
    let entries = ctx.claims().query_audit(&planner(), &all, &Page::default()).await;
    let entries = entries.expect("is read").items;
    entries.into_iter().map(|entry| (entry.kind, entry.disposition)).collect()
}

pub(crate) async fn a_conflict_is_put_to_the_oracle_with_its_claim(ctx: &Ctx) {
    let (incumbent, challenger, handle) = asked(ctx).await;

    assert_eq!(challenger.disposition, Disposition::QueuedForAdjudication);
    assert_eq!(challenger.contested_with, [incumbent.id]);
    let open = open(ctx).await;
    assert_eq!(open.len(), 1);
    let request = &open[0].request;
    assert_eq!((open[0].handle_id, request.handle_id), (handle, handle));
    assert_eq!(request.challenger.id, challenger.id);
    assert_eq!(request.incumbent.as_ref().map(|believed| believed.claim), Some(incumbent.id));
    assert_eq!((request.tenant.as_str(), request.agent_id.as_str()), ("acme", "planner"));
    assert_eq!((open[0].expires_at, open[0].attempts), (None, 0));
}

pub(crate) async fn affirming_makes_the_challenger_the_belief(ctx: &Ctx) {
    let (incumbent, challenger, handle) = asked(ctx).await;

    let disposition = answer(ctx, handle, Verdict::Affirm).await.expect("is answered");

    assert_eq!(disposition, Disposition::CommittedCheap);
    let now = believed(ctx, AsOf::default()).await;
    assert_eq!(now.primary.expect("one value").claim, challenger.id);
    // W10: what was true before still is what was true then.
    assert_eq!(valid_at(ctx, "2020").await.primary.expect("one value").claim, incumbent.id);
    assert!(open(ctx).await.is_empty());
}

pub(crate) async fn denying_leaves_the_incumbent(ctx: &Ctx) {
    let (incumbent, challenger, handle) = asked(ctx).await;

    let disposition = answer(ctx, handle, Verdict::Deny).await.expect("is answered");

    assert_eq!(disposition, Disposition::Rejected);
    for date in ["2020", "2022"] {
        let belief = valid_at(ctx, date).await;
        assert_eq!(belief.primary.expect("one value").claim, incumbent.id);
    }
    assert_ne!(incumbent.id, challenger.id);
}

pub(crate) async fn not_knowing_leaves_the_line_contested_and_open_to_ask(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;

    let disposition = answer(ctx, handle, Verdict::Unknown).await.expect("is answered");

    assert_eq!(disposition, Disposition::Contested);
    assert_eq!(valid_at(ctx, "2022").await.status, BeliefStatus::Contested);
    let line = mnemon_core::claims::Line::parse("acme", "ceo").expect("a line");
    let again = ctx.claims().escalate(&planner(), &line).await.expect("is asked again");
    answer(ctx, again.escalated[0], Verdict::Affirm).await.expect("is answered");
    assert_eq!(valid_at(ctx, "2022").await.status, BeliefStatus::Resolved);
}

pub(crate) async fn while_asked_the_belief_is_contested(ctx: &Ctx) {
    asked(ctx).await;

    let belief = valid_at(ctx, "2022").await;

    assert_eq!((belief.status, belief.primary.is_none()), (BeliefStatus::Contested, true));
    assert_eq!(belief.alternatives.len(), 2);
    assert_eq!(belief.markers, [Marker::Contested, Marker::PendingConflict]);
}

pub(crate) async fn an_unknown_or_foreign_handle_is_not_found(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;
    let before = ctx.rows("claim_ledger").await;
    let nobody = HandleId(uuid::Uuid::from_u128(7));

    fails_as(answer(ctx, nobody, Verdict::Affirm).await, "not_found");
    let response = AdjudicationResponse::new(handle, Verdict::Affirm);
    let foreign = acme().agent("other");
    let other = ctx.claims().submit_adjudication(&foreign, response.clone()).await;
    fails_as(other, "not_found");
    let because = Some("x".repeat(5_000));
    let long = AdjudicationResponse { because, ..response };
    refused(ctx.claims().submit_adjudication(&planner(), long).await, "because");

    assert_eq!(ctx.rows("claim_ledger").await, before);
    assert_eq!(open(ctx).await.len(), 1);
}

pub(crate) async fn a_handle_is_answered_once(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;
    answer(ctx, handle, Verdict::Deny).await.expect("is answered");
    let before = ctx.rows("claim_ledger").await;

    fails_as(answer(ctx, handle, Verdict::Affirm).await, "not_found");

    assert_eq!(ctx.rows("claim_ledger").await, before);
}

pub(crate) async fn of_eight_answers_at_once_one_counts(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;
    let other = ctx.another().await;
    let answers: Vec<_> = (0..8)
        .map(|n: usize| {
            let store = if n.is_multiple_of(2) { ctx.store() } else { other.clone() };
            let verdict = if n.is_multiple_of(3) { Verdict::Affirm } else { Verdict::Deny };
            tokio::spawn(async move {
                let response = AdjudicationResponse::new(handle, verdict);
                store.claims().submit_adjudication(&planner(), response).await.is_ok()
            })
        })
        .collect();
    let mut counted = 0;
    for answer in answers {
        counted += usize::from(answer.await.expect("no panic"));
    }

    assert_eq!(counted, 1);
    assert_eq!(ctx.claims().rebuild().await.expect("is rebuilt").differed, 0);
    other.close().await;
}

pub(crate) async fn an_answer_that_comes_too_late_counts_no_more(ctx: &Ctx) {
    with_oracle(ctx);
    say(ctx, ceo("ada")).await;
    let bob = NewClaim { adjudication_ttl_seconds: Some(60), ..ceo("bob") };
    let handle = say(ctx, bob).await.handle.expect("an oracle is asked");
    let before = ctx.rows("claim_ledger").await;
    ctx.move_clock(TimeDelta::seconds(61)).await;

    fails_as(answer(ctx, handle, Verdict::Affirm).await, "not_found");

    assert_eq!(ctx.rows("claim_ledger").await, before, "nothing was written");
}

pub(crate) async fn the_configured_time_to_answer_holds_unless_the_claim_says(ctx: &Ctx) {
    let ttl = Some(std::time::Duration::from_hours(1));
    ctx.claims().configure(Rules {
        oracle: true,
        default_adjudication_ttl: ttl,
        ..Rules::default()
    });
    say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;
    let short = NewClaim { adjudication_ttl_seconds: Some(60), ..ceo("cat") };
    say(ctx, short).await;

    let waits: Vec<_> = open(ctx)
        .await
        .iter()
        .map(|open| (open.expires_at.expect("a time") - open.queued_at).num_seconds())
        .collect();

    assert_eq!(waits, [3600, 60]);
    let bad = NewClaim { adjudication_ttl_seconds: Some(0), ..ceo("dan") };
    refused(ctx.claims().assert(&planner(), bad, None).await, "adjudication_ttl_seconds");
}

pub(crate) async fn a_verdict_is_written_whole_or_not_at_all(ctx: &Ctx) {
    use crate::{FailingStore, Fault, When};

    let (incumbent, challenger, handle) = asked(ctx).await;
    let before = (ctx.rows("claim_ledger").await, ctx.rows("claim_bounds").await);
    let refused = FailingStore::new(ctx.store(), Fault { after: 0, times: 1, when: When::Refused });
    let store: &dyn mnemon_core::Store = &refused;
    let response = AdjudicationResponse::new(handle, Verdict::Affirm);
    fails_as(store.claims().submit_adjudication(&planner(), response).await, "unavailable");
    assert_eq!((ctx.rows("claim_ledger").await, ctx.rows("claim_bounds").await), before);

    answer(ctx, handle, Verdict::Affirm).await.expect("is answered");

    let after = (ctx.rows("claim_ledger").await, ctx.rows("claim_bounds").await);
    assert_eq!(after, (before.0 + 2, before.1 + 1), "winner, loser and its bound");
    assert_eq!(ctx.rows("claim_edges").await, 1, "who superseded whom");
    assert_ne!(incumbent.id, challenger.id);
}

pub(crate) async fn the_ledger_says_what_was_asked_and_answered(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;
    answer(ctx, handle, Verdict::Affirm).await.expect("is answered");

    assert_eq!(
        kinds(ctx).await,
        [
            (LedgerKind::ClaimCommitted, Disposition::CommittedCheap),
            (LedgerKind::ClaimCommitted, Disposition::QueuedForAdjudication),
            (LedgerKind::AdjudicationRequested, Disposition::QueuedForAdjudication),
            (LedgerKind::AdjudicationResolved, Disposition::Superseded),
            (LedgerKind::AdjudicationResolved, Disposition::CommittedCheap),
        ]
    );
    let newest = ctx
        .claims()
        .query_audit(&planner(), &AuditQuery::default(), &Page::first(1))
        .await
        .expect("is read")
        .items
        .remove(0);
    let payload = newest.payload.expect("not erased");
    assert_eq!(
        (&payload["verdict"], &payload["handle"]),
        (&"Affirm".into(), &handle.to_string().into())
    );
}

pub(crate) async fn a_models_word_does_not_overturn_what_much_depends_on(ctx: &Ctx) {
    with_oracle(ctx);
    let critical = NewClaim { criticality: Criticality::Critical, ..ceo("penicillin") };
    say(ctx, critical).await;
    let handle = say(ctx, ceo("none")).await.handle.expect("an oracle is asked");
    let response = AdjudicationResponse {
        evidence_provenance: Provenance::ModelDerived,
        ..AdjudicationResponse::new(handle, Verdict::Affirm)
    };

    let done = ctx.claims().submit_adjudication(&planner(), response).await.expect("is taken");

    assert_eq!(done.disposition, Disposition::Contested);
    assert_eq!(believed(ctx, AsOf::default()).await.status, BeliefStatus::Contested);
}

pub(crate) async fn a_reconciliation_leaves_an_open_question_alone(ctx: &Ctx) {
    let (_, _, handle) = asked(ctx).await;

    let done = ctx.claims().reconcile(&planner(), &[]).await.expect("is reconciled");

    assert!(done.outcomes.is_empty(), "W1: {done:?}");
    answer(ctx, handle, Verdict::Deny).await.expect("the question is still open");
}
