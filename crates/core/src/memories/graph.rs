//! Memories that are connected: edges, and how one walks along them. Walking is layer by layer
//! and pure; a store answers the edges of a frontier.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Memory;
use super::fuse::Fused;
use super::question::within;
use crate::error::{Error, Result};
use crate::ids::MemoryId;
use crate::limits;

/// A connection to write.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEdge {
    /// From.
    pub source: MemoryId,
    /// To.
    pub target: MemoryId,
    /// What kind: `related` unless said. One edge per kind between two memories.
    #[serde(rename = "type", default = "related")]
    pub edge_type: String,
    /// How strong, above 0 up to 1.
    #[serde(default = "strong")]
    pub weight: f64,
}

fn related() -> String {
    "related".to_owned()
}

fn strong() -> f64 {
    1.0
}

impl NewEdge {
    /// A strong edge of type `related`.
    pub fn new(source: MemoryId, target: MemoryId) -> Self {
        Self { source, target, edge_type: related(), weight: strong() }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an edge of a memory to itself, a blank or long type, a weight
    /// outside 0 to 1.
    pub fn check(&self) -> Result<()> {
        if self.source == self.target {
            return Err(Error::invalid("target", "is the source: an edge joins two memories"));
        }
        check_type(&self.edge_type)?;
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            return Err(Error::invalid("weight", "is not above 0 and up to 1"));
        }
        Ok(())
    }
}

/// Checks the type of an edge.
///
/// # Errors
///
/// [`Error::Invalid`] when it is blank or over [`limits::EDGE_TYPE_BYTES`].
pub fn check_type(edge_type: &str) -> Result<()> {
    limits::name("type", edge_type, limits::EDGE_TYPE_BYTES)
}

/// Checks how far a walk goes.
///
/// # Errors
///
/// [`Error::Invalid`] outside 1 to [`limits::GRAPH_DEPTH`].
pub fn check_depth(depth: u32) -> Result<()> {
    within("depth", depth, limits::GRAPH_DEPTH)
}

/// A connection between two memories.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[doc(alias = "MemoryEdge")]
pub struct Edge {
    /// From.
    pub source: MemoryId,
    /// To.
    pub target: MemoryId,
    /// What kind.
    #[serde(rename = "type")]
    pub edge_type: String,
    /// How strong, above 0 up to 1.
    pub weight: f64,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

impl Edge {
    /// The other end.
    fn other(&self, end: MemoryId) -> Option<MemoryId> {
        match end {
            end if end == self.source => Some(self.target),
            end if end == self.target => Some(self.source),
            _ => None,
        }
    }

    fn name(&self) -> (MemoryId, MemoryId, &str) {
        (self.source, self.target, &self.edge_type)
    }
}

/// A memory near another one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Neighbor {
    /// The memory.
    pub memory: Memory,
    /// The product of the weights along the best path.
    pub weight: f64,
    /// Edges on that path.
    pub hops: u32,
    /// The last of them.
    pub via_edge: Edge,
}

/// What a walk found out about a memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Reached {
    /// What arrives there by the best path.
    pub weight: f64,
    /// Edges on that path.
    pub hops: u32,
    /// The last of them.
    pub via: Edge,
}

/// A walk from some memories along edges in both directions, layer by layer. A memory is visited
/// again only by a better path, so that a dense graph costs its edges and not its paths.
///
/// ```
/// # use chrono::DateTime;
/// # use mnemon_core::MemoryId;
/// use mnemon_core::memories::graph::{Edge, Walk};
/// # let id = |n| MemoryId(uuid::Uuid::from_u128(n));
/// # let edge = |source, target, weight| Edge {
/// #     source, target, edge_type: "related".into(), weight, created_at: DateTime::UNIX_EPOCH };
///
/// let mut walk = Walk::from(id(1));
/// walk.absorb(vec![edge(id(1), id(2), 0.5)]);
/// walk.absorb(vec![edge(id(2), id(3), 0.5)]);
/// let found = walk.finish();
/// assert_eq!((found[1].0, found[1].1.weight, found[1].1.hops), (id(3), 0.25, 2));
/// ```
#[derive(Clone, Debug)]
pub struct Walk {
    starts: BTreeMap<MemoryId, f64>,
    reached: BTreeMap<MemoryId, Reached>,
    frontier: BTreeMap<MemoryId, f64>,
    hops: u32,
    per_hop: f64,
    cut: f64,
}

impl Walk {
    /// A walk from one memory to its neighbours.
    pub fn from(start: MemoryId) -> Self {
        Self::of(BTreeMap::from([(start, 1.0)]), 1.0, 0.0)
    }

    /// A walk that spreads activation from what was found: each hit starts with its share of the
    /// best score, a hop takes [`limits::SPREAD_DECAY`], and what falls below
    /// [`limits::SPREAD_CUT`] goes no further.
    pub fn spreading(hits: &[Fused<MemoryId>]) -> Self {
        let best = hits.iter().map(|hit| hit.score).fold(0.0, f64::max);
        let share = |score: f64| if best > 0.0 { (score / best).max(0.0) } else { 0.0 };
        let starts = hits.iter().map(|hit| (hit.key, share(hit.score))).collect();
        Self::of(starts, limits::SPREAD_DECAY, limits::SPREAD_CUT)
    }

    fn of(starts: BTreeMap<MemoryId, f64>, per_hop: f64, cut: f64) -> Self {
        let frontier = starts.clone();
        Self { starts, reached: BTreeMap::new(), frontier, hops: 0, per_hop, cut }
    }

    /// The memories whose edges are wanted next; none when the walk is over.
    pub fn frontier(&self) -> Vec<MemoryId> {
        self.frontier.keys().copied().collect()
    }

    /// Goes one hop, given the edges of the frontier.
    pub fn absorb(&mut self, mut edges: Vec<Edge>) {
        self.hops += 1;
        edges.sort_by(|a, b| a.name().cmp(&b.name()));
        let layer = std::mem::take(&mut self.frontier);
        for edge in &edges {
            for end in [edge.source, edge.target] {
                let (Some(arrived), Some(other)) = (layer.get(&end), edge.other(end)) else {
                    continue;
                };
                self.arrive(other, arrived * edge.weight * self.per_hop, edge);
            }
        }
        self.keep_the_strongest();
    }

    fn arrive(&mut self, at: MemoryId, weight: f64, via: &Edge) {
        let known = self.reached.get(&at).map(|reached| reached.weight);
        let known = known.or_else(|| self.starts.get(&at).copied());
        if weight < self.cut || known.is_some_and(|known| known >= weight) {
            return;
        }
        self.reached.insert(at, Reached { weight, hops: self.hops, via: via.clone() });
        self.frontier.insert(at, weight);
    }

    fn keep_the_strongest(&mut self) {
        if self.frontier.len() <= limits::GRAPH_NODES {
            return;
        }
        let mut layer: Vec<(MemoryId, f64)> =
            std::mem::take(&mut self.frontier).into_iter().collect();
        layer.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
        layer.truncate(limits::GRAPH_NODES);
        self.frontier = layer.into_iter().collect();
    }

    /// What was reached: strongest first, then nearest, then newest; at most
    /// [`limits::GRAPH_NODES`].
    pub fn finish(self) -> Vec<(MemoryId, Reached)> {
        let mut all: Vec<(MemoryId, Reached)> = self.reached.into_iter().collect();
        all.sort_by(|(a, x), (b, y)| order(x, y).then_with(|| b.cmp(a)));
        all.truncate(limits::GRAPH_NODES);
        all
    }
}

fn order(a: &Reached, b: &Reached) -> Ordering {
    b.weight.total_cmp(&a.weight).then_with(|| a.hops.cmp(&b.hops))
}

/// Puts what activation reached among what was found: a memory's score is the better of its own
/// and its activation's share of the best score; the edge is named where activation decided.
pub fn join(
    found: Vec<Fused<MemoryId>>,
    reached: Vec<(MemoryId, Reached)>,
    limit: usize,
) -> Vec<(Fused<MemoryId>, Option<Edge>)> {
    let best = found.iter().map(|hit| hit.score).fold(0.0, f64::max);
    let mut all: BTreeMap<MemoryId, (Fused<MemoryId>, Option<Edge>)> =
        found.into_iter().map(|hit| (hit.key, (hit, None))).collect();
    for (key, Reached { weight, via, .. }) in reached {
        let hit = all.entry(key).or_insert_with(|| (Fused::bare(key), None));
        if weight * best > hit.0.score {
            hit.0.score = weight * best;
            hit.1 = Some(via);
        }
    }
    let mut hits: Vec<_> = all.into_values().collect();
    hits.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score).then_with(|| b.key.cmp(&a.key)));
    hits.truncate(limit);
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> MemoryId {
        MemoryId(uuid::Uuid::from_u128(number))
    }

    fn edge(source: u128, target: u128, weight: f64) -> Edge {
        let created_at = DateTime::UNIX_EPOCH;
        Edge {
            source: id(source),
            target: id(target),
            edge_type: "related".into(),
            weight,
            created_at,
        }
    }

    fn walk(mut walk: Walk, edges: &[Edge], depth: u32) -> Vec<(MemoryId, Reached)> {
        for _ in 0..depth {
            let frontier = walk.frontier();
            let near =
                |edge: &&Edge| frontier.contains(&edge.source) || frontier.contains(&edge.target);
            let layer = edges.iter().filter(near).cloned().collect();
            walk.absorb(layer);
        }
        walk.finish()
    }

    #[test]
    fn a_clique_costs_its_nodes_and_not_its_paths() {
        let mut edges = Vec::new();
        for a in 1..=9 {
            for b in a + 1..=9 {
                edges.push(edge(a, b, 1.0));
            }
        }

        let found = walk(Walk::from(id(1)), &edges, 6);

        assert_eq!(found.len(), 8);
        assert!(found.iter().all(|(_, reached)| reached.hops == 1));
    }

    #[test]
    fn the_best_path_counts_also_when_it_is_longer() {
        let edges = [edge(1, 3, 0.1), edge(1, 2, 0.9), edge(2, 3, 0.9)];

        let near = walk(Walk::from(id(1)), &edges, 1);
        let far = walk(Walk::from(id(1)), &edges, 2);

        assert!((near[1].1.weight - 0.1).abs() < 1e-12);
        assert_eq!(far[1].0, id(3));
        assert!((far[1].1.weight - 0.81).abs() < 1e-12 && far[1].1.hops == 2);
    }

    #[test]
    fn activation_fades_by_the_hop_and_is_cut() {
        let hit = Fused { score: 2.0, ..Fused::bare(id(1)) };
        let edges: Vec<Edge> = (1..9).map(|n| edge(n, n + 1, 1.0)).collect();

        let reached = walk(Walk::spreading(std::slice::from_ref(&hit)), &edges, 3);
        let faint = walk(Walk::spreading(std::slice::from_ref(&hit)), &[edge(1, 2, 0.14)], 3);
        let joined = join(vec![hit], reached, 3);

        assert!(faint.is_empty(), "0.14 × 0.7 is below the cut");
        let scores: Vec<f64> = joined.iter().map(|(hit, _)| hit.score).collect();
        assert!((scores[1] - 1.4).abs() < 1e-12 && (scores[2] - 0.98).abs() < 1e-12);
        assert_eq!(joined[2].1.as_ref().map(|via| via.source), Some(id(2)));
        assert!(joined[0].1.is_none());
    }

    #[test]
    fn an_edge_joins_two_memories() {
        assert!(NewEdge::new(id(1), id(1)).check().is_err());
        for weight in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(NewEdge { weight, ..NewEdge::new(id(1), id(2)) }.check().is_err());
        }
    }
}
