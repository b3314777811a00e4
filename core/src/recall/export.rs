//! Items and relations as lines of JSON: what is in a namespace, written out and read in again.
//!
//! A line is one object with one name: `{"namespace": ...}` begins a namespace and says what embedded it, `{"item": ...}`
//! is an item with all its fields and, when wanted, its vector, `{"version": ...}` what it was before, `{"relation": ...}` a
//! relation.

use std::io::Write;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::{
    Item, RecallConfig, RelateRequest, graph,
    index::Snapshot,
    namespace::{self, Namespace, plain},
    past::{self, Version},
    record::{Record, Superseded},
    rows::{ends, item_of, malformed, range_of},
    slots::SlotReader,
    vector,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    store::Read,
};

/// The version of the form of the lines.
pub(super) const FORMAT: u32 = 1;
/// Rows between two looks at the deadline.
const CHECK_EVERY: usize = 256;

/// What is to be written out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ExportRequest {
    /// Which namespace; all of the caller's tenant when absent.
    pub namespace: Option<String>,
    /// Whether vectors are written too. They take most of the room, and save embedding when they are read in again.
    pub vectors: bool,
}

/// What was written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Namespaces.
    pub namespaces: u64,
    /// Items.
    pub items: u64,
    /// Versions of items that were replaced.
    pub versions: u64,
    /// Relations.
    pub relations: u64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Namespace(NamespaceLine),
    Item(Box<ItemLine>),
    Version(Box<VersionLine>),
    Relation(RelateRequest),
}

/// What is true of all items that follow, up to the next such line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamespaceLine {
    pub(super) format: u32,
    pub(super) name: String,
    /// How many lines of items follow: fewer are a file that was cut off.
    pub(super) items: u64,
    /// What made the vectors.
    #[serde(default)]
    pub(super) embedder: Option<String>,
}

/// An item, as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ItemLine {
    #[serde(flatten)]
    pub(super) item: Item,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) superseded: Option<Superseded>,
    /// Of length 1; that of its whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vector: Option<Vec<f32>>,
    /// Where its text is cut, with the vector of each part. Without vectors it is cut anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) passages: Vec<PassageLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PassageLine {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) vector: Vec<f32>,
}

/// What an item was before it was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionLine {
    #[serde(flatten)]
    pub(super) item: Item,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) superseded: Option<Superseded>,
    pub(super) replaced_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) vectors: Vec<Vec<f32>>,
}

/// Writes what is asked for, all as it is in one snapshot.
pub(super) fn export(
    cx: &Context,
    config: &RecallConfig,
    read: &Read<'_>,
    (scoped, vectors): (&[String], bool),
    out: &mut dyn Write,
) -> Result<ExportReport> {
    let mut export = Export { cx, config, read, out, report: ExportReport::default() };
    for name in scoped {
        if let Some(known) = namespace::find(read, name)? {
            export.namespace(plain(name), &known, vectors)?;
        }
    }
    export.out.flush().map_err(unwritable)?;
    Ok(export.report)
}

struct Export<'a> {
    cx: &'a Context,
    config: &'a RecallConfig,
    read: &'a Read<'a>,
    out: &'a mut dyn Write,
    report: ExportReport,
}

impl<'a> Export<'a> {
    fn namespace(&mut self, name: &str, namespace: &Namespace, with_vectors: bool) -> Result<()> {
        let embedder = if with_vectors { namespace.embedder.clone() } else { None };
        let head = NamespaceLine { format: FORMAT, name: name.to_owned(), items: namespace.items, embedder };
        self.line(&Line::Namespace(head))?;
        let (cx, config, read) = (self.cx, self.config, self.read);
        let mut vectors = if with_vectors { Some(Snapshot::open(cx, config, read, namespace)?) } else { None };
        let (mut done, mut slots) = (RoaringBitmap::new(), SlotReader::new(read));
        for key in read.tables.items.keys(read.txn, &namespace.prefix())? {
            let item = item_of(key?)?;
            if done.contains(item) {
                continue;
            }
            for item in self.session_of(namespace, &mut slots, item)? {
                if done.len().is_multiple_of(CHECK_EVERY as u64) {
                    cx.check()?;
                }
                if done.insert(item) {
                    self.item(name, namespace, item, vectors.as_mut())?;
                }
            }
        }
        past::each(read, namespace, |_, Version { record, replaced_ms, vectors }| {
            let row = namespace.dimensions.max(1) * 4;
            let vectors = if with_vectors { vectors.chunks_exact(row).map(numbers).collect() } else { Vec::new() };
            let superseded = record.superseded;
            let line = VersionLine { item: record.into_item(name), superseded, replaced_ms, vectors };
            self.line(&Line::Version(Box::new(line)))?;
            self.report.versions += 1;
            cx.check()
        })?;
        for (at, relation) in graph::all(read, namespace)?.enumerate() {
            if at % CHECK_EVERY == 0 {
                cx.check()?;
            }
            self.line(&Line::Relation(relation?.into_request(name)))?;
            self.report.relations += 1;
        }
        self.report.namespaces += 1;
        Ok(())
    }

    /// The items of the session of `item` in their order, when it is the first of them by its number; else `item`. The
    /// order in which items are stored is that in which they follow each other, but for those that were replaced.
    fn session_of(&self, namespace: &Namespace, slots: &mut SlotReader<'a>, item: u32) -> Result<Vec<u32>> {
        let read = self.read;
        let ends = |item: u32| {
            let stored = read.tables.items.get(read.txn, &namespace.item_key(item))?;
            let passages = stored.map(Record::from_bytes).transpose()?.map_or(0, |record| record.passages);
            Ok::<_, Error>(ends(item, passages))
        };
        if !namespace.linked {
            return Ok(vec![item]);
        }
        // Damaged links may be a ring.
        let (mut first, mut seen) = (item, RoaringBitmap::from_iter([item]));
        while let Some(before) = slots.get(read, namespace, ends(first)?.0)?.before {
            let before = slots.get(read, namespace, before)?.parent.unwrap_or(before);
            if !seen.insert(before) {
                break;
            }
            first = before;
        }
        let (mut order, mut seen) = (vec![first], RoaringBitmap::from_iter([first]));
        let mut last = first;
        while let Some(after) = slots.get(read, namespace, ends(last)?.1)?.after {
            last = slots.get(read, namespace, after)?.parent.unwrap_or(after);
            if !seen.insert(last) {
                break;
            }
            order.push(last);
        }
        Ok(order)
    }

    fn item(
        &mut self,
        name: &str,
        namespace: &Namespace,
        item: u32,
        mut vectors: Option<&mut Snapshot<'_, '_>>,
    ) -> Result<()> {
        let read = self.read;
        let stored = read.tables.items.get(read.txn, &namespace.item_key(item))?.ok_or_else(|| malformed("items"))?;
        let record = Record::from_bytes(stored)?;
        let mut vector_of = |number| match vectors.as_mut() {
            Some(vectors) => Ok::<_, Error>(vectors.vector(number)?.map(numbers)),
            None => Ok(None),
        };
        let (first, last) = ends(item, record.passages);
        let vector = if record.passages == 0 { vector_of(item)? } else { None };
        let mut passages = Vec::new();
        for number in first..=last {
            if record.passages > 0
                && let Some(vector) = vector_of(number)?
            {
                let range = read.tables.passages.get(read.txn, &namespace.item_key(number))?;
                let range = range_of(range.ok_or_else(|| malformed("passages"))?)?;
                passages.push(PassageLine { start: range.start, end: range.end, vector });
            }
        }
        let superseded = record.superseded;
        let line = ItemLine { item: record.into_item(name), superseded, vector, passages };
        self.line(&Line::Item(Box::new(line)))?;
        self.report.items += 1;
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        serde_json::to_writer(&mut self.out, line).map_err(|e| unwritable(e.into()))?;
        self.out.write_all(b"\n").map_err(unwritable)
    }
}

fn numbers(stored: &[u8]) -> Vec<f32> {
    let mut numbers = Vec::new();
    vector::read(stored, &mut numbers);
    numbers
}

fn unwritable(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the export cannot be written; check space and permissions").caused_by(cause)
}
