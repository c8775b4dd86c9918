//! Cases for many at once, and for many operations in a row, against a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use mnemon_core::turns::{
    Attempt, Export, Key, NewTurn, Outline, Settings, Strategy, Summarizer as _,
};
use mnemon_core::{Error, RequestId};

use super::{all, assert_gapless, key, rolling, scope};
use crate::check::Dice;
use crate::ctx::Ctx;

pub(crate) async fn sixteen_hundred_turns_of_sixteen_writers_are_all_there_once(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    ctx.turns().configure(&scope(), &key(), &rolling(4, None).into()).await.expect("is set");
    let writers: Vec<_> = (0..16_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                for n in 0..100 {
                    // Every third is sent twice, as after a lost answer.
                    let request_id = RequestId::parse(format!("{writer} {n}")).ok();
                    let turn =
                        NewTurn { request_id, ..NewTurn::new(format!("{writer} {n}"), "ok") };
                    for _ in 0..=usize::from(n % 3 == 0) {
                        store.turns().append(&scope(), turn.clone(), None).await.expect("is taken");
                    }
                }
            })
        })
        .collect();
    let summariser = {
        let store = Arc::clone(&stores[1]);
        tokio::spawn(async move {
            let turns = store.turns();
            for round in 0..20 {
                let holder = format!("round {round}");
                let Ok(Some(taken)) = turns.take(&scope(), &key(), &holder).await else { continue };
                let text = Outline.summarize(&taken.job()).await.expect("an outline");
                let done = Attempt::Summarized { text };
                turns.settle(&scope(), &key(), &taken, &done).await.expect("is kept");
            }
        })
    };
    for task in writers.into_iter().chain([summariser]) {
        task.await.expect("no panic");
    }

    let turns = all(ctx, &scope(), "conversation", 500).await;
    assert_gapless(&turns, 1_600);
    let mut last = BTreeMap::new();
    for turn in &turns {
        let text = turn.user_message.as_deref().expect("was said");
        let (writer, n) = text.split_once(' ').expect("two numbers");
        let n: i64 = n.parse().expect("a number");
        let before = last.insert(writer.to_owned(), n);
        assert_eq!(n, before.map_or(0, |before| before + 1), "in its writer's order");
    }
    assert_eq!(last.len(), 16);
    stores[1].close().await;
}

/// What a memory should hold, by the rules alone.
#[derive(Clone, Default)]
struct Model {
    strategy: Strategy,
    turns: Vec<String>,
    covered: usize,
    links: Vec<(usize, usize)>,
    requests: BTreeMap<usize, usize>,
}

impl Model {
    fn waiting(&self) -> usize {
        match self.strategy.full_zone_turns() {
            Some(zone) => self.turns.len().saturating_sub(zone as usize + self.covered),
            None => 0,
        }
    }
}

pub(crate) async fn random_operations_agree_with_the_model(ctx: &Ctx) {
    for seed in 1..=4 {
        let key = Key::from(&format!("seed {seed}"));
        agree(ctx, seed, &key).await;
    }
}

async fn agree(ctx: &Ctx, seed: u64, key: &Key) {
    let (mut dice, mut model) = (Dice::seeded(seed), Model::default());
    let mut copy: Option<(Export, Model)> = None;
    let turns = ctx.turns();
    for step in 0..120 {
        match dice.below(12) {
            0..=5 => append(ctx, key, &mut dice, &mut model, step).await,
            6 | 7 => summarize_once(ctx, key, &mut dice, &mut model).await,
            8 => {
                let strategy = *dice.pick(&[
                    Strategy::default(),
                    rolling(2, None),
                    rolling(5, Some(100)),
                    Strategy::None,
                ]);
                let done = turns.configure(&scope(), key, &Settings::from(strategy)).await;
                let fits = model
                    .strategy
                    .may_become(strategy, i64::try_from(model.turns.len()).expect("few"));
                assert_eq!(done.is_ok(), fits, "seed {seed}, step {step}: {done:?}");
                if fits {
                    model.strategy = strategy;
                }
            }
            9 if dice.below(4) == 0 => {
                turns.clear(&scope(), key).await.expect("is cleared");
                (model.turns, model.covered) = (Vec::new(), 0);
                model.links.clear();
                model.requests.clear();
            }
            10 => {
                let export = turns.export(&scope(), key).await.expect("is copied");
                copy = Some((export, model.clone()));
            }
            11 if dice.below(3) == 0 => {
                let Some((copy, kept)) = &copy else { continue };
                let done = turns.import(&scope(), key, copy).await;
                let known = kept.strategy.name() == model.strategy.name();
                assert_eq!(done.is_ok(), known, "seed {seed}, step {step}: {done:?}");
                if known {
                    model = Model { strategy: model.strategy, ..kept.clone() };
                }
            }
            _ => {}
        }
        compare(ctx, key, &model, seed, step).await;
    }
}

async fn append(ctx: &Ctx, key: &Key, dice: &mut Dice, model: &mut Model, step: usize) {
    let request = dice.below(60);
    let request_id = RequestId::parse(format!("r{request}")).ok();
    let kind = key.kind.clone();
    let turn = NewTurn { kind, request_id, ..NewTurn::new(format!("step {step}"), "ok") };
    let done = ctx.turns().append(&scope(), turn, None).await.expect("is taken");
    if model.strategy == Strategy::None {
        assert_eq!((done.seq, done.created), (0, false));
        return;
    }
    let first = model.requests.get(&request).copied();
    let seq = first.unwrap_or(model.turns.len() + 1);
    assert_eq!(done.seq, i64::try_from(seq).expect("few"));
    assert_eq!(done.created, first.is_none());
    if first.is_none() {
        model.turns.push(format!("step {step}"));
        model.requests.insert(request, seq);
    }
}

async fn summarize_once(ctx: &Ctx, key: &Key, dice: &mut Dice, model: &mut Model) {
    let holder = format!("holder {}", dice.next());
    let taken = ctx.turns().take(&scope(), key, &holder).await.expect("nobody else asks");
    assert_eq!(taken.is_some(), model.waiting() > 0);
    let Some(taken) = taken else { return };
    if dice.below(3) == 0 {
        let failed = Attempt::Failed { reason: "chance".into() };
        ctx.turns().settle(&scope(), key, &taken, &failed).await.expect("is settled");
        return;
    }
    let end = usize::try_from(taken.seq_to()).expect("few");
    let done = Attempt::Summarized { text: format!("up to {end}") };
    ctx.turns().settle(&scope(), key, &taken, &done).await.expect("is settled");
    model.links.push((model.covered + 1, end));
    model.covered = end;
}

async fn compare(ctx: &Ctx, key: &Key, model: &Model, seed: u64, step: usize) {
    let at = format!("seed {seed}, step {step}");
    let found = all(ctx, &scope(), &key.kind, 500).await;
    let said: Vec<_> = found.iter().filter_map(|turn| turn.user_message.clone()).collect();
    assert_eq!(said, model.turns, "{at}");
    let page = mnemon_core::Page::first(500);
    let chain = ctx.turns().summaries(&scope(), key, &page).await.expect("is read").items;
    let links: Vec<(usize, usize)> = chain
        .iter()
        .map(|link| {
            let place = |seq: i64| usize::try_from(seq).expect("few");
            (place(link.seq_from), place(link.seq_to))
        })
        .collect();
    assert_eq!(links, model.links, "{at}");
    let standing = ctx.turns().health(&scope(), key).await.expect("is read");
    assert_eq!(usize::try_from(standing.backlog).expect("few"), model.waiting(), "{at}");
    let due = ctx.turns().due(500).await.expect("is read");
    let queued = due.iter().any(|due| due.key == *key);
    assert!(!queued || model.waiting() > 0, "{at}: queued though nothing waits");
    let context = ctx.turns().context(&scope(), key).await.expect("is read");
    if let (Strategy::RollingSummary { budget_tokens: None, .. }, false) =
        (model.strategy, model.turns.is_empty())
    {
        let covered = context.summary.map_or(0, |link| link.seq_to);
        let told = usize::try_from(covered).expect("few") + context.recent_turns.len();
        assert_eq!(told, model.turns.len(), "{at}: every turn once");
    }
}

pub(crate) async fn a_store_that_fails_loses_no_turn(ctx: &Ctx) {
    use crate::failing::{FailingStore, Fault, When};
    use mnemon_core::Store as _;
    for (n, when) in [When::Refused, When::AnswerLost].into_iter().enumerate() {
        for after in 0..6 {
            let store = FailingStore::new(ctx.store(), Fault { after, times: 2, when });
            let kind = format!("{n} {after}");
            for turn in 0..4 {
                let new = NewTurn {
                    kind: kind.clone(),
                    request_id: RequestId::parse(format!("{turn}")).ok(),
                    ..NewTurn::new(format!("turn {turn}"), "ok")
                };
                loop {
                    match store.turns().append(&scope(), new.clone(), None).await {
                        Ok(_) => break,
                        Err(Error::Unavailable { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
            assert_gapless(&all(ctx, &scope(), &kind, 9).await, 4);
        }
    }
}
