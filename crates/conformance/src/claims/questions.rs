//! Cases for questions: put until somebody takes them, listed, and over when their time is.

use chrono::TimeDelta;
use mnemon_core::claims::{AdjudicationResponse, AsOf, Disposition, LedgerKind, NewClaim, Verdict};
use mnemon_core::{Cursor, Page, Scope};

use super::oracle::{answer, asked, kinds, open, with_oracle};
use super::{believed, ceo, planner, say};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

pub(crate) async fn a_sweep_makes_unanswered_claims_contested(ctx: &Ctx) {
    with_oracle(ctx);
    let ada = say(ctx, ceo("ada")).await;
    let bob = NewClaim { adjudication_ttl_seconds: Some(60), ..ceo("bob") };
    let bob = say(ctx, bob).await;
    let cat = say(ctx, ceo("cat")).await;
    let sweep = async || ctx.claims().sweep_expired_adjudications(&planner()).await;
    assert_eq!(sweep().await.expect("is swept"), 0, "nothing is over yet");
    ctx.move_clock(TimeDelta::seconds(61)).await;

    assert_eq!(sweep().await.expect("is swept"), 1);
    assert_eq!(sweep().await.expect("is swept"), 0);

    let last = kinds(ctx).await.pop().expect("an entry");
    assert_eq!(last, (LedgerKind::AdjudicationExpired, Disposition::Contested));
    let belief = believed(ctx, AsOf::default()).await;
    let shown: Vec<_> = belief.alternatives.iter().map(|b| (b.claim, b.disposition)).collect();
    assert_eq!(
        shown,
        [
            (ada.id, Disposition::CommittedCheap),
            (bob.id, Disposition::Contested),
            (cat.id, Disposition::QueuedForAdjudication)
        ]
    );
    assert_eq!(open(ctx).await.len(), 1, "the other one waits on");
}

pub(crate) async fn a_sweep_reaches_its_own_agents_questions_only(ctx: &Ctx) {
    with_oracle(ctx);
    let scopes = [planner(), acme().agent("other"), Scope::tenant("globex").agent("planner")];
    for scope in &scopes {
        for value in ["ada", "bob"] {
            let claim = NewClaim { adjudication_ttl_seconds: Some(60), ..ceo(value) };
            ctx.claims().assert(scope, claim, None).await.expect("is written");
        }
    }
    ctx.move_clock(TimeDelta::seconds(61)).await;

    for (place, scope) in scopes.iter().enumerate() {
        let swept = ctx.claims().sweep_expired_adjudications(scope).await;
        assert_eq!(swept.expect("is swept"), 1);
        for (other, scope) in scopes.iter().enumerate() {
            let open = ctx.claims().list_pending_adjudications(scope, &Page::default()).await;
            let open = open.expect("are listed").items.len();
            assert_eq!(open, usize::from(other > place), "{scope:?}");
        }
    }
    let nobody = ctx.claims().sweep_expired_adjudications(&acme()).await;
    fails_as(nobody, "scope_required");
}

pub(crate) async fn upkeep_sweeps_every_agents_questions(ctx: &Ctx) {
    with_oracle(ctx);
    for agent in ["one", "two", "three"] {
        let scope = acme().agent(agent);
        for value in ["ada", "bob"] {
            let claim = NewClaim { adjudication_ttl_seconds: Some(60), ..ceo(value) };
            ctx.claims().assert(&scope, claim, None).await.expect("is written");
        }
    }
    ctx.move_clock(TimeDelta::seconds(61)).await;
    let task = mnemon_core::upkeep::Task::ExpiredAdjudications;

    let lease = ctx.upkeep().claim(task, "me", true).await.expect("answers").expect("is free");
    let batch = ctx.upkeep().batch(&lease).await.expect("is done");

    assert_eq!(batch.rows, 3);
    for agent in ["one", "two", "three"] {
        let scope = acme().agent(agent);
        let open = ctx.claims().list_pending_adjudications(&scope, &Page::default()).await;
        assert!(open.expect("are listed").items.is_empty());
        assert!(ctx.claims().verify_audit(&scope).await.expect("is verified").broken.is_none());
    }
}

pub(crate) async fn a_question_outlives_its_handle_on_the_store(ctx: &Ctx) {
    let (_, challenger, handle) = asked(ctx).await;

    let reopened = ctx.another().await;
    let response = AdjudicationResponse::new(handle, Verdict::Affirm);
    let done = reopened.claims().submit_adjudication(&planner(), response).await;

    assert_eq!(done.expect("is answered").claim_ref, challenger.id);
    assert!(open(ctx).await.is_empty());
    reopened.close().await;
}

pub(crate) async fn a_question_is_put_until_it_is_taken(ctx: &Ctx) {
    use mnemon_core::claims::Asked;
    use std::time::Duration;

    let (_, _, handle) = asked(ctx).await;
    let minute = Duration::from_mins(1);
    let take = async || {
        let taken = ctx.claims().take_undelivered(10, minute).await.expect("are taken");
        taken.into_iter().map(|u| (u.request.handle_id, u.attempts)).collect::<Vec<_>>()
    };
    let note = async |asked| ctx.claims().note_asked(&planner(), handle, asked).await;

    assert_eq!(take().await, [(handle, 1)]);
    assert_eq!(take().await, [], "another process has it");
    ctx.move_clock(TimeDelta::seconds(61)).await;
    assert_eq!(take().await, [(handle, 2)], "that process died");
    let failed = Asked::Failed { error: "no line".into(), retry_after: 2 * minute };
    note(failed).await.expect("is noted");
    ctx.move_clock(TimeDelta::seconds(61)).await;
    assert_eq!(take().await, [], "it is put again, but later");
    assert_eq!(open(ctx).await[0].last_error.as_deref(), Some("no line"));
    ctx.move_clock(TimeDelta::seconds(60)).await;
    assert_eq!(take().await, [(handle, 3)]);
    note(Asked::Taken).await.expect("is noted");
    ctx.move_clock(TimeDelta::days(1)).await;
    assert_eq!(take().await, [], "the oracle has it");
    assert!(open(ctx).await[0].delivered_at.is_some());
    answer(ctx, handle, Verdict::Affirm).await.expect("and answers");
}

pub(crate) async fn of_four_takers_one_puts_each_question(ctx: &Ctx) {
    with_oracle(ctx);
    for n in 0..12 {
        let line = |value: &str| NewClaim::new("acme", format!("p{n}"), value);
        say(ctx, line("a")).await;
        say(ctx, line("b")).await;
    }
    let other = ctx.another().await;
    let takers: Vec<_> = (0..4)
        .map(|n: usize| {
            let store = if n.is_multiple_of(2) { ctx.store() } else { other.clone() };
            tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let minute = std::time::Duration::from_mins(1);
                    let some = store.claims().take_undelivered(2, minute).await;
                    let some = some.expect("are taken");
                    if some.is_empty() {
                        return taken;
                    }
                    taken.extend(some.into_iter().map(|u| u.request.handle_id));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.expect("no panic"));
    }
    all.sort_unstable();
    let taken = all.len();
    all.dedup();

    assert_eq!((taken, all.len()), (12, 12));
    other.close().await;
}

pub(crate) async fn questions_are_listed_in_pages(ctx: &Ctx) {
    with_oracle(ctx);
    for value in ["a", "b", "c", "d", "e"] {
        say(ctx, ceo(value)).await;
    }
    let mut page = Page::first(3);
    let mut all = Vec::new();
    loop {
        let piece = ctx.claims().list_pending_adjudications(&planner(), &page).await;
        let piece = piece.expect("a page is read");
        all.extend(piece.items.into_iter().map(|open| open.handle_id));
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }
    assert_eq!(all.len(), 4);
    let foreign = Page { limit: 1, cursor: Some(Cursor::of("events", &["1"])) };
    let listed = ctx.claims().list_pending_adjudications(&planner(), &foreign).await;
    refused(listed, "page.cursor");
    fails_as(
        ctx.claims().list_pending_adjudications(&acme(), &Page::default()).await,
        "scope_required",
    );
}
