//! From a request to the rows to be written: checked, embedded, split into words, named. No transaction is open yet.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    StoreRequest,
    namespace::{GIVEN, check_name},
    rows::{Change, Prepared, Record},
    vector, words,
};
use crate::{
    context::Context,
    error::{Error, Result},
    model::{Embedder, Embedding},
    runtime::blocking,
    store::Write,
};

/// Items in one batch at most: they are one transaction.
const MAX_BATCH: usize = 10_000;
/// Bytes of a text at most.
const MAX_TEXT: usize = 4 << 20;
/// Bytes of text that are split into words without leaving the thread.
const INLINE_TEXT: usize = 16 << 10;

/// A vector of length 1, who made it, and whether only the beginning of the text was read.
type Made = (Vec<f32>, String, bool);

/// Checks what is to be stored.
pub(super) fn check(items: &[StoreRequest]) -> Result<()> {
    if items.len() > MAX_BATCH {
        return Err(
            Error::invalid(format!("a batch has at most {MAX_BATCH} items; split it")).with("items", items.len())
        );
    }
    for item in items {
        check_name("namespace", &item.namespace)?;
        if let Some(id) = &item.id {
            check_name("id", id)?;
        }
        if item.content.trim().is_empty() {
            return Err(Error::invalid("the content is empty; there is nothing to remember"));
        }
        if item.content.len() > MAX_TEXT {
            let message = format!("a text has at most {MAX_TEXT} bytes; store it in parts");
            return Err(Error::invalid(message).with("bytes", item.content.len()));
        }
    }
    Ok(())
}

/// Embeds, splits into words and names `items`; each comes back with its namespace.
pub(super) async fn prepare(
    cx: &Context,
    embedder: Option<Arc<dyn Embedder>>,
    items: Vec<StoreRequest>,
) -> Result<Vec<(String, Prepared)>> {
    let texts = || items.iter().filter(|item| item.vector.is_none()).map(|item| item.content.clone());
    let (made, maker) = match &embedder {
        Some(embedder) => {
            let texts: Vec<_> = texts().collect();
            let made = match texts.len() {
                0 => Vec::new(),
                count => kept(embedder.as_ref(), count, cx.run(embedder.embed(cx, texts)).await?)?,
            };
            (made, embedder.profile().id.clone())
        }
        None => (Vec::new(), String::new()),
    };
    let mut made = made.into_iter();
    let mut vectors: Vec<Option<Made>> = Vec::with_capacity(items.len());
    for item in &items {
        vectors.push(match &item.vector {
            Some(given) => Some((vector::unit(given)?, GIVEN.to_owned(), false)),
            None => match made.next() {
                Some(made) => Some((vector::unit(&made.vector)?, maker.clone(), made.truncated)),
                None => None,
            },
        });
    }
    let bytes: usize = items.iter().map(|item| item.content.len()).sum();
    let name_all = move || Ok(items.into_iter().zip(vectors).map(|(item, vector)| name(item, vector)).collect());
    if bytes <= INLINE_TEXT { name_all() } else { blocking(name_all).await }
}

/// What `embedder` made of `wanted` texts, if it kept its contract.
pub(super) fn kept(embedder: &dyn Embedder, wanted: usize, made: Vec<Embedding>) -> Result<Vec<Embedding>> {
    let dimensions = embedder.profile().dimensions;
    if made.len() != wanted || made.iter().any(|made| made.vector.len() != dimensions) {
        return Err(Error::unexpected("the embedder did not give one vector of its length for each text; mend it")
            .with("embedder", &embedder.profile().id)
            .with("texts", wanted)
            .with("vectors", made.len()));
    }
    Ok(made)
}

fn name(item: StoreRequest, made: Option<Made>) -> (String, Prepared) {
    let StoreRequest { content, metadata, namespace, id, .. } = item;
    let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let words = words::of_text(&content);
    let (vector, truncated) = match made {
        Some((vector, embedder, truncated)) => (Some((vector, embedder)), truncated),
        None => (None, false),
    };
    let record = Record { id: id.clone(), text: content, metadata, stored_ms: now_ms(), truncated };
    (namespace, Prepared { id, record, words, vector })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Writes all rows; neighbours of the same namespace share its change.
pub(super) fn put_all(write: &mut Write<'_, '_>, rows: &[(String, Prepared)]) -> Result<()> {
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let Some((name, _)) = rows.first() else { continue };
        let mut change = Change::begin(write, name)?;
        for (_, prepared) in rows {
            change.put(write, prepared)?;
        }
        change.end(write)?;
    }
    Ok(())
}
