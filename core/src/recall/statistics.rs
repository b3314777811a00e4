//! What a namespace holds, and how much room that takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    RecallConfig, graph, index, names,
    namespace::{self, Namespace, plain},
    postings::term_of,
    record::Record,
    rows::WordStatistics,
};
use crate::{
    context::Context,
    error::Result,
    store::{Read, Store, Table},
};

/// Rows between two looks at the deadline.
const CHECK_EVERY: usize = 4_096;

/// Which index serves a namespace, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IndexStatistics {
    /// `exact` (all are compared), `scan`, `ivf` or `arroy`.
    pub kind: String,
    /// Vectors that have a code; the others are compared exactly.
    pub coded: u64,
    /// Whether something of it is to be built in the background, or is being built.
    pub due: bool,
}

/// How far embedding the texts of a namespace by another embedder is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reembedding {
    /// The embedder.
    pub embedder: String,
    /// Texts, and passages of long ones, that it has embedded.
    pub done: u64,
    /// Those there are.
    pub of: u64,
}

/// What a namespace holds, and how much room that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NamespaceStatistics {
    /// Whose it is; empty for none.
    pub tenant: String,
    /// Its name.
    pub namespace: String,
    /// Items.
    pub items: u64,
    /// Vectors: of items, and of passages of long ones.
    pub vectors: u64,
    /// Length of the vectors; 0 when there are none.
    pub dimensions: usize,
    /// What made the vectors; none when there are none.
    pub embedder: Option<String>,
    /// Relations.
    pub relations: u64,
    /// Different words.
    pub terms: u64,
    /// Different people, places and things that texts mention, by rules.
    pub entities: u64,
    /// Bytes of keys and values, by what they are of: `items`, `history`, `vectors`, `words`, `facts`, `relations`,
    /// `index`.
    pub bytes: BTreeMap<String, u64>,
    /// When the oldest item was stored, in milliseconds since the Unix epoch; none without items.
    pub oldest_ms: Option<u64>,
    /// When the newest item was stored, in milliseconds since the Unix epoch.
    pub newest_ms: Option<u64>,
    /// The index of its vectors.
    pub index: IndexStatistics,
    /// How far embedding its texts by another embedder is; none when that is not under way.
    pub reembedding: Option<Reembedding>,
    /// Items it may hold; none for no limit.
    pub max_items: Option<u64>,
    /// Bytes it may hold; none for no limit. Those of `items`, `history` and `vectors` count, but for
    /// their keys.
    pub max_bytes: Option<u64>,
}

/// Reads the statistics of a namespace: all of its rows are passed by, a million or so in a second.
pub(super) fn read(
    cx: &Context,
    config: &RecallConfig,
    read: &Read<'_>,
    (scoped, namespace): (&str, &Namespace),
) -> Result<NamespaceStatistics> {
    let walk = Walk { cx, read, prefix: namespace.prefix() };
    let tables = read.tables;
    let mut found = NamespaceStatistics {
        tenant: scoped.split_once('\0').map_or_else(String::new, |(tenant, _)| tenant.to_owned()),
        namespace: plain(scoped).to_owned(),
        items: namespace.items,
        vectors: namespace.vectors,
        dimensions: namespace.dimensions,
        embedder: namespace.embedder.clone(),
        ..NamespaceStatistics::default()
    };
    let times = |_: &[u8], value: &[u8]| {
        let stored_ms = Record::from_bytes(value)?.stored_ms;
        found.oldest_ms = Some(found.oldest_ms.map_or(stored_ms, |oldest| oldest.min(stored_ms)));
        found.newest_ms = Some(found.newest_ms.map_or(stored_ms, |newest| newest.max(stored_ms)));
        Ok(())
    };
    let items = walk.rows(&tables.items, times)? + walk.size(&tables.ids)?;
    let (mut last, mut terms, mut entities) = (Vec::new(), 0, 0);
    let count = |key: &[u8], _: &[u8]| {
        let term = term_of(key);
        if term != last {
            match names::kind_of(term) {
                Some(names::TermKind::Mentioned) => entities += 1,
                Some(names::TermKind::About) => {}
                None => terms += 1,
            }
            last = term.to_vec();
        }
        Ok(())
    };
    let words = walk.rows(&tables.postings, count)? + walk.size(&tables.terms)? + walk.size(&tables.words)?;
    let history = walk.size(&tables.past)?;
    let of_facts =
        [&tables.facets, &tables.slots, &tables.sessions, &tables.speakers, &tables.fingerprints, &tables.passages];
    let facts = of_facts.into_iter().map(|table| walk.size(table)).sum::<Result<u64>>()?;
    let relations = walk.size(&tables.edges)?;
    let of_vectors = Walk { prefix: namespace.vector_prefix(), ..walk };
    let vectors = of_vectors.size(&tables.vectors)? + of_vectors.size(&tables.rows)?;
    let index = of_vectors.size(&tables.codes)? + of_vectors.size(&tables.lists)?;
    (found.terms, found.entities) = (terms, entities);
    found.relations = graph::count(read, namespace)?;
    let bytes = [
        ("items", items),
        ("history", history),
        ("vectors", vectors),
        ("words", words),
        ("facts", facts),
        ("relations", relations),
        ("index", index),
    ];
    found.bytes = bytes.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    found.index = index::statistics(config, read, namespace)?;
    if let Some(shadow) = &namespace.shadow {
        let words: Option<WordStatistics> = tables.words.get_json(read.txn, &namespace.prefix())?;
        let (embedder, of) = (shadow.embedder.clone().unwrap_or_default(), words.unwrap_or_default().items);
        found.reembedding = Some(Reembedding { embedder, done: shadow.vectors, of });
    }
    let quota = config.quotas.of(scoped);
    (found.max_items, found.max_bytes) = (quota.max_items, quota.max_bytes);
    Ok(found)
}

/// The statistics of all namespaces of a store, whoever's they are, by the default settings: for its keeper.
///
/// # Errors
/// `Corrupt` when it is damaged.
pub fn recall_statistics(store: &Store) -> Result<Vec<NamespaceStatistics>> {
    let (cx, config) = (Context::new(), RecallConfig::default());
    let mut all = Vec::new();
    for name in store.read(namespace::all_names)? {
        // Another process may have forgotten it meanwhile.
        let found = store.read(|snapshot| match namespace::find(snapshot, &name)? {
            Some(known) => read(&cx, &config, snapshot, (&name, &known)).map(Some),
            None => Ok(None),
        })?;
        all.extend(found);
    }
    Ok(all)
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    cx: &'a Context,
    read: &'a Read<'a>,
    prefix: [u8; 4],
}

impl Walk<'_> {
    /// Bytes of the rows of a table.
    fn size(&self, table: &Table) -> Result<u64> {
        self.rows(table, |_, _| Ok(()))
    }

    /// Shows every row of a table to `look`; says how many bytes they have.
    fn rows(&self, table: &Table, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<u64> {
        let mut bytes = 0;
        for (at, row) in table.prefix_unverified(self.read.txn, &self.prefix)?.enumerate() {
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
            let (key, value) = row?;
            bytes += (key.len() + value.len()) as u64;
            look(key, value)?;
        }
        Ok(bytes)
    }
}
