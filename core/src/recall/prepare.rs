//! From a request to the rows to be written: checked, embedded, split into words, named. No transaction is open yet.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Moment, RecallConfig, Relation, StoreRequest,
    duplicates::Fingerprint,
    entities, graph, names,
    namespace::{GIVEN, check_name},
    passages,
    record::Record,
    rows::{Change, Passage, Prepared},
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
        check_facts(item)?;
    }
    Ok(())
}

fn check_facts(item: &StoreRequest) -> Result<()> {
    for (what, name) in [("session", &item.session), ("speaker", &item.speaker), ("id", &item.supersedes)] {
        if let Some(name) = name {
            check_name(what, name)?;
        }
    }
    if let (Some(from), Some(to)) = (item.valid_from, item.valid_to)
        && from >= to
    {
        let message = "`valid_from` is not before `valid_to`; something is true from one time to a later one";
        return Err(Error::invalid(message).with("valid_from", from).with("valid_to", to));
    }
    if item.ttl_ms == Some(0) {
        return Err(Error::invalid("a time to live of 0 would forget it at once; leave it out to keep it for ever"));
    }
    if let Some(importance) = item.importance
        && !(0.0..=1.0).contains(&importance)
    {
        return Err(Error::invalid("an importance is 0 to 1").with("importance", importance));
    }
    if item.supersedes.is_some() && item.supersedes == item.id {
        let message =
            "an item cannot supersede itself; leave `supersedes` out to replace it, or give it an id of its own";
        return Err(Error::invalid(message));
    }
    for given in &item.relations {
        // A fresh id is shorter than any that is refused.
        let from = given.from.as_deref().or(item.id.as_deref()).unwrap_or("00000000-0000-0000-0000-000000000000");
        let (from, kind, to) = (from.to_owned(), given.kind.clone(), given.to.clone());
        graph::check(&Relation { from, kind, to, weight: given.weight })?;
    }
    Ok(())
}

/// Cuts `items` into passages, embeds them, splits them into words and names them; each comes back with its namespace.
pub(super) async fn prepare(
    cx: &Context,
    config: &RecallConfig,
    embedder: Option<Arc<dyn Embedder>>,
    items: Vec<StoreRequest>,
) -> Result<Vec<(String, Prepared)>> {
    let mut cuts = Vec::with_capacity(items.len());
    let mut texts = Vec::new();
    for item in &items {
        let above = if item.vector.is_some() { 0 } else { config.passage_above };
        let ranges = passages::cut(&item.content, above, config.passage);
        if embedder.is_some() && item.vector.is_none() {
            texts.extend(ranges.iter().map(|range| item.content[range.clone()].to_owned()));
        }
        cuts.push(ranges);
    }
    let (made, maker) = match &embedder {
        Some(embedder) if !texts.is_empty() => {
            let count = texts.len();
            let made = kept(embedder.as_ref(), count, cx.run(embedder.embed(cx, texts)).await?)?;
            (made, Some(embedder.profile().id.clone()))
        }
        _ => (Vec::new(), None),
    };
    let bytes: usize = items.iter().map(|item| item.content.len()).sum();
    let name_all = move || {
        let mut made = made.into_iter();
        let items = items.into_iter().zip(cuts);
        items.map(|(item, ranges)| name(item, &ranges, &mut made, maker.as_deref())).collect()
    };
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

fn name(
    item: StoreRequest,
    ranges: &[Range<usize>],
    made: &mut impl Iterator<Item = Embedding>,
    maker: Option<&str>,
) -> Result<(String, Prepared)> {
    let now = Moment::now();
    let id = item.id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut truncated = false;
    let reading = entities::read(&item.content, item.speaker.as_deref());
    let mut passages = Vec::with_capacity(ranges.len());
    for range in ranges {
        let vector = match &item.vector {
            Some(given) => Some(vector::unit(given)?),
            None if maker.is_some() => {
                let made = made.next().ok_or_else(|| Error::unexpected("a text was not embedded"))?;
                truncated |= made.truncated;
                Some(vector::unit(&made.vector)?)
            }
            None => None,
        };
        let words = words::of_text(&item.content[range.clone()]);
        let names = names::terms(&reading, range);
        passages.push(Passage { range: range.clone(), words, names, vector });
    }
    let embedder = if item.vector.is_some() { Some(GIVEN) } else { maker };
    let fingerprint = match &passages[..] {
        [whole] => Fingerprint::of(&item.content, &whole.words),
        _ => Fingerprint::of(&item.content, &words::of_text(&item.content)),
    };
    let relations = item.relations.into_iter().map(|given| Relation {
        from: given.from.unwrap_or_else(|| id.clone()),
        kind: given.kind,
        to: given.to,
        weight: given.weight,
    });
    let relations = relations.collect();
    let expires = item.ttl_ms.map(|ttl| now.after_millis(ttl));
    let record = Record {
        id,
        text: item.content,
        metadata: item.metadata,
        stored_ms: now.as_millis().unsigned_abs(),
        truncated,
        session: item.session,
        speaker: item.speaker,
        valid_from: item.valid_from,
        valid_to: item.valid_to,
        expires,
        importance: item.importance,
        supersedes: item.supersedes,
        ..Record::default()
    };
    let embedder = embedder.map(str::to_owned);
    let duplicates = item.duplicates;
    Ok((item.namespace, Prepared { record, passages, embedder, fingerprint, duplicates, relations, as_is: false }))
}

/// Writes all rows, and gives the ids under which they are now; those of a namespace share its change. None may
/// hold more than its quota then.
pub(super) fn put_all(
    write: &mut Write<'_, '_>,
    config: &RecallConfig,
    rows: &[(String, Prepared)],
) -> Result<Vec<String>> {
    let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (name, _)) in rows.iter().enumerate() {
        by_namespace.entry(name).or_default().push(at);
    }
    let mut ids = vec![String::new(); rows.len()];
    for (name, places) in by_namespace {
        let fingerprints = places.iter().map(|at| rows[*at].1.fingerprint);
        let mut change = Change::begin_to_store(write, name, fingerprints, config.history)?;
        for at in places {
            ids[at] = change.put(write, &rows[at].1)?;
        }
        change.check(&config.quotas.of(name))?;
        change.end(write)?;
    }
    Ok(ids)
}
