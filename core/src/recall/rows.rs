//! The rows of an item: written together, removed together.

use serde::{Deserialize, Serialize};

use super::{
    Duplicates, Filter, Moment, Quota, Relation,
    duplicates::{self, Bands, Fingerprint, NewFingerprints},
    expiry,
    facets::Facets,
    facts, graph, index,
    names::Terms,
    namespace::{self, GIVEN, Namespace},
    past::{self, Version},
    postings::NewPostings,
    quota::{self, Held},
    record::{Record, Superseded},
    sessions::{self, Place},
    slots::{NewSlots, Slot},
    speakers,
    words::{self, Words},
};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{Table, Write},
};

/// Everything about an item that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) record: Record,
    /// What it is found by: its whole text, or its passages.
    pub(super) passages: Vec<Passage>,
    /// What made its vectors.
    pub(super) embedder: Option<String>,
    pub(super) fingerprint: Fingerprint,
    pub(super) duplicates: Duplicates,
    pub(super) relations: Vec<Relation>,
    /// Whether it is put back just as it was once: nothing is concluded from it.
    pub(super) as_is: bool,
}

impl Prepared {
    /// Makes it what an item was that was exported, with the passages that were exported with their vectors.
    pub(super) fn make(&mut self, record: Record, kept: Vec<Passage>, embedder: Option<String>) {
        let truncated = if kept.is_empty() { self.record.truncated } else { record.truncated };
        self.record = Record { truncated, passages: 0, ..record };
        self.as_is = true;
        if !kept.is_empty() {
            (self.passages, self.embedder) = (kept, embedder);
        }
    }
}

/// A part of a text that is found as one.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    /// Where it is in the text, in bytes.
    pub(super) range: std::ops::Range<usize>,
    pub(super) words: Words,
    /// The entities it mentions.
    pub(super) names: Terms,
    /// Of length 1.
    pub(super) vector: Option<Vec<f32>>,
}

/// What the ranking by words needs to know of a namespace, as stored in `words`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WordStatistics {
    /// Whole items, and passages.
    pub(super) items: u64,
    pub(super) total_length: u64,
}

/// The item at the end of a key.
pub(super) fn item_of(key: &[u8]) -> Result<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| malformed("a key"))
}

/// The item number under an id.
pub(super) fn item_value(value: &[u8]) -> Result<u32> {
    value.try_into().map(u32::from_be_bytes).map_err(|_| malformed("ids"))
}

pub(super) fn malformed(table: &'static str) -> Error {
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
    postings: NewPostings,
    slots: NewSlots,
    fingerprints: NewFingerprints,
    facets: Facets,
    /// Who may be the same as what is stored here.
    bands: Bands,
    /// Whether what is replaced is kept.
    history: bool,
    /// What it held before.
    before: Held,
    /// When it is changed.
    now: Moment,
}

impl Change {
    /// Begins to change the namespace called `name`, which is made when it is not there.
    pub(super) fn begin(write: &mut Write<'_, '_>, name: &str) -> Result<Self> {
        let mut namespace = namespace::find_or_make(write, name)?;
        if namespace.bytes.is_none() {
            namespace.bytes = Some(quota::count(&write.reading(), &namespace)?);
        }
        let before = Held::of(&namespace);
        let statistics = write.tables.words.get_json(write.txn, &namespace.prefix())?.unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            namespace,
            statistics,
            vectors: index::NewVectors::default(),
            postings: NewPostings::default(),
            slots: NewSlots::default(),
            fingerprints: NewFingerprints::default(),
            facets: Facets::default(),
            bands: Bands::default(),
            history: true,
            before,
            now: Moment::now(),
        })
    }

    /// Begins to change the namespace called `name`, if there is one.
    pub(super) fn begin_known(write: &mut Write<'_, '_>, name: &str) -> Result<Option<Self>> {
        let known = namespace::find_in(write, name)?.is_some();
        if known { Self::begin(write, name).map(Some) } else { Ok(None) }
    }

    /// As [`begin`](Self::begin), to store items of these fingerprints.
    pub(super) fn begin_to_store(
        write: &mut Write<'_, '_>,
        name: &str,
        fingerprints: impl Iterator<Item = Fingerprint>,
        history: bool,
    ) -> Result<Self> {
        let change = Self::begin(write, name)?;
        let bands = Bands::find(&write.reading(), &change.namespace, fingerprints)?;
        Ok(Self { bands, history, ..change })
    }

    /// Refuses to go on when the namespace holds more than it may.
    pub(super) fn check(&self, quota: &Quota) -> Result<()> {
        quota.check(self.before, &self.namespace)
    }

    /// Writes what the changes made of the namespace.
    pub(super) fn end(mut self, write: &mut Write<'_, '_>) -> Result<()> {
        self.postings.write(write, &self.namespace)?;
        self.slots.write(write, &self.namespace)?;
        self.fingerprints.write(write, &self.namespace)?;
        self.facets.write(write, &self.namespace)?;
        self.vectors.write(write, &mut self.namespace)?;
        if self.namespace.vectors == 0 {
            // Without a vector nothing binds the namespace to an embedder.
            self.namespace.embedder = None;
            self.namespace.dimensions = 0;
        }
        namespace::keep(write, &self.name, &self.namespace)?;
        write.tables.words.put_json(write.txn, &self.namespace.prefix(), &self.statistics)?;
        Ok(())
    }

    /// Stores an item; gives the id under which it is now. An item with its id that says something else goes, and one that
    /// says the same stays as it is.
    pub(super) fn put(&mut self, write: &mut Write<'_, '_>, prepared: &Prepared) -> Result<String> {
        let mut record = prepared.record.clone();
        if !prepared.as_is {
            // Known from the moment on at which what it replaces is no more.
            record.stored_ms = self.now.as_millis().unsigned_abs();
        }
        let id = record.id.clone();
        let known = self.find(write, &id)?;
        let given = prepared.embedder.as_deref() == Some(GIVEN);
        let same = known.as_ref().filter(|(_, old)| !prepared.as_is && old.says_the_same(&record));
        if let Some((item, old)) = same {
            if !given {
                self.relate(write, prepared, &id)?;
                self.expire_at(write, *item, old.clone(), record.expires)?;
                return Ok(id);
            }
            // The same with another vector: what is known of it stays.
            record = Record { expires: record.expires, ..old.clone() };
        } else if !prepared.as_is
            && let Some((item, other)) = self.duplicate(write, prepared)?
        {
            match prepared.duplicates {
                Duplicates::Refuse => {
                    let message = "this text is there already, or nearly; read the other one, or store it with \
                                   `duplicates` = `keep` or `merge`";
                    return Err(Error::new(ErrorKind::Conflict, message).with("duplicate_of", other.id));
                }
                // What is there under its id must not go on saying something else.
                Duplicates::Merge if known.is_none() && other.goes_with(&record) => {
                    return self.merge(write, (item, other), &record, prepared);
                }
                Duplicates::Keep | Duplicates::Merge => record.duplicate_of = Some(other.id),
            }
        }
        self.relate(write, prepared, &id)?;
        if let Some(old) = record.supersedes.clone()
            && same.is_none()
            && !prepared.as_is
        {
            self.supersede(write, &old, &record)?;
        }
        let keep = self.history && same.is_none();
        let place = match known {
            Some((item, old)) => {
                let place = sessions::place_of(&mut self.slots, write, &self.namespace, item, &old)?;
                let same_session = old.session == record.session;
                self.take_out(write, item, &old, keep)?;
                same_session.then_some(place)
            }
            None => None,
        };
        let item = self.namespace.take_item()?;
        self.insert(write, item, record, prepared, place)?;
        self.bands.add(item, prepared.fingerprint);
        Ok(id)
    }

    /// Keeps the relations that an item tells of, which is now under the id `under`.
    fn relate(&self, write: &mut Write<'_, '_>, prepared: &Prepared, under: &str) -> Result<()> {
        let mine = |end: &String| if *end == prepared.record.id { under.to_owned() } else { end.clone() };
        for relation in &prepared.relations {
            let (from, to) = (mine(&relation.from), mine(&relation.to));
            graph::put(write, &self.namespace, &Relation { from, to, ..relation.clone() })?;
        }
        Ok(())
    }

    /// The item under `id`.
    fn find(&self, write: &Write<'_, '_>, id: &str) -> Result<Option<(u32, Record)>> {
        let Some(item) = write.tables.ids.get(write.txn, &self.namespace.id_key(id))? else { return Ok(None) };
        let item = item_value(item)?;
        self.record(write, item)?.map_or_else(|| Err(malformed("items")), |record| Ok(Some((item, record))))
    }

    fn record(&self, write: &Write<'_, '_>, item: u32) -> Result<Option<Record>> {
        let stored = write.tables.items.get(write.txn, &self.namespace.item_key(item))?;
        stored.map(Record::from_bytes).transpose()
    }

    /// Writes the record of an item that is there, in the place of `old`.
    fn change_record(&mut self, write: &mut Write<'_, '_>, item: u32, old: &Record, new: &Record) -> Result<()> {
        self.note_facts(item, old, false);
        self.note_facts(item, new, true);
        self.keep_record(write, item, new)
    }

    /// Adds what is known of an item, or removes it, under every number it is found by.
    fn note_facts(&mut self, item: u32, record: &Record, add: bool) {
        let (first, last) = ends(item, record.passages);
        let known = facts::of(record);
        for number in first..=last {
            if add {
                self.facets.put(number, &record.metadata, &known);
            } else {
                self.facets.remove(number, &record.metadata, &known);
            }
        }
    }

    fn keep_record(&mut self, write: &mut Write<'_, '_>, item: u32, record: &Record) -> Result<()> {
        let (key, bytes) = (self.namespace.item_key(item), record.to_bytes()?);
        let before = quota::length(write.tables.items, write, &key)?;
        self.namespace.count_bytes(before, bytes.len() as u64);
        write.tables.items.put(write.txn, &key, &bytes)
    }

    /// Another item that holds now and whose text is the same, or nearly.
    fn duplicate(&self, write: &Write<'_, '_>, prepared: &Prepared) -> Result<Option<(u32, Record)>> {
        let mine = &prepared.record;
        let (mut words, mut compared) = (None, 0);
        for item in self.bands.of(prepared.fingerprint) {
            let Some(other) = self.record(write, item)? else { continue };
            let holds = other.superseded.is_none()
                && other.valid_to.is_none_or(|end| end > self.now)
                && other.valid_from.is_none_or(|from| from <= self.now)
                && !expiry::is_over(&other, self.now);
            if !holds || other.id == mine.id || mine.supersedes.as_ref() == Some(&other.id) {
                continue;
            }
            let words = words.get_or_insert_with(|| words::of_text(&mine.text));
            if duplicates::alike((&mine.text, words), (&other.text, &words::of_text(&other.text))) {
                return Ok(Some((item, other)));
            }
            compared += 1;
            if compared == duplicates::MOST {
                break;
            }
        }
        Ok(None)
    }

    /// Gives `other` the metadata it has not, the relations, and the longer life; its id is the answer.
    fn merge(
        &mut self,
        write: &mut Write<'_, '_>,
        (item, other): (u32, Record),
        record: &Record,
        prepared: &Prepared,
    ) -> Result<String> {
        let mut merged = other.clone();
        for (key, value) in &record.metadata {
            if !merged.metadata.contains_key(key) {
                merged.metadata.insert(key.clone(), value.clone());
            }
        }
        if merged != other {
            self.change_record(write, item, &other, &merged)?;
        }
        self.relate(write, prepared, &merged.id)?;
        if let Some(old) = &record.supersedes {
            self.supersede(write, old, &Record { id: merged.id.clone(), ..record.clone() })?;
        }
        let longer = merged.expires.zip(record.expires).map(|(one, other)| one.max(other));
        let id = merged.id.clone();
        self.expire_at(write, item, merged, longer)?;
        Ok(id)
    }

    /// Notes that what `old` says holds no more.
    fn supersede(&mut self, write: &mut Write<'_, '_>, old: &str, by: &Record) -> Result<()> {
        let Some((item, known)) = self.find(write, old)? else {
            let message = "what is to be superseded is not there; check the id, or leave `supersedes` out";
            return Err(Error::not_found(message).with("supersedes", old));
        };
        let mut record = known.clone();
        let from = by.valid_from.unwrap_or(self.now);
        // Said once more, or corrected: that it ends was known before.
        let first = Superseded { at_ms: by.stored_ms, valid_to: known.valid_to };
        let superseded = known.superseded.unwrap_or(first);
        let corrected = known.superseded_by.as_deref() == Some(by.id.as_str());
        let end = if corrected { superseded.valid_to } else { known.valid_to };
        record.superseded = Some(superseded);
        record.valid_to = Some(end.map_or(from, |end| end.min(from)));
        record.superseded_by = Some(by.id.clone());
        self.namespace.bounded = true;
        self.change_record(write, item, &known, &record)
    }

    /// Changes when an item is forgotten.
    fn expire_at(
        &mut self,
        write: &mut Write<'_, '_>,
        item: u32,
        mut record: Record,
        expires: Option<Moment>,
    ) -> Result<()> {
        if record.expires == expires {
            return Ok(());
        }
        let known = record.clone();
        expiry::remove(write, &self.namespace, item, record.expires)?;
        record.expires = expires;
        expiry::put(write, (&self.name, &self.namespace), item, &record)?;
        self.namespace.bounded |= expires.is_some();
        self.change_record(write, item, &known, &record)
    }

    /// Writes the rows of a new item under its number.
    pub(super) fn insert(
        &mut self,
        write: &mut Write<'_, '_>,
        item: u32,
        mut record: Record,
        prepared: &Prepared,
        place: Option<Place>,
    ) -> Result<()> {
        let whole = prepared.passages.len() == 1;
        record.passages = if whole { 0 } else { prepared.passages.len() as u32 };
        write.tables.ids.put(write.txn, &self.namespace.id_key(&record.id), &item.to_be_bytes())?;
        self.keep_record(write, item, &record)?;
        self.note_facts(item, &record, true);
        let slot = record.slot();
        if !whole {
            self.slots.put(write, &self.namespace, item, slot)?;
        }
        for passage in &prepared.passages {
            let (number, parent) = if whole { (item, None) } else { (self.namespace.take_item()?, Some(item)) };
            let embedder = prepared.embedder.as_deref().unwrap_or(GIVEN);
            // One of the embedder that is to be that of the namespace is made again when its turn comes.
            let vector =
                passage.vector.as_ref().filter(|_| !self.namespace.is_becoming(embedder) || self.is_of(embedder));
            if let Some(vector) = vector {
                self.namespace.admit(embedder, vector.len())?;
                self.vectors.add(number, vector);
                self.namespace.vectors += 1;
            }
            let words = &passage.words;
            self.put_words(write, number, words, &passage.names)?;
            self.slots.put(write, &self.namespace, number, Slot { parent, length: words.length, ..slot })?;
            if !whole {
                put_range(write, &self.namespace, number, &passage.range)?;
            }
        }
        let ends = ends(item, record.passages);
        sessions::put(&mut self.slots, write, &mut self.namespace, (ends, record.session.as_deref()), place)?;
        if let Some(speaker) = &record.speaker {
            speakers::count(write, &self.namespace, speaker, true)?;
        }
        expiry::put(write, (&self.name, &self.namespace), item, &record)?;
        self.fingerprints.put(write, &self.namespace, item, prepared.fingerprint)?;
        self.namespace.bounded |= [record.valid_from, record.valid_to, record.expires].iter().any(Option::is_some);
        self.namespace.weighed |= record.importance.is_some();
        self.namespace.items += 1;
        Ok(())
    }

    /// Puts back a version that was replaced.
    pub(super) fn put_version(&mut self, write: &mut Write<'_, '_>, version: &Version) -> Result<()> {
        let number = self.namespace.take_item()?;
        self.keep_version(write, number, version)
    }

    fn keep_version(&mut self, write: &mut Write<'_, '_>, number: u32, version: &Version) -> Result<()> {
        let bytes = past::put(write, &self.namespace, number, version)?;
        self.namespace.count_bytes(0, bytes);
        self.namespace.has_past = true;
        Ok(())
    }

    /// Forgets how many words there are: all are counted again.
    pub(super) fn forget_words(&mut self) {
        self.statistics = WordStatistics::default();
    }

    /// Writes what an item that was stored by an earlier version has not: all but its record, its id and its vector.
    pub(super) fn index_again(
        &mut self,
        write: &mut Write<'_, '_>,
        item: u32,
        record: &Record,
        (words, names): (&Words, &Terms),
        fingerprint: Fingerprint,
    ) -> Result<()> {
        self.put_words(write, item, words, names)?;
        self.note_facts(item, record, true);
        self.slots.put(write, &self.namespace, item, Slot { length: words.length, ..record.slot() })?;
        self.fingerprints.put(write, &self.namespace, item, fingerprint)
    }

    fn is_of(&self, embedder: &str) -> bool {
        self.namespace.embedder.as_deref() == Some(embedder)
    }

    fn put_words(&mut self, write: &mut Write<'_, '_>, item: u32, words: &Words, names: &Terms) -> Result<()> {
        self.postings.add(item, &words.terms, words.length);
        self.postings.add(item, names, words.length);
        let mut terms = words.length.to_le_bytes().to_vec();
        for (term, _) in words.terms.iter().chain(names) {
            terms.extend(term.as_bytes());
            terms.push(0);
        }
        write.tables.terms.put(write.txn, &self.namespace.item_key(item), &terms)?;
        self.statistics.items += 1;
        self.statistics.total_length += u64::from(words.length);
        Ok(())
    }

    /// Whether the item under `id` meets `filter`.
    pub(super) fn meets(&self, write: &Write<'_, '_>, id: &str, filter: &Filter) -> Result<bool> {
        Ok(self.find(write, id)?.is_some_and(|(_, record)| filter.matches(&record.metadata)))
    }

    /// Forgets the item under `id`, all versions of it included; says whether there was one.
    pub(super) fn remove(&mut self, write: &mut Write<'_, '_>, id: &str) -> Result<bool> {
        let history = past::remove(write, &self.namespace, id)?;
        self.namespace.count_bytes(history, 0);
        let Some((item, record)) = self.find(write, id)? else { return Ok(false) };
        self.take_out(write, item, &record, false)?;
        Ok(true)
    }

    /// Removes the rows of an item. With `keep` it can still be asked for as what was known once.
    fn take_out(&mut self, write: &mut Write<'_, '_>, item: u32, record: &Record, keep: bool) -> Result<()> {
        let (first, last) = ends(item, record.passages);
        // What is to be forgotten by itself is not kept longer than that.
        if keep && record.expires.is_none() {
            let mut vectors = Vec::new();
            for number in first..=last {
                vectors.extend(self.vectors.get(write, &self.namespace, number)?.unwrap_or_default());
            }
            let version = Version { record: record.clone(), replaced_ms: self.now.as_millis().unsigned_abs(), vectors };
            self.keep_version(write, item, &version)?;
        }
        sessions::remove(&mut self.slots, write, &mut self.namespace, (first, last), record.session.as_deref())?;
        for number in first..=last {
            self.remove_words(write, number)?;
            if self.vectors.remove(write, &self.namespace, number)? {
                self.namespace.vectors = self.namespace.vectors.saturating_sub(1);
            }
            write.tables.passages.delete(write.txn, &self.namespace.item_key(number))?;
        }
        if let Some(speaker) = &record.speaker {
            speakers::count(write, &self.namespace, speaker, false)?;
        }
        expiry::remove(write, &self.namespace, item, record.expires)?;
        self.fingerprints.remove(write, &self.namespace, item)?;
        self.note_facts(item, record, false);
        self.facets.write_much(write, &self.namespace)?;
        let key = self.namespace.item_key(item);
        self.namespace.count_bytes(quota::length(write.tables.items, write, &key)?, 0);
        write.tables.items.delete(write.txn, &key)?;
        write.tables.ids.delete(write.txn, &self.namespace.id_key(&record.id))?;
        self.namespace.items = self.namespace.items.saturating_sub(1);
        Ok(())
    }

    fn remove_words(&mut self, write: &mut Write<'_, '_>, item: u32) -> Result<()> {
        let key = self.namespace.item_key(item);
        let (length, terms) = terms_of(write.tables.terms.get(write.txn, &key)?.ok_or_else(|| malformed("terms"))?)?;
        for term in terms {
            self.postings.remove(item, term);
        }
        self.statistics.items = self.statistics.items.saturating_sub(1);
        self.statistics.total_length = self.statistics.total_length.saturating_sub(u64::from(length));
        write.tables.terms.delete(write.txn, &key)?;
        Ok(())
    }

    /// Removes the namespace and all that is in it; says how many items there were.
    pub(super) fn clear(self, write: &mut Write<'_, '_>) -> Result<usize> {
        let tables = write.tables;
        let prefix = self.namespace.prefix();
        expiry::clear(write, &self.namespace)?;
        let of_namespace: [Table; 13] = [
            tables.items,
            tables.ids,
            tables.passages,
            tables.postings,
            tables.words,
            tables.terms,
            tables.slots,
            tables.sessions,
            tables.speakers,
            tables.fingerprints,
            tables.past,
            tables.facets,
            tables.edges,
        ];
        for table in of_namespace {
            table.delete_prefix(write.txn, &prefix)?;
        }
        index::clear(write, &self.namespace)?;
        if let Some(shadow) = &self.namespace.shadow {
            index::clear(write, shadow)?;
        }
        tables.namespaces.delete(write.txn, self.name.as_bytes())?;
        Ok(usize::try_from(self.namespace.items).unwrap_or(usize::MAX))
    }
}

/// The first and the last number that an item is found by: its own, or those of its passages, which follow it.
pub(super) fn ends(item: u32, passages: u32) -> (u32, u32) {
    if passages == 0 { (item, item) } else { (item + 1, item + passages) }
}

fn put_range(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    passage: u32,
    range: &std::ops::Range<usize>,
) -> Result<()> {
    let value = [(range.start as u32).to_le_bytes(), (range.end as u32).to_le_bytes()].concat();
    write.tables.passages.put(write.txn, &namespace.item_key(passage), &value)
}

/// The words of an item and its terms, as stored in `terms`.
pub(super) fn terms_of(value: &[u8]) -> Result<(u32, impl Iterator<Item = &str>)> {
    let (length, terms) = value.split_first_chunk::<4>().ok_or_else(|| malformed("terms"))?;
    let terms = std::str::from_utf8(terms).map_err(|_| malformed("terms"))?;
    Ok((u32::from_le_bytes(*length), terms.split('\0').filter(|term| !term.is_empty())))
}

/// Where the text of a passage is in that of its item, as stored in `passages`.
pub(super) fn range_of(value: &[u8]) -> Result<std::ops::Range<usize>> {
    let ([start, end], []) = value.as_chunks::<4>() else { return Err(malformed("passages")) };
    Ok(u32::from_le_bytes(*start) as usize..u32::from_le_bytes(*end) as usize)
}
