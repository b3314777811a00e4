//! Perfect Recall: knowledge stored with vectors, words, relations and time, recalled by one ranked query.

mod config;
mod engine;
mod filter;
mod forget;
mod fuse;
mod graph;
mod index;
mod lmdb_graph;
mod lmdb_vectors;
mod namespace;
mod prepare;
mod request;
mod rerank;
mod rows;
mod search;
mod stores;
mod vector;
mod words;

pub use config::{Fusion, RecallConfig};
pub use engine::RecallEngine;
pub use filter::Filter;
pub use index::IndexChoice;
pub use lmdb_graph::LmdbGraphStore;
pub use lmdb_vectors::LmdbVectorStore;
pub use request::{
    ForgetRequest, Hit, Item, Neighbour, NeighboursRequest, RecallQuery, RecallReply, RecallRequest, RelateRequest,
    Relation, StoreRequest, Why,
};
pub use stores::{GraphCapability, GraphEdge, GraphStore, VectorCapability, VectorHit, VectorItem, VectorStore};

/// For the programs in `benches/`: the vector index without what stands around it.
#[doc(hidden)]
pub mod measure {
    pub use super::index::measure::{ItemSet, nearest, settle};
}

#[cfg(test)]
mod tests;
