//! Cases for turns: appended without gaps or doubles, and the part that fits a context.

pub(crate) mod copies;
pub(crate) mod harbor;
pub(crate) mod load;
pub(crate) mod removal;
pub(crate) mod strategies;
pub(crate) mod summaries;

use std::sync::Arc;

use mnemon_core::turns::truncate::MARKER;
use mnemon_core::turns::{
    Attempt, Digest, Key, NewTurn, Outline, Strategy, Summarizer as _, Turn, TurnAppended,
};
use mnemon_core::{Cursor, Page, RequestId, Scope, limits};
use serde_json::json;

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

const KIND: &str = "conversation";

fn scope() -> Scope {
    acme().user("ada").session("s")
}

fn key() -> Key {
    Key::default()
}

fn rolling(full_zone_turns: u32, budget_tokens: Option<u32>) -> Strategy {
    Strategy::RollingSummary { full_zone_turns, budget_tokens }
}

/// Has everything summarised that waits for it, as upkeep would.
async fn summarize(ctx: &Ctx, scope: &Scope, key: &Key) {
    let turns = ctx.turns();
    while let Some(taken) = turns.take(scope, key, "summarizer").await.expect("nobody holds it") {
        let text = Outline.summarize(&taken.job()).await.expect("an outline");
        let attempt = Attempt::Summarized { text };
        turns.settle(scope, key, &taken, &attempt).await.expect("it is ours to settle");
    }
}

async fn say(ctx: &Ctx, text: &str) -> TurnAppended {
    ctx.turns().append(&scope(), NewTurn::new(text, "ok"), None).await.expect("a turn is taken")
}

async fn all(ctx: &Ctx, scope: &Scope, kind: &str, size: u32) -> Vec<Turn> {
    let mut page = Page::first(size);
    let mut all = Vec::new();
    loop {
        let piece = ctx.turns().list(scope, &Key::from(kind), &page).await.expect("a page is read");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

#[track_caller]
fn assert_gapless(turns: &[Turn], count: i64) {
    let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    assert_eq!(seqs, (1..=count).collect::<Vec<_>>());
}

pub(crate) async fn every_field_of_a_turn_comes_back(ctx: &Ctx) {
    let turn = NewTurn {
        user_message: Some("\u{1f600} ' \\ \"".into()),
        assistant_response: None,
        digest: Some(Digest { tools: vec!["grep".into()], ..Digest::default() }),
        artifacts_shown: vec!["a,{}\"".into(), String::from("b")],
        artifacts_hidden: vec!["c".into()],
        metadata: json!({ "deep": [null, { "x": 1.5 }] }),
        tokens: Some(u32::MAX),
        at: Some(ctx.now().await),
        ..NewTurn::default()
    };

    let done = ctx.turns().append(&scope(), turn.clone(), None).await.expect("is taken");

    assert_eq!(done, TurnAppended { seq: 1, created: true });
    let found = all(ctx, &scope(), KIND, 10).await.remove(0);
    assert_eq!(found.user_message, turn.user_message);
    assert_eq!(found.assistant_response, None);
    assert_eq!(found.digest, turn.digest);
    assert_eq!(found.artifacts_shown, turn.artifacts_shown);
    assert_eq!(found.artifacts_hidden, turn.artifacts_hidden);
    assert_eq!(found.metadata, turn.metadata);
    assert_eq!((Some(found.tokens), Some(found.at)), (turn.tokens, turn.at));
}

pub(crate) async fn a_repeated_request_answers_the_first_turn(ctx: &Ctx) {
    let request_id = Some(RequestId::parse("r").expect("a name"));
    let turn = NewTurn { request_id, ..NewTurn::new("a", "b") };
    say(ctx, "before").await;
    let first = ctx.turns().append(&scope(), turn.clone(), None).await.expect("is taken");
    say(ctx, "between").await;

    let again = ctx.turns().append(&scope(), turn.clone(), None).await.expect("is answered");
    let other = NewTurn { kind: "notes".into(), ..turn };
    let elsewhere = ctx.turns().append(&scope(), other, None).await.expect("is taken");

    assert_eq!((first.seq, first.created), (2, true));
    assert_eq!((again.seq, again.created), (2, false));
    assert_eq!((elsewhere.seq, elsewhere.created), (1, true), "a request is its key's");
    say(ctx, "after").await;
    assert_gapless(&all(ctx, &scope(), KIND, 2).await, 4);
}

pub(crate) async fn sixteen_writers_of_a_session_lose_nothing(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..16)
        .map(|writer: usize| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                for round in 0..5 {
                    let name = format!("request {}", (writer / 2) * 5 + round);
                    let request_id = Some(RequestId::parse(name.clone()).expect("a name"));
                    let turn = NewTurn { request_id, ..NewTurn::new(name, "ok") };
                    store.turns().append(&scope(), turn, None).await.expect("a turn is taken");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }

    // Two writers each said the same.
    let turns = all(ctx, &scope(), KIND, 7).await;
    assert_gapless(&turns, 40);
    let mut said: Vec<_> = turns.into_iter().map(|turn| turn.user_message).collect();
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), 40);
    stores[1].close().await;
}

pub(crate) async fn a_context_holds_the_newest_within_its_budget(ctx: &Ctx) {
    let empty = ctx.turns().context(&scope(), &Key::from(KIND)).await.expect("is read");
    assert_eq!((empty.strategy, empty.recent_turns.len()), (Strategy::default(), 0));
    for n in 0..60 {
        let turn = NewTurn { tokens: Some(100), ..NewTurn::new(format!("turn {n}"), "ok") };
        ctx.turns().append(&scope(), turn, None).await.expect("is taken");
    }

    let context = ctx.turns().context(&scope(), &Key::from(KIND)).await.expect("is read");

    let fits = i64::from(limits::TURN_BUDGET_TOKENS / 100);
    let seqs: Vec<i64> = context.recent_turns.iter().map(|turn| turn.seq).collect();
    assert_eq!(seqs, (61 - fits..=60).collect::<Vec<_>>(), "the newest, oldest first");
    assert_eq!(context.tokens, limits::TURN_BUDGET_TOKENS);
}

pub(crate) async fn a_turn_over_the_budget_is_cut_not_dropped(ctx: &Ctx) {
    let long = "word ".repeat(limits::TURN_BUDGET_TOKENS as usize * 2);
    say(ctx, &long).await;

    let context = ctx.turns().context(&scope(), &Key::from(KIND)).await.expect("is read");

    let kept = context.recent_turns[0].user_message.as_deref().expect("it was said");
    assert!(kept.ends_with(MARKER) && kept.len() < long.len());
    assert!(context.tokens <= limits::TURN_BUDGET_TOKENS);
    let whole = all(ctx, &scope(), KIND, 10).await;
    assert_eq!(whole[0].user_message.as_deref(), Some(long.as_str()), "the row stays whole");
}

pub(crate) async fn a_key_is_user_session_and_kind(ctx: &Ctx) {
    say(ctx, "ours").await;
    for other in [acme().user("bob").session("s"), acme().user("ada").session("t")] {
        assert_eq!(all(ctx, &other, KIND, 10).await, []);
    }
    assert_eq!(all(ctx, &scope(), "notes", 10).await, []);
    assert_eq!(all(ctx, &scope().run("r").agent("a"), KIND, 10).await.len(), 1, "only noted");
    for missing in [acme().user("ada"), acme().session("s"), Scope::tenant(" ")] {
        fails_as(
            ctx.turns().list(&missing, &Key::from(KIND), &Page::default()).await,
            "scope_required",
        );
        let turn = NewTurn::new("a", "b");
        fails_as(ctx.turns().append(&missing, turn, None).await, "scope_required");
    }
}

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let turns = ctx.turns();
    refused(turns.append(&scope(), NewTurn::default(), None).await, "turn");
    let nul = NewTurn::new("a\0", "b");
    refused(turns.append(&scope(), nul, None).await, "user_message");
    let long = NewTurn::new("a", "x".repeat(limits::TURN_MESSAGE_BYTES + 1));
    refused(turns.append(&scope(), long, None).await, "assistant_response");
    let list = NewTurn { metadata: json!([]), ..NewTurn::new("a", "b") };
    refused(turns.append(&scope(), list, None).await, "metadata");
    refused(turns.context(&scope(), &Key::from(" ")).await, "kind");
    let foreign = Page { cursor: Some(Cursor::of("memories", &["7"])), ..Page::default() };
    refused(turns.list(&scope(), &Key::from(KIND), &foreign).await, "page.cursor");
    assert_eq!(ctx.rows("turns").await, 0);
}
