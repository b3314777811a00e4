//! Perfect Recall: knowledge stored with vectors, words, relations and time, recalled by one ranked query.

mod config;
mod engine;
mod filter;
mod request;
mod stores;

pub use config::{Fusion, RecallConfig};
pub use engine::RecallEngine;
pub use filter::Filter;
pub use request::{
    ForgetRequest, Hit, Item, Neighbour, NeighboursRequest, RecallQuery, RecallReply, RecallRequest, RelateRequest,
    Relation, StoreRequest, Why,
};
pub use stores::{GraphCapability, GraphEdge, GraphStore, VectorCapability, VectorHit, VectorItem, VectorStore};
