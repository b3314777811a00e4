//! Perfect Recall: knowledge stored with vectors, words, relations and time, recalled by one ranked query.

mod admission;
mod associate;
mod blend;
mod column;
mod config;
mod diversity;
mod duplicates;
mod engine;
mod entities;
mod expiry;
mod export;
mod facets;
mod facts;
mod filter;
mod forget;
mod fuse;
mod graph;
mod history;
mod import;
mod index;
mod integrity;
mod lexical;
mod lmdb_graph;
mod lmdb_vectors;
mod migrate;
mod moment;
mod names;
mod namespace;
mod operations;
mod pack;
mod passages;
mod past;
mod postings;
mod prepare;
mod question;
mod quota;
mod record;
mod reembed;
mod request;
mod rerank;
mod rows;
mod search;
mod sessions;
mod slots;
mod speakers;
mod statistics;
mod stores;
mod vector;
mod words;

pub use config::{Fusion, RecallConfig};
pub use duplicates::Duplicates;
pub use engine::RecallEngine;
pub use export::{ExportReport, ExportRequest};
pub use filter::Filter;
pub use import::{ImportReport, ImportRequest};
pub use index::IndexChoice;
pub use integrity::check_recall;
pub use lmdb_graph::LmdbGraphStore;
pub use lmdb_vectors::LmdbVectorStore;
pub use moment::Moment;
pub use quota::{Quota, Quotas};
pub use request::{
    ForgetRequest, GivenRelation, Hit, Item, ItemVersion, Neighbour, NeighboursRequest, PassageRange, RecallContext,
    RecallQuery, RecallReply, RecallRequest, RelateRequest, Relation, StoreRequest, Why,
};
pub use statistics::{IndexStatistics, NamespaceStatistics, Reembedding, recall_statistics};
pub use stores::{GraphCapability, GraphEdge, GraphStore, VectorCapability, VectorHit, VectorItem, VectorStore};

#[cfg(fuzzing)]
#[doc(hidden)]
pub use entities::fuzzing;

/// For the programs in `benches/`: the vector index without what stands around it.
#[doc(hidden)]
pub mod measure {
    pub use super::{
        entities::measure::{entities, relations},
        index::measure::{ItemSet, nearest, settle},
    };
}

#[cfg(test)]
mod integrity_tests;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod reembed_tests;
#[cfg(test)]
mod tenant_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;
