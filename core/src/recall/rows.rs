//! The rows of an item: written together, removed together.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Item, index,
    namespace::{self, Namespace},
    words::Words,
};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{Table, Write},
};

/// Everything about an item that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) id: String,
    pub(super) record: Record,
    pub(super) words: Words,
    /// Vector of length 1 and the embedder that made it.
    pub(super) vector: Option<(Vec<f32>, String)>,
}

/// An item, as stored in `items`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) stored_ms: u64,
    #[serde(default)]
    pub(super) truncated: bool,
}

/// The part of a record that filters look at: reading it leaves out the text.
#[derive(Debug, Deserialize)]
pub(super) struct Facts {
    pub(super) metadata: Map<String, Value>,
}

impl Record {
    pub(super) fn into_item(self, namespace: &str) -> Item {
        Item {
            id: self.id,
            text: self.text,
            metadata: self.metadata,
            namespace: namespace.to_owned(),
            stored_ms: self.stored_ms,
            truncated: self.truncated,
        }
    }
}

/// What the ranking by words needs to know of a namespace, as stored in `words`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WordStatistics {
    pub(super) items: u64,
    pub(super) total_length: u64,
}

/// How often a term is in an item, and how long the item is: a value of `postings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) count: u16,
    pub(super) length: u32,
}

impl Posting {
    fn to_bytes(self) -> [u8; 6] {
        let mut bytes = [0; 6];
        bytes[..2].copy_from_slice(&self.count.to_le_bytes());
        bytes[2..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (Some((count, rest)), true) = (bytes.split_first_chunk::<2>(), bytes.len() == 6) else {
            return Err(malformed("postings"));
        };
        let length = rest.first_chunk::<4>().ok_or_else(|| malformed("postings"))?;
        Ok(Self { count: u16::from_le_bytes(*count), length: u32::from_le_bytes(*length) })
    }
}

/// The beginning of the postings of `term`; an item follows.
pub(super) fn postings_prefix(namespace: &Namespace, term: &str) -> Vec<u8> {
    [&namespace.prefix(), term.as_bytes(), &[0]].concat()
}

/// The item at the end of a key.
pub(super) fn item_of(key: &[u8]) -> Result<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| malformed("a key"))
}

/// The item number under an id.
pub(super) fn item_value(value: &[u8]) -> Result<u32> {
    value.try_into().map(u32::from_be_bytes).map_err(|_| malformed("ids"))
}

fn malformed(table: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "a stored row is not of this version of triune; run `triune check`")
        .with("table", table)
}

/// A namespace while it is changed: read once, written once a transaction.
#[derive(Debug)]
pub(super) struct Change {
    name: String,
    pub(super) namespace: Namespace,
    statistics: WordStatistics,
    vectors: index::NewVectors,
}

impl Change {
    /// Begins to change the namespace called `name`, which is made when it is not there.
    pub(super) fn begin(write: &mut Write<'_, '_>, name: &str) -> Result<Self> {
        let namespace = namespace::find_or_make(write, name)?;
        let statistics = write.tables.words.get_json(write.txn, &namespace.prefix())?.unwrap_or_default();
        Ok(Self { name: name.to_owned(), namespace, statistics, vectors: index::NewVectors::default() })
    }

    /// Begins to change the namespace called `name`, if there is one.
    pub(super) fn begin_known(write: &mut Write<'_, '_>, name: &str) -> Result<Option<Self>> {
        let known = namespace::find_in(write, name)?.is_some();
        if known { Self::begin(write, name).map(Some) } else { Ok(None) }
    }

    /// Writes what the changes made of the namespace.
    pub(super) fn end(mut self, write: &mut Write<'_, '_>) -> Result<()> {
        std::mem::take(&mut self.vectors).write(write, &mut self.namespace)?;
        if self.namespace.vectors == 0 {
            // Without a vector nothing binds the namespace to an embedder.
            self.namespace.embedder = None;
            self.namespace.dimensions = 0;
        }
        namespace::keep(write, &self.name, &self.namespace)?;
        write.tables.words.put_json(write.txn, &self.namespace.prefix(), &self.statistics)?;
        Ok(())
    }

    /// Writes the rows of `prepared`; an item with its id goes.
    pub(super) fn put(&mut self, write: &mut Write<'_, '_>, prepared: &Prepared) -> Result<()> {
        let tables = write.tables;
        self.remove(write, &prepared.id)?;
        if let Some((vector, embedder)) = &prepared.vector {
            self.namespace.admit(embedder, vector.len())?;
        }
        // A new number even for a known id: lists and trees may still hold the old vector under the old one.
        let item = self.namespace.take_item()?;
        let key = self.namespace.item_key(item);
        tables.items.put_json(write.txn, &key, &prepared.record)?;
        tables.ids.put(write.txn, &self.namespace.id_key(&prepared.id), &item.to_be_bytes())?;
        if let Some((vector, _)) = &prepared.vector {
            self.vectors.add(item, vector);
            self.namespace.vectors += 1;
        }
        let length = prepared.words.length;
        let mut terms = length.to_le_bytes().to_vec();
        for (term, count) in &prepared.words.terms {
            let mut posting = postings_prefix(&self.namespace, term);
            posting.extend(item.to_be_bytes());
            tables.postings.put(write.txn, &posting, &Posting { count: *count, length }.to_bytes())?;
            terms.extend(term.as_bytes());
            terms.push(0);
        }
        tables.terms.put(write.txn, &key, &terms)?;
        self.namespace.items += 1;
        self.statistics.items += 1;
        self.statistics.total_length += u64::from(length);
        Ok(())
    }

    /// Removes the rows of the item under `id`; says whether there was one.
    pub(super) fn remove(&mut self, write: &mut Write<'_, '_>, id: &str) -> Result<bool> {
        let tables = write.tables;
        let id_key = self.namespace.id_key(id);
        let Some(item) = tables.ids.get(write.txn, &id_key)?.map(item_value).transpose()? else {
            return Ok(false);
        };
        let key = self.namespace.item_key(item);
        let terms = tables.terms.get(write.txn, &key)?.map(<[u8]>::to_vec).unwrap_or_default();
        let (length, terms) = terms.split_first_chunk::<4>().ok_or_else(|| malformed("terms"))?;
        for term in terms.split(|byte| *byte == 0).filter(|term| !term.is_empty()) {
            let posting = [&self.namespace.prefix(), term, &[0], &item.to_be_bytes()].concat();
            tables.postings.delete(write.txn, &posting)?;
        }
        if self.vectors.remove(write, &self.namespace, item)? {
            self.namespace.vectors = self.namespace.vectors.saturating_sub(1);
        }
        for table in [tables.terms, tables.items] {
            table.delete(write.txn, &key)?;
        }
        tables.ids.delete(write.txn, &id_key)?;
        self.namespace.items = self.namespace.items.saturating_sub(1);
        self.statistics.items = self.statistics.items.saturating_sub(1);
        let length = u64::from(u32::from_le_bytes(*length));
        self.statistics.total_length = self.statistics.total_length.saturating_sub(length);
        Ok(true)
    }

    /// Removes the namespace and all that is in it; says how many items there were.
    pub(super) fn clear(self, write: &mut Write<'_, '_>) -> Result<usize> {
        let tables = write.tables;
        let prefix = self.namespace.prefix();
        let of_namespace: [Table; 6] =
            [tables.items, tables.ids, tables.postings, tables.words, tables.terms, tables.edges];
        for table in of_namespace {
            table.delete_prefix(write.txn, &prefix)?;
        }
        index::clear(write, &self.namespace)?;
        tables.namespaces.delete(write.txn, self.name.as_bytes())?;
        Ok(usize::try_from(self.namespace.items).unwrap_or(usize::MAX))
    }
}
