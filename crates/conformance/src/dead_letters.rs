//! Cases for dead letters: nothing is lost between take and ack, and nothing is taken twice.

pub(crate) mod many;
pub(crate) mod random;
pub(crate) mod receipts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::dead_letters::{
    Burial, DeadLetter, Delivery, DeliveryReceipt, LetterFilter, Prune, Retry,
};
use mnemon_core::steps::{Step, Write};
use mnemon_core::{Page, RequestId, Scope, limits};
use serde_json::json;

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

const VISIBILITY: Duration = Duration::from_mins(1);

async fn bury(ctx: &Ctx, item: &str) -> u32 {
    let burial = Burial::new("q", item, json!({ "item": item }), "broke");
    ctx.dead_letters().bury(&acme(), burial, None).await.expect("is kept").attempts
}

async fn take(ctx: &Ctx, scope: &Scope, count: u32) -> Vec<Delivery> {
    ctx.dead_letters().take(scope, "q", count, VISIBILITY).await.expect("a take is answered")
}

fn items(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.receipt.item_id.as_str()).collect()
}

pub(crate) async fn items_are_taken_oldest_first_and_acknowledged(ctx: &Ctx) {
    for item in ["c", "a", "b"] {
        bury(ctx, item).await;
        ctx.move_clock(TimeDelta::seconds(1)).await;
    }

    let first = take(ctx, &acme(), 2).await;
    let rest = take(ctx, &acme(), 10).await;

    assert_eq!((items(&first), items(&rest)), (vec!["c", "a"], vec!["b"]));
    assert_eq!(first[0].item, json!({ "item": "c" }));
    assert_eq!((first[0].error.as_str(), first[0].attempts), ("broke", 1));
    assert!(first[0].visible_at > first[0].buried_at);
    for delivery in first.iter().chain(&rest) {
        ctx.dead_letters().ack(&acme(), &delivery.receipt).await.expect("is dealt with");
        fails_as(ctx.dead_letters().ack(&acme(), &delivery.receipt).await, "not_found");
    }
    assert_eq!(ctx.rows("dead_letters").await, 0);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 0);
}

pub(crate) async fn what_a_dead_worker_took_comes_back(ctx: &Ctx) {
    bury(ctx, "a").await;
    let lost = take(ctx, &acme(), 1).await.remove(0);
    assert_eq!(take(ctx, &acme(), 1).await, []);
    ctx.move_clock(TimeDelta::seconds(61)).await;

    let again = take(ctx, &acme(), 1).await.remove(0);

    assert!(again.receipt.delivery > lost.receipt.delivery);
    fails_as(ctx.dead_letters().ack(&acme(), &lost.receipt).await, "fenced");
    ctx.dead_letters().ack(&acme(), &again.receipt).await.expect("is dealt with");
}

pub(crate) async fn a_late_ack_is_fenced_though_nobody_took_it(ctx: &Ctx) {
    bury(ctx, "a").await;
    let taken = take(ctx, &acme(), 1).await.remove(0);
    ctx.move_clock(TimeDelta::seconds(61)).await;

    fails_as(ctx.dead_letters().ack(&acme(), &taken.receipt).await, "fenced");
    let id = RequestId::parse("late").expect("a name");
    let step = Step::new(id).write(Write::Ack(taken.receipt.clone()));
    fails_as(ctx.steps().commit(&acme(), step).await, "fenced");

    assert_eq!(ctx.rows("dead_letters").await, 1, "nothing is lost");
    assert_eq!(ctx.rows("receipts").await, 0);
    let again = take(ctx, &acme(), 1).await.remove(0);
    assert!(again.receipt.delivery > taken.receipt.delivery);
    fails_as(ctx.dead_letters().ack(&acme(), &taken.receipt).await, "fenced");
    ctx.dead_letters().ack(&acme(), &again.receipt).await.expect("is dealt with");
}

pub(crate) async fn burying_again_is_one_more_attempt(ctx: &Ctx) {
    assert_eq!(bury(ctx, "a").await, 1);
    let taken = take(ctx, &acme(), 1).await.remove(0);

    assert_eq!(bury(ctx, "a").await, 2);

    fails_as(ctx.dead_letters().ack(&acme(), &taken.receipt).await, "fenced");
    let again = take(ctx, &acme(), 1).await;
    assert_eq!((items(&again), again[0].attempts), (vec!["a"], 2), "visible at once");
    assert_eq!(again[0].buried_at, taken.buried_at);
    assert_eq!(ctx.rows("dead_letters").await, 1);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 2);
}

pub(crate) async fn what_a_person_must_see_is_not_taken(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let review = Burial { manual_review_required: true, ..Burial::new("q", "a", json!(1), "e") };
    let never = Burial { reprocess_eligible: false, ..Burial::new("q", "b", json!(1), "e") };
    letters.bury(&acme(), review, None).await.expect("is kept");
    letters.bury(&acme(), never, None).await.expect("is kept");

    assert_eq!(take(ctx, &acme(), 10).await, []);
    // Buried again without the mark, it may be taken.
    bury(ctx, "a").await;
    assert_eq!(items(&take(ctx, &acme(), 10).await), ["a"]);
}

fn of(queue: Option<&str>) -> LetterFilter {
    queue.map_or_else(LetterFilter::default, LetterFilter::queue)
}

/// Every letter of a scope's list, page by page.
async fn listed(ctx: &Ctx, scope: &Scope, queue: Option<&str>, size: u32) -> Vec<DeadLetter> {
    let (mut page, mut all) = (Page::first(size), Vec::new());
    loop {
        let piece =
            ctx.dead_letters().list(scope, &of(queue), &page).await.expect("a page is read");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items);
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => return all,
        }
    }
}

pub(crate) async fn letters_are_listed_by_queue_and_id(ctx: &Ctx) {
    let names = [("b", "1"), ("a:1", "x"), ("a", "1:x"), ("a", "2"), ("B", "1"), ("c", ":")];
    for (queue, item) in names {
        let burial = Burial::new(queue, item, json!({ "item": item }), "broke\nat line 3");
        ctx.dead_letters().bury(&acme(), burial, None).await.expect("is kept");
    }
    ctx.dead_letters().take(&acme(), "a", 1, VISIBILITY).await.expect("a take is answered");

    for size in 1..=7 {
        let all = listed(ctx, &acme(), None, size).await;
        let found: Vec<_> = all.iter().map(|l| (l.queue.as_str(), l.item_id.as_str())).collect();
        let mut expected = names;
        expected.sort_unstable();
        assert_eq!(found, expected, "pages of {size}, whether taken or not");
        let one = listed(ctx, &acme(), Some("a"), size).await;
        assert_eq!(one.iter().map(|l| l.item_id.as_str()).collect::<Vec<_>>(), ["1:x", "2"]);
    }
    let one = listed(ctx, &acme(), Some("a"), 2).await;
    let (taken, other) = (&one[0], &one[1]);
    assert!(taken.visible_at > other.visible_at, "somebody works on it");
    assert_eq!((taken.item.clone(), taken.attempts), (json!({ "item": "1:x" }), 1));
    assert_eq!(taken.error, "broke\nat line 3");
    assert_eq!(taken.error_signature, "broke");
    assert!(taken.reprocess_eligible && !taken.manual_review_required);
    assert_eq!(listed(ctx, &acme(), Some("none"), 5).await, []);
    assert_eq!(listed(ctx, &Scope::tenant("globex"), None, 5).await, []);
}

pub(crate) async fn a_foreign_cursor_is_refused(ctx: &Ctx) {
    for item in ["1", "2"] {
        bury(ctx, item).await;
    }
    let page = ctx.dead_letters().list(&acme(), &of(None), &Page::first(1)).await.expect("a page");
    let next = Page { limit: 1, cursor: page.next };

    for cursor in ["events:1", "dead_letters:1", "dead_letters:9:q:1"] {
        let foreign = Page { limit: 1, cursor: cursor.parse().ok() };
        refused(ctx.dead_letters().list(&acme(), &of(None), &foreign).await, "page.cursor");
    }
    refused(ctx.dead_letters().list(&acme(), &of(Some("other")), &next).await, "page.cursor");
    refused(ctx.dead_letters().list(&acme(), &of(None), &Page::first(0)).await, "page.limit");
    refused(ctx.dead_letters().list(&acme(), &of(Some(" ")), &Page::default()).await, "queue");
    fails_as(
        ctx.dead_letters().list(&Scope::tenant(" "), &of(None), &next).await,
        "scope_required",
    );
}

pub(crate) async fn sixteen_takers_share_without_doubles(ctx: &Ctx) {
    for n in 0..80 {
        bury(ctx, &format!("i{n}")).await;
    }
    let stores = [ctx.store(), ctx.another().await];
    let takers: Vec<_> = (0..16)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let letters = store.dead_letters();
                    let taken = letters.take(&acme(), "q", 3, VISIBILITY).await.expect("answered");
                    if taken.is_empty() {
                        return mine;
                    }
                    for delivery in taken {
                        letters.ack(&acme(), &delivery.receipt).await.expect("is dealt with");
                        mine.push(delivery.receipt.item_id);
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.expect("no panic"));
    }

    // Who found nothing may have come while the last ones were locked.
    for delivery in take(ctx, &acme(), 100).await {
        all.push(delivery.receipt.item_id);
    }
    assert_eq!(all.len(), 80);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 80);
    stores[1].close().await;
}

pub(crate) async fn another_scopes_letters_stay(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let burial = Burial::new("q", "a", json!(1), "e");
    letters.bury(&ada(), burial.clone(), None).await.expect("is kept");

    assert_eq!(take(ctx, &bob(), 10).await, []);
    fails_as(letters.bury(&bob(), burial, None).await, "not_found");
    let taken = take(ctx, &ada(), 10).await.remove(0);
    fails_as(letters.ack(&bob(), &taken.receipt).await, "not_found");
    letters.ack(&acme(), &taken.receipt).await.expect("the tenant's service may");
    let elsewhere = letters.take(&acme(), "other", 1, VISIBILITY).await.expect("answered");
    assert_eq!(elsewhere, []);
}

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let burial = |queue: &str, item: &str| Burial::new(queue, item, json!(1), "e");
    refused(letters.bury(&acme(), burial(" ", "a"), None).await, "queue");
    refused(letters.bury(&acme(), burial("q", "a\0"), None).await, "item_id");
    let nul = Burial::new("q", "a", json!("\0"), "e");
    refused(letters.bury(&acme(), nul, None).await, "item");
    refused(letters.take(&acme(), "q", 0, VISIBILITY).await, "count");
    refused(letters.take(&acme(), "q", limits::PAGE_MAX + 1, VISIBILITY).await, "count");
    refused(letters.take(&acme(), "q", 1, Duration::ZERO).await, "visibility");
    let nanos = Duration::from_nanos(999);
    refused(letters.take(&acme(), "q", 1, nanos).await, "visibility");
    let huge = json!("x".repeat(limits::ITEM_BYTES));
    refused(letters.bury(&acme(), Burial::new("q", "a", huge, "e"), None).await, "item");
    let detail = Burial { detail: json!([]), ..burial("q", "a") };
    refused(letters.bury(&acme(), detail, None).await, "detail");
    let metadata = Burial { metadata: json!({ "k": "\0" }), ..burial("q", "a") };
    refused(letters.bury(&acme(), metadata, None).await, "metadata");
    let long = "q".repeat(limits::STREAM_BYTES + 1);
    refused(letters.stats(&acme(), Some(&long)).await, "queue");
    refused(letters.release_expired(&acme(), Some("")).await, "queue");
    refused(letters.get(&acme(), "q", " ").await, "item_id");
    refused(letters.delete(&acme(), "q", "a\0").await, "item_id");
    let page = Page::default();
    refused(letters.list(&acme(), &LetterFilter::queue(" "), &page).await, "queue");
    refused(letters.list(&acme(), &LetterFilter::default(), &Page::first(0)).await, "page.limit");
    refused(letters.attempts(&acme(), "q", " ", &page).await, "item_id");
    let week = limits::VISIBILITY_MAX + Duration::from_micros(1);
    let none = DeliveryReceipt { queue: "q".into(), item_id: "a".into(), delivery: 1 };
    refused(letters.extend(&acme(), &none, week).await, "visibility");
    refused(letters.extend(&acme(), &none, Duration::ZERO).await, "visibility");
    refused(letters.nack(&acme(), &none, week).await, "delay");
    refused(letters.prune(&acme(), &Prune::older_than(Duration::MAX)).await, "older_than");
    let blank = Retry { filter: LetterFilter::queue(""), reviewed: true };
    refused(letters.retry_all(&acme(), &blank).await, "queue");
    fails_as(letters.ack(&acme(), &none).await, "not_found");
    let long_item = "i".repeat(limits::ITEM_ID_BYTES + 1);
    for (queue, item, field) in
        [(" ", "a", "queue"), ("q", "\0", "item_id"), ("q", &long_item, "item_id")]
    {
        let receipt = DeliveryReceipt { queue: queue.into(), item_id: item.into(), delivery: 1 };
        refused(letters.ack(&acme(), &receipt).await, field);
        let step = Step::new(RequestId::parse("s").expect("a name")).write(Write::Ack(receipt));
        refused(ctx.steps().commit(&acme(), step).await, &format!("step.writes[0].{field}"));
    }
    assert_eq!(ctx.rows("dead_letters").await, 0);
}
