//! The embedded graph store: the relations of the engine `recall`, with a graph as a namespace.

use async_trait::async_trait;

use super::{GraphCapability, GraphEdge, GraphStore, Neighbour, graph, namespace::scoped_as};
use crate::{context::Context, error::Result, store::Store};

/// Relations in the folder of a [`Store`]. A graph is a namespace of the engine `recall`: what one relates, the other
/// sees, and each tenant has its own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LmdbGraphStore {
    store: Store,
}

impl LmdbGraphStore {
    /// Relations in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl GraphStore for LmdbGraphStore {
    fn capability(&self) -> GraphCapability {
        GraphCapability { paths: true, rank: true, durable: true }
    }

    async fn upsert(&self, cx: &Context, graph: &str, edges: Vec<GraphEdge>) -> Result<usize> {
        let graph = scoped_as("graph", cx, graph)?;
        graph::upsert(cx, &self.store, &graph, edges).await
    }

    async fn delete(&self, cx: &Context, graph: &str, edges: &[GraphEdge]) -> Result<usize> {
        let graph = scoped_as("graph", cx, graph)?;
        graph::delete(cx, &self.store, &graph, edges.to_vec()).await
    }

    async fn neighbours(
        &self,
        cx: &Context,
        graph: &str,
        of: &str,
        kind: Option<&str>,
        hops: u8,
        top: usize,
    ) -> Result<Vec<Neighbour>> {
        let graph = scoped_as("graph", cx, graph)?;
        let kind = kind.map(str::to_owned);
        graph::neighbours(cx, &self.store, graph, of.to_owned(), kind, (hops, top)).await
    }

    async fn path(&self, cx: &Context, graph: &str, from: &str, to: &str, hops: u8) -> Result<Option<Vec<GraphEdge>>> {
        let graph = scoped_as("graph", cx, graph)?;
        graph::path(cx, &self.store, graph, (from.to_owned(), to.to_owned()), hops).await
    }

    async fn rank(&self, cx: &Context, graph: &str, seeds: &[String], top: usize) -> Result<Vec<(String, f64)>> {
        let graph = scoped_as("graph", cx, graph)?;
        graph::rank(cx, &self.store, graph, seeds.to_vec(), top).await
    }
}
