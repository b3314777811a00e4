//! The embedded vector store and graph store keep the promises of their traits.

mod suites;

use triune::{
    recall::{LmdbGraphStore, LmdbVectorStore},
    store::{Store, StoreConfig},
};

#[tokio::test]
async fn the_embedded_vector_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    suites::vectors::vector_store_suite(&LmdbVectorStore::new(store)).await;
}

#[tokio::test]
async fn the_embedded_graph_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    suites::graph::graph_store_suite(&LmdbGraphStore::new(store)).await;
}
