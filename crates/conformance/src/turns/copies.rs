//! Cases for portable copies: what goes out comes in, and what does not fit changes nothing.

use mnemon_core::turns::{Digest, Export, Key, NewTurn, Strategy};
use mnemon_core::{Error, Page, RequestId};
use serde_json::json;

use super::{all, key, rolling, say, scope, summarize};
use crate::check::refused;
use crate::ctx::{Ctx, acme};

pub(crate) async fn a_copy_brings_every_field_to_another_session(ctx: &Ctx) {
    let turns = ctx.turns();
    turns.configure(&scope(), &key(), &rolling(2, None).into()).await.expect("is set");
    let full = NewTurn {
        user_message: Some("\u{1f600} ' \\ \"".into()),
        digest: Some(Digest { tools: vec!["grep".into()], ..Digest::default() }),
        artifacts_shown: vec!["a,{}\"".into(), "b".into()],
        artifacts_hidden: vec!["c".into()],
        metadata: json!({ "deep": [null, { "x": 1.5 }] }),
        tokens: Some(7),
        request_id: RequestId::parse("r").ok(),
        ..NewTurn::default()
    };
    let ours = scope().agent("planner").run("run 1");
    turns.append(&ours, full.clone(), None).await.expect("is taken");
    for n in 2..=6 {
        say(ctx, &format!("turn {n}")).await;
    }
    summarize(ctx, &scope(), &key()).await;
    let copy = turns.export(&scope(), &key()).await.expect("is copied");
    let text = copy.to_json().expect("is short");

    let elsewhere = acme().user("bob").session("new");
    let read = Export::parse(&text).expect("is its own");
    let done = turns.import(&elsewhere, &key(), &read).await.expect("is taken");

    assert_eq!((done.turns, done.summaries), (6, 1));
    assert_eq!(turns.export(&elsewhere, &key()).await.expect("is copied"), copy);
    let context = turns.context(&scope(), &key()).await.expect("is read");
    assert_eq!(turns.context(&elsewhere, &key()).await.expect("is read"), context);
    let again = turns.append(&elsewhere, full, None).await.expect("is answered");
    assert_eq!((again.seq, again.created), (1, false), "its request came with it");
    let next = turns.append(&elsewhere, NewTurn::new("on", "ok"), None).await.expect("is taken");
    assert_eq!(next.seq, 7, "and it goes on where the copy ended");
}

pub(crate) async fn an_import_replaces_what_stood(ctx: &Ctx) {
    let turns = ctx.turns();
    say(ctx, "kept").await;
    let copy = turns.export(&scope(), &key()).await.expect("is copied");
    for n in 0..5 {
        say(ctx, &format!("later {n}")).await;
    }

    turns.import(&scope(), &key(), &copy).await.expect("is taken");

    let standing = all(ctx, &scope(), "conversation", 9).await;
    assert_eq!(standing, copy.turns);
    let empty = Export::new(Strategy::default(), Vec::new(), Vec::new());
    turns.import(&scope(), &key(), &empty).await.expect("an empty one resets");
    assert_eq!(all(ctx, &scope(), "conversation", 9).await, []);
    assert_eq!(say(ctx, "again").await.seq, 1);
}

pub(crate) async fn a_large_copy_comes_whole(ctx: &Ctx) {
    let turns = ctx.turns();
    say(ctx, "pattern").await;
    let mut copy = turns.export(&scope(), &key()).await.expect("is copied");
    let pattern = copy.turns[0].clone();
    copy.turns = (1..=1_203)
        .map(|seq| mnemon_core::turns::Turn {
            seq,
            user_message: Some(format!("turn {seq}")),
            ..pattern.clone()
        })
        .collect();

    turns.import(&scope(), &key(), &copy).await.expect("is taken");

    assert_eq!(turns.export(&scope(), &key()).await.expect("is copied"), copy);
}

pub(crate) async fn a_copy_that_does_not_fit_changes_nothing(ctx: &Ctx) {
    let turns = ctx.turns();
    say(ctx, "stays").await;
    let before = turns.export(&scope(), &key()).await.expect("is copied");
    let text = before.to_json().expect("is short");

    for (wrong, field) in [
        (String::new(), "export"),
        ("garbage".into(), "export"),
        ("null".into(), "export"),
        (text[..text.len() / 2].to_owned(), "export"),
        (text.replace("mnemon.turns", "harbor.memory"), "export"),
        (text.replace("\"version\":1", "\"version\":9"), "export.version"),
        (text.replace("\"truncation\"", "\"sliding\""), "strategy"),
        (text.replace("\"seq\":1", "\"seq\":0"), "turns[0].seq"),
    ] {
        refused(Export::parse(&wrong), field);
    }
    let other = Export::new(rolling(4, None), before.turns.clone(), Vec::new());
    let reason = refused(turns.import(&scope(), &key(), &other).await, "strategy");
    assert_eq!(reason, "is rolling_summary; this memory's is truncation");
    let mut gap = before.clone();
    gap.turns.push(mnemon_core::turns::Turn { seq: 3, ..before.turns[0].clone() });
    refused(turns.import(&scope(), &key(), &gap).await, "turns[1].seq");
    let kept = Export::new(Strategy::None, before.turns.clone(), Vec::new());
    refused(turns.import(&scope(), &Key::from("fresh"), &kept).await, "turns");

    assert_eq!(turns.export(&scope(), &key()).await.expect("is copied"), before);
    assert_eq!(ctx.rows("turn_sessions").await, 1);
}

pub(crate) async fn a_copy_goes_to_the_other_database_as_text(ctx: &Ctx) {
    let turns = ctx.turns();
    let copy = include_str!("../../fixtures/turns-1.json");
    let read = Export::parse(copy).expect("version 1 stays readable");

    turns.import(&scope(), &key(), &read).await.expect("is taken");

    let again = turns.export(&scope(), &key()).await.expect("is copied");
    assert_eq!(again.to_json().expect("is short"), copy.trim_end(), "the same on every database");
    let chain = turns.summaries(&scope(), &key(), &Page::first(9)).await.expect("is read");
    assert_eq!(chain.items.len(), 2);
    let wrong = turns.import(&scope(), &Key::from(" "), &read).await;
    assert!(matches!(wrong, Err(Error::Invalid { .. })));
}
