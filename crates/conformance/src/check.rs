//! What cases say often: a refusal by field, ids of hits, small worlds.

use std::fmt::Debug;

use chrono::{DateTime, TimeZone as _, Utc};
use mnemon_core::memories::{Hit, Memories, Memory, MemoryFilter, ModelSignature, NewMemory};
use mnemon_core::{Error, MemoryId, Page, Result, Scope};

/// Asserts [`Error::Invalid`] with this field.
#[track_caller]
pub(crate) fn refused<T: Debug>(outcome: Result<T>, field: &str) -> String {
    match outcome {
        Err(Error::Invalid { field: found, reason }) if found == field => reason,
        other => panic!("expected {field} to be invalid, got {other:?}"),
    }
}

/// Asserts [`Error::NotFound`].
#[track_caller]
pub(crate) fn absent<T: Debug>(outcome: Result<T>) {
    match outcome {
        Err(Error::NotFound { kind: "memory", .. }) => {}
        other => panic!("expected no memory, got {other:?}"),
    }
}

/// Asserts an error's code.
#[track_caller]
pub(crate) fn fails_as<T: Debug>(outcome: Result<T>, code: &str) -> Error {
    match outcome {
        Err(error) if error.code() == code => error,
        other => panic!("expected {code}, got {other:?}"),
    }
}

pub(crate) fn ids(hits: &[Hit]) -> Vec<MemoryId> {
    hits.iter().map(|hit| hit.memory.id).collect()
}

pub(crate) fn contents(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.memory.content.as_str()).collect()
}

/// Writes a text and answers its id.
pub(crate) async fn keep(memories: &dyn Memories, scope: &Scope, content: &str) -> MemoryId {
    memories.remember(scope, NewMemory::new(content)).await.expect("a plain text is kept").id
}

/// Writes a text with its vector.
pub(crate) async fn keep_at(
    memories: &dyn Memories,
    scope: &Scope,
    content: &str,
    vector: &[f32],
) -> MemoryId {
    let memory = NewMemory { embedding: Some(vector.to_vec()), ..NewMemory::new(content) };
    memories.remember(scope, memory).await.expect("a text with its vector is kept").id
}

/// Everything a scope sees, page by page, newest first.
pub(crate) async fn everything(
    memories: &dyn Memories,
    scope: &Scope,
    filter: &MemoryFilter,
    size: u32,
) -> Vec<Memory> {
    let mut page = Page::first(size);
    let mut all = Vec::new();
    loop {
        let piece = memories.list(scope, filter, &page).await.expect("a page is read");
        assert!(piece.items.len() <= size as usize, "a page is no longer than asked");
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

/// A model of few dimensions.
pub(crate) fn model(dimension: u32) -> ModelSignature {
    ModelSignature {
        name: "test-model".to_owned(),
        dimension,
        hash: "00ff00ff00ff00ff".to_owned(),
        semantic: true,
    }
}

/// A time with microseconds.
pub(crate) fn at(year: i32, month: u32, day: u32, micros: u32) -> DateTime<Utc> {
    let midnight = Utc.with_ymd_and_hms(year, month, day, 0, 0, 0).single().expect("a date");
    midnight + chrono::TimeDelta::microseconds(i64::from(micros))
}

/// Small numbers that look random and are the same on every machine (`SplitMix64`).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `below` − 1.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % below as u64).expect("below a usize")
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
