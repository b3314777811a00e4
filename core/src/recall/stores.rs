//! The stores that recall can stand on, as traits: vectors and a graph. The embedded ones live in LMDB.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Filter, Neighbour, Relation};
use crate::{context::Context, error::Result};

/// What a vector store can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorCapability {
    /// Searches are filtered by metadata.
    pub filter: bool,
    /// Searches are exact.
    pub exact: bool,
    /// What was written survives the end of the process.
    pub durable: bool,
}

/// A vector with its id and metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorItem {
    /// Its id, unique in the collection.
    pub id: String,
    /// Its vector.
    pub vector: Vec<f32>,
    /// Facts about it.
    pub metadata: Map<String, Value>,
}

/// A vector that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorHit {
    /// Its id.
    pub id: String,
    /// Its cosine with the query.
    pub score: f32,
    /// Facts about it.
    pub metadata: Map<String, Value>,
}

/// Vectors by collection, found by cosine.
///
/// # Contract
/// - A collection appears with its first item and has one vector length: others are `Invalid`.
/// - `upsert` puts an item in the place of the one with its id; a batch is written whole or not at all.
/// - `search` gives hits best first, at most `top`; an unknown collection has none.
/// - Each tenant of a context has collections of its own, and sees nothing of those of others.
/// - What a store cannot do is false in `capability`, and asked for anyway is `Unsupported`.
#[async_trait]
pub trait VectorStore: Send + Sync + fmt::Debug + 'static {
    /// What it can do.
    fn capability(&self) -> VectorCapability;
    /// Writes `items`.
    async fn upsert(&self, cx: &Context, collection: &str, items: Vec<VectorItem>) -> Result<()>;
    /// Removes items by id; says how many there were.
    async fn delete(&self, cx: &Context, collection: &str, ids: &[String]) -> Result<usize>;
    /// The `top` items nearest to `query`.
    async fn search(
        &self,
        cx: &Context,
        collection: &str,
        query: &[f32],
        filter: Option<&Filter>,
        top: usize,
    ) -> Result<Vec<VectorHit>>;
    /// Items in the collection.
    async fn len(&self, cx: &Context, collection: &str) -> Result<usize>;
}

/// What a graph store can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GraphCapability {
    /// Finds paths.
    pub paths: bool,
    /// Ranks from seeds.
    pub rank: bool,
    /// What was written survives the end of the process.
    pub durable: bool,
}

/// A relation, in a graph.
pub type GraphEdge = Relation;

/// Relations between names, by graph.
///
/// # Contract
/// - An edge is one `(from, kind, to)`; `upsert` of a known one changes its weight.
/// - Edges are followed both ways; a neighbour is given once, by the shortest way.
/// - Each tenant of a context has graphs of its own, and sees nothing of those of others.
/// - `rank` is personalised PageRank with restart probability .15 at the seeds; scores sum to 1 within 1e-6.
#[async_trait]
pub trait GraphStore: Send + Sync + fmt::Debug + 'static {
    /// What it can do.
    fn capability(&self) -> GraphCapability;
    /// Writes `edges`; says how many are new.
    async fn upsert(&self, cx: &Context, graph: &str, edges: Vec<GraphEdge>) -> Result<usize>;
    /// Removes `edges`; says how many there were.
    async fn delete(&self, cx: &Context, graph: &str, edges: &[GraphEdge]) -> Result<usize>;
    /// What is within `hops` steps of `of`, nearest first.
    async fn neighbours(
        &self,
        cx: &Context,
        graph: &str,
        of: &str,
        kind: Option<&str>,
        hops: u8,
        top: usize,
    ) -> Result<Vec<Neighbour>>;
    /// A shortest way from `from` to `to` of at most `hops` steps; none when there is none.
    async fn path(&self, cx: &Context, graph: &str, from: &str, to: &str, hops: u8) -> Result<Option<Vec<GraphEdge>>>;
    /// The `top` names nearest to the seeds, with their rank.
    async fn rank(&self, cx: &Context, graph: &str, seeds: &[String], top: usize) -> Result<Vec<(String, f64)>>;
}
