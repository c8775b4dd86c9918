//! When two writes are one memory: equal content, keys, request ids, duplicates, expired rows.

use chrono::TimeDelta;
use mnemon_core::memories::{MemoryFilter, Namespace, NewMemory, Remembered, Visibility};
use mnemon_core::steps::{Outcome, Step, Write};
use mnemon_core::{RequestId, Scope};

use crate::check::{absent, everything, fails_as};
use crate::ctx::{Ctx, acme, ada, bob};

async fn write(ctx: &Ctx, scope: &Scope, memory: NewMemory) -> Remembered {
    ctx.memories().remember(scope, memory).await.expect("is kept")
}

fn keyed(key: &str, content: &str) -> NewMemory {
    NewMemory { key: Some(key.to_owned()), ..NewMemory::new(content) }
}

fn requested(id: &str, content: &str) -> NewMemory {
    NewMemory { request_id: RequestId::parse(id).ok(), ..NewMemory::new(content) }
}

fn namespaced(namespace: &str, content: &str) -> NewMemory {
    let namespace = Namespace::parse(namespace).expect("a path");
    NewMemory { namespace, ..NewMemory::new(content) }
}

pub(crate) async fn equal_content_is_one_memory(ctx: &Ctx) {
    let first = write(ctx, &ada(), NewMemory::new("the launch is on 3 May")).await;
    let again = NewMemory { tags: vec!["new".into()], ..NewMemory::new("the launch is on 3 May") };

    let second = write(ctx, &ada(), again).await;

    assert!(first.created && !second.created);
    assert_eq!(second.id, first.id);
    let found = ctx.memories().get(&ada(), first.id).await.expect("is there");
    assert!(found.tags.is_empty(), "the first stays as it was");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

pub(crate) async fn content_is_equal_byte_by_byte(ctx: &Ctx) {
    for text in ["a b", "a  b", "A b", "a b ", "a\u{a0}b", "\u{e4}", "a\u{308}"] {
        assert!(write(ctx, &acme(), NewMemory::new(text)).await.created, "{text:?}");
    }
}

pub(crate) async fn another_owner_agent_or_namespace_keeps_its_own(ctx: &Ctx) {
    let text = "the same words";
    for scope in [
        acme(),
        ada(),
        bob(),
        ada().agent("planner"),
        ada().agent("coder"),
        acme().agent("planner"),
        Scope::tenant("globex").user("ada"),
    ] {
        assert!(write(ctx, &scope, NewMemory::new(text)).await.created, "{scope:?}");
        assert!(write(ctx, &scope, namespaced("work", text)).await.created, "{scope:?}");
        assert!(!write(ctx, &scope, NewMemory::new(text)).await.created, "{scope:?}");
    }
    // A session and a run are noted, and make no other owner.
    assert!(!write(ctx, &ada().session("s").run("r"), NewMemory::new(text)).await.created);

    assert_eq!(ctx.rows("memories").await, 14);
}

pub(crate) async fn a_key_names_one_memory(ctx: &Ctx) {
    let first = write(ctx, &ada(), keyed("k", "one")).await;

    let same = write(ctx, &ada(), keyed("k", "one")).await;
    let other = ctx.memories().remember(&ada(), keyed("k", "two")).await;

    assert_eq!(same, Remembered { id: first.id, created: false });
    let error = fails_as(other, "already_exists");
    assert!(error.to_string().contains('k'), "{error}");
    let found = ctx.memories().by_key(&ada(), &Namespace::default(), "k").await;
    assert_eq!(found.expect("is there").content, "one");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

pub(crate) async fn a_key_is_its_owners_in_its_namespace(ctx: &Ctx) {
    for (n, scope) in [acme(), ada(), bob(), ada().agent("planner")].iter().enumerate() {
        let memory = keyed("k", &format!("of {n}"));
        assert!(write(ctx, scope, memory).await.created, "{scope:?}");
        let below =
            NewMemory { key: Some("k".into()), ..namespaced("work", &format!("below {n}")) };
        assert!(write(ctx, scope, below).await.created, "{scope:?}");
    }

    let work = Namespace::parse("work").expect("a path");
    let found = ctx.memories().by_key(&bob(), &work, "k").await.expect("is there");
    // The unowned one of the tenant is visible too; the nearest, its own, is the answer.
    assert_eq!(found.content, "below 2");
    let planner = ctx.memories().by_key(&ada().agent("planner"), &work, "k").await;
    assert_eq!(planner.expect("is there").content, "below 3");
}

pub(crate) async fn equal_content_under_a_new_key_is_the_first(ctx: &Ctx) {
    let first = write(ctx, &ada(), keyed("a", "one")).await;

    let second = write(ctx, &ada(), keyed("b", "one")).await;

    assert_eq!(second, Remembered { id: first.id, created: false });
    absent(ctx.memories().by_key(&ada(), &Namespace::default(), "b").await);
}

pub(crate) async fn a_repeated_request_answers_the_first_outcome(ctx: &Ctx) {
    let first = write(ctx, &ada(), requested("r", "one")).await;

    let same = write(ctx, &ada(), requested("r", "one")).await;
    let other = write(ctx, &ada(), requested("r", "something else")).await;

    assert!(first.created);
    assert_eq!(same, Remembered { id: first.id, created: false });
    assert_eq!(other, Remembered { id: first.id, created: false });
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

pub(crate) async fn a_request_that_found_a_memory_keeps_answering_it(ctx: &Ctx) {
    let first = write(ctx, &ada(), keyed("k", "one")).await;
    let found = Remembered { id: first.id, created: false };

    let by_content = write(ctx, &ada(), requested("content", "one")).await;
    let memory = NewMemory { key: Some("k".into()), ..requested("key", "one") };
    let by_key = write(ctx, &ada(), memory).await;
    assert_eq!((by_content, by_key), (found, found));

    let duplicate = NewMemory { allow_duplicate: true, ..requested("content", "one") };
    for (request, memory) in [
        ("content", requested("content", "something else")),
        ("content", duplicate),
        ("key", NewMemory { key: Some("k".into()), ..requested("key", "something else") }),
    ] {
        assert_eq!(write(ctx, &ada(), memory).await, found, "{request}");
    }
    let batch = vec![requested("new", "two"), requested("content", "three"), NewMemory::new("one")];
    let batch = ctx.memories().remember_many(&ada(), batch).await.expect("is kept");
    assert_eq!((batch[0].created, batch[1], batch[2]), (true, found, found));
    let step = Step::new(RequestId::parse("s").expect("a name"))
        .write(Write::Remember(Box::new(requested("content", "four"))));
    let step = ctx.steps().commit(&ada(), step).await.expect("is committed");
    assert_eq!(step.outcomes, [Outcome::Remember(found)]);
    assert_eq!(ctx.rows("memories").await, 2);

    // It is its owner's, and goes with the memory.
    assert!(write(ctx, &bob(), requested("content", "bob's")).await.created);
    assert!(write(ctx, &ada().agent("a"), requested("content", "the agent's")).await.created);
    ctx.memories().delete(&ada(), first.id).await.expect("is deleted");
    assert_eq!(ctx.rows("memory_requests").await, 0);
    assert!(write(ctx, &ada(), requested("content", "one")).await.created);
}

pub(crate) async fn a_request_id_is_its_owners(ctx: &Ctx) {
    for (n, scope) in
        [acme(), ada(), bob(), ada().agent("a"), Scope::tenant("globex")].iter().enumerate()
    {
        let done = write(ctx, scope, requested("r", &format!("of {n}"))).await;
        assert!(done.created, "{scope:?}");
    }
}

pub(crate) async fn a_repeated_duplicate_with_a_request_id_is_one(ctx: &Ctx) {
    let memory = NewMemory { allow_duplicate: true, ..requested("r", "one") };

    let first = write(ctx, &ada(), memory.clone()).await;
    let second = write(ctx, &ada(), memory).await;

    assert_eq!(second, Remembered { id: first.id, created: false });
}

pub(crate) async fn allowed_duplicates_are_rows_of_their_own(ctx: &Ctx) {
    let duplicate = || NewMemory { allow_duplicate: true, ..NewMemory::new("again") };
    let first = write(ctx, &ada(), NewMemory::new("again")).await;

    let second = write(ctx, &ada(), duplicate()).await;
    let third = write(ctx, &ada(), duplicate()).await;
    let fourth = write(ctx, &ada(), NewMemory::new("again")).await;

    assert!(second.created && third.created);
    assert_eq!(fourth.id, first.id, "the one that is not a duplicate");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 3);
}

pub(crate) async fn deleted_content_keys_and_requests_are_free_again(ctx: &Ctx) {
    let memory = NewMemory { key: Some("k".into()), ..requested("r", "one") };
    let first = write(ctx, &ada(), memory.clone()).await;
    ctx.memories().delete(&ada(), first.id).await.expect("is deleted");

    let second = write(ctx, &ada(), memory).await;

    assert!(second.created);
    assert_ne!(second.id, first.id);
}

pub(crate) async fn an_expired_row_is_not_in_the_way(ctx: &Ctx) {
    let soon = Some(ctx.now().await + TimeDelta::hours(1));
    let content = NewMemory { expires_at: soon, ..NewMemory::new("one") };
    let key = NewMemory { expires_at: soon, ..keyed("k", "two") };
    let request = NewMemory { expires_at: soon, ..requested("r", "three") };
    for memory in [&content, &key, &request] {
        assert!(write(ctx, &ada(), memory.clone()).await.created);
        assert!(!write(ctx, &ada(), memory.clone()).await.created);
    }
    ctx.move_clock(TimeDelta::hours(2)).await;

    assert!(write(ctx, &ada(), NewMemory::new("one")).await.created);
    assert!(write(ctx, &ada(), keyed("k", "other")).await.created);
    assert!(write(ctx, &ada(), NewMemory::new("three")).await.created);

    let all = everything(ctx.memories(), &ada(), &MemoryFilter::default(), 10).await;
    let mut contents: Vec<&str> = all.iter().map(|memory| memory.content.as_str()).collect();
    contents.sort_unstable();
    assert_eq!(contents, ["one", "other", "three"]);
}

pub(crate) async fn an_expired_request_keeps_answering_its_first_outcome(ctx: &Ctx) {
    let soon = Some(ctx.now().await + TimeDelta::hours(1));
    let memory = NewMemory { expires_at: soon, key: Some("k".into()), ..requested("r", "one") };
    let first = write(ctx, &ada(), memory.clone()).await;
    ctx.move_clock(TimeDelta::hours(2)).await;

    for _ in 0..3 {
        let again = write(ctx, &ada(), memory.clone()).await;
        assert_eq!(again, Remembered { id: first.id, created: false });
    }

    // Until it is swept, and then it is a new request.
    absent(ctx.memories().get(&ada(), first.id).await);
}

pub(crate) async fn a_key_that_several_have_is_the_nearest_ones(ctx: &Ctx) {
    let open =
        |content: &str| NewMemory { visibility: Some(Visibility::Tenant), ..keyed("k", content) };
    let reader = bob().agent("planner");
    let by_key = |scope: Scope| async move {
        let found = ctx.memories().by_key(&scope, &Namespace::default(), "k").await;
        found.expect("is there").content
    };

    write(ctx, &ada(), open("ada's")).await;
    write(ctx, &ada().agent("planner"), open("ada's planner's")).await;
    assert_eq!(by_key(bob()).await, "ada's planner's", "the newest of another user's");
    write(ctx, &acme().agent("planner"), keyed("k", "the planner's")).await;
    write(ctx, &acme(), keyed("k", "the tenant's")).await;
    assert_eq!(by_key(bob()).await, "the tenant's", "unowned before another user's");
    assert_eq!(by_key(reader.clone()).await, "the planner's");
    write(ctx, &bob().agent("coder"), keyed("k", "bob's coder's")).await;
    assert_eq!(by_key(bob()).await, "bob's coder's", "one's own before all");
    write(ctx, &bob(), keyed("k", "bob's")).await;
    write(ctx, &reader, keyed("k", "bob's planner's")).await;

    assert_eq!(by_key(bob()).await, "bob's planner's", "the newest of one's own");
    assert_eq!(by_key(bob().agent("coder")).await, "bob's coder's");
    assert_eq!(by_key(reader).await, "bob's planner's");
    assert_eq!(by_key(acme()).await, "the tenant's");
}
