//! A set is begun once and filled by one process at a time, with vectors of texts as they are.

use chrono::TimeDelta;
use mnemon_core::memories::{Filled, Filling, MemoryPatch, NewMemory, SetState, Switch};
use mnemon_core::{Cursor, Page, Scope, limits};

use super::sets::{begin, by, claim, fill, keep, lacking, made, named, sets, vector};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, ada, bob};

pub(crate) async fn a_set_is_begun_once_whoever_begins_it(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");

    let set = begin(ctx, &new).await;
    let other = ctx.another().await;
    let again = other.embedding_sets().begin(&new).await.expect("is there");
    let known = begin(ctx, &old).await;

    assert_eq!((set.state, &set.model), (SetState::Filling, &new));
    assert_eq!(again, set);
    assert_eq!(known.state, SetState::Active);
    assert_eq!(ctx.rows("embedding_sets").await, 2);
    let registered = ctx.memories().registered_model().await.expect("an answer");
    assert_eq!(registered, Some(old), "until the switch");
    let third = sets(ctx).begin(&named("third", 3)).await;
    let error = fails_as(third, "already_exists");
    assert!(error.to_string().contains("new (3 dimensions"), "{error}");
    refused(sets(ctx).begin(&named("bad", 0)).await, "model.dimension");
}

pub(crate) async fn the_first_set_of_a_database_is_the_active_one(ctx: &Ctx) {
    let model = named("first", 2);
    let id = keep(ctx, &ada(), "written before", &[&model]).await;

    let set = begin(ctx, &model).await;

    assert_eq!(set.state, SetState::Active);
    assert_eq!(ctx.memories().registered_model().await.expect("an answer"), Some(model));
    let waiting = lacking(ctx, &set).await;
    assert_eq!(waiting.iter().map(|memory| memory.id).collect::<Vec<_>>(), [id]);
    let lease = claim(ctx, &set).await;
    assert_eq!(fill(ctx, &set, &lease).await, Filled { stored: 1, skipped: 0 });
    assert!(lacking(ctx, &set).await.is_empty());
    assert_eq!(
        sets(ctx).switch(&lease, None).await.expect("an answer"),
        Switch::Switched { recentred: 0 },
        "there is nothing to switch"
    );
}

pub(crate) async fn what_a_set_lacks_comes_in_pages_over_all_tenants(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let elsewhere = Scope::tenant("a:b").user("eve");
    let mut ids = Vec::new();
    for (n, scope) in [ada(), bob(), elsewhere.clone(), ada(), elsewhere].iter().enumerate() {
        ids.push(keep(ctx, scope, &format!("text {n}"), &[&old]).await);
    }
    let soon = ctx.now().await + TimeDelta::minutes(1);
    let expiring = NewMemory { expires_at: Some(soon), ..NewMemory::new("over soon") };
    ctx.memories().remember(&ada(), expiring).await.expect("is kept");
    ctx.move_clock(TimeDelta::minutes(2)).await;
    let set = begin(ctx, &new).await;

    let found = lacking(ctx, &set).await;

    let mut seen: Vec<_> = found.iter().map(|memory| memory.id).collect();
    assert!(found.iter().any(|memory| memory.tenant == "a:b" && memory.content == "text 2"));
    seen.sort_unstable();
    ids.sort_unstable();
    assert_eq!(seen, ids, "each once, and none that is over");
    let all = sets(ctx).lacking(None, &Page::first(500)).await.expect("a page").items;
    assert_eq!(all.len(), 5, "of no set: all");
    let counts = sets(ctx).sets().await.expect("an answer");
    assert_eq!(counts.memories, 5);
    let figures: Vec<_> = counts.sets.iter().map(|set| (set.vectors, set.lacking)).collect();
    assert_eq!(figures, [(5, 0), (0, 5)]);
    for cursor in ["memories:x", "lacking:x", "lacking:x:y"] {
        let cursor: Option<Cursor> = Some(cursor.parse().expect("a text"));
        refused(sets(ctx).lacking(None, &Page { limit: 5, cursor }).await, "page.cursor");
    }
    refused(sets(ctx).lacking(None, &Page::first(0)).await, "page.limit");
}

pub(crate) async fn a_vector_is_filled_only_for_the_text_it_is_of(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let changed = keep(ctx, &ada(), "before", &[&old]).await;
    let deleted = keep(ctx, &ada(), "gone soon", &[&old]).await;
    let same = keep(ctx, &ada(), "stays", &[&old]).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    let vectors = made(&new, &lacking(ctx, &set).await);
    let patch = MemoryPatch { vectors: vec![by(&old, "after")], ..MemoryPatch::content("after") };
    ctx.memories().update(&ada(), changed, patch).await.expect("is changed");
    ctx.memories().delete(&ada(), deleted).await.expect("is deleted");

    let filled = sets(ctx).fill(&lease, vectors).await.expect("is filled");

    assert_eq!(filled, Filled { stored: 1, skipped: 2 });
    let waiting = lacking(ctx, &set).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].id, waiting[0].content.as_str()), (changed, "after"));
    assert_eq!(fill(ctx, &set, &lease).await.stored, 1);
    let patch = MemoryPatch { vectors: vec![by(&old, "later")], ..MemoryPatch::content("later") };
    ctx.memories().update(&ada(), same, patch).await.expect("is changed");
    let waiting: Vec<_> = lacking(ctx, &set).await.iter().map(|memory| memory.id).collect();
    assert_eq!(waiting, [same], "its writer did not know the new model");
}

pub(crate) async fn a_set_is_filled_by_one_process_at_a_time(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    keep(ctx, &ada(), "one", &[&old]).await;
    let set = begin(ctx, &new).await;
    let first = claim(ctx, &set).await;
    let vectors = made(&new, &lacking(ctx, &set).await);
    fails_as(sets(ctx).claim(set.id, "another", super::sets::MINUTE).await, "held");
    ctx.move_clock(TimeDelta::minutes(2)).await;

    let second = sets(ctx).claim(set.id, "another", super::sets::MINUTE).await.expect("it is over");

    assert!(second.fence > first.fence);
    fails_as(sets(ctx).fill(&first, vectors.clone()).await, "fenced");
    fails_as(sets(ctx).switch(&first, None).await, "fenced");
    fails_as(sets(ctx).release(&first, 0).await, "fenced");
    assert_eq!(lacking(ctx, &set).await.len(), 1, "nothing was written");
    let holder = sets(ctx).sets().await.expect("an answer").sets[1].holder.clone();
    assert_eq!(holder.as_deref(), Some("another"));
    assert_eq!(sets(ctx).fill(&second, vectors).await.expect("is filled").stored, 1);
    sets(ctx).release(&second, 3).await.expect("is released");
    fails_as(sets(ctx).release(&second, 0).await, "fenced");
    claim(ctx, &set).await;
    fails_as(
        sets(ctx).claim(mnemon_core::memories::SetId(99), "x", super::sets::MINUTE).await,
        "not_found",
    );
    for lease in [std::time::Duration::ZERO, limits::LEASE_MAX * 2] {
        refused(sets(ctx).claim(set.id, "x", lease).await, "lease");
    }
}

pub(crate) async fn a_vector_of_another_model_fills_nothing(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    keep(ctx, &ada(), "one", &[&old]).await;
    keep(ctx, &ada(), "two", &[&old]).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    let good = made(&new, &lacking(ctx, &set).await);
    let with = |vector: Vec<f32>| vec![good[0].clone(), Filling { vector, ..good[1].clone() }];

    for bad in [vector(&old, "two"), vec![0.0; 3], vec![f32::NAN, 1.0, 1.0]] {
        refused(sets(ctx).fill(&lease, with(bad)).await, "embedding");
    }
    let many = vec![good[0].clone(); limits::REMEMBER_BATCH + 1];
    refused(sets(ctx).fill(&lease, many).await, "vectors");

    assert_eq!(lacking(ctx, &set).await.len(), 2, "all or none");
    assert_eq!(
        sets(ctx).fill(&lease, Vec::new()).await.expect("a sign of life"),
        Filled::default()
    );
}
