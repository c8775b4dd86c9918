//! Filters apply before limits, and take their text literally.

use mnemon_core::memories::{Comparison, MemoryFilter, MetadataTest, Namespace, NewMemory, Recall};
use serde_json::{Value, json};

use crate::check::{at, contents, everything, refused};
use crate::ctx::{Ctx, ada};

async fn keep(ctx: &Ctx, memory: NewMemory) {
    ctx.memories().remember(&ada(), memory).await.expect("is kept");
}

/// What a list and a recall of everything find with a filter; both agree.
async fn found(ctx: &Ctx, filter: MemoryFilter) -> Vec<String> {
    let listed = everything(ctx.memories(), &ada(), &filter, 10).await;
    let mut listed: Vec<String> = listed.into_iter().map(|memory| memory.content).collect();
    let question = Recall { limit: 200, filter, ..Recall::text("note") };
    let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
    let mut recalled: Vec<String> = contents(&hits).into_iter().map(str::to_owned).collect();
    listed.sort();
    recalled.sort();
    assert_eq!(listed, recalled, "list and recall filter alike");
    listed
}

fn namespace(path: &str) -> MemoryFilter {
    MemoryFilter { namespace: Namespace::parse(path).ok(), ..MemoryFilter::default() }
}

pub(crate) async fn a_namespace_finds_itself_and_those_below(ctx: &Ctx) {
    for path in ["", "work", "work/plans", "work/plans/may", "workshop", "Work", "home/work"] {
        let namespace = Namespace::parse(path).expect("a path");
        keep(ctx, NewMemory { namespace, ..NewMemory::new(format!("note {path}")) }).await;
    }

    assert_eq!(
        found(ctx, namespace("work")).await,
        ["note work", "note work/plans", "note work/plans/may"]
    );
    assert_eq!(
        found(ctx, namespace("work/plans")).await,
        ["note work/plans", "note work/plans/may"]
    );
    assert_eq!(found(ctx, namespace("work/pl")).await, [""; 0]);
    assert_eq!(found(ctx, namespace("")).await.len(), 7, "the root is everything");
    assert_eq!(found(ctx, MemoryFilter::default()).await.len(), 7);
}

pub(crate) async fn a_namespace_is_taken_literally(ctx: &Ctx) {
    let paths =
        ["w%k", "w_k", "work", "w%k/a", "w\\%k", "w*k", "w?k", "w[o]k", "\u{e4}", "a\u{308}"];
    for path in paths {
        let namespace = Namespace::parse(path).expect("a path");
        keep(ctx, NewMemory { namespace, ..NewMemory::new(format!("note {path}")) }).await;
    }

    assert_eq!(found(ctx, namespace("w%k")).await, ["note w%k", "note w%k/a"]);
    for path in &paths[1..] {
        if *path != "w%k/a" {
            assert_eq!(found(ctx, namespace(path)).await, [format!("note {path}")]);
        }
    }
}

pub(crate) async fn any_of_the_tags_and_node_types_is_enough(ctx: &Ctx) {
    for (text, node_type, tags) in [
        ("note a", "fact", vec!["red", "round"]),
        ("note b", "fact", vec!["green"]),
        ("note c", "plan", vec!["red"]),
        ("note d", "idea", vec![]),
    ] {
        let tags = tags.into_iter().map(str::to_owned).collect();
        keep(ctx, NewMemory { node_type: node_type.into(), tags, ..NewMemory::new(text) }).await;
    }
    let filter = |tags: &[&str], types: &[&str]| MemoryFilter {
        tags: tags.iter().map(ToString::to_string).collect(),
        node_types: types.iter().map(ToString::to_string).collect(),
        ..MemoryFilter::default()
    };

    assert_eq!(found(ctx, filter(&["red"], &[])).await, ["note a", "note c"]);
    assert_eq!(found(ctx, filter(&["green", "round"], &[])).await, ["note a", "note b"]);
    assert_eq!(found(ctx, filter(&[], &["plan", "idea"])).await, ["note c", "note d"]);
    assert_eq!(found(ctx, filter(&["red"], &["fact"])).await, ["note a"]);
    assert_eq!(found(ctx, filter(&["Red"], &[])).await, [""; 0], "as written");
    assert_eq!(found(ctx, filter(&["re"], &[])).await, [""; 0], "whole tags only");
}

pub(crate) async fn tags_are_taken_literally(ctx: &Ctx) {
    let tags =
        ["a,b", "{a}", "\"a\"", "a\"b", "a\\b", "'", "NULL", "null", "%", "a b", "\u{1f600}"];
    for tag in tags {
        let tags = vec![tag.to_owned(), "x".to_owned()];
        keep(ctx, NewMemory { tags, ..NewMemory::new(format!("note {tag}")) }).await;
    }

    for tag in tags {
        let filter = MemoryFilter { tags: vec![tag.to_owned()], ..MemoryFilter::default() };
        assert_eq!(found(ctx, filter).await, [format!("note {tag}")]);
    }
}

pub(crate) async fn a_range_includes_its_start_and_not_its_end(ctx: &Ctx) {
    for micros in [0, 1, 2, 3] {
        let created_at = Some(at(2024, 6, 1, micros));
        keep(ctx, NewMemory { created_at, ..NewMemory::new(format!("note {micros}")) }).await;
    }
    let filter = |from: Option<u32>, to: Option<u32>| MemoryFilter {
        created_from: from.map(|micros| at(2024, 6, 1, micros)),
        created_to: to.map(|micros| at(2024, 6, 1, micros)),
        ..MemoryFilter::default()
    };

    assert_eq!(found(ctx, filter(Some(1), Some(3))).await, ["note 1", "note 2"]);
    assert_eq!(found(ctx, filter(Some(3), None)).await, ["note 3"]);
    assert_eq!(found(ctx, filter(None, Some(1))).await, ["note 0"]);
    let reversed = filter(Some(2), Some(2));
    let page = mnemon_core::Page::default();
    refused(ctx.memories().list(&ada(), &reversed, &page).await, "filter.created_to");
    let question = Recall { filter: reversed, ..Recall::text("note") };
    refused(ctx.memories().recall(&ada(), &question).await, "filter.created_to");
}

pub(crate) async fn filters_apply_before_limits(ctx: &Ctx) {
    let vector = Some(vec![1.0, 0.0]);
    ctx.memories().register_model(&crate::check::model(2)).await.expect("a first model");
    let wanted = |n: usize| NewMemory {
        tags: vec!["wanted".into()],
        embedding: Some(vec![0.25, 1.0]),
        ..NewMemory::new(format!("note that is wanted though it is long and old {n}"))
    };
    let other =
        |n: usize| NewMemory { embedding: vector.clone(), ..NewMemory::new(format!("note {n}")) };
    let batch = (0..3).map(wanted).chain((0..300).map(other)).collect();
    ctx.memories().remember_many(&ada(), batch).await.expect("is kept");
    let filter = MemoryFilter { tags: vec!["wanted".into()], ..MemoryFilter::default() };

    let page = ctx.memories().list(&ada(), &filter, &mnemon_core::Page::first(3)).await;
    assert_eq!(page.expect("a page").items.len(), 3);
    for (text, embedding) in
        [(Some("note"), None), (None, vector.clone()), (Some("note"), vector.clone())]
    {
        let question = Recall {
            text: text.map(str::to_owned),
            embedding,
            limit: 3,
            filter: filter.clone(),
            ..Recall::default()
        };
        let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
        assert_eq!(hits.len(), 3, "{question:?}");
        assert!(hits.iter().all(|hit| hit.memory.tags == ["wanted"]));
    }
}

pub(crate) async fn a_filter_over_its_limits_is_refused(ctx: &Ctx) {
    let long = "x".repeat(mnemon_core::limits::LABEL_BYTES + 1);
    for (field, filter) in [
        ("filter.tags", MemoryFilter { tags: vec![String::new()], ..MemoryFilter::default() }),
        ("filter.tags", MemoryFilter { tags: vec![long.clone()], ..MemoryFilter::default() }),
        ("filter.tags", MemoryFilter { tags: vec!["a\0".into()], ..MemoryFilter::default() }),
        ("filter.node_types", MemoryFilter { node_types: vec![long], ..MemoryFilter::default() }),
    ] {
        let page = mnemon_core::Page::default();
        refused(ctx.memories().list(&ada(), &filter, &page).await, field);
        let question = Recall { filter, ..Recall::text("x") };
        refused(ctx.memories().recall(&ada(), &question).await, field);
    }
}

pub(crate) async fn metadata_is_compared_by_its_types(ctx: &Ctx) {
    use Comparison::{Eq, Gt, Gte, In, Lt, Lte, Ne};
    const BIG: i64 = 9_007_199_254_740_993;
    let values = [
        json!(9),
        json!(10),
        json!(10.5),
        json!(-1),
        json!(BIG),
        json!("10"),
        json!("9"),
        json!("ä"),
        json!("z"),
        json!("it's \"quoted\" \\ {}"),
        json!(true),
        json!(false),
        json!(null),
        json!([10]),
        json!({ "n": 10 }),
    ];
    let mut rows: Vec<(String, Value)> = Vec::new();
    for (n, value) in values.iter().enumerate() {
        let metadata = json!({ "v": value, "other": n });
        keep(ctx, NewMemory { metadata: metadata.clone(), ..NewMemory::new(format!("note {n}")) })
            .await;
        rows.push((format!("note {n}"), metadata));
    }
    keep(ctx, NewMemory::new("note bare")).await;
    rows.push(("note bare".into(), json!({})));

    let plain = values.iter().filter(|value| !value.is_array() && !value.is_object());
    let mut tests = Vec::new();
    for value in plain.clone() {
        for comparison in [Eq, Ne, Gt, Gte, Lt, Lte] {
            let ordered = value.is_number() || value.is_string();
            if ordered || matches!(comparison, Eq | Ne) {
                tests.push(MetadataTest::new("v", comparison, value.clone()));
            }
        }
    }
    tests.push(MetadataTest::new("v", Eq, 10.0));
    tests.push(MetadataTest::new("v", Gt, 9.5));
    tests.push(MetadataTest::new("v", In, plain.cloned().collect::<Vec<_>>()));
    tests.push(MetadataTest::new("v", In, json!([10, "ä", null])));
    tests.push(MetadataTest::new("v", In, json!([])));
    tests.push(MetadataTest::new("nowhere", Ne, 1));

    for test in tests {
        let mut expected: Vec<String> = rows
            .iter()
            .filter(|(_, metadata)| test.passes(metadata))
            .map(|(text, _)| text.clone())
            .collect();
        expected.sort();
        let filter = MemoryFilter { metadata: vec![test.clone()], ..MemoryFilter::default() };
        assert_eq!(found(ctx, filter).await, expected, "{test:?}");
    }
    let both = vec![MetadataTest::new("v", Gt, 9), MetadataTest::new("other", Lt, 2)];
    let filter = MemoryFilter { metadata: both, ..MemoryFilter::default() };
    assert_eq!(found(ctx, filter).await, ["note 1"], "10 > 9, and all tests hold");
}

pub(crate) async fn any_of_the_domains_is_enough(ctx: &Ctx) {
    for (text, domains) in [("note a", vec!["x", "y"]), ("note b", vec!["z"]), ("note c", vec![])] {
        let domains = domains.into_iter().map(str::to_owned).collect();
        keep(ctx, NewMemory { domains, ..NewMemory::new(text) }).await;
    }
    let filter = |domains: &[&str]| MemoryFilter {
        domains: domains.iter().map(ToString::to_string).collect(),
        ..MemoryFilter::default()
    };

    assert_eq!(found(ctx, filter(&["y", "z"])).await, ["note a", "note b"]);
    assert_eq!(found(ctx, filter(&["x"])).await, ["note a"]);
    assert_eq!(found(ctx, filter(&["X"])).await, [""; 0]);
}

pub(crate) async fn validity_is_a_range_that_may_be_open(ctx: &Ctx) {
    for (text, from, until) in [
        ("note always", None, None),
        ("note may", Some(at(2024, 5, 1, 0)), Some(at(2024, 6, 1, 0))),
        ("note from june", Some(at(2024, 6, 1, 0)), None),
        ("note until may", None, Some(at(2024, 5, 1, 0))),
    ] {
        let memory = NewMemory {
            valid_from: from,
            valid_until: until,
            created_at: Some(at(2024, 1, 1, 0)),
            ..NewMemory::new(text)
        };
        keep(ctx, memory).await;
    }
    let range = |valid_from, valid_to| MemoryFilter { valid_from, valid_to, ..Default::default() };
    let as_of = |at| MemoryFilter { as_of: Some(at), ..MemoryFilter::default() };
    let (may, june) = (at(2024, 5, 1, 0), at(2024, 6, 1, 0));

    assert_eq!(found(ctx, range(Some(may), Some(june))).await, ["note always", "note may"]);
    assert_eq!(
        found(ctx, range(Some(may), None)).await,
        ["note always", "note from june", "note may"]
    );
    assert_eq!(found(ctx, range(None, Some(may))).await, ["note always", "note until may"]);
    assert_eq!(found(ctx, as_of(may)).await, ["note always", "note may"], "a start is included");
    assert_eq!(found(ctx, as_of(june)).await, ["note always", "note from june"], "an end is not");
    assert_eq!(found(ctx, as_of(at(2023, 5, 1, 0))).await, [""; 0], "nothing was written then");
    let reversed = range(Some(june), Some(may));
    let page = mnemon_core::Page::default();
    refused(ctx.memories().list(&ada(), &reversed, &page).await, "filter.valid_to");
}

pub(crate) async fn a_test_that_means_nothing_is_refused(ctx: &Ctx) {
    let test = |key: &str, comparison, value| MetadataTest::new(key, comparison, value);
    let many: Vec<Value> = (0..65).map(Value::from).collect();
    for tests in [
        vec![test("", Comparison::Eq, json!(1))],
        vec![test("a\0", Comparison::Eq, json!(1))],
        vec![test("a", Comparison::Eq, json!("\0"))],
        vec![test("a", Comparison::Eq, json!([1]))],
        vec![test("a", Comparison::Gt, json!(true))],
        vec![test("a", Comparison::Lt, json!(null))],
        vec![test("a", Comparison::In, json!(1))],
        vec![test("a", Comparison::In, json!([[1]]))],
        vec![test("a", Comparison::In, json!(many))],
        vec![test("a", Comparison::Eq, json!(1)); 17],
    ] {
        let filter = MemoryFilter { metadata: tests, ..MemoryFilter::default() };
        let page = mnemon_core::Page::default();
        refused(ctx.memories().list(&ada(), &filter, &page).await, "filter.metadata");
    }
}
