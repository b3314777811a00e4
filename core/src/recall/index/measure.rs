//! The vector index without what stands around it, for the programs in `benches/`.

pub use roaring::RoaringBitmap as ItemSet;
use tokio_util::sync::CancellationToken;

use super::{Query, Snapshot, do_what_is_due};
use crate::{
    context::Context,
    error::{Error, Result},
    recall::{RecallConfig, namespace, vector},
    store::Store,
};

/// The numbers of the `wanted` items nearest to `vector`, of those `admitted`, and their cosines. Items are numbered from 0
/// in the order in which they were stored.
///
/// # Errors
/// `NotFound` for an unknown namespace; `Invalid` for a vector that does not fit it.
pub fn nearest(
    config: &RecallConfig,
    store: &Store,
    namespace: &str,
    vector: &[f32],
    admitted: Option<&ItemSet>,
    wanted: usize,
) -> Result<Vec<(u32, f32)>> {
    let vector = vector::unit(vector)?;
    let cx = Context::new();
    store.read(|read| {
        let known = namespace::find(read, namespace)?;
        let known = known.ok_or_else(|| Error::not_found("there is no such namespace; check its name"))?;
        known.fits(vector.len())?;
        let query = Query { vector: &vector, admitted, wanted };
        let found = Snapshot::open(&cx, config, read, &known)?.nearest(&query)?;
        Ok(found.into_iter().map(|(cosine, item)| (item, cosine)).collect())
    })
}

/// Does what is due in the background, and returns when nothing is any more.
pub async fn settle(config: &RecallConfig, store: &Store, namespace: &str) -> Result<()> {
    do_what_is_due(config, store, &CancellationToken::new(), namespace).await
}
