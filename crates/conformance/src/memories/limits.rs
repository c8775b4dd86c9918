//! At a limit is kept; over it is refused by name, and nothing is written.

use std::collections::BTreeMap;

use mnemon_core::memories::{MemoryFilter, Namespace, NewMemory, Visibility};
use mnemon_core::{Page, RequestId, Scope, limits};
use serde_json::json;

use crate::check::{at, refused};
use crate::ctx::{Ctx, acme, ada};

/// Texts of exactly so many bytes, each another.
fn labels(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:0>bytes$}")).collect()
}

pub(crate) async fn everything_at_its_limit_is_kept(ctx: &Ctx) {
    let name = |letter: &str| letter.repeat(limits::SCOPE_NAME_BYTES);
    let mut scope =
        Scope::tenant(name("t")).user(name("u")).agent(name("a")).session(name("s")).run(name("r"));
    scope.groups = labels(limits::SCOPE_GROUPS, limits::SCOPE_NAME_BYTES);
    let part = "n".repeat(limits::NAMESPACE_BYTES / limits::NAMESPACE_PARTS - 1);
    let padding = "x".repeat(limits::METADATA_BYTES - json!({ "p": "" }).to_string().len());
    let domains = labels(limits::DOMAINS_MAX, limits::LABEL_BYTES);
    let memory = NewMemory {
        content: words(limits::MEMORY_CONTENT_BYTES),
        key: Some("k".repeat(limits::MEMORY_KEY_BYTES)),
        namespace: Namespace::parse(vec![part; limits::NAMESPACE_PARTS].join("/"))
            .expect("within the limit"),
        visibility: Some(Visibility::Shared),
        shared_with: scope.groups.clone(),
        node_type: "f".repeat(limits::NODE_TYPE_BYTES),
        tags: labels(limits::TAGS_MAX, limits::LABEL_BYTES),
        metadata: json!({ "p": padding }),
        codebase: Some("c".repeat(limits::LABEL_BYTES)),
        source: Some("s".repeat(limits::LABEL_BYTES)),
        domain_scores: domains.iter().map(|domain| (domain.clone(), 0.5)).collect(),
        domains,
        request_id: Some(RequestId::parse("r".repeat(limits::REQUEST_ID_BYTES)).expect("fits")),
        ..NewMemory::default()
    };

    let done = ctx.memories().remember(&scope, memory.clone()).await.expect("is kept");

    let found = ctx.memories().get(&scope, done.id).await.expect("is there");
    assert_eq!(found.content, memory.content);
    assert_eq!(found.tags, memory.tags);
    assert_eq!(found.metadata, memory.metadata);
    assert_eq!(found.shared_with, memory.shared_with);
    let again = ctx.memories().remember(&scope, memory).await.expect("is found again");
    assert!(!again.created);
}

/// Different words of so many bytes together.
fn words(bytes: usize) -> String {
    let mut text: String =
        (0..bytes / 2).flat_map(|n| [format!("w{n:x}"), " ".to_owned()]).collect();
    text.truncate(bytes);
    text
}

pub(crate) async fn content_of_one_endless_word_is_kept(ctx: &Ctx) {
    for letter in ["a", "\u{e4}", "\u{6771}", "\u{1f600}", " x", "-a", "a_", "a."] {
        let text = letter.repeat(limits::MEMORY_CONTENT_BYTES / letter.len());

        let done = ctx.memories().remember(&acme(), NewMemory::new(text.as_str())).await;

        let id = done.unwrap_or_else(|error| panic!("{letter:?}: {error:?}")).id;
        let found = ctx.memories().get(&acme(), id).await.expect("is there");
        assert_eq!(found.content, text);
        ctx.memories().delete(&acme(), id).await.expect("is deleted");
    }
}

pub(crate) async fn over_a_limit_is_refused_and_nothing_is_written(ctx: &Ctx) {
    let long = |bytes: usize| "x".repeat(bytes + 1);
    let new = || NewMemory::new("x");
    let label = Some(long(limits::LABEL_BYTES));
    for (field, memory) in [
        ("content", NewMemory::new(long(limits::MEMORY_CONTENT_BYTES))),
        ("content", NewMemory::new(" \n\t")),
        ("content", NewMemory::new("")),
        ("key", NewMemory { key: Some(long(limits::MEMORY_KEY_BYTES)), ..new() }),
        ("key", NewMemory { key: Some(" ".into()), ..new() }),
        ("node_type", NewMemory { node_type: long(limits::NODE_TYPE_BYTES), ..new() }),
        ("node_type", NewMemory { node_type: String::new(), ..new() }),
        ("tags", NewMemory { tags: labels(limits::TAGS_MAX + 1, 8), ..new() }),
        ("tags", NewMemory { tags: vec![long(limits::LABEL_BYTES)], ..new() }),
        ("tags", NewMemory { tags: vec![String::new()], ..new() }),
        ("codebase", NewMemory { codebase: label.clone(), ..new() }),
        ("source", NewMemory { source: label, ..new() }),
        ("domains", NewMemory { domains: labels(limits::DOMAINS_MAX + 1, 8), ..new() }),
        ("domain_scores", NewMemory { domain_scores: scores(1.5), ..new() }),
        ("domain_scores", NewMemory { domain_scores: scores(f64::NAN), ..new() }),
        ("metadata", NewMemory { metadata: json!({ "p": long(limits::METADATA_BYTES) }), ..new() }),
        ("metadata", NewMemory { metadata: json!([1]), ..new() }),
        ("metadata", NewMemory { metadata: json!(null), ..new() }),
        ("valid_until", backwards()),
        ("shared_with", NewMemory { visibility: Some(Visibility::Shared), ..new() }),
        ("shared_with", NewMemory { shared_with: vec!["red".into()], ..new() }),
        ("embedding", NewMemory { embedding: Some(vec![]), ..new() }),
        ("embedding", NewMemory { embedding: Some(vec![0.0, 0.0]), ..new() }),
        ("embedding", NewMemory { embedding: Some(vec![1.0, f32::NAN]), ..new() }),
        ("embedding", NewMemory { embedding: Some(vec![f32::INFINITY, 1.0]), ..new() }),
    ] {
        refused(ctx.memories().remember(&ada(), memory).await, field);
    }
    let private = NewMemory { visibility: Some(Visibility::Private), ..new() };
    refused(ctx.memories().remember(&acme(), private).await, "visibility");

    assert_eq!(ctx.rows("memories").await, 0);
}

fn scores(score: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([("d".to_owned(), score)])
}

fn backwards() -> NewMemory {
    let (from, until) = (Some(at(2025, 1, 2, 0)), Some(at(2025, 1, 2, 0)));
    NewMemory { valid_from: from, valid_until: until, ..NewMemory::new("x") }
}

pub(crate) async fn a_nul_is_refused_in_every_text(ctx: &Ctx) {
    let nul = || "a\0b".to_owned();
    let new = || NewMemory::new("x");
    for (field, memory) in [
        ("content", NewMemory::new(nul())),
        ("key", NewMemory { key: Some(nul()), ..new() }),
        ("node_type", NewMemory { node_type: nul(), ..new() }),
        ("tags", NewMemory { tags: vec![nul()], ..new() }),
        ("codebase", NewMemory { codebase: Some(nul()), ..new() }),
        ("source", NewMemory { source: Some(nul()), ..new() }),
        ("domains", NewMemory { domains: vec![nul()], ..new() }),
        ("metadata", NewMemory { metadata: json!({ "a": [{ "b": nul() }] }), ..new() }),
        ("metadata", NewMemory { metadata: json!({ nul(): 1 }), ..new() }),
    ] {
        refused(ctx.memories().remember(&acme(), memory).await, field);
    }
    for (field, scope) in [
        ("scope.tenant", Scope::tenant(nul())),
        ("scope.user", acme().user(nul())),
        ("scope.agent", acme().agent(nul())),
        ("scope.session", acme().session(nul())),
        ("scope.run", acme().run(nul())),
        ("scope.groups", acme().group(nul())),
    ] {
        refused(ctx.memories().remember(&scope, new()).await, field);
        refused(
            ctx.memories().list(&scope, &MemoryFilter::default(), &Page::default()).await,
            field,
        );
        refused(ctx.memories().count(&scope).await, field);
    }

    assert_eq!(ctx.rows("memories").await, 0);
}

pub(crate) async fn a_scope_over_its_limits_is_refused_by_every_verb(ctx: &Ctx) {
    let long = "x".repeat(limits::SCOPE_NAME_BYTES + 1);
    let id = crate::check::keep(ctx.memories(), &acme(), "x").await;
    for (field, scope) in [
        ("scope.tenant", Scope::tenant(long.as_str())),
        ("scope.user", acme().user(long.as_str())),
        ("scope.groups", acme().group(long.as_str())),
        ("scope.groups", acme().group(" ")),
    ] {
        let memories = ctx.memories();
        refused(memories.remember(&scope, NewMemory::new("x")).await, field);
        refused(memories.remember_many(&scope, vec![NewMemory::new("x")]).await, field);
        refused(memories.get(&scope, id).await, field);
        refused(memories.by_key(&scope, &Namespace::default(), "k").await, field);
        refused(memories.delete(&scope, id).await, field);
        refused(memories.list(&scope, &MemoryFilter::default(), &Page::default()).await, field);
        let question = mnemon_core::memories::Recall::text("x");
        refused(memories.recall(&scope, &question).await, field);
        refused(memories.count(&scope).await, field);
    }
}
