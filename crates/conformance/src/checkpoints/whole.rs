//! Cases for a checkpoint as a whole: every field comes back, in its own namespace, and what is not
//! there is told from what is. With the other cases they are what `LangGraph`'s public suite asserts;
//! the guide "Checkpoints, forks and time travel" says which is which.

use std::collections::BTreeMap;

use mnemon_core::Page;
use mnemon_core::checkpoints::{
    ChannelValue, ChannelVersion, CheckpointFilter, CheckpointId, Put, PutWrites, Thread,
};
use serde_json::json;

use super::{put, text, thread, versions_of};
use crate::check::fails_as;
use crate::ctx::{Ctx, acme};

pub(crate) async fn every_field_of_a_checkpoint_comes_back(ctx: &Ctx) {
    let root = put(ctx, Put::new(thread()).channel("old", text("gone"))).await;
    let seen = json!({ "node": { "messages": "00001.a", "plan": 2 } });
    let versions: BTreeMap<String, ChannelVersion> = [
        ("messages".to_owned(), "00002.b".into()),
        ("plan".to_owned(), 3.into()),
        ("versions_seen".to_owned(), 1.into()),
        ("empty".to_owned(), 7.into()),
    ]
    .into();
    let given = Put {
        id: Some(CheckpointId(format!("{}.next", root.id))),
        superstep: Some(-1),
        metadata: json!({ "source": "loop", "step": 3, "parents": {}, "score": 0.25, "none": null }),
        channel_versions: Some(versions.clone()),
        ..Put::new(thread())
            .channel(
                "messages",
                ChannelValue { type_tag: "msgpack".into(), bytes: vec![0, 255, 1] },
            )
            .channel("plan", ChannelValue::json(&json!({ "to": ["Nepal", "Ærø", "日本"] })))
            .channel("versions_seen", ChannelValue::json(&seen))
    };
    let before = ctx.now().await;
    let run = acme().run("run-7");
    let placed = ctx.checkpoints().put(&run, given.clone(), None).await.expect("is put");
    let writes = PutWrites::new(thread(), placed.id.clone(), "task").write("plan", text("later"));
    ctx.checkpoints().put_writes(&run, writes, None).await.expect("is kept");

    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");

    assert_eq!((&found.thread, Some(&found.id)), (&thread(), given.id.as_ref()));
    assert_eq!((&found.parent, found.version, found.superstep), (&Some(root.id), 2, Some(-1)));
    assert_eq!((&found.metadata, found.run.as_deref()), (&given.metadata, Some("run-7")));
    assert_eq!((&found.channels, &found.channel_versions), (&given.channels, &versions));
    assert_eq!(found.channels["versions_seen"].as_json(), Some(seen));
    assert!((before..=ctx.now().await).contains(&found.created_at));
    assert_eq!(found.pending_writes.len(), 1);
    assert_eq!(
        (found.pending_writes[0].task_id.as_str(), &found.pending_writes[0].value),
        ("task", &text("later"))
    );
    let listed = ctx.checkpoints().list(&acme(), &CheckpointFilter::of("t"), &Page::first(1)).await;
    let listed = listed.expect("a page").items.remove(0);
    assert_eq!(
        (&listed.id, &listed.metadata, listed.created_at),
        (&found.id, &found.metadata, found.created_at)
    );
}

pub(crate) async fn namespaces_are_threads_of_their_own(ctx: &Ctx) {
    let places = [thread(), thread().namespace("child:1"), thread().namespace("child:1|grand:2")];
    for (n, place) in places.iter().enumerate() {
        let next = Put::new(place.clone()).channel("n", text(&n.to_string()));
        let next = put(ctx, next).await;
        assert_eq!((next.version, next.parent), (1, None), "{place}");
    }

    put(ctx, Put::new(thread()).channel("n", text("more"))).await;

    assert_eq!(versions_of(ctx, &places[0]).await, [2, 1]);
    for (n, place) in places.iter().enumerate().skip(1) {
        assert_eq!(versions_of(ctx, place).await, [1]);
        let found = ctx.checkpoints().get(&acme(), place, None).await.expect("is there");
        assert_eq!((&found.thread, &found.channels["n"]), (place, &text(&n.to_string())));
    }
}

pub(crate) async fn what_is_not_there_is_not_found(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let placed = put(ctx, Put::new(thread())).await;
    let (other, below) = (Thread::new("other"), thread().namespace("below"));
    let unknown = CheckpointId("unknown".into());

    for place in [&other, &below] {
        fails_as(checkpoints.get(&acme(), place, None).await, "not_found");
        fails_as(checkpoints.get(&acme(), place, Some(&placed.id)).await, "not_found");
        fails_as(checkpoints.get_version(&acme(), place, 1).await, "not_found");
        fails_as(checkpoints.set_ttl(&acme(), place, None).await, "not_found");
        fails_as(checkpoints.unfence(&acme(), place).await, "not_found");
        assert!(versions_of(ctx, place).await.is_empty(), "an empty list is no mistake");
        let on = Put::new(place.clone()).on(placed.id.clone());
        fails_as(checkpoints.put(&acme(), on, None).await, "not_found");
        let writes = PutWrites::new(place.clone(), placed.id.clone(), "t").write("a", text("1"));
        fails_as(checkpoints.put_writes(&acme(), writes, None).await, "not_found");
    }
    fails_as(checkpoints.get(&acme(), &thread(), Some(&unknown)).await, "not_found");
    fails_as(checkpoints.get_version(&acme(), &thread(), 2).await, "not_found");
    fails_as(checkpoints.diff(&acme(), &thread(), &placed.id, &unknown).await, "not_found");
    fails_as(checkpoints.delete_thread(&acme(), "other", None).await, "not_found");
    fails_as(checkpoints.delete_thread(&acme(), "t", Some("below")).await, "not_found");
    assert_eq!(versions_of(ctx, &thread()).await, [1]);
}
