//! Harbor's conformance cases for memory stores, under every strategy: what they name, and where
//! they only compared names of strategies, with real data.

use std::sync::Arc;

use mnemon_core::turns::{Export, Health, Key, NewTurn, Settings, Standing, Strategy};
use mnemon_core::{Error, Result, Scope, Store};

use super::{all, key, rolling, say, scope, summarize};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

fn strategies() -> [Strategy; 3] {
    [Strategy::None, Strategy::Truncation { budget_tokens: 200 }, rolling(4, None)]
}

/// A memory per strategy, of a kind of its own.
async fn each(ctx: &Ctx) -> Vec<(Strategy, Key)> {
    let mut keys = Vec::new();
    for strategy in strategies() {
        let key = Key::from(strategy.name());
        ctx.turns().configure(&scope(), &key, &strategy.into()).await.expect("is set");
        keys.push((strategy, key));
    }
    keys
}

pub(crate) async fn get_llm_context_empty_by_default(ctx: &Ctx) {
    for (strategy, key) in each(ctx).await {
        let context = ctx.turns().context(&scope(), &key).await.expect("is read");
        assert_eq!((context.strategy, context.tokens), (strategy, 0));
        assert_eq!((context.summary, context.recent_turns), (None, Vec::new()));
    }
}

pub(crate) async fn flush_no_op(ctx: &Ctx) {
    for (_, key) in each(ctx).await {
        for _ in 0..2 {
            let removed = ctx.turns().clear(&scope(), &key).await.expect("is cleared");
            assert_eq!((removed.turns, removed.summaries), (0, 0));
        }
    }
    ctx.turns().clear(&scope(), &Key::from("untouched")).await.expect("is cleared");
}

pub(crate) async fn health_returns_healthy(ctx: &Ctx) {
    for (_, key) in each(ctx).await {
        let standing = ctx.turns().health(&scope(), &key).await.expect("is read");
        assert_eq!(standing, Standing::default());
        assert_eq!(standing.health, Health::Healthy);
    }
}

pub(crate) async fn snapshot_empty_and_restore_round_trips_it(ctx: &Ctx) {
    for (strategy, key) in each(ctx).await {
        let copy = ctx.turns().export(&scope(), &key).await.expect("is copied");
        assert_eq!((copy.strategy, copy.turns.len()), (strategy, 0));
        let text = copy.to_json().expect("is short");
        let copy = Export::parse(&text).expect("is its own");
        ctx.turns().import(&scope(), &key, &copy).await.expect("is taken");
        assert_eq!(ctx.turns().export(&scope(), &key).await.expect("is copied"), copy);
    }
}

/// Every call with a scope; what it answers is not asked.
async fn call(store: &dyn Store, verb: &str, scope: &Scope) -> Result<()> {
    let turns = store.turns();
    let copy = Export::new(Strategy::default(), Vec::new(), Vec::new());
    match verb {
        "append" => turns.append(scope, NewTurn::new("a", "b"), None).await.map(drop),
        "list" => turns.list(scope, &key(), &mnemon_core::Page::default()).await.map(drop),
        "context" => turns.context(scope, &key()).await.map(drop),
        "estimate_tokens" => turns.estimate_tokens(scope, &key()).await.map(drop),
        "configure" => turns.configure(scope, &key(), &Settings::default()).await,
        "clear" => turns.clear(scope, &key()).await.map(drop),
        "health" => turns.health(scope, &key()).await.map(drop),
        "summaries" => {
            turns.summaries(scope, &key(), &mnemon_core::Page::default()).await.map(drop)
        }
        "export" => turns.export(scope, &key()).await.map(drop),
        "import" => turns.import(scope, &key(), &copy).await.map(drop),
        "delete_session" => turns.delete_session(scope).await.map(drop),
        "take" => turns.take(scope, &key(), "me").await.map(drop),
        "list_sessions" => {
            turns.list_sessions(scope, &mnemon_core::Page::default()).await.map(drop)
        }
        "delete_user" => turns.delete_user(scope).await.map(drop),
        other => unreachable!("{other} is no call"),
    }
}

const CALLS: [&str; 12] = [
    "append",
    "list",
    "context",
    "estimate_tokens",
    "configure",
    "clear",
    "health",
    "summaries",
    "export",
    "import",
    "delete_session",
    "take",
];
const PERSONS: [&str; 2] = ["list_sessions", "delete_user"];

pub(crate) async fn identity_is_mandatory_in_every_call(ctx: &Ctx) {
    say(ctx, "stays").await;
    let store = ctx.store();
    for blank in [None, Some(""), Some(" \t")] {
        let part = || blank.map(str::to_owned);
        let complete = scope();
        for (missing, scope) in [
            ("tenant", Scope { tenant: part().unwrap_or_default(), ..complete.clone() }),
            ("user", Scope { user: part(), ..complete.clone() }),
            ("session", Scope { session: part(), ..complete.clone() }),
        ] {
            for verb in CALLS.iter().chain(PERSONS.iter().filter(|_| missing != "session")) {
                let error = call(store.as_ref(), verb, &scope).await.expect_err(verb);
                let named = match &error {
                    Error::ScopeRequired { missing, .. } => *missing,
                    other => panic!("{verb} without {missing}: {other:?}"),
                };
                assert_eq!(named, missing, "{verb}");
            }
        }
    }
    assert_eq!(ctx.rows("turns").await, 1);
    assert_eq!(ctx.rows("turn_sessions").await, 1);
}

pub(crate) async fn tenants_sessions_users_and_kinds_are_kept_apart(ctx: &Ctx) {
    let scopes: Vec<Scope> = ["acme", "globex"]
        .iter()
        .flat_map(|tenant| ["ada", "bob"].map(|user| Scope::tenant(*tenant).user(user)))
        .flat_map(|scope| ["s", "t"].map(|session| scope.clone().session(session)))
        .collect();
    for (strategy, key) in strategies().map(|strategy| (strategy, Key::from(strategy.name()))) {
        for (n, scope) in scopes.iter().enumerate() {
            ctx.turns().configure(scope, &key, &strategy.into()).await.expect("is set");
            for turn in 0..6 {
                let kind = key.kind.clone();
                let turn = NewTurn { kind, ..NewTurn::new(format!("{n}: {turn}"), "ok") };
                ctx.turns().append(scope, turn, None).await.expect("is taken");
            }
            summarize(ctx, scope, &key).await;
        }
        for (n, scope) in scopes.iter().enumerate() {
            let context = ctx.turns().context(scope, &key).await.expect("is read");
            let said = |text: &str| text.starts_with(&format!("{n}: "));
            assert!(
                context
                    .recent_turns
                    .iter()
                    .all(|turn| turn.user_message.as_deref().is_some_and(said)),
                "{context:?}"
            );
            let summary = context.summary.map(|summary| summary.text).unwrap_or_default();
            let own = |line: &str| line.split_once(". ").is_some_and(|(_, text)| said(text));
            assert!(summary.lines().all(own), "{summary}");
            let kept = if strategy == Strategy::None { 0 } else { 6 };
            assert_eq!(all(ctx, scope, &key.kind, 9).await.len(), kept);
        }
    }
    let stranger = acme().user("eve").session("s");
    for key in strategies().map(|strategy| Key::from(strategy.name())) {
        let context = ctx.turns().context(&stranger, &key).await.expect("is read");
        assert_eq!(context.recent_turns, []);
    }
}

pub(crate) async fn concurrent_all_methods_no_race(ctx: &Ctx) {
    let store = ctx.store();
    let settings = Settings::from(rolling(4, Some(400)));
    ctx.turns().configure(&scope(), &key(), &settings).await.expect("is set");
    let verbs =
        ["append", "context", "list", "estimate_tokens", "health", "export", "take", "append"];
    let tasks: Vec<_> = (0..128_usize)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..verbs.len() {
                    let verb = verbs[(task + n) % verbs.len()];
                    match call(store.as_ref(), verb, &scope()).await {
                        Ok(()) => {}
                        // Somebody else of these holds the right to summarise.
                        Err(Error::Held { .. }) if verb == "take" => {}
                        Err(error) => panic!("{verb}: {error:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }

    let turns = all(ctx, &scope(), "conversation", 200).await;
    super::assert_gapless(&turns, 256);
}

pub(crate) async fn close_is_idempotent_and_every_call_after_it_is_refused(ctx: &Ctx) {
    let store = ctx.another().await;
    store.close().await;
    store.close().await;

    for verb in CALLS.iter().chain(&PERSONS) {
        fails_as(call(store.as_ref(), verb, &scope()).await, "closed");
    }
    fails_as(store.turns().due(1).await, "closed");
}

pub(crate) async fn none_restore_rejects_non_empty(ctx: &Ctx) {
    say(ctx, "something").await;
    let copy = ctx.turns().export(&scope(), &key()).await.expect("is copied");
    let none = Key::from("none");
    ctx.turns().configure(&scope(), &none, &Strategy::None.into()).await.expect("is set");

    refused(ctx.turns().import(&scope(), &none, &copy).await, "strategy");
    let kept = Export { strategy: Strategy::None, ..copy };
    refused(ctx.turns().import(&scope(), &none, &kept).await, "turns");

    assert_eq!(all(ctx, &scope(), "none", 9).await, []);
}

pub(crate) async fn truncation_persists_accumulates_and_enforces_its_budget(ctx: &Ctx) {
    let budget = Settings::from(Strategy::Truncation { budget_tokens: 30 });
    ctx.turns().configure(&scope(), &key(), &budget).await.expect("is set");
    for n in 1..=20 {
        say(ctx, &format!("turn {n}")).await;
        let context = ctx.turns().context(&scope(), &key()).await.expect("is read");
        assert!(context.tokens <= 30, "{}", context.tokens);
        let last = context.recent_turns.last().map(|turn| turn.seq);
        assert_eq!(last, Some(n), "never emptied");
    }
    let kept = all(ctx, &scope(), "conversation", 9).await;
    super::assert_gapless(&kept, 20);

    let copy = ctx.turns().export(&scope(), &key()).await.expect("is copied");
    let other = acme().user("ada").session("other");
    ctx.turns().import(&other, &key(), &copy).await.expect("is taken");
    assert_eq!(all(ctx, &other, "conversation", 9).await, kept);
}

pub(crate) async fn rolling_summary_summarises_and_its_copy_has_the_summary(ctx: &Ctx) {
    ctx.turns().configure(&scope(), &key(), &rolling(4, None).into()).await.expect("is set");
    for n in 1..=6 {
        say(ctx, &format!("turn {n}")).await;
    }
    summarize(ctx, &scope(), &key()).await;
    let context = ctx.turns().context(&scope(), &key()).await.expect("is read");
    let summary = context.summary.clone().expect("six are more than four");
    assert_eq!(summary.text, "1. turn 1 → ok\n2. turn 2 → ok");

    let copy = ctx.turns().export(&scope(), &key()).await.expect("is copied");
    let other = acme().user("ada").session("other");
    ctx.turns().import(&other, &key(), &copy).await.expect("is taken");

    assert_eq!(ctx.turns().context(&other, &key()).await.expect("is read"), context);
}
