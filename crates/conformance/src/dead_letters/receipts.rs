//! Cases for receipts: which are honoured, for how long, and what they are refused as.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::dead_letters::{DeliveryReceipt, LetterState};
use mnemon_core::steps::{Step, Write};
use mnemon_core::{Error, RequestId};

use super::{VISIBILITY, bury, items, take};
use crate::check::fails_as;
use crate::ctx::{Ctx, acme};

pub(crate) async fn a_late_ack_is_fenced_whether_taken_again_or_not(ctx: &Ctx) {
    bury(ctx, "a").await;
    let late = take(ctx, &acme(), 1).await.remove(0).receipt;
    ctx.move_clock(TimeDelta::seconds(61)).await;

    fails_as(ctx.dead_letters().ack(&acme(), &late).await, "fenced");
    fails_as(ctx.dead_letters().extend(&acme(), &late, VISIBILITY).await, "fenced");
    fails_as(ctx.dead_letters().nack(&acme(), &late, Duration::ZERO).await, "fenced");
    assert_eq!(items(&take(ctx, &acme(), 1).await), ["a"], "nothing was lost");
    fails_as(ctx.dead_letters().ack(&acme(), &late).await, "fenced");
}

pub(crate) async fn an_untaken_item_has_no_receipt(ctx: &Ctx) {
    bury(ctx, "a").await;
    for delivery in -1..=2 {
        let guess = DeliveryReceipt { queue: "q".into(), item_id: "a".into(), delivery };

        fails_as(ctx.dead_letters().ack(&acme(), &guess).await, "fenced");
        fails_as(ctx.dead_letters().nack(&acme(), &guess, Duration::ZERO).await, "fenced");
        fails_as(ctx.dead_letters().extend(&acme(), &guess, VISIBILITY).await, "fenced");
    }
    assert_eq!(items(&take(ctx, &acme(), 1).await), ["a"]);
}

pub(crate) async fn what_is_given_back_waits_for_its_delay(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    bury(ctx, "a").await;
    let taken = take(ctx, &acme(), 1).await.remove(0).receipt;

    let until = letters.nack(&acme(), &taken, Duration::from_secs(30)).await.expect("given back");

    let letter = letters.get(&acme(), "q", "a").await.expect("is there");
    assert_eq!((letter.visible_at, letter.state), (until, LetterState::Delayed));
    assert_eq!(letter.attempts, 1, "no attempt is noted");
    fails_as(letters.ack(&acme(), &taken).await, "fenced");
    assert_eq!(take(ctx, &acme(), 1).await, []);
    ctx.move_clock(TimeDelta::seconds(31)).await;
    let again = take(ctx, &acme(), 1).await.remove(0).receipt;
    letters.nack(&acme(), &again, Duration::ZERO).await.expect("given back");
    assert_eq!(items(&take(ctx, &acme(), 1).await), ["a"], "at once");
}

pub(crate) async fn an_extended_item_stays_with_its_worker(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    bury(ctx, "a").await;
    let taken = take(ctx, &acme(), 1).await.remove(0);
    ctx.move_clock(TimeDelta::seconds(50)).await;

    let until = letters.extend(&acme(), &taken.receipt, VISIBILITY).await.expect("more time");

    assert!(until > taken.visible_at);
    ctx.move_clock(TimeDelta::seconds(30)).await;
    assert_eq!(take(ctx, &acme(), 1).await, [], "beyond its first time");
    letters.ack(&acme(), &taken.receipt).await.expect("is dealt with");
}

pub(crate) async fn items_of_lost_workers_are_released(ctx: &Ctx) {
    let letters = ctx.dead_letters();
    for item in ["a", "b", "c"] {
        bury(ctx, item).await;
    }
    let lost = take(ctx, &acme(), 2).await;
    ctx.move_clock(TimeDelta::seconds(61)).await;
    let held = take(ctx, &acme(), 1).await;
    assert_eq!(items(&held), ["c"], "who waited longest comes first");

    let released = letters.release_expired(&acme(), Some("q")).await.expect("answered");
    let again = letters.release_expired(&acme(), None).await.expect("answered");
    let other = letters.release_expired(&acme(), Some("other")).await.expect("answered");

    assert_eq!((released.items, released.more), (2, false));
    assert_eq!((again.items, other.items), (0, 0), "once, and nothing that is held");
    for delivery in &lost {
        fails_as(letters.ack(&acme(), &delivery.receipt).await, "fenced");
    }
    assert_eq!(items(&take(ctx, &acme(), 9).await), ["a", "b"]);
}

pub(crate) async fn an_ack_in_a_step_is_all_or_nothing(ctx: &Ctx) {
    bury(ctx, "a").await;
    let taken = take(ctx, &acme(), 1).await.remove(0).receipt;
    let step = |name: &str, ack: DeliveryReceipt| {
        let again = mnemon_core::dead_letters::Burial::new("q", "b", 1.into(), "e");
        Step::new(RequestId::parse(name).expect("a name"))
            .write(Write::Bury(Box::new(again)))
            .write(Write::Ack(ack))
    };
    let stale = DeliveryReceipt { delivery: taken.delivery - 1, ..taken.clone() };

    fails_as(ctx.steps().commit(&acme(), step("stale", stale)).await, "fenced");
    assert_eq!(ctx.rows("dead_letters").await, 1, "the burial did not happen");
    ctx.steps().commit(&acme(), step("good", taken.clone())).await.expect("is committed");

    fails_as(ctx.dead_letters().get(&acme(), "q", "a").await, "not_found");
    assert_eq!(items(&take(ctx, &acme(), 9).await), ["b"]);
    let again = ctx.steps().commit(&acme(), step("good", taken)).await.expect("is answered");
    assert!(again.replayed);
}

/// Eight consumers, a clock that jumps, workers that forget what they hold: every item is dealt
/// with once, and no item is in two hands whose receipts are both honoured.
pub(crate) async fn eight_consumers_never_deliver_twice(ctx: &Ctx) {
    const ITEMS: usize = 120;
    for n in 0..ITEMS {
        bury(ctx, &format!("i{n:03}")).await;
    }
    let stores = [ctx.store(), ctx.another().await];
    let consumers: Vec<_> = (0..8)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let (mut mine, mut forgotten) = (Vec::new(), 0);
                for turn in 0.. {
                    let letters = store.dead_letters();
                    let taken = letters.take(&acme(), "q", 2, VISIBILITY).await.expect("answered");
                    if taken.is_empty() {
                        break;
                    }
                    for delivery in taken {
                        if (turn + n).is_multiple_of(5) && forgotten < 4 {
                            forgotten += 1;
                            continue;
                        }
                        match letters.ack(&acme(), &delivery.receipt).await {
                            Ok(()) => mine.push(delivery.receipt.item_id),
                            Err(Error::Fenced { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for consumer in consumers {
        all.extend(consumer.await.expect("no panic"));
    }
    // What was forgotten comes back, and what a consumer that saw nothing ready left behind.
    ctx.move_clock(TimeDelta::seconds(61)).await;
    loop {
        let taken = take(ctx, &acme(), 50).await;
        if taken.is_empty() {
            break;
        }
        for delivery in taken {
            ctx.dead_letters().ack(&acme(), &delivery.receipt).await.expect("is dealt with");
            all.push(delivery.receipt.item_id);
        }
    }

    assert_eq!(all.len(), ITEMS, "none twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), ITEMS, "none lost");
    assert_eq!(ctx.rows("dead_letters").await, 0);
    assert_eq!(ctx.rows("dead_letter_attempts").await, 0);
    stores[1].close().await;
}
