//! Reading lines of JSON in: see `export` for their form. A line may also be what `store` takes, such as
//! `{"content": "..."}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Read as _},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Item, RecallConfig, RelateRequest, Relation, StoreRequest, entities,
    export::{FORMAT, ItemLine, Line, NamespaceLine, PassageLine, VersionLine},
    graph, history, names,
    namespace::{self, GIVEN, check_name, scoped},
    past::{self, Version},
    prepare,
    record::Record,
    rows::{Change, Passage, Prepared},
    vector, words,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::Embedder,
    store::{Read, Write},
};

/// Items and relations of one transaction at most, and bytes of their lines.
const BATCH: (usize, usize) = (1_000, 8 << 20);
/// Bytes of a line at most: a text, its metadata and its vector fit many times.
const MAX_LINE: u64 = 64 << 20;

/// How lines are read in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ImportRequest {
    /// Puts all into this namespace, wherever it was.
    pub namespace: Option<String>,
}

/// What was read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Items that were stored.
    pub stored: u64,
    /// Items that were there already, just as in the file.
    pub unchanged: u64,
    /// Items of those stored whose vector was taken from the file.
    pub vectors: u64,
    /// Versions of items that were replaced.
    pub versions: u64,
    /// Relations, those that were there already too.
    pub relations: u64,
}

/// An item on its way in.
#[derive(Debug)]
struct Incoming {
    line: u64,
    request: StoreRequest,
    /// What it was, when it comes from an export.
    was: Option<Was>,
}

/// An item that was exported.
#[derive(Debug)]
struct Was {
    record: Record,
    /// Where its text was cut, with the vectors.
    passages: Vec<PassageLine>,
    /// What made its vectors; none when the file does not say it.
    embedder: Option<String>,
}

/// Reads a batch of lines at a time.
pub(super) struct Lines<R> {
    input: R,
    line: u64,
    head: Option<NamespaceLine>,
    /// Lines of items since the head.
    items: u64,
    into: Option<String>,
    /// What is wrong with the line that follows the last batch.
    failed: Option<Error>,
}

/// Some lines, to be written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Incoming>,
    /// With their namespaces, and what made their vectors.
    versions: Vec<(String, Version, Option<String>)>,
    relations: Vec<(String, Relation)>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, request: ImportRequest) -> Self {
        Self { input, line: 0, head: None, items: 0, into: request.namespace, failed: None }
    }

    /// The next batch; none at the end. What comes before a bad line is a batch of its own.
    pub(super) fn next(&mut self) -> Result<Option<Batch>> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.len() < BATCH.0 && bytes < BATCH.1 && self.failed.is_none() {
            match self.one(&mut batch) {
                Ok(0) => break,
                Ok(read) => bytes += read,
                Err(error) => self.failed = Some(error.with("line", self.line)),
            }
        }
        if batch.len() > 0 {
            return Ok(Some(batch));
        }
        self.failed.take().map_or(Ok(None), Err)
    }

    /// Reads one line; says how many bytes it has, 0 at the end.
    fn one(&mut self, batch: &mut Batch) -> Result<usize> {
        self.line += 1;
        let mut text = String::new();
        let read = (&mut self.input).take(MAX_LINE).read_line(&mut text).map_err(|e| {
            let invalid = e.kind() == std::io::ErrorKind::InvalidData;
            let kind = if invalid { ErrorKind::Invalid } else { ErrorKind::Unavailable };
            Error::new(kind, "the line cannot be read; lines are text in UTF-8").caused_by(e)
        })?;
        if read == 0 {
            self.check_head()?;
        }
        if read as u64 == MAX_LINE {
            return Err(Error::invalid(format!("a line has at most {MAX_LINE} bytes; split the text")));
        }
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() {
            self.take(text, batch)?;
        }
        Ok(read)
    }

    fn take(&mut self, text: &str, batch: &mut Batch) -> Result<()> {
        match parse(text)? {
            Parsed::Line(Line::Namespace(head)) => {
                if head.format > FORMAT {
                    let message = "the lines were written by a newer version of triune; update triune to read them";
                    return Err(Error::new(ErrorKind::Unsupported, message).with("format", head.format));
                }
                self.check_head()?;
                (self.head, self.items) = (Some(head), 0);
            }
            Parsed::Line(Line::Item(line)) => {
                let item = self.item(*line)?;
                batch.items.push(item);
            }
            Parsed::Line(Line::Version(line)) => {
                let VersionLine { mut item, superseded, replaced_ms, vectors } = *line;
                self.put_into(&mut item.namespace);
                check_name("id", &item.id)?;
                let namespace = std::mem::take(&mut item.namespace);
                check_name("namespace", &namespace)?;
                let vectors = vectors.iter().map(|vector| Ok(vector::to_bytes(&unit(vector)?)));
                let vectors = vectors.collect::<Result<Vec<_>>>()?.concat();
                let version = Version { record: Record::of_item(item, superseded), replaced_ms, vectors };
                batch.versions.push((namespace, version, self.embedder()));
            }
            Parsed::Line(Line::Relation(mut relation)) => {
                self.put_into(&mut relation.namespace);
                check_name("namespace", &relation.namespace)?;
                let RelateRequest { namespace, from, kind, to, weight } = relation;
                let relation = Relation { from, kind, to, weight };
                graph::check(&relation)?;
                batch.relations.push((namespace, relation));
            }
            Parsed::Request(request) => {
                let mut request = *request;
                self.put_into(&mut request.namespace);
                prepare::check(std::slice::from_ref(&request))?;
                batch.items.push(Incoming { line: self.line, request, was: None });
            }
        }
        Ok(())
    }

    fn item(&mut self, line: ItemLine) -> Result<Incoming> {
        self.items += 1;
        let ItemLine { mut item, superseded, vector, mut passages } = line;
        self.put_into(&mut item.namespace);
        if let Some(vector) = vector {
            passages = vec![PassageLine { start: 0, end: item.text.len(), vector }];
        }
        check_passages(&item.text, &passages)?;
        let request = request_of(&item, passages.first());
        prepare::check(std::slice::from_ref(&request))?;
        let was = Was { record: Record::of_item(item, superseded), passages, embedder: self.embedder() };
        Ok(Incoming { line: self.line, request, was: Some(was) })
    }

    fn embedder(&self) -> Option<String> {
        self.head.as_ref().and_then(|head| head.embedder.clone())
    }

    fn put_into(&self, namespace: &mut String) {
        if let Some(into) = &self.into {
            namespace.clone_from(into);
        }
    }

    /// Refuses a file that was cut off.
    fn check_head(&self) -> Result<()> {
        match &self.head {
            Some(head) if self.items < head.items => Err(Error::invalid(
                "the file ends before all items of a namespace; export it again. What is in it was imported",
            )
            .with("items", head.items)
            .with("found", self.items)),
            _ => Ok(()),
        }
    }
}

/// The request by which an item is looked at; with a vector it is not embedded.
fn request_of(item: &Item, passage: Option<&PassageLine>) -> StoreRequest {
    StoreRequest {
        id: Some(item.id.clone()),
        namespace: item.namespace.clone(),
        vector: passage.map(|passage| passage.vector.clone()),
        session: item.session.clone(),
        speaker: item.speaker.clone(),
        importance: item.importance,
        ..StoreRequest::new(item.text.clone())
    }
}

/// Checks that passages, if there are any, are the whole text one after the other.
fn check_passages(text: &str, passages: &[PassageLine]) -> Result<()> {
    let mut at = 0;
    for passage in passages {
        if passage.start != at || text.get(passage.start..passage.end).is_none_or(str::is_empty) {
            return Err(Error::invalid("the passages do not cut the text into parts; leave them out to cut it anew"));
        }
        at = passage.end;
    }
    if passages.is_empty() || at == text.len() {
        Ok(())
    } else {
        Err(Error::invalid("the passages end before the text; leave them out to cut it anew"))
    }
}

/// `vector` as it is when it is one long already, so that it comes back bit by bit.
fn unit(given: &[f32]) -> Result<Vec<f32>> {
    let unit = vector::unit(given)?;
    let same = given.iter().zip(&unit).all(|(given, unit)| (given - unit).abs() < 1e-6);
    Ok(if same { given.to_vec() } else { unit })
}

enum Parsed {
    Line(Line),
    Request(Box<StoreRequest>),
}

fn parse(text: &str) -> Result<Parsed> {
    let malformed = |e: serde_json::Error| {
        Error::invalid(format!("the line is no item, relation or namespace: {}; mend it and import again", told(&e)))
    };
    // What `store` takes may begin with `namespace` too, but that is a text there.
    let first = text.strip_prefix('{').and_then(|rest| rest.trim_start().strip_prefix('"'));
    let (name, rest) = first.and_then(|rest| rest.split_once('"')).unwrap_or_default();
    let of_object = rest.trim_start().strip_prefix(':').is_some_and(|value| value.trim_start().starts_with('{'));
    if matches!(name, "item" | "version" | "relation") || name == "namespace" && of_object {
        serde_json::from_str(text).map(Parsed::Line).map_err(malformed)
    } else {
        serde_json::from_str(text).map(|request| Parsed::Request(Box::new(request))).map_err(malformed)
    }
}

/// What is wrong with a line, without what stands in it: serde names values that it did not expect.
fn told(error: &serde_json::Error) -> String {
    let (what, column) = (error.to_string(), error.column());
    let what = match error.classify() {
        serde_json::error::Category::Data
            if !what.starts_with("missing field") && !what.starts_with("unknown field") =>
        {
            "a value has another type than it should"
        }
        serde_json::error::Category::Data => what.split(" at line").next().unwrap_or_default(),
        _ => "it is not JSON",
    };
    format!("{what} (column {column})")
}

/// Whether a vector that `made` made is kept where those of `target` are, with the embedder `current`.
fn is_kept(made: &str, current: Option<&str>, target: Option<&str>) -> bool {
    made == GIVEN || target.or(current).is_none_or(|bound| bound == made)
}

impl Batch {
    fn len(&self) -> usize {
        self.items.len() + self.versions.len() + self.relations.len()
    }

    /// The namespaces it goes to, as they are stored.
    pub(super) fn scope(&mut self, cx: &Context) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let items = self.items.iter_mut().map(|item| &mut item.request.namespace);
        let versions = self.versions.iter_mut().map(|(name, ..)| name);
        for name in items.chain(versions).chain(self.relations.iter_mut().map(|(name, _)| name)) {
            *name = scoped(cx, name)?;
            names.insert(name.clone());
        }
        Ok(names)
    }

    /// Leaves out what is there already, and the vectors that do not fit; says how many items are.
    pub(super) fn compare(&mut self, read: &Read<'_>, current: Option<&str>) -> Result<u64> {
        let names: BTreeSet<&String> = self.items.iter().map(|item| &item.request.namespace).collect();
        let names = names.into_iter().chain(self.versions.iter().map(|(name, ..)| name));
        let mut known = BTreeMap::new();
        for name in names {
            if let Some(namespace) = namespace::find(read, name)? {
                known.insert(name.clone(), namespace);
            }
        }
        let fits = |name: &str, made: Option<&str>| {
            let target = known.get(name).and_then(|namespace| namespace.embedder.as_deref());
            made.is_none_or(|made| is_kept(made, current, target))
        };
        let before = self.items.len();
        let mut items = Vec::with_capacity(before);
        for mut item in std::mem::take(&mut self.items) {
            let name = &item.request.namespace;
            if let Some(was) = &mut item.was {
                if let Some(namespace) = known.get(name)
                    && let Some(stored) = history::current(read, namespace, &was.record.id)?
                    && (Record { passages: 0, truncated: was.record.truncated, ..stored }) == was.record
                {
                    continue;
                }
                if !fits(name, was.embedder.as_deref()) {
                    (item.request.vector, was.passages) = (None, Vec::new());
                }
            }
            items.push(item);
        }
        self.items = items;
        for (name, mut version, made) in std::mem::take(&mut self.versions) {
            if let Some(namespace) = known.get(&name) {
                let there = past::of_id(read, namespace, &version.record.id)?;
                if there.iter().any(|there| there.replaced_ms == version.replaced_ms) {
                    continue;
                }
            }
            if !fits(&name, made.as_deref()) {
                version.vectors = Vec::new();
            }
            self.versions.push((name, version, made));
        }
        Ok((before - self.items.len()) as u64)
    }

    /// Makes what is left ready to be written, embedding what has no vector.
    pub(super) async fn prepare(
        self,
        cx: &Context,
        config: &RecallConfig,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Result<Ready> {
        let Self { items, versions, relations } = self;
        let lines = items.first().zip(items.last()).map(|(first, last)| format!("{} to {}", first.line, last.line));
        let mut report = ImportReport { stored: items.len() as u64, ..ImportReport::default() };
        (report.versions, report.relations) = (versions.len() as u64, relations.len() as u64);
        let (requests, was): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.request, item.was)).unzip();
        report.vectors = requests.iter().filter(|request| request.vector.is_some()).count() as u64;
        let prepared = prepare::prepare(cx, config, embedder, requests).await;
        let mut items = prepared.map_err(|error| match lines {
            Some(lines) => error.with("lines", lines),
            None => error,
        })?;
        for ((_, prepared), was) in items.iter_mut().zip(was) {
            let Some(Was { record, passages, embedder }) = was else { continue };
            let reading = entities::read(&record.text, record.speaker.as_deref());
            let kept = passages.into_iter().map(|PassageLine { start, end, vector }| {
                let range = start..end;
                let words = words::of_text(record.text.get(range.clone()).unwrap_or_default());
                let names = names::terms(&reading, &range);
                Ok(Passage { range, words, names, vector: Some(unit(&vector)?) })
            });
            let kept = kept.collect::<Result<_>>()?;
            prepared.make(record, kept, Some(embedder.unwrap_or_else(|| GIVEN.to_owned())));
        }
        let versions = versions.into_iter().map(|(name, version, _)| (name, version)).collect();
        Ok(Ready { items, versions, relations, report })
    }
}

/// What is to be written in one transaction.
#[derive(Debug)]
pub(super) struct Ready {
    items: Vec<(String, Prepared)>,
    versions: Vec<(String, Version)>,
    relations: Vec<(String, Relation)>,
    pub(super) report: ImportReport,
}

impl Ready {
    pub(super) fn write(&self, write: &mut Write<'_, '_>, config: &RecallConfig) -> Result<()> {
        prepare::put_all(write, config, &self.items)?;
        for (name, version) in &self.versions {
            let mut change = Change::begin(write, name)?;
            let row = change.namespace.dimensions * 4;
            if row == 0 || version.vectors.len().is_multiple_of(row) {
                change.put_version(write, version)?;
            } else {
                change.put_version(write, &Version { vectors: Vec::new(), ..version.clone() })?;
            }
            change.check(&config.quotas.of(name))?;
            change.end(write)?;
        }
        for (name, relation) in &self.relations {
            let namespace = namespace::find_or_make(write, name)?;
            graph::put(write, &namespace, relation)?;
        }
        Ok(())
    }
}

impl ImportReport {
    pub(super) fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.unchanged += other.unchanged;
        self.vectors += other.vectors;
        self.versions += other.versions;
        self.relations += other.relations;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vector_is_kept_where_it_means_the_same() {
        let cases = [
            ("a", None, None, true),
            ("a", Some("a"), None, true),
            ("a", Some("b"), None, false),
            ("a", Some("b"), Some("a"), true),
            ("a", Some("a"), Some("b"), false),
            (GIVEN, Some("b"), Some("b"), true),
        ];
        for (made, current, target, kept) in cases {
            assert_eq!(is_kept(made, current, target), kept, "{made} {current:?} {target:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_in_the_line() {
        for (text, told) in [
            ("not json", "it is not JSON"),
            (r#"{"content": "secret", "colour": "secret"}"#, "unknown field `colour`"),
            (r#"{"metadata": {}}"#, "missing field `content`"),
            (r#"{"content": {"secret": 1}}"#, "another type"),
            (r#"{"item": {"id": "secret"}}"#, "missing field `text`"),
            (r#"{"item": "secret"}"#, "another type"),
            (r#"{"relation": {"from": "secret"}}"#, "missing field"),
        ] {
            let Err(error) = parse(text) else { panic!("{text}") };
            assert!(error.message().contains(told) && !error.message().contains("secret"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(text in r#"\{?"?(item|relation|namespace|content)?"?:? ?[{"}\]\[:0-9a-z\u{0} ]{0,40}"#) {
            let _ = parse(&text);
        }
    }
}
