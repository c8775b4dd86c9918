//! What is written comes back as it was.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use mnemon_core::memories::{Memory, MemoryFilter, Namespace, NewMemory, Visibility};
use mnemon_core::{MemoryId, RequestId, Scope};
use serde_json::json;

use crate::check::{at, model};
use crate::ctx::{Ctx, acme, ada};

pub(crate) async fn every_field_comes_back(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let scope = ada().agent("planner").session("s-1").run("r-1").group("red");
    let memory = NewMemory {
        content: "The launch moved to 3 May".into(),
        key: Some("launch/date".into()),
        namespace: Namespace::parse("work/plans").expect("a path"),
        visibility: Some(Visibility::Shared),
        shared_with: vec!["red".into(), "blue".into()],
        node_type: "decision".into(),
        tags: vec!["launch".into(), "date".into()],
        metadata: json!({ "by": "ada", "sure": 0.75, "steps": [1, 2, null], "deep": { "a": {} } }),
        codebase: Some("rocket".into()),
        source: Some("meeting".into()),
        domains: vec!["space".into(), "work".into()],
        domain_scores: BTreeMap::from([("space".into(), 0.125), ("work".into(), 1.0)]),
        valid_from: Some(at(2025, 1, 1, 1)),
        valid_until: Some(at(2026, 1, 1, 999_999)),
        expires_at: Some(at(2999, 1, 1, 123_456)),
        created_at: Some(at(2024, 2, 29, 654_321)),
        request_id: Some(RequestId::parse("request-1").expect("an id")),
        allow_duplicate: false,
        embedding: Some(vec![0.5, -0.25]),
        vectors: Vec::new(),
    };
    let before = ctx.now().await;

    let done = ctx.memories().remember(&scope, memory.clone()).await.expect("is kept");

    assert!(done.created);
    let found = ctx.memories().get(&scope, done.id).await.expect("is there");
    let expected = Memory { updated_at: found.updated_at, ..stored(done.id, &scope, &memory) };
    assert_eq!(found, expected);
    assert!((before..=ctx.now().await).contains(&found.updated_at), "the store's clock wrote it");
    let namespace = &memory.namespace;
    let by_key = ctx.memories().by_key(&scope, namespace, "launch/date").await;
    assert_eq!(by_key.expect("is there by its key"), expected);
}

/// What a memory reads back as.
fn stored(id: MemoryId, scope: &Scope, new: &NewMemory) -> Memory {
    Memory {
        id,
        tenant: scope.tenant.clone(),
        user: scope.user.clone(),
        agent: scope.agent.clone(),
        session: scope.session.clone(),
        run: scope.run.clone(),
        key: new.key.clone(),
        namespace: new.namespace.clone(),
        visibility: new.visibility.expect("given"),
        shared_with: new.shared_with.clone(),
        content: new.content.clone(),
        node_type: new.node_type.clone(),
        tags: new.tags.clone(),
        metadata: new.metadata.clone(),
        codebase: new.codebase.clone(),
        source: new.source.clone(),
        domains: new.domains.clone(),
        domain_scores: new.domain_scores.clone(),
        valid_from: new.valid_from,
        valid_until: new.valid_until,
        expires_at: new.expires_at,
        created_at: new.created_at.expect("given"),
        updated_at: new.created_at.expect("given"),
    }
}

pub(crate) async fn a_bare_memory_gets_the_documented_defaults(ctx: &Ctx) {
    let before = ctx.now().await;
    let owned = ctx.memories().remember(&ada(), NewMemory::new("mine")).await.expect("is kept");
    let open = ctx.memories().remember(&acme(), NewMemory::new("ours")).await.expect("is kept");

    let owned = ctx.memories().get(&ada(), owned.id).await.expect("is there");
    let open = ctx.memories().get(&acme(), open.id).await.expect("is there");

    assert_eq!(owned.visibility, Visibility::Private);
    assert_eq!(open.visibility, Visibility::Tenant);
    assert_eq!(open.user, None);
    assert_eq!(open.node_type, "fact");
    assert_eq!(open.metadata, json!({}));
    assert_eq!((open.key, open.expires_at, open.valid_from), (None, None, None));
    assert!((before..=ctx.now().await).contains(&open.created_at));
}

pub(crate) async fn blank_scope_parts_count_as_missing(ctx: &Ctx) {
    let blank = acme().user("  ").agent("").session("\t").run(" ");

    let done = ctx.memories().remember(&blank, NewMemory::new("x")).await.expect("is kept");

    let found = ctx.memories().get(&acme(), done.id).await.expect("is there");
    assert_eq!((found.user, found.agent, found.session, found.run), (None, None, None, None));
}

pub(crate) async fn text_of_every_script_comes_back(ctx: &Ctx) {
    for text in [
        "Größe, naïve café, Ελλάδα, Привет",
        "東京は日本の首都です",
        "שלום עולם مرحبا بالعالم",
        "👩‍👩‍👧‍👦 zalgo: z̸̢̛ a\u{301} ﬁ \u{feff}bom \u{202e}rtl",
        "quotes ' \" ` \\ \\' $1 $$ {} [] % _ ; -- /* */",
        "line\nbreak\r\n\ttab \u{1}\u{7f}\u{85}",
        " leading and trailing space ",
        "!!! ???",
        "\u{10ffff}\u{e000}",
    ] {
        let memory = NewMemory {
            key: Some(text.to_owned()),
            tags: vec![text.to_owned(), "plain".to_owned()],
            metadata: json!({ text: text }),
            source: Some(text.to_owned()),
            ..NewMemory::new(text)
        };

        let done = ctx.memories().remember(&acme(), memory.clone()).await.expect(text);

        let found = ctx.memories().get(&acme(), done.id).await.expect(text);
        assert_eq!(found.content, text);
        assert_eq!(found.tags, memory.tags);
        assert_eq!(found.metadata, memory.metadata);
        assert_eq!(found.source.as_deref(), Some(text));
        let by_key = ctx.memories().by_key(&acme(), &Namespace::default(), text).await;
        assert_eq!(by_key.expect(text).id, done.id);
    }
}

pub(crate) async fn scopes_of_every_script_are_kept_apart(ctx: &Ctx) {
    let names = ["a'b", "a\"b", "a\\b", "a,b", "{a}", "a%", "a_", "Ä", "a\u{308}", "ä", " a", "a "];
    for name in names {
        let scope = Scope::tenant(name).user(name).agent(name);
        ctx.memories().remember(&scope, NewMemory::new("same words")).await.expect(name);
    }

    for name in names {
        let scope = Scope::tenant(name).user(name).agent(name);
        let found =
            crate::check::everything(ctx.memories(), &scope, &MemoryFilter::default(), 10).await;
        assert_eq!(found.len(), 1, "{name:?} sees its own only");
        assert_eq!(found[0].tenant, name);
        assert_eq!(found[0].agent.as_deref(), Some(name));
    }
}

pub(crate) async fn times_keep_their_microseconds(ctx: &Ctx) {
    for time in
        [at(1960, 1, 1, 1), at(1970, 1, 1, 0), at(2024, 2, 29, 999_999), at(9000, 12, 31, 7)]
    {
        let memory = NewMemory {
            created_at: Some(time),
            valid_from: Some(time),
            valid_until: Some(time + TimeDelta::microseconds(1)),
            ..NewMemory::new(time.to_rfc3339())
        };

        let done = ctx.memories().remember(&acme(), memory).await.expect("is kept");

        let found = ctx.memories().get(&acme(), done.id).await.expect("is there");
        assert_eq!(found.created_at, time);
        assert_eq!(found.valid_from, Some(time));
        assert_eq!(found.valid_until, Some(time + TimeDelta::microseconds(1)));
    }
}

pub(crate) async fn json_of_every_shape_comes_back(ctx: &Ctx) {
    for metadata in [
        json!({}),
        json!({ "": "", " ": null, "a.b": { "$x": [[], {}, [[1]]] } }),
        json!({ "big": u64::MAX, "small": i64::MIN, "exact": 0.1, "wide": 1.5e300, "tiny": 5e-7 }),
        json!({ "true": true, "text": "\\u0041 \\ \" ' \n\t\u{1f600}" }),
        json!({ "@": ["'); drop table memories; --", "tenant"] }),
    ] {
        let memory =
            NewMemory { metadata: metadata.clone(), ..NewMemory::new(metadata.to_string()) };

        let done = ctx.memories().remember(&acme(), memory).await.expect("is kept");

        let found = ctx.memories().get(&acme(), done.id).await.expect("is there");
        assert_eq!(found.metadata, metadata);
    }
}

pub(crate) async fn ids_are_made_in_the_order_of_writing(ctx: &Ctx) {
    let mut last = None;
    for n in 0..50 {
        let id = crate::check::keep(ctx.memories(), &acme(), &format!("number {n}")).await;
        assert!(Some(id) > last, "a later memory has a larger id");
        last = Some(id);
    }
}
