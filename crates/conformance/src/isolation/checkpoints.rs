//! How the isolation matrix writes and asks checkpoints.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::checkpoints::{
    ChannelValue, CheckpointFilter, Checkpoints, Policy, Put, PutWrites, Thread, ThreadFilter,
};
use mnemon_core::{Error, Facet, Page, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing, noted};

pub(super) struct CheckpointsProbe;

/// The one channel of every row.
const CHANNEL: &str = "c";

fn value() -> ChannelValue {
    ChannelValue { type_tag: "t".into(), bytes: b"v".into() }
}

/// Removals that find nothing say so by what they removed.
fn removed(count: u64, name: &str) -> Result<()> {
    if count == 0 { Err(Error::not_found("thread", name)) } else { Ok(()) }
}

#[async_trait]
impl Probe for CheckpointsProbe {
    fn facet(&self) -> Facet {
        Facet::Checkpoints
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["put"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "get",
            "get_version",
            "history",
            "list",
            "list_threads",
            "diff",
            "channel_history",
            "copy_thread",
            "put_writes",
            "set_ttl",
            "unfence",
            "prune_dry_run",
        ]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["delete_thread", "prune", "delete_for_runs"]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let put = Put::new(Thread::new(row.label.as_str())).channel(CHANNEL, value());
        // A run of its own, so that it can be removed by it.
        let writer = row.writer.clone().run(row.label.as_str());
        store.checkpoints().put(&writer, put, None).await?;
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let checkpoints = store.checkpoints();
        if verb == "list" || verb == "list_threads" {
            return Ok(Seen::Labels(listed(checkpoints, verb, reader).await?));
        }
        let service = |row: &Standing| Scope::tenant(row.row.writer.tenant.as_str());
        let mut labels = BTreeSet::new();
        for row in rows {
            let thread = Thread::new(row.name.as_str());
            let head = checkpoints.get(&service(row), &thread, None).await?.id;
            let one = std::slice::from_ref(&row.name);
            let channel = [CHANNEL.to_owned()];
            let found = match verb {
                "get" => checkpoints.get(reader, &thread, None).await.map(drop),
                "get_version" => checkpoints.get_version(reader, &thread, 1).await.map(drop),
                "diff" => checkpoints.diff(reader, &thread, &head, &head).await.map(drop),
                "channel_history" => {
                    checkpoints.channel_history(reader, &thread, None, &channel).await.map(drop)
                }
                "copy_thread" => copied(checkpoints, reader, &row.name).await,
                "put_writes" => {
                    let writes = PutWrites::new(thread, head, "task").write(CHANNEL, value());
                    checkpoints.put_writes(reader, writes, None).await
                }
                "set_ttl" => checkpoints.set_ttl(reader, &thread, None).await,
                "unfence" => checkpoints.unfence(reader, &thread).await,
                "prune_dry_run" => {
                    let would = checkpoints.prune(reader, one, &Policy::Delete, true).await?;
                    removed(would.checkpoints, &row.name)
                }
                _ => {
                    let page = Page::first(9);
                    let found = checkpoints.history(reader, &thread, &page).await?;
                    removed(found.items.len() as u64, &row.name)
                }
            };
            noted(&mut labels, row, found)?;
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        store: &dyn Store,
        verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        let (checkpoints, one) = (store.checkpoints(), std::slice::from_ref(&row.name));
        match verb {
            "delete_thread" => checkpoints.delete_thread(by, &row.name, None).await.map(drop),
            "prune" => {
                let gone = checkpoints.prune(by, one, &Policy::Delete, false).await?;
                removed(gone.checkpoints, &row.name)
            }
            _ => {
                let gone = checkpoints.delete_for_runs(by, one).await?;
                removed(gone.checkpoints, &row.name)
            }
        }
    }
}

/// What lists show, the copies of other verbs left out.
async fn listed(
    checkpoints: &dyn Checkpoints,
    verb: &str,
    reader: &Scope,
) -> Result<BTreeSet<String>> {
    let page = Page::first(500);
    if verb == "list" {
        let found = checkpoints.list(reader, &CheckpointFilter::default(), &page).await?;
        return Ok(found.items.into_iter().map(|info| info.thread.thread_id).collect());
    }
    let found = checkpoints.list_threads(reader, &ThreadFilter::default(), &page).await?;
    Ok(found.items.into_iter().map(|info| info.thread.thread_id).collect())
}

/// A copy proves that the source was seen; it goes again.
async fn copied(checkpoints: &dyn Checkpoints, reader: &Scope, name: &str) -> Result<()> {
    let copy = format!("{name} copied");
    checkpoints.copy_thread(reader, name, &copy).await?;
    checkpoints.delete_thread(reader, &copy, None).await.map(drop)
}
