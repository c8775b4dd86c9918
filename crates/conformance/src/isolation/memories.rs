//! How the isolation matrix writes and asks memories.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::memories::{
    Hit, Memories, Memory, MemoryFilter, Namespace, NewMemory, Recall, Visibility,
};
use mnemon_core::{Error, Facet, MemoryId, Page, Result, Scope, Store, limits};

use super::{Probe, Row, Seen, Sharing, Standing};
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
        &["list", "get", "by_key", "recall_by_words", "recall_by_vector", "recall_by_both", "count"]
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
            "count" => {
                let count = memories.count(reader).await?;
                Ok(Seen::Count(usize::try_from(count).expect("a small count")))
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
        _verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        let id: MemoryId = row.name.parse()?;
        store.memories().delete(by, id).await
    }
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
