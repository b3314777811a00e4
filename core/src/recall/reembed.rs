//! Another embedder for a namespace: its texts are embedded beside the vectors that serve, and take their place at once.
//!
//! Vectors, codes and lists stand under a number of their own (`vectors_under`), so that new ones can be made for the same
//! items. They are made in the order of the items; what is stored meanwhile has a higher number, and its turn comes. What is
//! forgotten meanwhile goes when they are put in place. Who is killed goes on where the last transaction ended.

use std::sync::Arc;

use super::{
    RecallEngine,
    index::{self, NewVectors},
    namespace::{self, Namespace, scoped},
    past, prepare,
    record::Record,
    rows::{item_of, malformed, range_of},
    slots::SlotReader,
    vector,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::Embedder,
    runtime::blocking,
    store::{Read, Store, Write},
};

/// Texts that are embedded at once at most, and bytes of them.
const BATCH: (usize, usize) = (256, 1 << 20);

/// Numbers of items and passages, with their texts.
type Texts = Vec<(u32, String)>;

impl RecallEngine {
    /// Embeds all texts of a namespace by the embedder there is now, in the place of the one that made its vectors. Says how
    /// many texts, and passages of long ones, that were.
    ///
    /// What is asked meanwhile is found by the old vectors by whoever still has the old embedder, and by words by who has the
    /// new one; what is stored meanwhile is found by words until its turn has come. The new vectors are put in place in one
    /// transaction. Interrupted, by a kill too, it goes on where it was when it is called again;
    /// [`statistics`](Self::statistics) tell how far it is. Versions of items that were replaced are found by words then.
    ///
    /// # Errors
    /// `NotFound` for an unknown namespace or without an embedder, and what the embedder returns.
    pub async fn reembed(&self, cx: &Context, namespace: &str) -> Result<u64> {
        self.reembed_by(cx, namespace, self.router().embedder()?).await
    }

    /// As [`reembed`](Self::reembed), by another embedder than the one there is: that one serves meanwhile, and is to be set
    /// to the new one afterwards.
    ///
    /// # Errors
    /// Those of [`reembed`](Self::reembed).
    pub async fn reembed_by(&self, cx: &Context, namespace: &str, embedder: Arc<dyn Embedder>) -> Result<u64> {
        self.ready().await?;
        let (name, store) = (scoped(cx, namespace)?, self.store_of());
        let profile = embedder.profile();
        let target = (profile.id.clone(), profile.dimensions);
        if !begin(store, &name, target).await? {
            return Ok(0);
        }
        let mut count = 0;
        loop {
            cx.check()?;
            let (reader, asked) = (store.clone(), name.clone());
            let (from, texts) = blocking(move || reader.read(|read| waiting(read, &asked))).await?;
            if texts.is_empty() {
                if put_in_place(store, &name).await? {
                    break;
                }
                continue;
            }
            let (numbers, texts): (Vec<u32>, Vec<String>) = texts.into_iter().unzip();
            let made = cx.run(embedder.embed(cx, texts)).await?;
            let made = prepare::kept(embedder.as_ref(), numbers.len(), made)?;
            let rows = numbers.into_iter().zip(&made).map(|(number, made)| Ok((number, vector::unit(&made.vector)?)));
            count += keep(store, &name, (from, profile.id.clone()), rows.collect::<Result<Vec<_>>>()?).await?;
        }
        self.index_if_due(&name);
        Ok(count)
    }
}

fn gone() -> Error {
    Error::not_found("there is no such namespace; see `namespaces` for those there are")
}

/// Who embeds the namespace by yet another embedder has begun since.
fn overtaken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another call embeds this namespace by another embedder; wait for it, or call again",
    )
}

/// Begins to embed by another embedder, or goes on; says whether there is anything to do.
async fn begin(store: &Store, name: &str, (embedder, dimensions): (String, usize)) -> Result<bool> {
    let name = name.to_owned();
    let job = move |write: &mut Write<'_, '_>| {
        let mut namespace = namespace::find_in(write, &name)?.ok_or_else(gone)?;
        if let Some(shadow) = namespace.shadow.take() {
            if shadow.embedder.as_ref() == Some(&embedder) && shadow.dimensions == dimensions {
                return Ok(true);
            }
            index::clear(write, &shadow)?;
        }
        let done = namespace.embedder.as_ref() == Some(&embedder) && namespace.dimensions == dimensions;
        if !done {
            let under = namespace::take_namespace(write)?;
            let shadow = Namespace { ns: namespace.ns, vectors_under: Some(under), dimensions, ..Namespace::default() };
            namespace.shadow = Some(Box::new(Namespace { embedder: Some(embedder.clone()), ..shadow }));
        }
        namespace::keep(write, &name, &namespace)?;
        Ok(!done)
    };
    store.write(job).await
}

/// The next texts that the new embedder has not read, and from which number on they are.
fn waiting(read: &Read<'_>, name: &str) -> Result<(u32, Texts)> {
    let namespace = namespace::find(read, name)?.ok_or_else(gone)?;
    let from = namespace.shadow.as_ref().ok_or_else(overtaken)?.next;
    let (mut texts, mut bytes) = (Texts::new(), 0);
    let (mut slots, mut whole) = (SlotReader::new(read), (None, String::new()));
    let keys = (namespace.item_key(from), namespace.item_key(u32::MAX));
    // Whatever is found has a row here: whole items, and passages.
    for row in read.tables.terms.between(read.txn, &keys.0, &keys.1)? {
        let number = item_of(row?.0)?;
        let item = slots.get(read, &namespace, number)?.parent.unwrap_or(number);
        // The passages of a text follow each other: it is read once.
        if whole.0 != Some(item) {
            let stored = read.tables.items.get(read.txn, &namespace.item_key(item))?;
            whole = (Some(item), Record::from_bytes(stored.ok_or_else(|| malformed("items"))?)?.text);
        }
        let text = if item == number {
            std::mem::take(&mut whole).1
        } else {
            let range = read.tables.passages.get(read.txn, &namespace.item_key(number))?;
            let range = range_of(range.ok_or_else(|| malformed("passages"))?)?;
            whole.1.get(range).ok_or_else(|| malformed("passages"))?.to_owned()
        };
        bytes += text.len();
        texts.push((number, text));
        if texts.len() == BATCH.0 || bytes >= BATCH.1 {
            break;
        }
    }
    Ok((from, texts))
}

/// Keeps new vectors, if nobody else has got so far; says how many.
async fn keep(store: &Store, name: &str, (from, embedder): (u32, String), rows: Vec<(u32, Vec<f32>)>) -> Result<u64> {
    let name = name.to_owned();
    let job = move |write: &mut Write<'_, '_>| {
        let mut namespace = namespace::find_in(write, &name)?.ok_or_else(gone)?;
        let Some(mut shadow) = namespace.shadow.take() else { return Ok(0) };
        if shadow.embedder.as_ref() != Some(&embedder) {
            return Err(overtaken());
        }
        // Another process, which embeds it too, was faster.
        if shadow.next != from {
            return Ok(0);
        }
        let mut vectors = NewVectors::default();
        let mut count = 0;
        for (number, vector) in &rows {
            shadow.next = number + 1;
            // It may have been forgotten since its text was read.
            if write.tables.terms.get_unverified(write.txn, &namespace.item_key(*number))?.is_some() {
                vectors.add(*number, vector);
                shadow.vectors += 1;
                count += 1;
            }
        }
        vectors.write(write, &mut shadow)?;
        namespace.shadow = Some(shadow);
        namespace::keep(write, &name, &namespace)?;
        Ok(count)
    };
    store.write(job).await
}

/// Puts the new vectors in the place of the old ones, unless something was stored since; says whether they are.
async fn put_in_place(store: &Store, name: &str) -> Result<bool> {
    let name = name.to_owned();
    let job = move |write: &mut Write<'_, '_>| {
        let mut namespace = namespace::find_in(write, &name)?.ok_or_else(gone)?;
        // Another process has done it.
        let Some(mut shadow) = namespace.shadow.take() else { return Ok(true) };
        let keys = (namespace.item_key(shadow.next), namespace.item_key(u32::MAX));
        if write.tables.terms.between(write.txn, &keys.0, &keys.1)?.next().is_some() {
            return Ok(false);
        }
        let mut there = roaring::RoaringBitmap::new();
        for key in write.tables.terms.keys(write.txn, &namespace.prefix())? {
            there.insert(item_of(key?)?);
        }
        let mut vectors = NewVectors::default();
        for number in index::items(&write.reading(), &shadow)? - there {
            if vectors.remove(write, &shadow, number)? {
                shadow.vectors = shadow.vectors.saturating_sub(1);
            }
        }
        vectors.write(write, &mut shadow)?;
        let old = namespace.clone();
        take_over(&mut namespace, *shadow);
        index::clear(write, &old)?;
        let less = past::forget_vectors(write, &namespace)?;
        namespace.count_bytes(less, 0);
        namespace::keep(write, &name, &namespace)?;
        Ok(true)
    };
    store.write(job).await
}

/// Gives a namespace the vectors of its shadow, and what is true of them.
fn take_over(namespace: &mut Namespace, shadow: Namespace) {
    let Namespace { vectors, embedder, dimensions, coded, sampled, mean, lists, forest, ann, .. } = shadow;
    (namespace.vectors, namespace.embedder, namespace.dimensions) = (vectors, embedder, dimensions);
    (namespace.coded, namespace.sampled, namespace.mean) = (coded, sampled, mean);
    (namespace.lists, namespace.lists_version, namespace.lists_cleared) =
        (lists, shadow.lists_version, shadow.lists_cleared);
    (namespace.forest, namespace.ann, namespace.ann_until_ms) = (forest, ann, shadow.ann_until_ms);
    namespace.vectors_under = shadow.vectors_under;
    if namespace.vectors == 0 {
        (namespace.embedder, namespace.dimensions) = (None, 0);
    }
}
