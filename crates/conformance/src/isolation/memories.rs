//! How the isolation matrix writes and asks memories.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::memories::{
    Hit, Memories, Memory, MemoryFilter, MemoryPatch, Namespace, NewEdge, NewMemory, Rating,
    Recall, Review, Scheduling, Visibility,
};
use mnemon_core::{Error, Facet, MemoryId, Page, Result, Scope, Store, limits};

use super::{Probe, Row, Seen, Sharing, Standing, noted};
use crate::check::{at, everything};

pub(super) struct MemoriesProbe;

#[async_trait]
impl Probe for MemoriesProbe {
    fn facet(&self) -> Facet {
        Facet::Memories
    }

    fn shares(&self) -> bool {
        true
    }

    fn writes(&self) -> &'static [&'static str] {
        &["remember", "remember_many"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "list",
            "get",
            "by_key",
            "recall_by_words",
            "recall_by_vector",
            "recall_by_both",
            "fts_search",
            "vector_search",
            "due",
            "scheduling",
            "edges",
            "neighbors",
            "count",
            "list_namespaces",
            "stats",
        ]
    }

    fn touches(&self) -> &'static [&'static str] {
        &["update", "review", "update_scheduling", "add_edge", "remove_edge"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["delete"]
    }

    async fn write(&self, store: &dyn Store, verb: &str, row: &Row) -> Result<String> {
        let memory = new(row);
        let done = match verb {
            "remember" => store.memories().remember(&row.writer, memory).await?,
            _ => store.memories().remember_many(&row.writer, vec![memory]).await?[0],
        };
        assert!(done.created, "every row is a new one");
        store.memories().update_scheduling(&row.writer, kept(done.id)).await?;
        Ok(done.id.to_string())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let memories = store.memories();
        match verb {
            "list" => {
                memories.list(reader, &MemoryFilter::default(), &Page::first(1)).await?;
                let all = everything(memories, reader, &MemoryFilter::default(), 7).await;
                Ok(labels(reader, &all))
            }
            "get" | "by_key" => one_by_one(memories, verb, reader, rows).await,
            "scheduling" | "edges" | "neighbors" => beside(memories, verb, reader, rows).await,
            "due" => {
                let due = memories.due(reader, None, &Page::first(limits::PAGE_MAX)).await?;
                let found: Vec<Memory> = due.items.into_iter().map(|due| due.memory).collect();
                Ok(labels(reader, &found))
            }
            "count" | "list_namespaces" | "stats" => counted(memories, verb, reader).await,
            "fts_search" => {
                let hits = memories.fts_search(reader, "quokka", limits::RECALL_MAX).await?;
                let found: Vec<Memory> = hits.into_iter().map(|hit| hit.memory).collect();
                Ok(labels(reader, &found))
            }
            "vector_search" => {
                let hits = memories.vector_search(reader, &[1.0, 0.5], limits::RECALL_MAX).await?;
                let found: Vec<Memory> = hits.into_iter().map(|hit| hit.memory).collect();
                Ok(labels(reader, &found))
            }
            _ => {
                let text = (verb != "recall_by_vector").then(|| "quokka".to_owned());
                let embedding = (verb != "recall_by_words").then(|| vec![1.0, 0.5]);
                let limit = limits::RECALL_MAX;
                let question = Recall { text, embedding, limit, ..Recall::default() };
                let hits: Vec<Hit> = memories.recall(reader, &question).await?;
                let found: Vec<Memory> = hits.into_iter().map(|hit| hit.memory).collect();
                Ok(labels(reader, &found))
            }
        }
    }

    async fn change(
        &self,
        store: &dyn Store,
        verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        let id: MemoryId = row.name.parse()?;
        let memories = store.memories();
        match verb {
            "delete" => memories.delete(by, id).await,
            "update" => {
                let tags = Some(vec!["touched".to_owned()]);
                let patch = MemoryPatch { tags, ..MemoryPatch::default() };
                memories.update(by, id, patch).await.map(|_| ())
            }
            "review" => memories.review(by, id, Review::new(Rating::Good)).await.map(|_| ()),
            "update_scheduling" => memories.update_scheduling(by, kept(id)).await,
            _ => connect(memories, verb, by, id, &row.row.writer).await,
        }
    }
}

/// Connects a row with a memory of the toucher's own, or has a service do so and disconnects it.
async fn connect(
    memories: &dyn Memories,
    verb: &str,
    by: &Scope,
    id: MemoryId,
    writer: &Scope,
) -> Result<()> {
    let own = memories.remember(by, NewMemory::new("a place to lead to")).await?.id;
    if verb == "add_edge" {
        return memories.add_edge(by, NewEdge::new(id, own)).await.map(|_| ());
    }
    if by.tenant == writer.tenant {
        let service = Scope::tenant(by.tenant.as_str());
        memories.add_edge(&service, NewEdge::new(id, own)).await?;
    }
    memories.remove_edge(by, id, own, None).await.map(|_| ())
}

/// A state that has been due for long.
fn kept(memory_id: MemoryId) -> Scheduling {
    Scheduling {
        memory_id,
        stability: 1.0,
        difficulty: 5.0,
        last_review: at(2024, 5, 1, 0),
        next_review: at(2024, 5, 2, 0),
        reps: 1,
        lapses: 0,
    }
}

async fn counted(memories: &dyn Memories, verb: &str, reader: &Scope) -> Result<Seen> {
    let count = match verb {
        "count" => memories.count(reader).await?,
        "stats" => {
            let stats = memories.stats(reader).await?;
            assert_eq!([stats.with_vectors, stats.scheduled, stats.due], [stats.memories; 3]);
            stats.memories
        }
        _ => {
            let root = Namespace::default();
            let listed = memories.list_namespaces(reader, &root, &Page::first(5)).await?;
            listed.items.iter().map(|found| found.memories).sum()
        }
    };
    Ok(Seen::Count(usize::try_from(count).expect("a small count")))
}

/// What stands beside a memory is shown to whom the memory is.
async fn beside(
    memories: &dyn Memories,
    verb: &str,
    reader: &Scope,
    rows: &[Standing],
) -> Result<Seen> {
    let mut labels = BTreeSet::new();
    for row in rows {
        let id = row.name.parse()?;
        let found = match verb {
            "scheduling" => {
                memories.scheduling(reader, id).await.map(|state| assert!(state.is_some()))
            }
            "edges" => memories.edges(reader, id, None, &Page::first(1)).await.map(|_| ()),
            _ => memories.neighbors(reader, id, 1).await.map(|_| ()),
        };
        noted(&mut labels, row, found)?;
    }
    Ok(Seen::Labels(labels))
}

async fn one_by_one(
    memories: &dyn Memories,
    verb: &str,
    reader: &Scope,
    rows: &[Standing],
) -> Result<Seen> {
    let mut found = Vec::new();
    for standing in rows {
        let answer = if verb == "get" {
            memories.get(reader, standing.name.parse()?).await
        } else {
            let namespace = Namespace::parse("probe")?;
            memories.by_key(reader, &namespace, &standing.row.label).await
        };
        match answer {
            Ok(memory) => found.push(memory),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(labels(reader, &found))
}

fn new(row: &Row) -> NewMemory {
    let (visibility, shared_with) = match &row.sharing {
        Sharing::Owner => (Visibility::Private, Vec::new()),
        Sharing::Groups(groups) => (Visibility::Shared, groups.clone()),
        Sharing::Tenant => (Visibility::Tenant, Vec::new()),
    };
    NewMemory {
        key: Some(row.label.clone()),
        namespace: Namespace::parse("probe").expect("a plain namespace"),
        visibility: Some(visibility),
        shared_with,
        // An import's time: ids, not times, order a list.
        created_at: Some(at(2024, 5, 1, 0)),
        embedding: Some(vec![1.0, 0.25]),
        ..NewMemory::new(format!("quokka {}", row.label))
    }
}

/// The labels of what was found, each once, each of the reader's tenant.
fn labels(reader: &Scope, found: &[Memory]) -> Seen {
    let labels: BTreeSet<String> = found
        .iter()
        .map(|memory| {
            assert_eq!(memory.tenant, reader.tenant, "nothing crosses a tenant");
            memory.key.clone().expect("every row has its label as key")
        })
        .collect();
    assert_eq!(labels.len(), found.len(), "nothing is shown twice");
    Seen::Labels(labels)
}
