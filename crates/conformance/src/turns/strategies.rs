//! Cases for strategies: they belong to the key, and each gives its own context.

use mnemon_core::steps::{Step, Write as StepWrite};
use mnemon_core::turns::{Key, NewTurn, Settings, Strategy, TurnAppended};
use mnemon_core::{Error, RequestId};

use super::{all, key, rolling, say, scope, summarize};
use crate::check::{fails_as, refused};
use crate::ctx::Ctx;

pub(crate) async fn a_strategy_belongs_to_the_key(ctx: &Ctx) {
    let turns = ctx.turns();
    say(ctx, "first").await;
    for strategy in [Strategy::None, rolling(4, None), Strategy::Truncation { budget_tokens: 99 }] {
        let turn = NewTurn { strategy: Some(strategy), ..NewTurn::new("other", "ok") };
        let error = fails_as(turns.append(&scope(), turn, None).await, "conflict");
        assert!(error.to_string().contains("strategy of turns conversation"), "{error}");
    }
    let same = NewTurn { strategy: Some(Strategy::default()), ..NewTurn::new("same", "ok") };

    let done = turns.append(&scope(), same, None).await.expect("the key's own is no other");

    assert_eq!(done, TurnAppended { seq: 2, created: true });
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!(context.strategy, Strategy::default());
    assert_eq!(all(ctx, &scope(), "conversation", 9).await.len(), 2, "nothing was erased");
}

pub(crate) async fn a_first_turn_brings_its_strategy(ctx: &Ctx) {
    let strategy = Strategy::Truncation { budget_tokens: 77 };
    let turn = NewTurn { strategy: Some(strategy), ..NewTurn::new("first", "ok") };

    ctx.turns().append(&scope(), turn, None).await.expect("is taken");
    say(ctx, "a call that does not say").await;

    let context = ctx.turns().context(&scope(), &key()).await.expect("is read");
    assert_eq!((context.strategy, context.recent_turns.len()), (strategy, 2));
}

pub(crate) async fn a_memory_is_configured_before_or_after_its_first_turn(ctx: &Ctx) {
    let turns = ctx.turns();
    let settings = Settings::from(rolling(2, Some(500)));
    turns.configure(&scope(), &key(), &settings).await.expect("is set");
    say(ctx, "one").await;
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!(context.strategy, settings.strategy);

    let small = Settings::from(Strategy::Truncation { budget_tokens: 16 });
    turns.configure(&scope(), &key(), &small).await.expect("both keep turns");
    let none = Settings::from(Strategy::None);
    fails_as(turns.configure(&scope(), &key(), &none).await, "conflict");

    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!((context.strategy, context.recent_turns.len()), (small.strategy, 1));
    turns.clear(&scope(), &key()).await.expect("is cleared");
    turns.configure(&scope(), &key(), &none).await.expect("nothing would be hidden");
}

pub(crate) async fn what_cannot_work_is_refused_by_field(ctx: &Ctx) {
    let configure =
        async |strategy| ctx.turns().configure(&scope(), &key(), &Settings::from(strategy)).await;
    refused(configure(Strategy::Truncation { budget_tokens: 0 }).await, "strategy.budget_tokens");
    refused(configure(rolling(0, None)).await, "strategy.full_zone_turns");
    refused(configure(rolling(4, Some(3))).await, "strategy.budget_tokens");
    refused(Strategy::named("sliding", None, None), "strategy");
    let retention = Some(std::time::Duration::ZERO);
    let settings = Settings { retention, ..Settings::default() };
    refused(ctx.turns().configure(&scope(), &key(), &settings).await, "retention");
    let turn = NewTurn { strategy: Some(rolling(0, None)), ..NewTurn::new("a", "b") };
    refused(ctx.turns().append(&scope(), turn, None).await, "strategy.full_zone_turns");
    assert_eq!(ctx.rows("turn_sessions").await, 0);
}

pub(crate) async fn none_keeps_no_turns(ctx: &Ctx) {
    let turns = ctx.turns();
    turns.configure(&scope(), &key(), &Strategy::None.into()).await.expect("is set");

    let done = say(ctx, "unheard").await;
    let request_id = RequestId::parse("r").ok();
    let named = NewTurn { request_id, ..NewTurn::new("unheard", "ok") };
    let again = turns.append(&scope(), named, None).await.expect("does nothing");

    assert_eq!(done, TurnAppended { seq: 0, created: false });
    assert_eq!(again, done);
    assert_eq!(turns.estimate_tokens(&scope(), &key()).await.expect("is read"), 0);
    assert_eq!(ctx.rows("turns").await, 0);
    let said = NewTurn { strategy: Some(Strategy::default()), ..NewTurn::new("a", "b") };
    fails_as(turns.append(&scope(), said, None).await, "conflict");
}

pub(crate) async fn one_side_is_enough(ctx: &Ctx) {
    for (user, assistant) in [(Some("only asked"), None), (None, Some("only told"))] {
        let turn = NewTurn {
            user_message: user.map(str::to_owned),
            assistant_response: assistant.map(str::to_owned),
            ..NewTurn::default()
        };
        ctx.turns().append(&scope(), turn, None).await.expect("is taken");
    }

    let turns = all(ctx, &scope(), "conversation", 5).await;

    assert_eq!(turns[0].assistant_response, None);
    assert_eq!(turns[1].user_message, None);
    let estimate = ctx.turns().estimate_tokens(&scope(), &key()).await.expect("is read");
    assert_eq!(estimate, turns.iter().map(|turn| turn.tokens).sum::<u32>());
}

pub(crate) async fn a_rolling_context_is_the_summary_and_what_it_does_not_cover(ctx: &Ctx) {
    let turns = ctx.turns();
    turns.configure(&scope(), &key(), &rolling(4, None).into()).await.expect("is set");
    for n in 1..=10 {
        say(ctx, &format!("turn {n}")).await;
    }
    let before = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!((before.summary, before.recent_turns.len()), (None, 10), "nothing is missing");

    summarize(ctx, &scope(), &key()).await;

    let after = turns.context(&scope(), &key()).await.expect("is read");
    let summary = after.summary.expect("is written");
    assert_eq!((summary.seq_from, summary.seq_to, summary.extends), (1, 6, None));
    let seqs: Vec<i64> = after.recent_turns.iter().map(|turn| turn.seq).collect();
    assert_eq!(seqs, [7, 8, 9, 10], "the full zone, whole");
    assert_eq!(after.left_out, 0);
    let turns: u32 = after.recent_turns.iter().map(|turn| turn.tokens).sum();
    assert_eq!(after.tokens, summary.tokens + turns);
}

pub(crate) async fn a_rolling_context_keeps_its_budget(ctx: &Ctx) {
    let turns = ctx.turns();
    turns.configure(&scope(), &key(), &rolling(3, Some(60)).into()).await.expect("is set");
    for n in 1..=12 {
        say(ctx, &format!("turn {n} with some more words in it")).await;
    }
    for _ in 0..2 {
        let context = turns.context(&scope(), &key()).await.expect("is read");
        assert!(context.tokens <= 60 && context.tokens > 0, "{context:?}");
        let seqs: Vec<i64> = context.recent_turns.iter().map(|turn| turn.seq).collect();
        assert_eq!(seqs.last(), Some(&12), "the newest");
        let covered = context.summary.map_or(0, |summary| summary.seq_to);
        let missing = 12 - covered - i64::try_from(seqs.len()).expect("few");
        assert_eq!(context.left_out, missing.unsigned_abs(), "and what is missing is said");
        summarize(ctx, &scope(), &key()).await;
    }
}

pub(crate) async fn a_run_scoped_key_is_the_runs_own(ctx: &Ctx) {
    let key = Key::from("scratch").run_scoped();
    let turn = || NewTurn { kind: "scratch".into(), run_scoped: true, ..NewTurn::new("a", "b") };
    let (one, two) = (scope().run("one"), scope().run("two"));
    for run in [&one, &one, &two] {
        ctx.turns().append(run, turn(), None).await.expect("is taken");
    }
    let noted = NewTurn { kind: "scratch".into(), ..NewTurn::new("shared", "b") };
    ctx.turns().append(&one, noted, None).await.expect("is taken");

    for (run, count) in [(&one, 2), (&two, 1)] {
        let context = ctx.turns().context(run, &key).await.expect("is read");
        assert_eq!(context.recent_turns.len(), count);
        assert_eq!(context.recent_turns[0].run, run.run);
        let shared = ctx.turns().context(run, &Key::from("scratch")).await.expect("is read");
        assert_eq!(shared.recent_turns.len(), 1, "the run is only noted here");
    }
    let error = ctx.turns().append(&scope(), turn(), None).await.expect_err("has no run");
    assert!(matches!(error, Error::ScopeRequired { missing: "run", .. }), "{error:?}");
    fails_as(ctx.turns().context(&scope().run(" "), &key).await, "scope_required");
}

pub(crate) async fn a_step_appends_by_the_same_rules(ctx: &Ctx) {
    let strategy = Some(rolling(1, None));
    let write = |text: &str, strategy| {
        StepWrite::Turn(Box::new(NewTurn { strategy, ..NewTurn::new(text, "ok") }))
    };
    let step = |id: &str| Step::new(RequestId::parse(id).expect("a name"));
    let first = step("s1").write(write("one", strategy)).write(write("two", strategy));
    ctx.steps().commit(&scope(), first.clone()).await.expect("is committed");
    assert!(ctx.steps().commit(&scope(), first).await.expect("is known").replayed);

    let refused = step("s2").write(write("three", None)).write(write("four", Some(Strategy::None)));
    fails_as(ctx.steps().commit(&scope(), refused).await, "conflict");

    assert_eq!(all(ctx, &scope(), "conversation", 9).await.len(), 2, "all of a step or nothing");
    let due = ctx.turns().due(9).await.expect("is read");
    assert_eq!(due.len(), 1, "a step's turns wait for a summary as others do");
}
