//! Reviews, what they lead to, what is due, and what fades.

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::memories::{
    MemoryFilter, NewMemory, Rating, Recall, Review, Scheduling, Visibility, decay,
};
use mnemon_core::{EventId, MemoryId, Page};
use uuid::Uuid;

use crate::check::{absent, contents, everything, fails_as, ids, keep, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn state(memory_id: MemoryId, stability: f64, last_review: DateTime<Utc>) -> Scheduling {
    let next_review = last_review + TimeDelta::days(1);
    Scheduling {
        memory_id,
        stability,
        difficulty: 5.0,
        last_review,
        next_review,
        reps: 1,
        lapses: 0,
    }
}

async fn review(ctx: &Ctx, id: MemoryId, rating: Rating) -> Scheduling {
    ctx.memories().review(&ada(), id, Review::new(rating)).await.expect("is reviewed")
}

/// Equal, but for what a database's own arithmetic may be off by.
fn alike(a: &Scheduling, b: &Scheduling) -> bool {
    (a.stability - b.stability).abs() < 1e-9
        && (a.difficulty - b.difficulty).abs() < 1e-9
        && (a.last_review, a.next_review, a.reps, a.lapses)
            == (b.last_review, b.next_review, b.reps, b.lapses)
}

pub(crate) async fn a_review_leads_to_the_state_core_computes(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    let start = ctx.now().await - TimeDelta::days(60);
    assert_eq!(ctx.memories().scheduling(&ada(), id).await.expect("a read"), None, "new");

    let mut expected: Option<Scheduling> = None;
    for (day, rating) in
        [(0, Rating::Good), (3, Rating::Hard), (3, Rating::Again), (10, Rating::Easy)]
    {
        let at = start + TimeDelta::days(day);
        let wanted = decay::next(id, expected.as_ref(), rating, at).expect("a state");
        let given = Review { at: Some(at), ..Review::new(rating) };
        let got = ctx.memories().review(&ada(), id, given).await.expect("is reviewed");
        assert!(alike(&got, &wanted), "{got:?} is not {wanted:?}");
        expected = Some(wanted);
    }

    let kept = ctx.memories().scheduling(&ada(), id).await.expect("a read").expect("is kept");
    assert!(alike(&kept, &expected.expect("four reviews")));
    let events = ctx.memories().reviews(&ada(), id, &Page::first(3)).await.expect("a page");
    assert_eq!(events.items[0].rating, Rating::Easy, "latest first");
    assert_eq!(events.items[0].prior.as_ref(), Some(&events.items[1].next));
    let page = Page { limit: 3, cursor: events.next };
    let rest = ctx.memories().reviews(&ada(), id, &page).await.expect("a page");
    assert_eq!((rest.items.len(), rest.items[0].prior.clone()), (1, None));
}

pub(crate) async fn the_event_outlives_the_memory(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    review(ctx, id, Rating::Good).await;

    ctx.memories().delete(&ada(), id).await.expect("is deleted");

    assert_eq!(ctx.rows("memory_scheduling").await, 0);
    assert_eq!(ctx.rows("memory_reviews").await, 1);
    let page = Page::default();
    let left = ctx.memories().reviews(&ada(), id, &page).await.expect("a page");
    assert_eq!(left.items.len(), 1);
    for other in [bob(), acme().agent("x"), mnemon_core::Scope::tenant("globex")] {
        let seen = ctx.memories().reviews(&other, id, &page).await.expect("a page");
        assert!(seen.items.is_empty(), "{other:?}");
    }
}

pub(crate) async fn the_same_review_again_is_one(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    let other = keep(ctx.memories(), &ada(), "numbat").await;
    let event = Review { id: Some(EventId(Uuid::from_u128(7))), ..Review::new(Rating::Good) };

    let first = ctx.memories().review(&ada(), id, event.clone()).await.expect("is reviewed");
    let again = ctx.memories().review(&ada(), id, event.clone()).await.expect("is answered");
    let taken = ctx.memories().review(&ada(), other, event).await;

    assert!(alike(&first, &again));
    assert_eq!(ctx.rows("memory_reviews").await, 1);
    fails_as(taken, "already_exists");
}

pub(crate) async fn reviews_at_once_all_count(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let store = ctx.store();
        tasks.push(tokio::spawn(async move {
            store.memories().review(&ada(), id, Review::new(Rating::Good)).await
        }));
    }
    for task in tasks {
        task.await.expect("no panic").expect("is reviewed");
    }

    let kept = ctx.memories().scheduling(&ada(), id).await.expect("a read").expect("is kept");
    assert_eq!(kept.reps, 16);
    assert_eq!(ctx.rows("memory_reviews").await, 16);
}

pub(crate) async fn a_review_has_its_place_in_time(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    let now = ctx.now().await;
    let at = |at| Review { at: Some(at), ..Review::new(Rating::Good) };

    refused(ctx.memories().review(&ada(), id, at(now + TimeDelta::hours(1))).await, "at");
    ctx.memories().review(&ada(), id, at(now)).await.expect("is reviewed");
    let before = now - TimeDelta::seconds(1);
    refused(ctx.memories().review(&ada(), id, at(before)).await, "at");
    ctx.move_clock(TimeDelta::hours(-2)).await;
    let kept = review(ctx, id, Rating::Good).await;

    assert_eq!(kept.last_review.timestamp_micros(), now.timestamp_micros(), "time stands still");
}

pub(crate) async fn a_state_is_set_as_given_and_within_limits(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "quokka").await;
    let at = ctx.now().await - TimeDelta::days(3);
    let good = state(id, 12.5, at);

    for (field, bad) in [
        ("stability", Scheduling { stability: 0.0, ..good.clone() }),
        ("stability", Scheduling { stability: f64::NAN, ..good.clone() }),
        ("stability", Scheduling { stability: 40_000.0, ..good.clone() }),
        ("difficulty", Scheduling { difficulty: 0.0, ..good.clone() }),
        ("difficulty", Scheduling { difficulty: 10.5, ..good.clone() }),
        ("next_review", Scheduling { next_review: at - TimeDelta::days(1), ..good.clone() }),
        ("lapses", Scheduling { lapses: 2, ..good.clone() }),
    ] {
        refused(ctx.memories().update_scheduling(&ada(), bad).await, field);
    }
    assert_eq!(ctx.rows("memory_scheduling").await, 0);
    ctx.memories().update_scheduling(&ada(), good.clone()).await.expect("is set");
    ctx.memories().update_scheduling(&ada(), good.clone()).await.expect("is set again");

    let kept = ctx.memories().scheduling(&ada(), id).await.expect("a read").expect("is kept");
    assert!(alike(&kept, &good), "{kept:?}");
    assert_eq!(ctx.rows("memory_reviews").await, 0, "no event");
}

pub(crate) async fn what_others_share_is_not_ours_to_review(ctx: &Ctx) {
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("open") };
    let id = ctx.memories().remember(&ada(), open).await.expect("is kept").id;
    let at = ctx.now().await;

    absent(ctx.memories().review(&bob(), id, Review::new(Rating::Good)).await);
    absent(ctx.memories().update_scheduling(&bob(), state(id, 1.0, at)).await);
    let seen = ctx.memories().scheduling(&bob(), id).await.expect("is visible");

    assert_eq!(seen, None);
    assert_eq!(ctx.rows("memory_reviews").await, 0);
    absent(ctx.memories().review(&ada(), MemoryId(Uuid::nil()), Review::new(Rating::Good)).await);
    absent(ctx.memories().scheduling(&ada(), MemoryId(Uuid::nil())).await);
}

pub(crate) async fn due_memories_come_in_pages_longest_due_first(ctx: &Ctx) {
    let now = ctx.now().await;
    let mut written = Vec::new();
    for n in 0..30_i64 {
        let id = keep(ctx.memories(), &ada(), &format!("n {n}")).await;
        // The last five are due tomorrow; two of the others at the same moment.
        let days = if n < 25 { (25 - n) / 2 + 1 } else { 0 };
        let mut due = state(id, 5.0, now - TimeDelta::days(days));
        due.next_review = if n < 25 { due.last_review } else { now + TimeDelta::days(1) };
        ctx.memories().update_scheduling(&ada(), due).await.expect("is set");
        written.push(id);
    }
    keep(ctx.memories(), &ada(), "new, and so never due").await;

    let mut pages = Vec::new();
    let mut page = Page::first(10);
    loop {
        let piece = ctx.memories().due(&ada(), None, &page).await.expect("a page");
        pages.push(piece.items.len());
        let found = piece.items.iter().map(|due| due.memory.id);
        for (id, expected) in found.zip(written.drain(..pages[pages.len() - 1])) {
            assert_eq!(id, expected);
        }
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }

    assert_eq!(pages, [10, 10, 5]);
    let later = Some(now + TimeDelta::days(2));
    let all = ctx.memories().due(&ada(), later, &Page::default()).await.expect("a page");
    assert_eq!(all.items.len(), 30);
    let others = ctx.memories().due(&bob(), later, &Page::default()).await.expect("a page");
    assert!(others.items.is_empty());
    let foreign = everything(ctx.memories(), &ada(), &MemoryFilter::default(), 50).await;
    assert_eq!(foreign.len(), 31);
    let list = ctx.memories().list(&ada(), &MemoryFilter::default(), &Page::first(1)).await;
    let page = Page { limit: 1, cursor: list.expect("a page").next };
    refused(ctx.memories().due(&ada(), None, &page).await, "page.cursor");
}

/// The curve in SQL against core's, by what a filter lets through just above and just below.
pub(crate) async fn retrievability_in_sql_is_core_s_on_a_grid(ctx: &Ctx) {
    const OFF: f64 = 1e-6;
    let now = ctx.now().await;
    let mut rows = Vec::new();
    for (n, stability) in [0.001, 0.5, 2.3065, 10.0, 365.0, 36_500.0].into_iter().enumerate() {
        for (m, hours) in [0, 1, 24, 240, 24_000].into_iter().enumerate() {
            let id = keep(ctx.memories(), &ada(), &format!("note {n} {m}")).await;
            let kept = state(id, stability, now - TimeDelta::hours(hours));
            ctx.memories().update_scheduling(&ada(), kept.clone()).await.expect("is set");
            rows.push(kept);
        }
    }
    let hits = |least: Option<f64>| {
        let filter =
            MemoryFilter { as_of: Some(now), min_retrievability: least, ..MemoryFilter::default() };
        Recall { limit: 200, filter, ..Recall::text("note") }
    };
    // As of then nothing was there yet: the memories are as old as the reviews.
    let all = ctx.memories().recall(&ada(), &hits(None)).await.expect("an answer");
    assert_eq!(all.len(), 0, "written after that time");

    let mut filter = hits(None);
    filter.filter.as_of = Some(now + TimeDelta::days(1));
    let at = now + TimeDelta::days(1);
    let found = ctx.memories().recall(&ada(), &filter).await.expect("an answer");
    assert_eq!(found.len(), rows.len());
    for kept in &rows {
        let wanted = kept.retrievability(at);
        let hit = found.iter().find(|hit| hit.memory.id == kept.memory_id).expect("is found");
        let got = hit.retrievability.expect("was reviewed");
        assert!((got - wanted).abs() < OFF, "{kept:?}: {got} is not {wanted}");
        for (least, there) in [(wanted - OFF, true), (wanted + OFF, false)] {
            if !(0.0..=1.0).contains(&least) {
                continue;
            }
            let mut question = filter.clone();
            question.filter.min_retrievability = Some(least);
            let passed = ctx.memories().recall(&ada(), &question).await.expect("an answer");
            assert_eq!(ids(&passed).contains(&kept.memory_id), there, "{kept:?} at {least}");
        }
    }
}

pub(crate) async fn what_faded_is_left_out_before_the_limit(ctx: &Ctx) {
    ctx.memories().register_model(&crate::check::model(2)).await.expect("a first model");
    let long_ago = ctx.now().await - TimeDelta::days(1_000);
    let mut batch = Vec::new();
    for n in 0..120 {
        batch.push(NewMemory {
            embedding: Some(vec![1.0, 0.0]),
            ..NewMemory::new(format!("note {n}"))
        });
    }
    let done = ctx.memories().remember_many(&ada(), batch).await.expect("is kept");
    // All but the three oldest have faded; one of those three is new, which counts as 1.
    for (n, done) in done.iter().enumerate().skip(1) {
        let stability = if n < 3 { 36_500.0 } else { 0.5 };
        let kept = state(done.id, stability, long_ago);
        ctx.memories().update_scheduling(&ada(), kept).await.expect("is set");
    }
    let filter = MemoryFilter { min_retrievability: Some(0.9), ..MemoryFilter::default() };

    for question in [Recall::text("note"), Recall::vector([1.0, 0.0])] {
        let question = Recall { limit: 3, filter: filter.clone(), ..question };
        let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
        let mut found = contents(&hits);
        found.sort_unstable();
        assert_eq!(found, ["note 0", "note 1", "note 2"], "{question:?}");
        let new = hits.iter().find(|hit| hit.memory.content == "note 0").expect("found");
        assert_eq!(new.retrievability, None, "new, not 0");
    }
    let listed = everything(ctx.memories(), &ada(), &filter, 2).await;
    assert_eq!(listed.len(), 3);
    for least in [-0.1, 1.1, f64::NAN] {
        let filter = MemoryFilter { min_retrievability: Some(least), ..MemoryFilter::default() };
        let list = ctx.memories().list(&ada(), &filter, &Page::default()).await;
        refused(list, "filter.min_retrievability");
    }
}

pub(crate) async fn reading_strengthens_nothing_unless_asked(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "the red quokka").await;
    keep(ctx.memories(), &ada(), "the blue quokka").await;
    let before = review(ctx, id, Rating::Good).await;

    for _ in 0..3 {
        ctx.memories().recall(&ada(), &Recall::text("quokka")).await.expect("an answer");
        ctx.memories().get(&ada(), id).await.expect("is there");
    }
    assert_eq!(ctx.rows("memory_accesses").await, 0);
    let question = Recall { reinforce: true, ..Recall::text("quokka") };
    let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
    let nothing = Recall { reinforce: true, ..Recall::text("numbat") };
    ctx.memories().recall(&ada(), &nothing).await.expect("an answer");

    assert_eq!(hits.len(), 2);
    assert_eq!(ctx.rows("memory_accesses").await, 1, "one event a recall, none without hits");
    let after = ctx.memories().scheduling(&ada(), id).await.expect("a read").expect("is kept");
    assert!(alike(&before, &after), "an access is no review");
}
