//! Reading and deleting by id and by key; counting.

use mnemon_core::memories::{MemoryFilter, Namespace, NewMemory, Recall, Visibility};
use mnemon_core::{MemoryId, Page, Scope};
use uuid::Uuid;

use crate::check::{absent, contents, fails_as, keep};
use crate::ctx::{Ctx, acme, ada, bob};

pub(crate) async fn what_is_not_there_is_named(ctx: &Ctx) {
    let id = MemoryId(Uuid::from_u128(7));
    let error = fails_as(ctx.memories().get(&acme(), id).await, "not_found");
    assert_eq!(error.to_string(), format!("no memory named {id}"));

    let by_key = ctx.memories().by_key(&acme(), &Namespace::default(), "where").await;
    assert!(fails_as(by_key, "not_found").to_string().contains("where"));
    absent(ctx.memories().delete(&acme(), id).await);
}

pub(crate) async fn a_deleted_memory_is_gone_from_every_verb(ctx: &Ctx) {
    let memory = NewMemory { key: Some("k".into()), ..NewMemory::new("the red panda") };
    let id = ctx.memories().remember(&ada(), memory).await.expect("is kept").id;

    ctx.memories().delete(&ada(), id).await.expect("is deleted");

    absent(ctx.memories().get(&ada(), id).await);
    absent(ctx.memories().by_key(&ada(), &Namespace::default(), "k").await);
    absent(ctx.memories().delete(&ada(), id).await);
    let list = ctx.memories().list(&ada(), &MemoryFilter::default(), &Page::default()).await;
    assert!(list.expect("a list").items.is_empty());
    let hits = ctx.memories().recall(&ada(), &Recall::text("panda")).await.expect("an answer");
    assert_eq!(contents(&hits), [""; 0]);
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 0);
    assert_eq!(ctx.rows("memories").await, 0);
}

pub(crate) async fn what_others_share_is_not_ours_to_delete(ctx: &Ctx) {
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("open") };
    let shared = NewMemory {
        visibility: Some(Visibility::Shared),
        shared_with: vec!["red".into()],
        ..NewMemory::new("shared")
    };
    let reader = bob().group("red");
    for memory in [open, shared] {
        let id = ctx.memories().remember(&ada(), memory).await.expect("is kept").id;
        ctx.memories().get(&reader, id).await.expect("is visible");

        absent(ctx.memories().delete(&reader, id).await);

        ctx.memories().get(&reader, id).await.expect("is still there");
        ctx.memories().delete(&ada(), id).await.expect("is the owner's to delete");
    }
}

pub(crate) async fn an_unowned_memory_is_everybodys(ctx: &Ctx) {
    let id = keep(ctx.memories(), &acme(), "house rules").await;

    ctx.memories().get(&ada(), id).await.expect("is visible to a user");
    absent(ctx.memories().get(&Scope::tenant("globex"), id).await);
    absent(ctx.memories().delete(&ada().agent("planner"), id).await);
    ctx.memories().delete(&bob(), id).await.expect("is anybody's to delete");
}

pub(crate) async fn a_count_is_what_the_scope_sees(ctx: &Ctx) {
    for (scope, text) in [(acme(), "a"), (ada(), "b"), (ada().agent("x"), "c"), (bob(), "d")] {
        keep(ctx.memories(), &scope, text).await;
    }

    let mut counts = Vec::new();
    for scope in [acme(), ada(), bob(), acme().agent("x"), Scope::tenant("globex")] {
        counts.push(ctx.memories().count(&scope).await.expect("a count"));
    }

    assert_eq!(counts, [4, 3, 2, 1, 0]);
}
