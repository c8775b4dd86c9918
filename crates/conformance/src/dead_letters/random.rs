//! Random operations on dead letters against a model of a few lines: same seeds, same answers on
//! every database.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::dead_letters::{Burial, DeliveryReceipt, LetterState, Prune, Retry};
use serde_json::json;

use crate::check::Dice;
use crate::ctx::{Ctx, acme};

/// An item of the model; times in seconds since the start.
#[derive(Clone, Debug)]
struct Item {
    attempts: u32,
    eligible: bool,
    review: bool,
    delivery: i64,
    taken: bool,
    visible: u64,
    /// When `visible` was set: the database's own clock runs on, so that of two equal times the
    /// one set later is later.
    set: u64,
    buried: u64,
}

impl Item {
    fn in_flight(&self, now: u64) -> bool {
        self.taken && self.visible > now
    }

    fn ready(&self, now: u64) -> bool {
        self.visible <= now && self.eligible && !self.review
    }

    fn state(&self, now: u64) -> LetterState {
        if self.in_flight(now) {
            LetterState::InFlight
        } else if !self.eligible {
            LetterState::Rejected
        } else if self.review {
            LetterState::Review
        } else if self.visible > now {
            LetterState::Delayed
        } else {
            LetterState::Ready
        }
    }
}

#[derive(Default)]
struct Model {
    items: BTreeMap<String, Item>,
    receipts: Vec<DeliveryReceipt>,
    now: u64,
}

impl Model {
    /// What a receipt is answered with.
    fn judge(&self, receipt: &DeliveryReceipt) -> &'static str {
        match self.items.get(&receipt.item_id) {
            None => "not_found",
            Some(item) if item.in_flight(self.now) && item.delivery == receipt.delivery => "ok",
            Some(_) => "fenced",
        }
    }

    /// What is ready, in the order in which it is taken.
    fn ready(&self) -> Vec<String> {
        let mut ready: Vec<(&String, &Item)> =
            self.items.iter().filter(|(_, item)| item.ready(self.now)).collect();
        ready.sort_by_key(|(name, item)| (item.visible, item.set, item.buried, (*name).clone()));
        ready.into_iter().map(|(name, _)| name.clone()).collect()
    }
}

fn code<T>(outcome: &mnemon_core::Result<T>) -> &'static str {
    outcome.as_ref().map_or_else(mnemon_core::Error::code, |_| "ok")
}

pub(crate) async fn random_operations_agree_with_the_model_seed_1(ctx: &Ctx) {
    play(ctx, 1).await;
}

pub(crate) async fn random_operations_agree_with_the_model_seed_2(ctx: &Ctx) {
    play(ctx, 2).await;
}

/// Every operation happens in a minute of its own, so that no two times are equal by chance.
async fn play(ctx: &Ctx, seed: u64) {
    let (mut dice, mut model) = (Dice::seeded(seed), Model::default());
    for turn in 0..250 {
        // Longer than a turn lasts: the database's own clock runs on meanwhile.
        let seconds: u64 = [60, 60, 60, 600][dice.below(4)];
        ctx.move_clock(TimeDelta::seconds(seconds.cast_signed())).await;
        model.now += seconds;
        match dice.below(10) {
            0..=2 => bury(ctx, &mut dice, &mut model).await,
            3..=4 => take(ctx, &mut dice, &mut model).await,
            5..=7 => hand_back(ctx, &mut dice, &mut model).await,
            8 => retry(ctx, &mut dice, &mut model).await,
            _ => sweep(ctx, &mut dice, &mut model).await,
        }
        let stats = ctx.dead_letters().stats(&acme(), Some("q")).await.expect("answered");
        let mut expected: BTreeMap<LetterState, u64> = BTreeMap::new();
        for item in model.items.values() {
            *expected.entry(item.state(model.now)).or_default() += 1;
        }
        assert_eq!(stats.by_state, expected, "seed {seed}, turn {turn}");
    }
}

async fn bury(ctx: &Ctx, dice: &mut Dice, model: &mut Model) {
    let name = format!("i{}", dice.below(8));
    let (eligible, review) = (dice.below(8) != 0, dice.below(8) == 0);
    let burial = Burial {
        reprocess_eligible: eligible,
        manual_review_required: review,
        ..Burial::new("q", name.as_str(), json!(1), "e")
    };

    let done = ctx.dead_letters().bury(&acme(), burial, None).await.expect("is kept");

    let now = model.now;
    let item = model.items.entry(name).or_insert(Item {
        attempts: 0,
        eligible,
        review,
        delivery: -1,
        taken: false,
        visible: now,
        set: now,
        buried: now,
    });
    item.attempts += 1;
    item.delivery += 1;
    (item.eligible, item.review, item.taken) = (eligible, review, false);
    (item.visible, item.set) = (now, now);
    assert_eq!(done.attempts, item.attempts);
}

async fn take(ctx: &Ctx, dice: &mut Dice, model: &mut Model) {
    let (count, minutes) = (1 + dice.below(3), 5 + 10 * dice.below(3) as u64);
    let count = u32::try_from(count).expect("small");

    let visibility = Duration::from_mins(minutes) + Duration::from_secs(30);
    let taken = ctx.dead_letters().take(&acme(), "q", count, visibility).await.expect("answered");

    let mut expected = model.ready();
    expected.truncate(count as usize);
    let names: Vec<&str> = taken.iter().map(|d| d.receipt.item_id.as_str()).collect();
    assert_eq!(names, expected);
    for delivery in taken {
        let item = model.items.get_mut(&delivery.receipt.item_id).expect("is in the model");
        item.delivery += 1;
        (item.taken, item.visible, item.set) = (true, model.now + minutes * 60 + 30, model.now);
        assert_eq!((delivery.receipt.delivery, delivery.attempts), (item.delivery, item.attempts));
        model.receipts.push(delivery.receipt);
    }
}

/// Any receipt ever given, old ones too: acknowledged, given back or extended.
async fn hand_back(ctx: &Ctx, dice: &mut Dice, model: &mut Model) {
    if model.receipts.is_empty() {
        return;
    }
    let newest = model.receipts.len().saturating_sub(6);
    let receipt = model.receipts[newest + dice.below(model.receipts.len() - newest)].clone();
    let (expected, letters) = (model.judge(&receipt), ctx.dead_letters());
    let (half, minutes) = (30, 3 + 5 * dice.below(3) as u64);
    let time = Duration::from_secs(minutes * 60 + half);
    let found = match dice.below(3) {
        0 => {
            let found = code(&letters.ack(&acme(), &receipt).await);
            if expected == "ok" {
                model.items.remove(&receipt.item_id);
            }
            found
        }
        kind => {
            let found = if kind == 1 {
                code(&letters.nack(&acme(), &receipt, time).await)
            } else {
                code(&letters.extend(&acme(), &receipt, time).await)
            };
            if let (true, Some(item)) = (expected == "ok", model.items.get_mut(&receipt.item_id)) {
                let until = model.now + time.as_secs();
                (item.taken, item.visible, item.set) = (kind == 2, until, model.now);
            }
            found
        }
    };
    assert_eq!(found, expected, "{receipt:?}");
}

async fn retry(ctx: &Ctx, dice: &mut Dice, model: &mut Model) {
    let reviewed = dice.below(2) == 0;
    let retry = Retry { reviewed, ..Retry::default() };

    let done = ctx.dead_letters().retry_all(&acme(), &retry).await.expect("answered");

    let (now, mut items) = (model.now, 0);
    for item in model.items.values_mut() {
        let barred = !item.eligible || item.review;
        if item.in_flight(now) || item.ready(now) || (barred && !reviewed) {
            continue;
        }
        (item.eligible, item.review, item.taken) = (true, false, false);
        (item.visible, item.set) = (now, now);
        item.delivery += 1;
        items += 1;
    }
    assert_eq!(done.items, items);
}

async fn sweep(ctx: &Ctx, dice: &mut Dice, model: &mut Model) {
    let now = model.now;
    if dice.below(2) == 0 {
        let done = ctx.dead_letters().release_expired(&acme(), Some("q")).await;

        let mut items = 0;
        for item in model.items.values_mut().filter(|item| item.taken && item.visible <= now) {
            (item.taken, item.delivery) = (false, item.delivery + 1);
            items += 1;
        }
        assert_eq!(done.expect("answered").items, items);
        return;
    }
    let minutes = 60 + 60 * dice.below(3) as u64;
    let prune = Prune::older_than(Duration::from_secs(minutes * 60 + 30));

    let done = ctx.dead_letters().prune(&acme(), &prune).await.expect("answered");

    let before = model.items.len();
    model.items.retain(|_, item| item.buried + minutes * 60 + 30 > now || item.in_flight(now));
    assert_eq!(done.items, (before - model.items.len()) as u64);
}
