//! Edges, neighbours, and activation that spreads along them.

use mnemon_core::memories::{
    Edge, MemoryFilter, Namespace, NewEdge, NewMemory, Recall, Visibility,
};
use mnemon_core::{MemoryId, Page};
use uuid::Uuid;

use crate::check::{absent, contents, fails_as, keep, refused};
use crate::ctx::{Ctx, acme, ada, bob};

async fn join(ctx: &Ctx, source: MemoryId, target: MemoryId, weight: f64) -> Edge {
    let edge = NewEdge { weight, ..NewEdge::new(source, target) };
    ctx.memories().add_edge(&ada(), edge).await.expect("is connected")
}

async fn chain(ctx: &Ctx, length: usize) -> Vec<MemoryId> {
    let mut ids = Vec::new();
    for n in 0..length {
        ids.push(keep(ctx.memories(), &ada(), &format!("link {n}")).await);
    }
    for pair in ids.windows(2) {
        join(ctx, pair[0], pair[1], 0.5).await;
    }
    ids
}

async fn near(ctx: &Ctx, id: MemoryId, depth: u32) -> Vec<(String, f64, u32)> {
    let found = ctx.memories().neighbors(&ada(), id, depth).await.expect("an answer");
    found.into_iter().map(|near| (near.memory.content, near.weight, near.hops)).collect()
}

pub(crate) async fn a_chain_of_five_is_walked_hop_by_hop(ctx: &Ctx) {
    let ids = chain(ctx, 5).await;

    for (depth, count) in [(1, 1), (2, 2), (4, 4), (6, 4)] {
        assert_eq!(near(ctx, ids[0], depth).await.len(), count, "depth {depth}");
        assert_eq!(near(ctx, ids[4], depth).await.len(), count, "against the edges as well");
    }
    let found = near(ctx, ids[0], 4).await;
    assert_eq!(found[3], ("link 4".to_owned(), 0.0625, 4), "strongest first");
    assert_eq!(near(ctx, ids[2], 1).await.len(), 2, "in both directions");
    for depth in [0, 7] {
        refused(ctx.memories().neighbors(&ada(), ids[0], depth).await, "depth");
    }
}

pub(crate) async fn a_clique_costs_its_nodes(ctx: &Ctx) {
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(keep(ctx.memories(), &ada(), &format!("node {n}")).await);
    }
    for (n, source) in ids.iter().enumerate() {
        for target in &ids[n + 1..] {
            join(ctx, *source, *target, 1.0).await;
        }
    }

    let found = near(ctx, ids[0], 6).await;

    assert_eq!(found.len(), 8, "each once, and not the start");
    assert!(found.iter().all(|(_, weight, hops)| (*weight - 1.0).abs() < 1e-12 && *hops == 1));
}

pub(crate) async fn the_best_path_counts(ctx: &Ctx) {
    let ids = chain(ctx, 3).await;
    join(ctx, ids[0], ids[1], 0.9).await;
    join(ctx, ids[1], ids[2], 0.9).await;
    join(ctx, ids[0], ids[2], 0.25).await;

    let direct = near(ctx, ids[0], 1).await;
    let better = ctx.memories().neighbors(&ada(), ids[0], 2).await.expect("an answer");

    assert!((direct[1].1 - 0.25).abs() < 1e-12);
    assert_eq!(better[1].memory.id, ids[2]);
    assert!((better[1].weight - 0.81).abs() < 1e-12 && better[1].hops == 2);
    assert_eq!((better[1].via_edge.source, better[1].via_edge.target), (ids[1], ids[2]));
}

pub(crate) async fn one_edge_per_kind_takes_the_new_weight(ctx: &Ctx) {
    let ids = chain(ctx, 2).await;
    let first = join(ctx, ids[0], ids[1], 0.5).await;
    let again = join(ctx, ids[0], ids[1], 0.75).await;
    let cause = NewEdge { edge_type: "causal".into(), ..NewEdge::new(ids[0], ids[1]) };
    ctx.memories().add_edge(&ada(), cause).await.expect("is connected");
    join(ctx, ids[1], ids[0], 0.1).await;

    let end = ids[1];
    let of = |kind| async move {
        let page = ctx.memories().edges(&ada(), end, kind, &Page::default()).await;
        page.expect("a page").items
    };

    assert_eq!(first.created_at, again.created_at);
    assert_eq!(of(Some("related")).await.len(), 2, "both directions");
    assert_eq!(of(Some("related")).await[0], again);
    assert_eq!(of(None).await.len(), 3);
    assert_eq!(of(Some("unknown")).await, []);
    let removed = ctx.memories().remove_edge(&ada(), ids[0], ids[1], Some("related")).await;
    assert_eq!(removed.expect("is removed"), 1);
    assert_eq!(of(None).await.len(), 2);
    fails_as(
        ctx.memories().remove_edge(&ada(), ids[0], ids[1], Some("related")).await,
        "not_found",
    );
    let rest = ctx.memories().remove_edge(&ada(), ids[0], ids[1], None).await;
    assert_eq!(rest.expect("is removed"), 1, "that direction only");
    assert_eq!(of(None).await.len(), 1);
}

pub(crate) async fn edges_come_in_pages(ctx: &Ctx) {
    let hub = keep(ctx.memories(), &ada(), "hub").await;
    for n in 0..7 {
        let spoke = keep(ctx.memories(), &ada(), &format!("spoke {n}")).await;
        let (source, target) = if n % 2 == 0 { (hub, spoke) } else { (spoke, hub) };
        join(ctx, source, target, 0.5).await;
    }

    let mut found = Vec::new();
    let mut page = Page::first(3);
    loop {
        let piece = ctx.memories().edges(&ada(), hub, None, &page).await.expect("a page");
        found.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }

    assert_eq!(found.len(), 7);
    let order = |edge: &Edge| (edge.source, edge.target);
    assert!(found.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])));
    page.cursor = Some("nonsense".parse().expect("a cursor is any text"));
    refused(ctx.memories().edges(&ada(), hub, None, &page).await, "page.cursor");
}

pub(crate) async fn an_edge_to_itself_or_to_nothing_is_refused(ctx: &Ctx) {
    let ids = chain(ctx, 2).await;
    let nothing = MemoryId(Uuid::from_u128(7));
    let add = |edge| async move { ctx.memories().add_edge(&ada(), edge).await };
    let edge = NewEdge::new(ids[0], ids[1]);

    refused(add(NewEdge::new(ids[0], ids[0])).await, "target");
    absent(add(NewEdge::new(ids[0], nothing)).await);
    absent(add(NewEdge::new(nothing, ids[0])).await);
    for weight in [0.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        refused(add(NewEdge { weight, ..edge.clone() }).await, "weight");
    }
    for edge_type in [String::new(), " ".to_owned(), "x".repeat(65), "a\0".to_owned()] {
        refused(add(NewEdge { edge_type, ..edge.clone() }).await, "type");
    }
    absent(ctx.memories().neighbors(&ada(), nothing, 1).await);
    absent(ctx.memories().edges(&ada(), nothing, None, &Page::default()).await);
    assert_eq!(ctx.rows("memory_edges").await, 1);
}

pub(crate) async fn visibility_holds_on_both_ends(ctx: &Ctx) {
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("open") };
    let open = ctx.memories().remember(&ada(), open).await.expect("is kept").id;
    let secret = keep(ctx.memories(), &ada(), "secret").await;
    let beyond = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("beyond") };
    let beyond = ctx.memories().remember(&ada(), beyond).await.expect("is kept").id;
    let own = keep(ctx.memories(), &bob(), "bob's own").await;
    join(ctx, open, secret, 1.0).await;
    join(ctx, secret, beyond, 1.0).await;

    absent(ctx.memories().add_edge(&bob(), NewEdge::new(open, own)).await);
    absent(ctx.memories().add_edge(&bob(), NewEdge::new(own, secret)).await);
    absent(ctx.memories().remove_edge(&bob(), open, secret, None).await);
    let edges = ctx.memories().edges(&bob(), open, None, &Page::default()).await.expect("a page");
    assert_eq!(edges.items, []);
    assert_eq!(ctx.memories().neighbors(&bob(), open, 6).await.expect("an answer"), []);
    absent(ctx.memories().neighbors(&bob(), secret, 1).await);
    ctx.memories().add_edge(&bob(), NewEdge::new(own, open)).await.expect("from one's own");

    assert_eq!(near(ctx, open, 6).await.len(), 2, "bob's end is not ada's to see");
    let all = ctx.memories().neighbors(&acme(), own, 3).await.expect("an answer");
    assert_eq!(all.len(), 3, "a service sees the whole tenant");
    ctx.memories().delete(&ada(), secret).await.expect("is deleted");
    assert_eq!(ctx.rows("memory_edges").await, 1, "edges go with their ends");
}

pub(crate) async fn activation_spreads_and_names_its_edge(ctx: &Ctx) {
    let found = keep(ctx.memories(), &ada(), "the quokka smiles").await;
    let one = keep(ctx.memories(), &ada(), "a neighbour").await;
    let two = keep(ctx.memories(), &ada(), "its neighbour").await;
    let three = keep(ctx.memories(), &ada(), "too far").await;
    join(ctx, found, one, 1.0).await;
    join(ctx, two, one, 0.5).await;
    join(ctx, two, three, 0.4).await;
    let ask = |spread| async move {
        let question = Recall { spread, ..Recall::text("quokka") };
        ctx.memories().recall(&ada(), &question).await.expect("an answer")
    };

    let plain = ask(None).await;
    let near = ask(Some(1)).await;
    let far = ask(Some(3)).await;

    assert_eq!(contents(&plain), ["the quokka smiles"]);
    assert_eq!(contents(&near), ["the quokka smiles", "a neighbour"]);
    // 0.7 × 0.5 × 0.7 = 0.245 arrives; 0.245 × 0.4 × 0.7 is below the cut of 0.1.
    assert_eq!(contents(&far), ["the quokka smiles", "a neighbour", "its neighbour"]);
    let best = far[0].score;
    assert!((far[1].score - 0.7 * best).abs() < 1e-9);
    assert!((far[2].score - 0.245 * best).abs() < 1e-9);
    assert_eq!(far[0].via_edge, None);
    let via = far[2].via_edge.as_ref().expect("came by an edge");
    assert_eq!((via.source, via.target), (two, one));
    assert_eq!((far[2].text_rank, far[2].vector_rank), (None, None));
    for depth in [0, 4] {
        let question = Recall { spread: Some(depth), ..Recall::text("quokka") };
        refused(ctx.memories().recall(&ada(), &question).await, "spread");
    }
}

pub(crate) async fn what_activation_reaches_is_seen_and_let_through(ctx: &Ctx) {
    let found = keep(ctx.memories(), &ada(), "the quokka smiles").await;
    let work = Namespace::parse("work").expect("a namespace");
    let inside = NewMemory { namespace: work.clone(), ..NewMemory::new("inside") };
    let inside = ctx.memories().remember(&ada(), inside).await.expect("is kept").id;
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("seen") };
    let open = ctx.memories().remember(&bob(), open).await.expect("is kept").id;
    let hidden = keep(ctx.memories(), &bob(), "hidden").await;
    join(ctx, found, inside, 1.0).await;
    join(ctx, found, open, 0.9).await;
    ctx.memories().add_edge(&acme(), NewEdge::new(found, hidden)).await.expect("by a service");

    let ask = |filter, limit| async move {
        let question =
            Recall { spread: Some(1), filter, limit, ..Recall::text("quokka \"inside\"") };
        let words = Recall { text: Some("quokka".into()), ..question };
        ctx.memories().recall(&ada(), &words).await.expect("an answer")
    };
    let all = ask(MemoryFilter::default(), 10).await;
    let root = MemoryFilter { node_types: vec!["fact".into()], ..MemoryFilter::default() };
    let few = ask(root, 2).await;
    let none = MemoryFilter { namespace: Some(work), ..MemoryFilter::default() };

    assert_eq!(contents(&all), ["the quokka smiles", "inside", "seen"]);
    assert_eq!(contents(&few), ["the quokka smiles", "inside"]);
    assert_eq!(ask(none, 10).await, [], "the start is not let through");
}
