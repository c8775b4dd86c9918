//! Domains: kept, counted, filled from a tag, and classified into.

use mnemon_core::memories::{MemoryFilter, NewDomain, NewMemory};
use mnemon_core::{Page, Scope};

use crate::check::{everything, fails_as, keep_at, model, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn domain(id: &str, centroid: Option<Vec<f32>>) -> NewDomain {
    NewDomain { centroid, top_terms: vec!["a".into(), "b".into()], ..NewDomain::new(id) }
}

async fn names(ctx: &Ctx, scope: &Scope) -> Vec<String> {
    let mut page = Page::first(2);
    let mut names = Vec::new();
    loop {
        let piece = ctx.memories().domains(scope, &page).await.expect("a page");
        names.extend(piece.items.into_iter().map(|domain| domain.id));
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return names,
        }
    }
}

pub(crate) async fn a_domain_is_kept_replaced_and_deleted(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let first = ctx.memories().upsert_domain(&ada(), domain("work", Some(vec![1.0, 0.0]))).await;
    let first = first.expect("is kept");
    assert_eq!((first.label.as_str(), first.centroid.as_deref()), ("work", Some(&[1.0, 0.0][..])));
    assert_eq!((first.memory_count, first.user.as_deref()), (0, Some("ada")));

    let renamed = NewDomain { label: "The office".into(), ..domain("work", None) };
    ctx.memories().upsert_domain(&ada(), renamed).await.expect("is replaced");
    let found = ctx.memories().domain(&ada(), "work").await.expect("is there");

    assert_eq!((found.label.as_str(), &found.centroid), ("The office", &None));
    assert_eq!(found.created_at, first.created_at);
    ctx.memories().delete_domain(&ada(), "work").await.expect("is deleted");
    fails_as(ctx.memories().domain(&ada(), "work").await, "not_found");
    fails_as(ctx.memories().delete_domain(&ada(), "work").await, "not_found");
}

pub(crate) async fn domains_are_their_owners_and_everybodys(ctx: &Ctx) {
    for (scope, id) in [(acme(), "house"), (ada(), "work"), (ada(), "house"), (bob(), "zoo")] {
        ctx.memories().upsert_domain(&scope, domain(id, None)).await.expect("is kept");
    }
    let globex = Scope::tenant("globex");
    ctx.memories().upsert_domain(&globex, domain("theirs", None)).await.expect("is kept");

    assert_eq!(names(ctx, &ada()).await, ["house", "house", "work"]);
    assert_eq!(names(ctx, &bob()).await, ["house", "zoo"]);
    assert_eq!(names(ctx, &acme()).await, ["house", "house", "work", "zoo"]);
    assert_eq!(names(ctx, &globex).await, ["theirs"]);
    let own = ctx.memories().domain(&ada(), "house").await.expect("is there");
    assert_eq!(own.user.as_deref(), Some("ada"), "one's own first");
    fails_as(ctx.memories().domain(&bob(), "work").await, "not_found");
    fails_as(ctx.memories().delete_domain(&bob(), "work").await, "not_found");
    ctx.memories().delete_domain(&ada(), "house").await.expect("one's own first");
    let left = ctx.memories().domain(&ada(), "house").await.expect("is there");
    assert_eq!(left.user, None);
}

pub(crate) async fn a_domain_counts_what_the_scope_sees_in_it(ctx: &Ctx) {
    ctx.memories().upsert_domain(&acme(), domain("work", None)).await.expect("is kept");
    for (scope, text) in [(ada(), "one"), (ada(), "two"), (bob(), "three"), (acme(), "four")] {
        let memory = NewMemory { domains: vec!["work".into()], ..NewMemory::new(text) };
        ctx.memories().remember(&scope, memory).await.expect("is kept");
    }

    for (scope, count) in [(ada(), 3), (bob(), 2), (acme(), 4)] {
        let found = ctx.memories().domain(&scope, "work").await.expect("is there");
        assert_eq!(found.memory_count, count, "{scope:?}");
    }
}

pub(crate) async fn a_vector_is_classified_by_cosine(ctx: &Ctx) {
    refused(ctx.memories().classify(&ada(), &[1.0, 0.0], 5).await, "vector");
    let lone = ctx.memories().upsert_domain(&ada(), domain("x", Some(vec![1.0, 0.0]))).await;
    refused(lone, "centroid");
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    for (scope, id, centroid) in [
        (acme(), "east", Some(vec![4.0, 0.0])),
        (ada(), "north", Some(vec![0.0, 1.0])),
        (ada(), "north-east", Some(vec![1.0, 1.0])),
        (ada(), "nowhere", None),
        (bob(), "bob's", Some(vec![1.0, 0.0])),
    ] {
        ctx.memories().upsert_domain(&scope, domain(id, centroid)).await.expect("is kept");
    }

    let found = ctx.memories().classify(&ada(), &[2.0, 0.0], 10).await.expect("an answer");
    let first = ctx.memories().classify(&ada(), &[2.0, 0.0], 1).await.expect("an answer");

    let names: Vec<&str> = found.iter().map(|domain| domain.id.as_str()).collect();
    assert_eq!(names, ["east", "north-east", "north"]);
    for (domain, wanted) in found.iter().zip([1.0, 0.5_f64.sqrt(), 0.0]) {
        assert!((domain.similarity - wanted).abs() < 1e-6, "{domain:?}");
    }
    assert_eq!(first, found[..1]);
    for vector in [&[1.0][..], &[0.0, 0.0], &[f32::NAN, 1.0], &[1.0, 0.0, 0.0]] {
        refused(ctx.memories().classify(&ada(), vector, 5).await, "vector");
    }
    for limit in [0, 201] {
        refused(ctx.memories().classify(&ada(), &[1.0, 0.0], limit).await, "limit");
    }
}

pub(crate) async fn a_tag_becomes_a_domain(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    for (n, vector) in [[2.0, 0.0], [0.0, 1.0]].into_iter().enumerate() {
        let memory = NewMemory {
            tags: vec!["launch".into(), "x".into()],
            embedding: Some(vector.to_vec()),
            ..NewMemory::new(format!("launch {n}"))
        };
        ctx.memories().remember(&ada(), memory).await.expect("is kept");
    }
    keep_at(ctx.memories(), &ada(), "another thing", &[-1.0, 0.0]).await;
    let theirs = NewMemory { tags: vec!["launch".into()], ..NewMemory::new("bob's launch") };
    ctx.memories().remember(&bob(), theirs).await.expect("is kept");

    let made = ctx.memories().set_domain_from_tag(&ada(), "launch", "launch").await;
    let made = made.expect("is made");
    let again = ctx.memories().set_domain_from_tag(&ada(), "launch", "launch").await;

    assert_eq!(made.memory_count, 2);
    let middle = made.centroid.clone().expect("has vectors");
    assert!(middle.iter().all(|x| (x - 0.5).abs() < 1e-3), "each at length one: {middle:?}");
    assert_eq!(again.expect("is the same"), made);
    let filter = MemoryFilter { domains: vec!["launch".into()], ..MemoryFilter::default() };
    let inside = everything(ctx.memories(), &acme(), &filter, 10).await;
    assert_eq!(inside.len(), 2, "bob's is not ada's to change");
    assert!(inside.iter().all(|memory| memory.domains == ["launch"]));
    fails_as(ctx.memories().set_domain_from_tag(&ada(), "d", "unknown").await, "not_found");
    refused(ctx.memories().set_domain_from_tag(&ada(), " ", "launch").await, "domain");
    refused(ctx.memories().set_domain_from_tag(&ada(), "d", "").await, "tag");
}

pub(crate) async fn a_domain_over_its_limits_is_refused(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let long = "x".repeat(mnemon_core::limits::LABEL_BYTES + 1);
    for (field, bad) in [
        ("domain", domain("", None)),
        ("domain", domain(&long, None)),
        ("label", NewDomain { label: String::new(), ..domain("d", None) }),
        ("top_terms", NewDomain { top_terms: vec!["t".into(); 65], ..domain("d", None) }),
        ("top_terms", NewDomain { top_terms: vec![String::new()], ..domain("d", None) }),
        ("centroid", domain("d", Some(vec![0.0, 0.0]))),
        ("centroid", domain("d", Some(vec![1.0]))),
        ("centroid", domain("d", Some(vec![f32::INFINITY, 1.0]))),
    ] {
        refused(ctx.memories().upsert_domain(&ada(), bad).await, field);
    }
    assert_eq!(ctx.rows("memory_domains").await, 0);
}
