//! Lists in pages: newest first, no gap and no double, and cursors that belong to their list.

use mnemon_core::memories::{MemoryFilter, NewMemory};
use mnemon_core::{Cursor, MemoryId, Page, Paged, Result, Scope, limits};

use crate::check::{everything, keep, refused};
use crate::ctx::{Ctx, acme, ada};
use mnemon_core::memories::Memory;

async fn list(ctx: &Ctx, scope: &Scope, page: Page) -> Result<Paged<Memory>> {
    ctx.memories().list(scope, &MemoryFilter::default(), &page).await
}

pub(crate) async fn a_list_is_newest_first_by_id(ctx: &Ctx) {
    let mut ids = Vec::new();
    for n in 0..5 {
        // Older and older by its own account: the order is that of writing.
        let created_at = Some(crate::check::at(2024, 1, 20 - n, 0));
        let memory = NewMemory { created_at, ..NewMemory::new(format!("number {n}")) };
        ids.push(ctx.memories().remember(&ada(), memory).await.expect("is kept").id);
    }
    ids.reverse();

    let page = list(ctx, &ada(), Page::default()).await.expect("a page");

    assert_eq!(page.items.iter().map(|m| m.id).collect::<Vec<_>>(), ids);
    assert_eq!(page.next, None);
}

pub(crate) async fn a_page_that_holds_all_has_no_next(ctx: &Ctx) {
    for n in 0..4 {
        keep(ctx.memories(), &ada(), &format!("number {n}")).await;
    }

    let exact = list(ctx, &ada(), Page::first(4)).await.expect("a page");
    let short = list(ctx, &ada(), Page::first(3)).await.expect("a page");

    assert_eq!((exact.items.len(), exact.next), (4, None));
    assert_eq!(short.items.len(), 3);
    let rest = list(ctx, &ada(), Page { limit: 3, cursor: short.next }).await.expect("a page");
    assert_eq!((rest.items.len(), rest.next), (1, None));
}

pub(crate) async fn a_page_limit_goes_from_1_to_500(ctx: &Ctx) {
    refused(list(ctx, &ada(), Page::first(0)).await, "page.limit");
    refused(list(ctx, &ada(), Page::first(limits::PAGE_MAX + 1)).await, "page.limit");
    refused(list(ctx, &ada(), Page::first(u32::MAX)).await, "page.limit");

    list(ctx, &ada(), Page::first(limits::PAGE_MAX)).await.expect("a page");
}

pub(crate) async fn a_foreign_cursor_is_refused(ctx: &Ctx) {
    keep(ctx.memories(), &ada(), "x").await;
    let id = MemoryId(uuid::Uuid::from_u128(1)).to_string();
    for cursor in [
        Cursor::of("events", &["1"]),
        Cursor::of("events", &[id.as_str()]),
        Cursor::of("memories", &["7"]),
        Cursor::of("memories", &[""]),
        Cursor::of("memories", &[id.as_str(), "more"]),
        Cursor::of("memories", &["' or true --"]),
        "garbage".parse().expect("any text"),
        "memories".parse().expect("any text"),
        "\u{1f600}".parse().expect("any text"),
    ] {
        let page = Page { limit: 10, cursor: Some(cursor) };
        refused(list(ctx, &ada(), page).await, "page.cursor");
    }
}

pub(crate) async fn a_cursor_outlives_its_row(ctx: &Ctx) {
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(keep(ctx.memories(), &ada(), &format!("number {n}")).await);
    }
    let first = list(ctx, &ada(), Page::first(3)).await.expect("a page");
    for memory in &first.items {
        ctx.memories().delete(&ada(), memory.id).await.expect("is deleted");
    }

    let rest = list(ctx, &ada(), Page { limit: 10, cursor: first.next }).await.expect("a page");

    assert_eq!(rest.items.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[2], ids[1], ids[0]]);
}

pub(crate) async fn a_cursor_shows_nothing_of_another_scope(ctx: &Ctx) {
    for n in 0..4 {
        keep(ctx.memories(), &ada(), &format!("number {n}")).await;
    }
    let first = list(ctx, &ada(), Page::first(1)).await.expect("a page");

    let page = Page { limit: 10, cursor: first.next };

    let other = list(ctx, &Scope::tenant("globex"), page).await.expect("a page");
    assert!(other.items.is_empty());
}

/// Rows, page size: not a multiple of it.
const ROWS: usize = 1_237;
const SIZE: u32 = 100;

pub(crate) async fn paging_has_no_gap_and_no_double_while_others_write(ctx: &Ctx) {
    let texts: Vec<NewMemory> = (0..ROWS).map(|n| NewMemory::new(format!("row {n}"))).collect();
    let mut standing: Vec<MemoryId> = Vec::new();
    for batch in texts.chunks(limits::REMEMBER_BATCH) {
        let done = ctx.memories().remember_many(&ada(), batch.to_vec()).await.expect("is kept");
        standing.extend(done.iter().map(|outcome| outcome.id));
    }
    let store = ctx.another().await;
    let writer = tokio::spawn(async move {
        for n in 0..100 {
            keep(store.memories(), &ada(), &format!("late {n}")).await;
            keep(store.memories(), &acme().user("bob"), &format!("foreign {n}")).await;
        }
    });

    let found = everything(ctx.memories(), &ada(), &MemoryFilter::default(), SIZE).await;

    writer.await.expect("no panic");
    let mut ids: Vec<MemoryId> = found.iter().map(|memory| memory.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
    ids.retain(|id| standing.contains(id));
    assert_eq!(ids.len(), ROWS, "every row that stood is shown");
}
