//! Cases for what people do with dead letters: list, read, count, retry, prune.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::dead_letters::{
    Burial, LetterFilter, LetterState, LetterStats, Prune, Retry, Signature,
};
use mnemon_core::{Page, limits};
use serde_json::json;

use super::{VISIBILITY, bury, take};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

/// One item in every state, each named after it, two seconds apart.
async fn one_of_each(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    for (item, error) in [("in_flight", "e1"), ("delayed", "e1"), ("ready", "e2\nmore")] {
        let burial = Burial::new("q", item, json!({ "item": item }), error);
        letters.bury(&ada().agent("a"), burial, None).await.expect("is kept");
        ctx.move_clock(TimeDelta::seconds(2)).await;
    }
    let burial = |item: &str| Burial::new("q", item, json!(1), "e1");
    let review = Burial { manual_review_required: true, ..burial("review") };
    let rejected = Burial { reprocess_eligible: false, ..burial("rejected") };
    for burial in [review, rejected] {
        letters.bury(&acme(), burial, None).await.expect("is kept");
        ctx.move_clock(TimeDelta::seconds(2)).await;
    }
    let taken = letters.take(&acme(), "q", 2, VISIBILITY).await.expect("answered");
    assert_eq!(taken[1].receipt.item_id, "delayed");
    letters.nack(&acme(), &taken[1].receipt, VISIBILITY).await.expect("given back");
}

async fn names(ctx: &Ctx, filter: &LetterFilter) -> Vec<String> {
    let found = ctx.dead_letters().list(&acme(), filter, &Page::default()).await.expect("a page");
    found.items.into_iter().map(|letter| letter.item_id).collect()
}

pub(crate) async fn every_field_of_a_letter_comes_back(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let first = Burial {
        error_signature: Some("E042".into()),
        detail: json!({ "step": "build", "exit": 1 }),
        metadata: json!({ "worktree": "w0" }),
        ..Burial::new("q:1", "a:1", json!({ "f": ["\u{1f600}", null, 1.5] }), "it broke\nbadly")
    };
    letters.bury(&ada().agent("a").run("r1"), first.clone(), None).await.expect("is kept");
    ctx.move_clock(TimeDelta::seconds(5)).await;
    let second = Burial { metadata: json!({}), ..Burial::new("q:1", "a:1", json!(2), "x\ny") };
    letters.bury(&ada().agent("a").run("r2"), second, None).await.expect("is kept");

    let letter = letters.get(&acme(), "q:1", "a:1").await.expect("is there");
    let page = Page::default();
    let attempts = letters.attempts(&acme(), "q:1", "a:1", &page).await.expect("a page").items;

    assert_eq!((letter.item, letter.metadata), (json!(2), json!({})), "the newest burial's");
    assert_eq!((letter.error.as_str(), letter.error_signature.as_str()), ("x\ny", "x"));
    assert_eq!((letter.attempts, letter.state), (2, LetterState::Ready));
    assert_eq!((letter.user.as_deref(), letter.agent.as_deref()), (Some("ada"), Some("a")));
    assert_eq!(attempts.len(), 2);
    assert_eq!((attempts[0].attempt, attempts[0].run.as_deref()), (2, Some("r2")));
    let old = &attempts[1];
    assert_eq!((old.attempt, old.error.as_str()), (1, "it broke\nbadly"));
    assert_eq!((old.error_signature.as_str(), &old.detail), ("E042", &first.detail));
    assert_eq!((old.user.as_deref(), old.agent.as_deref()), (Some("ada"), Some("a")));
    assert!(letter.buried_at == old.at && attempts[0].at - old.at >= TimeDelta::seconds(5));
    fails_as(letters.get(&acme(), "q", "1:a:1").await, "not_found");
    fails_as(letters.attempts(&acme(), "q:1", "b", &page).await, "not_found");
}

pub(crate) async fn attempts_are_paged_newest_first(ctx: &Ctx) {
    for _ in 0..5 {
        bury(ctx, "a").await;
    }
    let (mut page, mut numbers) = (Page::first(2), Vec::new());
    loop {
        let piece = ctx.dead_letters().attempts(&acme(), "q", "a", &page).await.expect("a page");
        numbers.extend(piece.items.iter().map(|attempt| attempt.attempt));
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }

    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    let foreign = Page { cursor: "dead_letters:1:q:a".parse().ok(), ..Page::default() };
    refused(ctx.dead_letters().attempts(&acme(), "q", "a", &foreign).await, "page.cursor");
}

pub(crate) async fn a_list_is_by_queue_and_id_byte_by_byte(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let keys = [("a", "b"), ("a", "B"), ("a:", "é"), ("a-b", "z"), ("B", "1"), ("a", "b:1")];
    for (queue, item) in keys {
        let burial = Burial::new(queue, item, json!(1), "e");
        letters.bury(&acme(), burial, None).await.expect("is kept");
    }
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    let (mut page, mut found) = (Page::first(1), Vec::new());
    loop {
        let all = LetterFilter::default();
        let piece = letters.list(&acme(), &all, &page).await.expect("a page");
        found.extend(piece.items.into_iter().map(|letter| (letter.queue, letter.item_id)));
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }

    let found: Vec<(&str, &str)> = found.iter().map(|(q, i)| (q.as_str(), i.as_str())).collect();
    assert_eq!(found, expected);
    let other = Page { cursor: page.cursor, ..Page::default() };
    refused(letters.list(&acme(), &LetterFilter::queue("zz"), &other).await, "page.cursor");
}

pub(crate) async fn a_filter_lets_through_what_it_says(ctx: &Ctx) {
    one_of_each(ctx).await;
    bury(ctx, "ready").await;
    let all = names(ctx, &LetterFilter::default()).await;
    assert_eq!(all, ["delayed", "in_flight", "ready", "rejected", "review"]);

    for state in LetterState::ALL {
        let filter = LetterFilter { state: Some(state), ..LetterFilter::default() };
        assert_eq!(names(ctx, &filter).await, [state.as_str()]);
        let letter = ctx.dead_letters().get(&acme(), "q", state.as_str()).await.expect("is there");
        assert_eq!(letter.state, state, "core and the database agree");
    }
    let signature = LetterFilter { error_signature: Some("e1".into()), ..LetterFilter::default() };
    assert_eq!(names(ctx, &signature).await, ["delayed", "in_flight", "rejected", "review"]);
    let again = LetterFilter { min_attempts: Some(2), ..LetterFilter::default() };
    assert_eq!(names(ctx, &again).await, ["ready"]);
    let once = LetterFilter { max_attempts: Some(1), ..LetterFilter::queue("q") };
    assert_eq!(names(ctx, &once).await, ["delayed", "in_flight", "rejected", "review"]);
    let at = ctx.dead_letters().get(&acme(), "q", "ready").await.expect("is there").buried_at;
    let from = LetterFilter { after: Some(at), ..LetterFilter::default() };
    assert_eq!(names(ctx, &from).await, ["ready", "rejected", "review"], "inclusive");
    let until = LetterFilter { before: Some(at), ..LetterFilter::default() };
    assert_eq!(names(ctx, &until).await, ["delayed", "in_flight", "ready"], "inclusive");
    assert_eq!(names(ctx, &LetterFilter::queue("other")).await, Vec::<String>::new());
}

pub(crate) async fn statistics_count_by_state_attempts_and_cause(ctx: &Ctx) {
    let empty = ctx.dead_letters().stats(&acme(), None).await.expect("answered");
    assert_eq!(empty, LetterStats::default());
    one_of_each(ctx).await;
    bury(ctx, "more").await;
    bury(ctx, "more").await;

    let stats = ctx.dead_letters().stats(&acme(), Some("q")).await.expect("answered");
    let hers = ctx.dead_letters().stats(&ada(), None).await.expect("answered");
    let none = ctx.dead_letters().stats(&acme(), Some("r")).await.expect("answered");

    assert_eq!(stats.total, 6);
    let each = |state: LetterState| (state, 1 + u64::from(state == LetterState::Ready));
    assert_eq!(stats.by_state, LetterState::ALL.into_iter().map(each).collect());
    assert_eq!(stats.by_attempts, BTreeMap::from([(1, 5), (2, 1)]));
    let cause = |signature: &str, items| Signature { signature: signature.into(), items };
    assert_eq!(stats.by_signature, [cause("e1", 4), cause("broke", 1), cause("e2", 1)]);
    assert!(stats.oldest.expect("there are some") < stats.newest.expect("there are some"));
    assert_eq!((hers.total, none.total), (3, 0));
}

pub(crate) async fn the_most_frequent_causes_are_listed(ctx: &Ctx) {
    let most = limits::LETTER_SIGNATURES;
    for n in 0..=most {
        let burial = Burial::new("q", format!("i{n}"), json!(1), format!("cause {n:02}"));
        ctx.dead_letters().bury(&acme(), burial, None).await.expect("is kept");
    }

    let stats = ctx.dead_letters().stats(&acme(), None).await.expect("answered");

    assert_eq!((stats.total, stats.by_signature.len()), (u64::from(most) + 1, most as usize));
    assert_eq!(stats.by_signature[0].signature, "cause 00");
}

pub(crate) async fn a_retry_makes_ready_what_waits(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    one_of_each(ctx).await;
    let before = letters.get(&acme(), "q", "in_flight").await.expect("is there");

    let done = letters.retry_all(&acme(), &Retry::default()).await.expect("answered");
    assert_eq!((done.items, done.more), (1, false), "the delayed one");
    let state = |item: &'static str| async move {
        letters.get(&acme(), "q", item).await.expect("is there").state
    };
    assert_eq!(state("delayed").await, LetterState::Ready);
    assert_eq!(state("review").await, LetterState::Review);
    let reviewed = Retry { filter: LetterFilter::queue("q"), reviewed: true };
    let done = letters.retry_all(&acme(), &reviewed).await.expect("answered");

    assert_eq!(done.items, 2, "a person has looked");
    for item in ["delayed", "ready", "review", "rejected"] {
        assert_eq!(state(item).await, LetterState::Ready, "{item}");
    }
    let held = letters.get(&acme(), "q", "in_flight").await.expect("is there");
    assert_eq!(held, before, "a worker keeps what it has");
    let again = letters.retry_all(&acme(), &reviewed).await.expect("answered");
    assert_eq!(again.items, 0);
}

pub(crate) async fn a_retry_takes_the_filter_at_its_word(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    for (item, error) in [("a", "e1"), ("b", "e2")] {
        let burial =
            Burial { manual_review_required: true, ..Burial::new("q", item, json!(1), error) };
        letters.bury(&acme(), burial, None).await.expect("is kept");
    }
    let filter = LetterFilter { error_signature: Some("e1".into()), ..LetterFilter::default() };

    let done = letters.retry_all(&acme(), &Retry { filter, reviewed: true }).await;

    assert_eq!(done.expect("answered").items, 1);
    let taken = take(ctx, &acme(), 9).await;
    assert_eq!(super::items(&taken), ["a"]);
}

pub(crate) async fn pruning_removes_what_is_old_and_in_nobodys_hands(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    one_of_each(ctx).await;
    ctx.move_clock(TimeDelta::seconds(10)).await;
    bury(ctx, "young").await;
    let prune = Prune::older_than(Duration::from_secs(5));

    let dry = letters.prune(&acme(), &Prune { dry_run: true, ..prune.clone() }).await;
    assert_eq!(dry.expect("answered").items, 4);
    assert_eq!(ctx.rows("dead_letters").await, 6, "only counted");
    let filter = LetterFilter { state: Some(LetterState::Review), ..LetterFilter::default() };
    let one = letters.prune(&acme(), &Prune { filter, ..prune.clone() }).await.expect("answered");
    let done = letters.prune(&acme(), &prune).await.expect("answered");

    assert_eq!((one.items, done.items, done.more), (1, 3, false));
    assert_eq!(names(ctx, &LetterFilter::default()).await, ["in_flight", "young"]);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 2);
    ctx.move_clock(TimeDelta::minutes(2)).await;
    assert_eq!(letters.prune(&acme(), &prune).await.expect("answered").items, 2);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 0);
}

pub(crate) async fn large_sweeps_come_in_batches(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    let extra = 7;
    let total = limits::LETTER_BATCH + extra;
    for n in 0..total {
        let burial = Burial {
            manual_review_required: true,
            ..Burial::new("q", format!("i{n}"), json!(1), "e")
        };
        letters.bury(&acme(), burial, None).await.expect("is kept");
    }
    let reviewed = Retry { reviewed: true, ..Retry::default() };

    for call in ["retry", "prune"] {
        let mut sizes = Vec::new();
        loop {
            let done = match call {
                "retry" => letters.retry_all(&acme(), &reviewed).await,
                _ => letters.prune(&acme(), &Prune::older_than(Duration::ZERO)).await,
            };
            let done = done.expect("answered");
            sizes.push(done.items);
            if !done.more {
                break;
            }
        }
        assert_eq!(sizes, [u64::from(limits::LETTER_BATCH), u64::from(extra)], "{call}");
    }
    assert_eq!(ctx.rows("dead_letters").await, 0);
}

pub(crate) async fn one_item_is_deleted_with_its_attempts(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    bury(ctx, "a").await;
    bury(ctx, "b").await;
    let taken = take(ctx, &acme(), 1).await.remove(0).receipt;

    letters.delete(&acme(), "q", "a").await.expect("also when taken");

    fails_as(letters.delete(&acme(), "q", "a").await, "not_found");
    fails_as(letters.ack(&acme(), &taken).await, "not_found");
    assert_eq!(names(ctx, &LetterFilter::default()).await, ["b"]);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 1);
    assert_eq!(bury(ctx, "a").await, 1, "a new life");
}
