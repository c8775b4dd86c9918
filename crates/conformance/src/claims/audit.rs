//! Cases for the ledger: what it is asked, and that it is whole.

use chrono::TimeDelta;
use mnemon_core::claims::{
    AsOf, AuditQuery, Disposition, LedgerKind, Line, Marker, NewClaim, Provenance, Rules,
};
use mnemon_core::{Cursor, Page};

use super::{believed, ceo, planner, say};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

async fn seqs(ctx: &Ctx, query: &AuditQuery, size: u32) -> Vec<i64> {
    let (mut page, mut seqs) = (Page::first(size), Vec::new());
    loop {
        let piece = ctx.claims().query_audit(&planner(), query, &page).await;
        let piece = piece.expect("a page is read");
        assert!(piece.items.len() <= size as usize);
        seqs.extend(piece.items.into_iter().map(|entry| entry.seq));
        let Some(next) = piece.next else { return seqs };
        page.cursor = Some(next);
    }
}

/// W2: filters come first, then pages; the newest come first.
pub(crate) async fn an_audit_filters_first_then_pages(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    for n in 0..9 {
        say(ctx, NewClaim::new("noise", format!("p{n}"), n)).await;
    }
    let bob = say(ctx, ceo("bob")).await;
    ctx.claims().retract(&planner(), ada.id, "why").await.expect("is retracted");
    let of = |claim| AuditQuery { claim: Some(claim), ..AuditQuery::default() };

    assert_eq!(seqs(ctx, &AuditQuery::default(), 4).await, (1..=13).rev().collect::<Vec<_>>());
    assert_eq!(seqs(ctx, &AuditQuery::oldest_first(), 4).await, (1..=13).collect::<Vec<_>>());
    assert_eq!(seqs(ctx, &of(ada.id), 1).await, [12, 1]);
    assert_eq!(seqs(ctx, &AuditQuery { oldest_first: true, ..of(ada.id) }, 1).await, [1, 12]);
    let kind = AuditQuery { kind: Some(LedgerKind::Retracted), ..AuditQuery::default() };
    assert_eq!(seqs(ctx, &kind, 5).await, [12]);
    let contested =
        AuditQuery { disposition: Some(Disposition::Contested), ..AuditQuery::default() };
    assert_eq!(seqs(ctx, &contested, 5).await, [11]);
    let since = AuditQuery { from: Some(bob.recorded_at), ..AuditQuery::default() };
    assert_eq!(seqs(ctx, &since, 5).await, [13, 12, 11]);
    let before = AuditQuery { until: Some(bob.recorded_at), ..of(ada.id) };
    assert_eq!(seqs(ctx, &before, 5).await, [1]);
}

pub(crate) async fn bad_audits_are_refused(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let claims = ctx.claims();
    let newest = AuditQuery::default();
    let page = |cursor: Option<Cursor>| Page { limit: 1, cursor };

    for cursor in [
        Cursor::of("events", &["1"]),
        Cursor::of("audit-oldest", &["1"]),
        Cursor::of("audit", &["x"]),
    ] {
        let read = claims.query_audit(&planner(), &newest, &page(Some(cursor))).await;
        refused(read, "page.cursor");
    }
    let empty = AuditQuery {
        from: Some(ada.recorded_at),
        until: Some(ada.recorded_at),
        ..AuditQuery::default()
    };
    refused(claims.query_audit(&planner(), &empty, &page(None)).await, "until");
    fails_as(claims.query_audit(&acme(), &newest, &page(None)).await, "scope_required");
    fails_as(claims.verify_audit(&acme()).await, "scope_required");
}

pub(crate) async fn a_whole_ledger_is_verified(ctx: &Ctx) {
    let empty = ctx.claims().verify_audit(&planner()).await.expect("is verified");
    assert_eq!((empty.entries, empty.broken), (0, None));
    let ada = say(ctx, ceo("ada")).await;
    for value in ["bob", "cat"] {
        say(ctx, ceo(value)).await;
    }
    ctx.claims().retract(&planner(), ada.id, "why").await.expect("is retracted");

    let whole = ctx.claims().verify_audit(&planner()).await.expect("is verified");

    assert_eq!((whole.entries, whole.broken), (ctx.rows("claim_ledger").await, None));
}

pub(crate) async fn what_is_served_can_be_noted(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let line = Line::parse("acme", "ceo").expect("a line");

    let served = ctx.claims().belief_served(&planner(), &line, AsOf::default()).await;

    assert_eq!(served.expect("is served").primary.expect("one value").claim, ada.id);
    let noted = AuditQuery { kind: Some(LedgerKind::ServedAsInjected), ..AuditQuery::default() };
    assert_eq!(seqs(ctx, &noted, 5).await, [2]);
    let after = believed(ctx, AsOf::default()).await;
    assert_eq!(after.primary.expect("noting changes nothing").claim, ada.id);
}

/// 808 times the same from its own recall: one claim, and the flood is kept apart.
pub(crate) async fn a_flood_of_re_entries_is_kept_apart(ctx: &Ctx) {
    ctx.claims().configure(Rules { quarantine_burst_threshold: 3, ..Rules::default() });
    let ada = say(ctx, ceo("ada")).await;
    let again = || NewClaim {
        provenance: Provenance::RecallReEntry,
        derived_from: vec![ada.id],
        ..ceo("ada")
    };
    let mut dispositions = Vec::new();
    for _ in 0..5 {
        dispositions.push(say(ctx, again()).await.disposition);
    }
    ctx.move_clock(TimeDelta::minutes(61)).await;
    dispositions.push(say(ctx, again()).await.disposition);

    let (taken, apart) = (Disposition::CommittedCheap, Disposition::Quarantined);
    assert_eq!(dispositions, [taken, taken, taken, apart, apart, taken]);
    assert_eq!(ctx.rows("claims").await, 1);
    let kept = AuditQuery { kind: Some(LedgerKind::Quarantined), ..AuditQuery::default() };
    assert_eq!(seqs(ctx, &kept, 5).await.len(), 2, "W22: each has its ledger row");
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!(belief.markers, [Marker::RecallTainted]);
    assert_eq!(belief.primary.expect("the claim itself stays").claim, ada.id);
    assert_eq!(ctx.claims().rebuild().await.expect("is rebuilt").differed, 0);
}
