//! Which items meet a filter, and which are true at a time.

use roaring::RoaringBitmap;
use serde_json::Value;

use super::{
    bits::{Row, SPAN},
    change::{bits_key, block_of, pairs_key},
    gather::Gather,
    malformed,
    pairs::{self, Reader},
    system,
    terms::{self, Field, Scope, Span},
};
use crate::{
    context::Context,
    error::Result,
    recall::{Filter, namespace::Namespace, record::Record, rows::item_of, slots::SlotReader},
    store::Read,
};

/// Rows between two looks at the deadline.
const CHECK_EVERY: usize = 1_024;

/// The facts of the items of a namespace, in one snapshot.
pub(in crate::recall) struct Index<'a, 't> {
    pub(in crate::recall) cx: &'a Context,
    pub(in crate::recall) read: &'a Read<'t>,
    pub(in crate::recall) namespace: &'a Namespace,
}

impl Index<'_, '_> {
    /// The items whose metadata meets `filter`: those for which [`Filter::matches`] says so.
    pub(in crate::recall) fn admitted(&self, filter: &Filter) -> Result<RoaringBitmap> {
        self.meet(filter)
    }

    /// The items of which the engine knows that `name`, one of [`system`], is `value`.
    pub(in crate::recall) fn known(&self, name: &str, value: &Value) -> Result<RoaringBitmap> {
        self.gather(Field::new(Scope::System, name).equal(value))
    }

    /// The items of which the engine knows that the number `name`, one of [`system`], is from `min` to `max`, both
    /// included.
    pub(in crate::recall) fn between(&self, name: &str, min: Option<i64>, max: Option<i64>) -> Result<RoaringBitmap> {
        let number = |number: i64| number as f64;
        self.gather(Field::new(Scope::System, name).between(min.map(number), max.map(number)))
    }

    /// The items that are not true at `time_ms`, in milliseconds since the Unix epoch: not yet, or no more.
    pub(in crate::recall) fn excluded_at(&self, time_ms: i64) -> Result<RoaringBitmap> {
        let not_yet = self.between(system::VALID_FROM, Some(time_ms.saturating_add(1)), None)?;
        Ok(not_yet | self.between(system::VALID_TO, None, Some(time_ms))?)
    }

    /// All items.
    pub(in crate::recall) fn every(&self) -> Result<RoaringBitmap> {
        self.gather([terms::beginning_with(terms::EVERY.to_vec())])
    }

    fn meet(&self, filter: &Filter) -> Result<RoaringBitmap> {
        let field = |key: &str| Field::new(Scope::Metadata, key);
        match filter {
            Filter::Eq(key, wanted) => {
                let field = field(key);
                self.equal(&field, field.equal(wanted), filter)
            }
            Filter::In(key, wanted) => {
                let field = field(key);
                self.equal(&field, wanted.iter().flat_map(|wanted| field.equal(wanted)).collect(), filter)
            }
            Filter::Prefix(key, prefix) => {
                let (span, look) = field(key).begins(prefix);
                let found = self.gather([span])?;
                if look { self.look(found, filter) } else { Ok(found) }
            }
            Filter::Range { key, min, max } => self.gather(field(key).between(*min, *max)),
            Filter::Exists(key) => self.gather([terms::beginning_with(field(key).exists())]),
            Filter::And(all) => self.all(all),
            Filter::Or(any) => {
                any.iter().try_fold(RoaringBitmap::new(), |found, filter| Ok(found | self.meet(filter)?))
            }
            Filter::Not(filter) => Ok(self.every()? - self.meet(filter)?),
        }
    }

    /// The items whose value is in `spans`, or has a member that is.
    fn equal(&self, field: &Field, spans: Vec<Span>, filter: &Filter) -> Result<RoaringBitmap> {
        if spans.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let found = self.gather(spans)?;
        let long = self.gather([terms::beginning_with(field.long_list())])? - &found;
        Ok(if long.is_empty() { found } else { found | self.look(long, filter)? })
    }

    /// What meets all; what must not hold is taken from the rest.
    fn all(&self, all: &[Filter]) -> Result<RoaringBitmap> {
        let mut found: Option<RoaringBitmap> = None;
        for filter in all.iter().filter(|filter| !matches!(filter, Filter::Not(_))) {
            let met = self.meet(filter)?;
            let both = found.map_or_else(|| met.clone(), |found| found & &met);
            if both.is_empty() {
                return Ok(both);
            }
            found = Some(both);
        }
        let mut found = found.map_or_else(|| self.every(), Ok)?;
        for filter in all {
            if let Filter::Not(filter) = filter {
                found -= self.meet(filter)?;
            }
        }
        Ok(found)
    }

    /// Those of `items` whose record meets `filter`.
    fn look(&self, items: RoaringBitmap, filter: &Filter) -> Result<RoaringBitmap> {
        let (mut found, mut slots) = (RoaringBitmap::new(), SlotReader::new(self.read));
        for (at, item) in items.into_iter().enumerate() {
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
            let whole = slots.get(self.read, self.namespace, item)?.parent.unwrap_or(item);
            let key = self.namespace.item_key(whole);
            let Some(stored) = self.read.tables.items.get(self.read.txn, &key)? else { continue };
            if filter.matches(&Record::from_bytes(stored)?.metadata) {
                found.insert(item);
            }
        }
        Ok(found)
    }

    /// The items that have a term in one of `spans`.
    fn gather(&self, spans: impl IntoIterator<Item = Span>) -> Result<RoaringBitmap> {
        let mut found = Gather::default();
        for span in spans {
            self.gather_bits(&span, &mut found)?;
            self.gather_pairs(&span, &mut found)?;
        }
        Ok(found.finish())
    }

    fn gather_bits(&self, (first, end): &Span, found: &mut Gather) -> Result<()> {
        let (first, end) = (bits_key(self.namespace, first), bits_key(self.namespace, end));
        for (at, row) in self.read.tables.facets.between(self.read.txn, &first, &end)?.enumerate() {
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
            let (key, value) = row?;
            let first = item_of(key)?.checked_mul(SPAN).ok_or_else(malformed)?;
            found.add_row(first, Row::parse(value)?);
        }
        Ok(())
    }

    fn gather_pairs(&self, (first, end): &Span, found: &mut Gather) -> Result<()> {
        let keys = (pairs_key(self.namespace, first), pairs_key(self.namespace, end));
        let begin = block_of(self.read, self.namespace, &keys.0)?.map_or(&keys.0[..], |(key, _)| key);
        let mut blocks = self.read.tables.facets.between(self.read.txn, begin, &keys.1)?.enumerate().peekable();
        while let Some((at, block)) = blocks.next() {
            if at % CHECK_EVERY == 0 {
                self.cx.check()?;
            }
            let (key, block) = block?;
            // Between two others that are of the span, all of it is.
            if key >= &keys.0[..] && blocks.peek().is_some() {
                pairs::items(block, |item| found.add(item))?;
                continue;
            }
            let mut reader = Reader::new(block);
            while let Some(item) = reader.next()? {
                if reader.term >= *end {
                    break;
                }
                if reader.term >= *first {
                    found.add(item);
                }
            }
        }
        Ok(())
    }
}
