//! Whether the tables of recall agree with each other: what is derived of an item must be there, and nothing else.
//!
//! Checksums tell whether a value is what was written; this tells whether what was written belongs together.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::{
    facets, graph, index,
    namespace::{self, FORM, Namespace},
    postings, quota,
    record::Record,
    rows::{WordStatistics, ends, item_of, item_value, range_of, terms_of},
    sessions,
    slots::SlotReader,
};
use crate::{
    context::Context,
    error::Result,
    store::{CheckReport, Read, Store},
};

/// Reads all tables of recall in `store` and tells `report` where they do not agree. A damaged page can end this process by
/// a signal: see [`check_here`](crate::store::check_here).
///
/// # Errors
/// When the list of namespaces cannot be read.
pub fn check_recall(store: &Store, report: &mut CheckReport) -> Result<()> {
    for name in store.read(namespace::all_names)? {
        let shown = name.replace('\0', "/");
        let mut tell = |what: String| report.disagrees(format!("namespace {shown}: {what}"));
        // Each in a snapshot of its own: after an error of LMDB a transaction reads nothing more.
        let checked = store.read(|read| match namespace::find(read, &name)? {
            Some(namespace) => Check { read, namespace: &namespace, tell: &mut tell }.all(),
            None => Ok(()),
        });
        checked.unwrap_or_else(|error| tell(format!("it cannot be read to the end: {error}")));
    }
    Ok(())
}

struct Check<'a, 't> {
    read: &'a Read<'t>,
    namespace: &'a Namespace,
    tell: &'a mut dyn FnMut(String),
}

/// What the records say.
#[derive(Default)]
struct Said {
    items: u64,
    /// The numbers that items are found by: their own, or those of their passages.
    numbers: RoaringBitmap,
    /// Items of each session.
    sessions: HashMap<String, u64>,
}

/// Pairs of a term and an item, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pairs {
    count: u64,
    sum: u64,
}

impl Pairs {
    fn add(&mut self, term: &[u8], item: u32) {
        let hash = u64::from(crc32fast::hash(term)) << 32 | u64::from(item);
        self.count += 1;
        // The finaliser of SplitMix64: sums of it are as good as random.
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.sum = self.sum.wrapping_add(hash ^ (hash >> 31));
    }
}

impl Check<'_, '_> {
    fn all(&mut self) -> Result<()> {
        let said = self.items()?;
        self.same("bytes of items", quota::count(self.read, self.namespace)?, self.namespace.bytes);
        self.relations()?;
        // An earlier version wrote it; what is derived is made when it is opened for the next time.
        if self.namespace.form < FORM {
            return Ok(());
        }
        self.words(&said)?;
        self.slots(&said)?;
        let indexed = facets::Index { cx: &Context::new(), read: self.read, namespace: self.namespace }.every()?;
        self.same_items("the index of facts", &indexed, &said.numbers);
        let (read, namespace) = (self.read, self.namespace);
        index::check(read, namespace, &said.numbers, self.tell)
    }

    fn same(&mut self, what: &str, found: u64, noted: impl Into<Option<u64>>) {
        if let Some(noted) = noted.into()
            && found != noted
        {
            (self.tell)(format!("there are {found} {what}, and {noted} are noted"));
        }
    }

    fn same_items(&mut self, what: &str, found: &RoaringBitmap, expected: &RoaringBitmap) {
        let (missing, foreign) = ((expected - found).len(), (found - expected).len());
        if missing + foreign > 0 {
            (self.tell)(format!("{what} lacks {missing} items or passages, and has {foreign} that are not there"));
        }
    }

    /// Reads all records; each must be under its id.
    fn items(&mut self) -> Result<Said> {
        let (read, namespace) = (self.read, self.namespace);
        let (mut said, mut strays) = (Said::default(), 0_u64);
        for row in read.tables.items.prefix(read.txn, &namespace.prefix())? {
            let (key, value) = row?;
            let (item, record) = (item_of(key)?, Record::from_bytes(value)?);
            let under = read.tables.ids.get(read.txn, &namespace.id_key(&record.id))?.map(item_value).transpose()?;
            strays += u64::from(under != Some(item));
            let (first, last) = ends(item, record.passages);
            said.numbers.insert_range(first..=last);
            said.items += 1;
            if let Some(session) = record.session {
                *said.sessions.entry(session).or_default() += 1;
            }
            for passage in first..=last {
                if record.passages > 0 && self.passage(passage)?.is_none_or(|range| record.text.get(range).is_none()) {
                    (self.tell)(format!("passage {passage} is no part of the text of its item"));
                }
            }
        }
        if strays > 0 {
            (self.tell)(format!("{strays} items are not under their ids"));
        }
        let ids =
            read.tables.ids.keys(read.txn, &namespace.prefix())?.map(|key| key.map(|_| 1)).sum::<Result<u64>>()?;
        self.same("ids", ids, said.items);
        self.same("items", said.items, namespace.items);
        if let Some(last) = said.numbers.max()
            && last >= namespace.next
        {
            (self.tell)(format!("there is an item {last}, and the next one would be {}", namespace.next));
        }
        Ok(said)
    }

    fn passage(&self, number: u32) -> Result<Option<std::ops::Range<usize>>> {
        let stored = self.read.tables.passages.get(self.read.txn, &self.namespace.item_key(number))?;
        stored.map(range_of).transpose()
    }

    /// Items name their terms, and terms their items.
    fn words(&mut self, said: &Said) -> Result<()> {
        let (read, namespace) = (self.read, self.namespace);
        let (mut of_items, mut of_terms) = (Pairs::default(), Pairs::default());
        let (mut with_words, mut counted) = (RoaringBitmap::new(), WordStatistics::default());
        for row in read.tables.terms.prefix(read.txn, &namespace.prefix())? {
            let (key, value) = row?;
            let item = item_of(key)?;
            let (length, terms) = terms_of(value)?;
            terms.for_each(|term| of_items.add(term.as_bytes(), item));
            with_words.insert(item);
            counted.items += 1;
            counted.total_length += u64::from(length);
        }
        self.same_items("the table of terms", &with_words, &said.numbers);
        let noted: WordStatistics = read.tables.words.get_json(read.txn, &namespace.prefix())?.unwrap_or_default();
        if counted != noted {
            let WordStatistics { items, total_length } = noted;
            (self.tell)(format!(
                "{} items have {} words, and {items} with {total_length} are noted",
                counted.items, counted.total_length
            ));
        }
        let mut unordered = 0_u64;
        let mut last: Option<(Vec<u8>, u32)> = None;
        postings::each(read, namespace, |term, item| {
            of_terms.add(term, item);
            unordered += u64::from(last.as_ref().is_some_and(|(before, last)| before == term && *last >= item));
            match &mut last {
                Some((before, last)) if before == term => *last = item,
                _ => last = Some((term.to_vec(), item)),
            }
        })?;
        if of_items != of_terms {
            let (items, terms) = (of_items.count, of_terms.count);
            (self.tell)(format!("items name {items} terms, and terms name {terms} items, which are not the same"));
        }
        if unordered > 0 {
            (self.tell)(format!("{unordered} items of terms are out of order"));
        }
        Ok(())
    }

    /// Each item knows its neighbours, and they know it.
    fn slots(&mut self, said: &Said) -> Result<()> {
        let (read, namespace) = (self.read, self.namespace);
        let mut slots = SlotReader::new(read);
        let (mut missing, mut unlinked) = (0_u64, 0_u64);
        for number in &said.numbers {
            let Ok(slot) = slots.get(read, namespace, number) else {
                missing += 1;
                continue;
            };
            let before = slot.before.map(|before| slots.get(read, namespace, before).ok().and_then(|slot| slot.after));
            let after = slot.after.map(|after| slots.get(read, namespace, after).ok().and_then(|slot| slot.before));
            let linked = [before, after].into_iter().flatten().all(|other| other == Some(number));
            let there = [slot.before, slot.after].into_iter().flatten().all(|other| said.numbers.contains(other));
            unlinked += u64::from(!linked || !there);
        }
        if missing > 0 {
            (self.tell)(format!("{missing} items or passages have no slot"));
        }
        if unlinked > 0 {
            (self.tell)(format!("{unlinked} items or passages have neighbours that do not know them"));
        }
        let noted = sessions::counts(read, namespace)?;
        let wrong = said.sessions.iter().filter(|(name, items)| noted.get(*name) != Some(*items)).count();
        let gone = noted.keys().filter(|name| !said.sessions.contains_key(*name)).count();
        if wrong + gone > 0 {
            (self.tell)(format!("{wrong} sessions have another number of items than is noted, and {gone} have none"));
        }
        Ok(())
    }

    /// Each relation can be followed from both ends.
    fn relations(&mut self) -> Result<()> {
        let (forth, back, alone) = graph::counts(self.read, self.namespace)?;
        if forth != back || alone > 0 {
            (self.tell)(format!("{forth} relations go forth and {back} back, {alone} of which have no counterpart"));
        }
        Ok(())
    }
}
