//! Cases for claims that are there: taken back, taken up again, put in order, asked about.

use mnemon_core::claims::{
    AsOf, BeliefStatus, ClaimId, ClaimWrite, Disposition, HistoryStatus, LedgerKind, Line, Marker,
    NewClaim, Rules,
};
use mnemon_core::steps::{Outcome, Step, Write};
use mnemon_core::{Page, RequestId};

use super::{believed, ceo, dated, planner, say, valid_at};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

fn line() -> Line {
    Line::parse("acme", "ceo").expect("a line")
}

pub(crate) async fn a_retracted_claim_counts_no_more_and_a_reinstated_one_again(ctx: &Ctx) {
    let ada = say(ctx, dated("ada", "2019", None)).await;
    let claims = ctx.claims();

    let gone = claims.retract(&planner(), ada.id, "a mistake").await.expect("is retracted");
    let without = believed(ctx, AsOf::default()).await;
    let again = claims.retract(&planner(), ada.id, "a mistake").await.expect("is done already");
    let back = claims.reinstate(&planner(), ada.id, "no mistake").await.expect("is reinstated");
    let with = believed(ctx, AsOf::default()).await;

    assert_eq!(gone.disposition_of(ada.id), Some(Disposition::Invalidated));
    assert_eq!(without.status, BeliefStatus::NoBelief);
    assert_eq!((again.outcomes.len(), again.recorded_at), (0, None), "nothing was to do");
    assert_eq!(back.disposition_of(ada.id), Some(Disposition::Reinstated));
    assert_eq!(with.primary.expect("it counts again").claim, ada.id);
    assert_eq!(ctx.rows("claims").await, 1, "no claim was added or removed");
    assert_eq!(ctx.rows("claim_ledger").await, 3);
    let then = AsOf { as_of: gone.recorded_at, valid_at: None };
    assert_eq!(believed(ctx, then).await.status, BeliefStatus::NoBelief, "as it was known then");
}

pub(crate) async fn retracting_one_side_ends_a_contest(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let bob = say(ctx, ceo("bob")).await;

    let done = ctx.claims().retract(&planner(), ada.id, "left").await.expect("is retracted");

    assert_eq!(done.disposition_of(bob.id), Some(Disposition::CommittedCheap));
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!(belief.primary.expect("one is left").claim, bob.id);
}

pub(crate) async fn what_stands_on_a_fallen_claim_is_flagged(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let on_it = NewClaim { depends_on: vec![ada.id], ..NewClaim::new("acme", "signs", "ada") };
    let signs = say(ctx, on_it).await;

    let done = ctx.claims().retract(&planner(), ada.id, "left").await.expect("is retracted");

    assert_eq!(done.disposition_of(signs.id), Some(Disposition::PendingReview));
    let line = Line::parse("acme", "signs").expect("a line");
    let belief = ctx.claims().belief(&planner(), &line, AsOf::default()).await.expect("is read");
    assert_eq!(belief.markers, [Marker::PendingReview]);
    assert_eq!(belief.primary.expect("it still counts").claim, signs.id);
}

/// W1: reconciling never picks a winner between claims about one time.
pub(crate) async fn reconciling_picks_no_winner(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;

    let done = ctx.claims().reconcile(&planner(), &[line()]).await.expect("is reconciled");

    assert!(done.outcomes.is_empty() && done.escalated.is_empty(), "{done:?}");
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!((belief.status, belief.alternatives.len()), (BeliefStatus::Contested, 2));
}

pub(crate) async fn windows_left_open_are_reconciled_into_a_succession(ctx: &Ctx) {
    let ada = say(ctx, dated("ada", "2019", None)).await;
    let bob = say(ctx, dated("bob", "2021", None)).await;
    let cat = say(ctx, dated("cat", "2020", None)).await;
    assert_eq!(believed(ctx, AsOf::default()).await.status, BeliefStatus::Contested);

    let done = ctx.claims().reconcile(&planner(), &[]).await.expect("all lines");

    assert_eq!(done.disposition_of(ada.id), Some(Disposition::Superseded));
    assert_eq!(done.disposition_of(bob.id), Some(Disposition::CommittedCheap));
    assert!(done.outcomes.iter().any(|o| o.claim == cat.id && o.closed_at.is_some()));
    let value = async |date: &str| valid_at(ctx, date).await.primary.expect("one value").value;
    assert_eq!(value("2019-06").await, "ada");
    assert_eq!(value("2020-06").await, "cat");
    assert_eq!(value("2026").await, "bob");

    ctx.claims().reinstate(&planner(), ada.id, "she stayed").await.expect("is reinstated");

    assert_eq!(valid_at(ctx, "2026").await.status, BeliefStatus::Contested, "it is open again");
    assert_eq!(ctx.claims().rebuild().await.expect("is rebuilt").differed, 0);
}

pub(crate) async fn equal_starts_are_no_succession(ctx: &Ctx) {
    say(ctx, dated("ada", "2019", None)).await;
    say(ctx, dated("bob", "2019", None)).await;
    say(ctx, NewClaim::new("acme", "seat", "paris")).await;
    say(ctx, NewClaim::new("acme", "seat", "rome").valid_from("2020").expect("a date")).await;

    let done = ctx.claims().reconcile(&planner(), &[]).await.expect("all lines");

    assert!(done.outcomes.is_empty(), "{done:?}");
}

pub(crate) async fn without_an_oracle_nothing_is_escalated(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;

    fails_as(ctx.claims().escalate(&planner(), &line()).await, "setup");

    assert_eq!(ctx.rows("claim_ledger").await, 2);
}

pub(crate) async fn a_contested_line_can_be_asked_about_again(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let bob = say(ctx, ceo("bob")).await;
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });

    let done = ctx.claims().escalate(&planner(), &line()).await.expect("is asked");
    let again = ctx.claims().escalate(&planner(), &line()).await;

    assert_eq!(done.disposition_of(bob.id), Some(Disposition::QueuedForAdjudication));
    assert_eq!(done.escalated.len(), 1);
    fails_as(again, "already_exists");
    let open = ctx.claims().list_pending_adjudications(&planner(), &Page::default()).await;
    let open = open.expect("are listed").items;
    assert_eq!((open[0].challenger, &open[0].incumbents), (bob.id, &vec![ada.id]));
    fails_as(
        ctx.claims().escalate(&planner(), &Line::parse("x", "y").expect("a line")).await,
        "not_found",
    );
}

/// W12: affirming one of several challengers denies the others; no handle is left.
pub(crate) async fn affirming_one_challenger_denies_the_others(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
    let ada = say(ctx, ceo("ada")).await;
    let bob = say(ctx, ceo("bob")).await;
    let cat = say(ctx, ceo("cat")).await;
    let handle = cat.handle.expect("it is asked about");

    let affirm = mnemon_core::claims::AdjudicationResponse::new(
        handle,
        mnemon_core::claims::Verdict::Affirm,
    );
    ctx.claims().submit_adjudication(&planner(), affirm).await.expect("is answered");

    let history =
        ctx.claims().history(&planner(), &line(), AsOf::default(), &Page::default()).await;
    let entries = history.expect("is read").entries;
    let status =
        |id: ClaimId| entries.iter().find(|entry| entry.claim == id).map(|entry| entry.status);
    assert_eq!(status(ada.id), Some(HistoryStatus::Superseded));
    assert_eq!(status(bob.id), Some(HistoryStatus::Rejected));
    assert_eq!(status(cat.id), Some(HistoryStatus::Current));
    let open = ctx.claims().list_pending_adjudications(&planner(), &Page::default()).await;
    assert!(open.expect("are listed").items.is_empty());
    let again = mnemon_core::claims::AdjudicationResponse::new(
        bob.handle.expect("it was asked about"),
        mnemon_core::claims::Verdict::Affirm,
    );
    fails_as(ctx.claims().submit_adjudication(&planner(), again).await, "not_found");
}

pub(crate) async fn every_claim_write_fits_into_a_step(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
    let ada = say(ctx, dated("ada", "2019", None)).await;
    let bob = say(ctx, dated("bob", "2020", None)).await;
    let handle = bob.handle.expect("it is asked about");
    let other = say(ctx, NewClaim::new("acme", "seat", "paris")).await;
    let response = mnemon_core::claims::AdjudicationResponse::new(
        handle,
        mnemon_core::claims::Verdict::Affirm,
    );
    let retract = ClaimWrite::Retract { claim: other.id, reason: "moved".into() };
    let step = Step::new(RequestId::parse("s").expect("a name"))
        .write(Write::Claims(Box::new(ClaimWrite::Adjudicate { response })))
        .write(Write::Claims(Box::new(retract)))
        .write(Write::Assert(Box::new(NewClaim::new("acme", "seat", "rome"))));

    let receipt = ctx.steps().commit(&planner(), step.clone()).await.expect("is committed");
    let again = ctx.steps().commit(&planner(), step).await.expect("is answered");

    assert!(again.replayed && again.outcomes == receipt.outcomes);
    let Outcome::Claims(judged) = &receipt.outcomes[0] else { panic!("{receipt:?}") };
    assert_eq!(judged.disposition_of(ada.id), Some(Disposition::Superseded));
    let Outcome::Assert(rome) = &receipt.outcomes[2] else { panic!("{receipt:?}") };
    assert_eq!(rome.disposition, Disposition::CommittedCheap, "paris was taken back before");
    assert_eq!(valid_at(ctx, "2019-06").await.primary.expect("still answers").claim, ada.id);
    let verdict = ctx.claims().verify_audit(&planner()).await.expect("is verified");
    assert_eq!((verdict.entries, verdict.broken), (ctx.rows("claim_ledger").await, None));
}

pub(crate) async fn bad_changes_are_refused(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let claims = ctx.claims();
    let nobody = ClaimId(uuid::Uuid::from_u128(7));

    refused(claims.retract(&planner(), ada.id, " ").await, "reason");
    refused(claims.reinstate(&planner(), ada.id, &"x".repeat(5_000)).await, "reason");
    fails_as(claims.retract(&planner(), nobody, "why").await, "not_found");
    fails_as(claims.reinstate(&planner(), nobody, "why").await, "not_found");
    fails_as(claims.retract(&acme().agent("other"), ada.id, "why").await, "not_found");
    fails_as(claims.retract(&acme(), ada.id, "why").await, "scope_required");
    let many = vec![line(); 501];
    refused(claims.reconcile(&planner(), &many).await, "lines");
    let blank = Line { subject: " ".into(), predicate: "p".into() };
    refused(claims.reconcile(&planner(), std::slice::from_ref(&blank)).await, "subject");
    refused(claims.escalate(&planner(), &blank).await, "subject");
    let elsewhere = NewClaim { excludes: vec![ada.id], ..NewClaim::new("acme", "seat", "rome") };
    refused(claims.assert(&planner(), elsewhere, None).await, "excludes");

    let kinds = claims
        .query_audit(&planner(), &mnemon_core::claims::AuditQuery::default(), &Page::default())
        .await
        .expect("is read")
        .items;
    assert_eq!(kinds.len(), 1, "nothing was written");
    assert_eq!(kinds[0].kind, LedgerKind::ClaimCommitted);
}
