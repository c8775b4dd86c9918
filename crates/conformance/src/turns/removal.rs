//! Cases for what is removed: a memory, a session, a person, what is too old; and nothing else.

use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::turns::{Key, NewTurn, Removed, SessionInfo, Settings, Strategy};
use mnemon_core::upkeep::{Task, Upkeep};
use mnemon_core::{Page, Scope};

use super::{all, key, rolling, say, scope, summarize};
use crate::ctx::{Ctx, acme};

const DAY: Duration = Duration::from_hours(24);

/// Turns of two tenants, users and sessions, of two kinds each.
async fn everybody(ctx: &Ctx) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for tenant in ["acme", "globex"] {
        for user in ["ada", "bob"] {
            for session in ["s", "t"] {
                let scope = Scope::tenant(tenant).user(user).session(session);
                for kind in ["conversation", "notes"] {
                    let text = format!("{tenant} {user} {session} {kind}");
                    let turn = NewTurn { kind: kind.into(), ..NewTurn::new(text, "ok") };
                    ctx.turns().append(&scope, turn, None).await.expect("is taken");
                }
                scopes.push(scope);
            }
        }
    }
    scopes
}

/// Whether each memory still holds its one turn, and which do not.
async fn gone(ctx: &Ctx, scopes: &[Scope]) -> Vec<String> {
    let mut gone = Vec::new();
    for scope in scopes {
        for kind in ["conversation", "notes"] {
            if all(ctx, scope, kind, 9).await.is_empty() {
                let (user, session) = (scope.user.clone(), scope.session.clone());
                gone.push(format!(
                    "{} {} {} {kind}",
                    scope.tenant,
                    user.expect("given"),
                    session.expect("given")
                ));
            }
        }
    }
    gone
}

pub(crate) async fn a_clear_takes_one_memory_and_leaves_its_settings(ctx: &Ctx) {
    let scopes = everybody(ctx).await;
    let strategy = Strategy::Truncation { budget_tokens: 99 };
    ctx.turns().configure(&scope(), &key(), &strategy.into()).await.expect("is set");

    let done = ctx.turns().clear(&scope(), &key()).await.expect("is cleared");
    let again = ctx.turns().clear(&scope(), &key()).await.expect("nothing is left to do");

    assert_eq!(done, Removed { memories: 1, turns: 1, summaries: 0 });
    assert_eq!(again.turns, 0);
    assert_eq!(gone(ctx, &scopes).await, ["acme ada s conversation"]);
    let context = ctx.turns().context(&scope(), &key()).await.expect("is read");
    assert_eq!((context.strategy, context.tokens), (strategy, 0));
    assert_eq!(say(ctx, "again").await.seq, 1);
}

pub(crate) async fn a_session_goes_with_all_its_memories(ctx: &Ctx) {
    let scopes = everybody(ctx).await;
    let scratch = Key::from("conversation").run_scoped();
    let turn = NewTurn { run_scoped: true, ..NewTurn::new("of a run", "ok") };
    ctx.turns().append(&scope().run("r"), turn, None).await.expect("is taken");

    let done = ctx.turns().delete_session(&scope()).await.expect("is deleted");

    assert_eq!(done, Removed { memories: 3, turns: 3, summaries: 0 });
    assert_eq!(gone(ctx, &scopes).await, ["acme ada s conversation", "acme ada s notes"]);
    let run = ctx.turns().context(&scope().run("r"), &scratch).await.expect("is read");
    assert_eq!(run.recent_turns, []);
    let again = ctx.turns().delete_session(&scope()).await.expect("nothing is left to do");
    assert_eq!(again, Removed::default());
}

pub(crate) async fn a_person_goes_with_all_their_sessions(ctx: &Ctx) {
    let scopes = everybody(ctx).await;

    let done = ctx.turns().delete_user(&acme().user("bob")).await.expect("is deleted");

    assert_eq!((done.memories, done.turns), (4, 4));
    let expected: Vec<String> = ["s conversation", "s notes", "t conversation", "t notes"]
        .iter()
        .map(|rest| format!("acme bob {rest}"))
        .collect();
    assert_eq!(gone(ctx, &scopes).await, expected);
}

pub(crate) async fn a_person_s_sessions_are_listed_and_nobody_else_s(ctx: &Ctx) {
    everybody(ctx).await;
    say(ctx, "one more").await;
    let ada = acme().user("ada");
    let mut page = Page::first(1);
    let mut found: Vec<SessionInfo> = Vec::new();
    loop {
        let piece = ctx.turns().list_sessions(&ada, &page).await.expect("a page is read");
        found.extend(piece.items);
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }

    let told: Vec<_> =
        found.iter().map(|info| (info.session.as_str(), info.memories, info.turns)).collect();
    assert_eq!(told, [("s", 2, 3), ("t", 2, 2)]);
    let nobody = ctx.turns().list_sessions(&acme().user("eve"), &Page::default()).await;
    assert_eq!(nobody.expect("is read").items, []);
}

async fn sweep(ctx: &Ctx) -> u64 {
    let store = ctx.store();
    let upkeep: &dyn Upkeep = store.upkeep();
    let lease = upkeep.claim(Task::ExpiredTurns, "me", true).await.expect("is asked");
    let lease = lease.expect("nobody holds it");
    let mut rows = 0;
    loop {
        let batch = upkeep.batch(&lease).await.expect("a batch is done");
        rows += batch.rows;
        if !batch.more {
            break;
        }
    }
    upkeep.finish(&lease, None).await.expect("is given back");
    rows
}

pub(crate) async fn turns_go_when_their_time_is_over(ctx: &Ctx) {
    let turns = ctx.turns();
    let short = Settings { retention: Some(DAY), ..Settings::default() };
    turns.configure(&scope(), &key(), &short).await.expect("is set");
    say(ctx, "old").await;
    ctx.move_clock(TimeDelta::hours(20)).await;
    say(ctx, "new").await;
    let kept = NewTurn { kind: "notes".into(), ..NewTurn::new("for good", "ok") };
    turns.append(&scope(), kept, None).await.expect("is taken");
    assert_eq!(sweep(ctx).await, 0, "nothing is over yet");

    ctx.move_clock(TimeDelta::hours(5)).await;
    assert_eq!(sweep(ctx).await, 1);

    let left = all(ctx, &scope(), "conversation", 9).await;
    assert_eq!(left.iter().map(|turn| turn.seq).collect::<Vec<_>>(), [2]);
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!(
        (context.recent_turns.len(), context.left_out),
        (1, 0),
        "what is gone is not left out"
    );
    assert_eq!(say(ctx, "next").await.seq, 3, "places go on");
    ctx.move_clock(TimeDelta::days(2)).await;
    assert_eq!(sweep(ctx).await, 2);
    assert_eq!(ctx.rows("turn_sessions").await, 1, "an empty memory goes, the other stays");
    assert_eq!(all(ctx, &scope(), "notes", 9).await.len(), 1);
}

pub(crate) async fn turns_that_wait_for_a_summary_stay_until_they_have_it(ctx: &Ctx) {
    let turns = ctx.turns();
    let settings = Settings { strategy: rolling(1, None), retention: Some(DAY) };
    turns.configure(&scope(), &key(), &settings).await.expect("is set");
    for n in 1..=4 {
        say(ctx, &format!("turn {n}")).await;
    }
    ctx.move_clock(TimeDelta::days(2)).await;
    assert_eq!(sweep(ctx).await, 0);

    summarize(ctx, &scope(), &key()).await;

    assert_eq!(sweep(ctx).await, 3, "those that the summary stands for");
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!(context.summary.map(|summary| summary.seq_to), Some(3));
    assert_eq!(context.recent_turns.len(), 1);
}

pub(crate) async fn a_clock_that_goes_back_removes_nothing(ctx: &Ctx) {
    let short = Settings { retention: Some(DAY), ..Settings::default() };
    ctx.turns().configure(&scope(), &key(), &short).await.expect("is set");
    say(ctx, "one").await;
    ctx.move_clock(TimeDelta::days(-9)).await;
    say(ctx, "two").await;

    assert_eq!(sweep(ctx).await, 0);

    super::assert_gapless(&all(ctx, &scope(), "conversation", 9).await, 2);
}

pub(crate) async fn what_is_said_while_sessions_are_deleted_is_whole(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let workers: Vec<_> = (0..8_usize)
        .map(|worker| {
            let store = std::sync::Arc::clone(&stores[worker % 2]);
            tokio::spawn(async move {
                for n in 0..15 {
                    if worker == 0 && n % 3 == 0 {
                        store.turns().delete_session(&scope()).await.expect("is deleted");
                    } else if worker == 1 && n % 3 == 0 {
                        store.turns().clear(&scope(), &key()).await.expect("is cleared");
                    } else {
                        let turn = NewTurn::new(format!("{worker} {n}"), "ok");
                        store.turns().append(&scope(), turn, None).await.expect("is taken");
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("no panic");
    }

    let left = all(ctx, &scope(), "conversation", 50).await;
    super::assert_gapless(&left, i64::try_from(left.len()).expect("few"));
    assert_eq!(say(ctx, "on").await.seq, i64::try_from(left.len()).expect("few") + 1);
    stores[1].close().await;
}
