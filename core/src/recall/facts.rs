//! What the index of facts is told of a record, and which items a query may find by it.

use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::{
    admission::Admission,
    facets::{Index, system},
    namespace::Namespace,
    record::Record,
    slots::SlotReader,
};
use crate::{context::Context, error::Result, store::Read};

/// What the engine itself knows of an item.
pub(super) fn of(record: &Record) -> Vec<(&'static str, Value)> {
    let mut facts = vec![(system::STORED, json!(record.stored_ms))];
    let texts = [(system::SESSION, &record.session), (system::SPEAKER, &record.speaker)];
    facts.extend(texts.into_iter().filter_map(|(name, text)| Some((name, json!(text.as_ref()?)))));
    let times = [
        (system::VALID_FROM, record.valid_from),
        (system::VALID_TO, record.valid_to),
        (system::EXPIRES, record.expires),
    ];
    facts.extend(times.into_iter().filter_map(|(name, time)| Some((name, json!(time?.as_millis())))));
    facts.extend(record.superseded.map(|superseded| (system::SUPERSEDED, json!(superseded.at_ms))));
    facts
}

/// The numbers, of whole items and of passages, that `admission` lets through, as [`Admission::admits`] says of their
/// records; none when it lets all through.
pub(super) fn admitted(
    cx: &Context,
    read: &Read<'_>,
    namespace: &Namespace,
    admission: &Admission,
) -> Result<Option<RoaringBitmap>> {
    if admission.is_open(namespace) {
        return Ok(None);
    }
    let index = Index { cx, read, namespace };
    let mut admitted = admission.filter.as_ref().map(|filter| index.admitted(filter)).transpose()?;
    for (name, wanted) in [(system::SESSION, &admission.session), (system::SPEAKER, &admission.speaker)] {
        if let Some(wanted) = wanted {
            let said = index.known(name, &json!(wanted))?;
            admitted = Some(admitted.map_or_else(|| said.clone(), |admitted| admitted & &said));
        }
    }
    if !namespace.bounded && admission.as_of.is_none() {
        return Ok(admitted);
    }
    let excluded = excluded(&index, admission)?;
    if excluded.is_empty() {
        return Ok(admitted);
    }
    Ok(Some(admitted.map_or_else(|| index.every(), Ok)? - excluded))
}

/// What does not hold when it is asked for, was not known then, or is over.
fn excluded(index: &Index<'_, '_>, admission: &Admission) -> Result<RoaringBitmap> {
    let after = |at: super::Moment| Some(at.as_millis().saturating_add(1));
    let mut excluded = index.between(system::EXPIRES, None, Some(admission.now.as_millis()))?;
    if let Some(at) = admission.valid_at {
        let mut ended = index.excluded_at(at.as_millis())?;
        if let Some(as_of) = admission.as_of {
            // What was superseded later was thought to hold for longer.
            let mut slots = SlotReader::new(index.read);
            for number in index.between(system::SUPERSEDED, after(as_of), None)? {
                let item = slots.get(index.read, index.namespace, number)?.parent.unwrap_or(number);
                let key = index.namespace.item_key(item);
                let Some(stored) = index.read.tables.items.get(index.read.txn, &key)? else { continue };
                if admission.holds(&Record::from_bytes(stored)?) {
                    ended.remove(number);
                } else {
                    ended.insert(number);
                }
            }
        }
        excluded |= ended;
    }
    if let Some(as_of) = admission.as_of {
        excluded |= index.between(system::STORED, after(as_of), None)?;
    }
    Ok(excluded)
}

/// The items whose metadata meets `filter`, in order.
pub(super) fn meeting(index: &Index<'_, '_>, filter: &super::Filter) -> Result<Vec<u32>> {
    let (mut items, mut slots) = (Vec::new(), SlotReader::new(index.read));
    for number in index.admitted(filter)? {
        items.push(slots.get(index.read, index.namespace, number)?.parent.unwrap_or(number));
    }
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        recall::{
            Filter, Moment, RecallConfig, StoreRequest, namespace, prepare,
            rows::{Change, ends, item_of},
        },
        store::{Durability, Store, StoreConfig, Write},
    };

    fn moment() -> impl Strategy<Value = Moment> {
        (-3..4_i64).prop_map(|at| Moment::from_millis(Moment::now().as_millis() + at * 1_000_000).unwrap())
    }

    fn id() -> impl Strategy<Value = String> {
        "[a-f]"
    }

    fn request() -> impl Strategy<Value = StoreRequest> {
        let text = prop_oneof!["[xyz]", Just("One sentence. ".repeat(12)), Just("the same words again".to_owned())];
        let times = (prop::option::weighted(0.3, moment()), prop::option::weighted(0.3, moment()));
        let (session, speaker) = (prop::option::of("[st]"), prop::option::of("[uv]"));
        (
            text,
            id(),
            session,
            speaker,
            times,
            prop::option::weighted(0.2, 1..3_u64),
            prop::option::weighted(0.3, id()),
            any::<bool>(),
            0..3_u32,
        )
            .prop_map(|(text, id, session, speaker, (from, to), ttl, supersedes, merge, kind)| {
                let mut request = StoreRequest::new(text);
                let ordered = !matches!((from, to), (Some(from), Some(to)) if from >= to);
                (request.valid_from, request.valid_to) = if ordered { (from, to) } else { (None, to) };
                request.supersedes = supersedes.filter(|old| *old != id);
                (request.id, request.session, request.speaker) = (Some(id), session, speaker);
                // Over at once, or not for long.
                request.ttl_ms = ttl.map(|ttl| if ttl == 1 { 1 } else { 1_000_000_000 });
                request.metadata.insert("kind".into(), json!(kind));
                request.metadata.insert(format!("k{kind}"), json!(true));
                if merge {
                    request.duplicates = crate::recall::Duplicates::Merge;
                }
                request
            })
    }

    fn admission() -> impl Strategy<Value = Admission> {
        let filter = prop::option::of((0..3_u32).prop_map(|kind| Filter::Eq("kind".into(), json!(kind))));
        let (as_of, valid_at) = (prop::option::of(moment()), prop::option::weighted(0.8, moment()));
        (filter, prop::option::of("[st]"), prop::option::of("[uv]"), as_of, valid_at).prop_map(
            |(filter, session, speaker, as_of, valid_at)| {
                // Later than what was stored a moment ago.
                let now = Moment::now().after_millis(1_000);
                Admission { filter, session, speaker, as_of, valid_at, now }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_let_through_is_what_the_records_say(
            steps in prop::collection::vec((request(), prop::option::weighted(0.2, id())), 1..25),
            admissions in prop::collection::vec(admission(), 30),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let config = StoreConfig { durability: Durability::Relaxed, ..StoreConfig::default() };
            let store = Store::open(folder.path(), &config).unwrap();
            let config = RecallConfig { passage_above: 100, passage: 64, ..RecallConfig::default() };
            for (request, forget) in steps {
                let cx = Context::new();
                let prepared = prepare::prepare(&cx, &config, None, vec![request]);
                let prepared = runtime.block_on(prepared).unwrap();
                let rules = config.clone();
                let job = move |write: &mut Write<'_, '_>| {
                    if let Some(id) = &forget {
                        let mut change = Change::begin(write, "default")?;
                        change.remove(write, id)?;
                        change.end(write)?;
                    }
                    prepare::put_all(write, &rules, &prepared).map(drop)
                };
                // What supersedes something that is not there is refused.
                let _ = runtime.block_on(store.write(job));
            }
            store.read(|read| {
                let Some(namespace) = namespace::find(read, "default")? else { return Ok(()) };
                for admission in &admissions {
                    let mut expected = RoaringBitmap::new();
                    for row in read.tables.items.prefix(read.txn, &namespace.prefix())? {
                        let (key, value) = row?;
                        let record = Record::from_bytes(value)?;
                        if admission.admits(&record) {
                            let (first, last) = ends(item_of(key)?, record.passages);
                            expected.insert_range(first..=last);
                        }
                    }
                    let index = Index { cx: &Context::new(), read, namespace: &namespace };
                    let found = admitted(index.cx, read, &namespace, admission)?;
                    assert_eq!(found.map_or_else(|| index.every(), Ok)?, expected, "{admission:?}");
                }
                Ok(())
            }).unwrap();
        }
    }
}
