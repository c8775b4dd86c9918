//! Cases for summaries: a chain in which every turn stands once, whatever fails meanwhile.

use chrono::TimeDelta;
use mnemon_core::events::{SYSTEM_STREAM, TURNS_HEALTH_CHANGED, TURNS_SUMMARIZING_PAUSED};
use mnemon_core::turns::{
    Assignment, Attempt, Health, NewTurn, Outline, Standing, Summarizer as _, Summary,
};
use mnemon_core::{Error, Fence, Page, limits};

use super::{key, rolling, say, scope, summarize};
use crate::check::fails_as;
use crate::ctx::Ctx;

async fn begin(ctx: &Ctx, zone: u32) {
    let settings = rolling(zone, None).into();
    ctx.turns().configure(&scope(), &key(), &settings).await.expect("is set");
}

async fn talk(ctx: &Ctx, turns: std::ops::RangeInclusive<i64>) {
    for n in turns {
        say(ctx, &format!("turn {n}")).await;
    }
}

async fn take(ctx: &Ctx, holder: &str) -> Assignment {
    let taken = ctx.turns().take(&scope(), &key(), holder).await.expect("nobody holds it");
    taken.expect("turns wait")
}

async fn settle(ctx: &Ctx, assignment: &Assignment, attempt: Attempt) -> Standing {
    let settled = ctx.turns().settle(&scope(), &key(), assignment, &attempt).await;
    settled.expect("it is the holder's to settle")
}

async fn fail(ctx: &Ctx) -> Standing {
    let assignment = take(ctx, "failing").await;
    settle(ctx, &assignment, Attempt::Failed { reason: "no such model".into() }).await
}

async fn answer(ctx: &Ctx, assignment: &Assignment) -> Standing {
    let text = Outline.summarize(&assignment.job()).await.expect("an outline");
    settle(ctx, assignment, Attempt::Summarized { text }).await
}

async fn chain(ctx: &Ctx) -> Vec<Summary> {
    ctx.turns().summaries(&scope(), &key(), &Page::first(500)).await.expect("is read").items
}

/// Every turn once, in order: in the summary or after it.
async fn assert_told(ctx: &Ctx, turns: i64) {
    let context = ctx.turns().context(&scope(), &key()).await.expect("is read");
    let mut told: Vec<i64> = Vec::new();
    for line in context.summary.iter().flat_map(|summary| summary.text.lines()) {
        told.push(line.split('.').next().and_then(|seq| seq.parse().ok()).expect("an outline"));
    }
    told.extend(context.recent_turns.iter().map(|turn| turn.seq));
    assert_eq!(told, (1..=turns).collect::<Vec<_>>(), "{context:?}");
}

async fn notes(ctx: &Ctx, kind: &str) -> Vec<serde_json::Value> {
    let page = Page::first(500);
    let events = ctx.events().read(&scope(), SYSTEM_STREAM, &page).await.expect("is read");
    events.items.into_iter().filter(|event| event.kind == kind).map(|event| event.data).collect()
}

pub(crate) async fn a_chain_covers_every_turn_once(ctx: &Ctx) {
    begin(ctx, 2).await;
    for last in [5, 6, 13] {
        let from = all_of(ctx).await + 1;
        talk(ctx, from..=last).await;
        summarize(ctx, &scope(), &key()).await;
        assert_told(ctx, last).await;
    }

    let chain = chain(ctx).await;
    let ranges: Vec<_> = chain.iter().map(|link| (link.seq_from, link.seq_to)).collect();
    assert_eq!(ranges, [(1, 3), (4, 4), (5, 11)]);
    let extended: Vec<_> = chain.iter().map(|link| link.extends).collect();
    assert_eq!(extended, [None, Some(3), Some(4)]);
    let standing = ctx.turns().health(&scope(), &key()).await.expect("is read");
    assert_eq!((standing.covered, standing.backlog), (11, 0));
}

async fn all_of(ctx: &Ctx) -> i64 {
    let page = Page::first(500);
    let turns = ctx.turns().list(&scope(), &key(), &page).await.expect("is read").items;
    turns.last().map_or(0, |turn| turn.seq)
}

pub(crate) async fn what_is_taken_is_what_no_summary_covers(ctx: &Ctx) {
    begin(ctx, 4).await;
    talk(ctx, 1..=4).await;
    let nothing = ctx.turns().take(&scope(), &key(), "one").await.expect("is asked");
    assert_eq!(nothing, None, "the full zone is not summarised");
    assert_eq!(ctx.turns().due(9).await.expect("is read"), []);
    talk(ctx, 5..=7).await;

    let due = ctx.turns().due(9).await.expect("is read");
    let taken = take(ctx, "one").await;

    assert_eq!((due.len(), &due[0].scope, &due[0].key), (1, &scope(), &key()));
    let seqs: Vec<i64> = taken.turns.iter().map(|turn| turn.seq).collect();
    assert_eq!((seqs, taken.previous.clone(), taken.fence), (vec![1, 2, 3], None, Fence(1)));
    assert_eq!(take(ctx, "one").await, taken, "the same holder asks again");
    answer(ctx, &taken).await;
    assert_eq!(ctx.turns().due(9).await.expect("is read"), []);
}

pub(crate) async fn a_long_backlog_is_taken_in_pieces(ctx: &Ctx) {
    begin(ctx, 1).await;
    let most = i64::from(limits::SUMMARY_BATCH_TURNS);
    talk(ctx, 1..=most + 10).await;

    let first = take(ctx, "one").await;
    assert_eq!(first.seq_to(), most);
    let standing = answer(ctx, &first).await;
    assert_eq!(standing.backlog, 9);
    summarize(ctx, &scope(), &key()).await;

    assert_told(ctx, most + 10).await;
    assert_eq!(chain(ctx).await.len(), 2);
}

pub(crate) async fn one_summarises_at_a_time_and_a_late_one_is_fenced(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=4).await;
    let other = ctx.another().await;
    let first = take(ctx, "first").await;
    let held = other.turns().take(&scope(), &key(), "second").await;
    assert!(matches!(held, Err(Error::Held { .. })), "{held:?}");

    // The first one's process is gone for longer than its lease.
    ctx.move_clock(TimeDelta::from_std(limits::SUMMARY_LEASE).expect("minutes")).await;
    let second = other.turns().take(&scope(), &key(), "second").await;
    let second = second.expect("it is free").expect("turns wait");
    assert!(second.fence > first.fence);
    let late = Attempt::Summarized { text: "late".into() };
    let late = ctx.turns().settle(&scope(), &key(), &first, &late).await;
    fails_as(late, "fenced");
    let failed = Attempt::Failed { reason: "late".into() };
    fails_as(ctx.turns().settle(&scope(), &key(), &first, &failed).await, "fenced");

    answer(ctx, &second).await;

    assert_told(ctx, 4).await;
    assert_eq!(chain(ctx).await.len(), 1, "what was late wrote nothing");
    other.close().await;
}

pub(crate) async fn a_lost_answer_to_a_settlement_is_found_again(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=3).await;
    let assignment = take(ctx, "one").await;

    let first = answer(ctx, &assignment).await;
    let again = answer(ctx, &assignment).await;

    assert_eq!(first, again);
    assert_eq!(chain(ctx).await.len(), 1);
}

pub(crate) async fn what_was_given_up_is_free_at_once(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=3).await;
    let assignment = take(ctx, "one").await;

    let standing = settle(ctx, &assignment, Attempt::Abandoned).await;

    assert_eq!((standing.health, standing.failures), (Health::Healthy, 0), "it is no failure");
    assert_eq!(ctx.turns().due(9).await.expect("is read").len(), 1, "and due");
    take(ctx, "two").await;
}

pub(crate) async fn a_memory_that_is_cleared_meanwhile_takes_no_summary(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=3).await;
    let assignment = take(ctx, "one").await;
    ctx.turns().clear(&scope(), &key()).await.expect("is cleared");
    talk(ctx, 1..=3).await;

    let late = Attempt::Summarized { text: "of what is gone".into() };
    fails_as(ctx.turns().settle(&scope(), &key(), &assignment, &late).await, "fenced");
    ctx.turns().delete_session(&scope()).await.expect("is deleted");
    fails_as(ctx.turns().settle(&scope(), &key(), &assignment, &late).await, "fenced");

    assert_eq!(ctx.rows("turn_summaries").await, 0);
}

pub(crate) async fn an_outage_over_ten_turns_loses_none_of_them(ctx: &Ctx) {
    begin(ctx, 4).await;
    let mut seen = Vec::new();
    for n in 1..=10 {
        talk(ctx, n..=n).await;
        if n > 4 {
            seen.push(fail(ctx).await.health);
            assert_told(ctx, n).await;
        }
    }
    let (retry, degraded) = (Health::Retry, Health::Degraded);
    assert_eq!(seen, [retry, retry, degraded, degraded, degraded, degraded]);
    let down = ctx.turns().health(&scope(), &key()).await.expect("is read");
    assert_eq!((down.failures, down.backlog, down.covered), (6, 6, 0));
    assert_eq!(down.last_error.as_deref(), Some("no such model"));

    summarize(ctx, &scope(), &key()).await;

    assert_told(ctx, 10).await;
    let up = ctx.turns().health(&scope(), &key()).await.expect("is read");
    assert_eq!((up.health, up.failures, up.backlog, up.last_error), (Health::Healthy, 0, 0, None));
    let changes: Vec<_> = notes(ctx, TURNS_HEALTH_CHANGED)
        .await
        .into_iter()
        .map(|data| format!("{} {}", data["prior"], data["new"]).replace('"', ""))
        .collect();
    assert_eq!(
        changes,
        ["healthy retry", "retry degraded", "degraded recovering", "recovering healthy"]
    );
}

pub(crate) async fn a_restart_while_degraded_keeps_everything(ctx: &Ctx) {
    begin(ctx, 4).await;
    talk(ctx, 1..=10).await;
    for _ in 0..3 {
        fail(ctx).await;
    }
    ctx.store().close().await;

    let again = ctx.another().await;

    let turns = again.turns();
    let standing = turns.health(&scope(), &key()).await.expect("is read");
    assert_eq!((standing.health, standing.backlog), (Health::Degraded, 6));
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!((context.recent_turns.len(), context.health), (10, Health::Degraded));
    let taken = turns.take(&scope(), &key(), "new").await.expect("is free").expect("turns wait");
    let text = Outline.summarize(&taken.job()).await.expect("an outline");
    let done = Attempt::Summarized { text: text.clone() };
    let standing = turns.settle(&scope(), &key(), &taken, &done).await.expect("is settled");
    assert_eq!(standing.health, Health::Healthy);
    let said: Vec<&str> = text.lines().map(|line| line.split(" → ").next().unwrap_or("")).collect();
    assert_eq!(
        said,
        ["1. turn 1", "2. turn 2", "3. turn 3", "4. turn 4", "5. turn 5", "6. turn 6"]
    );
    again.close().await;
}

pub(crate) async fn recovery_goes_on_until_nothing_waits(ctx: &Ctx) {
    begin(ctx, 1).await;
    let most = i64::from(limits::SUMMARY_BATCH_TURNS);
    talk(ctx, 1..=most * 2).await;
    for _ in 0..3 {
        fail(ctx).await;
    }

    let first = answer(ctx, &take(ctx, "one").await).await;
    let relapse = fail(ctx).await;
    let second = answer(ctx, &take(ctx, "one").await).await;

    assert_eq!((first.health, first.backlog), (Health::Recovering, most - 1));
    assert_eq!(relapse.health, Health::Degraded);
    assert_eq!((second.health, second.backlog), (Health::Healthy, 0));
    assert_told(ctx, most * 2).await;
}

pub(crate) async fn a_failure_is_left_alone_for_a_while(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=3).await;
    let retry = TimeDelta::from_std(limits::SUMMARY_RETRY).expect("seconds");
    let due = async || ctx.turns().due(9).await.expect("is read").len();
    assert_eq!(due().await, 1);

    fail(ctx).await;
    assert_eq!(due().await, 0);
    ctx.move_clock(retry).await;
    assert_eq!(due().await, 1);
    fail(ctx).await;
    ctx.move_clock(retry).await;
    assert_eq!(due().await, 0, "the pause doubles");
    talk(ctx, 4..=4).await;
    assert_eq!(due().await, 0, "one turn more is no reason to hurry");

    ctx.move_clock(retry).await;
    assert_eq!(due().await, 1);
    summarize(ctx, &scope(), &key()).await;
    talk(ctx, 5..=5).await;
    assert_eq!(due().await, 1, "healthy again: at once");
}

pub(crate) async fn a_long_backlog_only_slows_a_failing_summariser_down(ctx: &Ctx) {
    begin(ctx, 1).await;
    let over = i64::from(limits::SUMMARY_BACKLOG_MAX) + 3;
    for n in 1..=over {
        let turn = NewTurn { tokens: Some(1), ..NewTurn::new(format!("turn {n}"), "ok") };
        ctx.turns().append(&scope(), turn, None).await.expect("is taken");
    }
    for _ in 0..4 {
        fail(ctx).await;
    }

    let standing = ctx.turns().health(&scope(), &key()).await.expect("is read");
    assert!(standing.paused);
    assert_eq!(standing.backlog, over - 1, "and nothing was dropped");
    let told = notes(ctx, TURNS_SUMMARIZING_PAUSED).await;
    assert_eq!((told.len(), &told[0]["backlog"]), (1, &serde_json::json!(over - 1)), "once");
    ctx.move_clock(TimeDelta::from_std(limits::SUMMARY_RETRY_MAX).expect("minutes")).await;
    assert_eq!(ctx.turns().due(9).await.expect("is read"), []);
    ctx.move_clock(TimeDelta::from_std(limits::SUMMARY_PAUSED).expect("an hour")).await;
    assert_eq!(ctx.turns().due(9).await.expect("is read").len(), 1, "it is tried again");

    summarize(ctx, &scope(), &key()).await;

    let chain = chain(ctx).await;
    assert_eq!(chain.last().map(|link| link.seq_to), Some(over - 1));
    assert!(!ctx.turns().health(&scope(), &key()).await.expect("is read").paused);
}

pub(crate) async fn a_clock_that_goes_back_loses_nothing(ctx: &Ctx) {
    begin(ctx, 1).await;
    talk(ctx, 1..=3).await;
    take(ctx, "before").await;
    ctx.move_clock(TimeDelta::days(-2)).await;
    talk(ctx, 4..=6).await;

    // Its lease now ends later than any lease would.
    let assignment = take(ctx, "after").await;
    answer(ctx, &assignment).await;

    assert_told(ctx, 6).await;
    let turns = super::all(ctx, &scope(), "conversation", 2).await;
    super::assert_gapless(&turns, 6);
    assert!(turns[3].at < turns[2].at, "each with the time its clock told");
}

pub(crate) async fn eight_summarisers_write_each_link_once(ctx: &Ctx) {
    begin(ctx, 1).await;
    let stores = [ctx.store(), ctx.another().await];
    talk(ctx, 1..=120).await;
    let workers: Vec<_> = (0..8_usize)
        .map(|worker| {
            let store = std::sync::Arc::clone(&stores[worker % 2]);
            tokio::spawn(async move {
                let turns = store.turns();
                loop {
                    let holder = format!("worker {worker}");
                    match turns.take(&scope(), &key(), &holder).await {
                        Ok(None) => break,
                        Err(Error::Held { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error:?}"),
                        Ok(Some(taken)) => {
                            let text = Outline.summarize(&taken.job()).await.expect("an outline");
                            let done = Attempt::Summarized { text };
                            turns.settle(&scope(), &key(), &taken, &done).await.expect("is kept");
                        }
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("no panic");
    }

    let chain = chain(ctx).await;
    assert_eq!(chain.last().map(|link| link.seq_to), Some(119));
    assert_eq!(chain.len(), 3, "two pieces of fifty and the rest");
    assert!(chain.windows(2).all(|pair| pair[1].extends == Some(pair[0].seq_to)));
    stores[1].close().await;
}
