use std::{collections::BTreeMap, sync::Arc, time::Instant};

use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use super::{system::*, *};
use crate::{
    context::Context,
    error::Result,
    recall::{
        Filter,
        namespace::Namespace,
        slots::{NewSlots, Slot},
    },
    store::{Durability, Read, Store, StoreConfig, Write},
};

const NAMESPACE: u32 = 7;

fn open(folder: &std::path::Path) -> Store {
    let config = StoreConfig { durability: Durability::Relaxed, ..StoreConfig::default() };
    Store::open(folder, &config).unwrap()
}

fn namespace() -> Namespace {
    Namespace { ns: NAMESPACE, ..Namespace::default() }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { unreachable!() };
    object
}

async fn write(store: &Store, job: impl FnMut(&mut Write<'_, '_>) -> Result<()> + Send + 'static) {
    store.write(job).await.unwrap();
}

fn ask<T>(store: &Store, look: impl FnOnce(&Index<'_, '_>) -> Result<T>) -> T {
    let look = |read: &Read<'_>| look(&Index { cx: &Context::new(), read, namespace: &namespace() });
    store.read(look).unwrap()
}

fn admits(store: &Store, filter: &Filter) -> RoaringBitmap {
    ask(store, |index| index.admitted(filter))
}

/// What happens to an item in a transaction: it gets these facts, in the place of those it had, or loses all.
type Step = (u32, Option<Map<String, Value>>);

/// Writes a transaction, with the records that are looked at, and notes it in `model`.
async fn apply(store: &Store, model: &mut BTreeMap<u32, Map<String, Value>>, steps: Vec<Step>) {
    let mut told = Vec::new();
    for (item, facts) in steps {
        if let Some(old) = model.remove(&item) {
            told.push((item, old, false));
        }
        if let Some(facts) = facts {
            model.insert(item, facts.clone());
            told.push((item, facts, true));
        }
    }
    let job = move |write: &mut Write<'_, '_>| {
        let (mut facets, mut slots) = (Facets::default(), NewSlots::default());
        for (item, facts, add) in &told {
            let key = namespace().item_key(*item);
            if *add {
                facets.put(*item, facts, &[]);
                slots.put(write, &namespace(), *item, Slot::default())?;
                let record = json!({"id": "i", "text": "", "stored_ms": 1, "metadata": facts});
                write.tables.items.put_json(write.txn, &key, &record)?;
            } else {
                facets.remove(*item, facts, &[]);
                write.tables.items.delete(write.txn, &key)?;
            }
        }
        slots.write(write, &namespace())?;
        facets.write(write, &namespace())
    };
    write(store, job).await;
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,2}",
        "a\0[ab]{0,1}",
        (198..203_usize, "[ab]{0,1}").prop_map(|(long, end)| "a".repeat(long) + &end),
        Just(String::new()),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-2..3_i64).prop_map(|n| json!(n)),
        (-2..3_i64).prop_map(|n| json!(n as f64)),
        Just(json!(0.5)),
        Just(json!(-0.0)),
        (0..3_u64).prop_map(|n| json!((1_u64 << 53) + n)),
        (0..3_u64).prop_map(|n| json!(((1_u64 << 53) + n) as f64)),
        (0..2_u64).prop_map(|n| json!(u64::MAX - n)),
        Just(json!(i64::MIN)),
        Just(json!(1e300)),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool), number(), text().prop_map(Value::String)]
}

fn value() -> impl Strategy<Value = Value> {
    let part = prop_oneof![4 => scalar(), 1 => prop::collection::vec(scalar(), 0..2).prop_map(Value::Array)];
    prop_oneof![
        6 => scalar(),
        2 => prop::collection::vec(part, 0..3).prop_map(Value::Array),
        1 => scalar().prop_map(|value| json!({"x": value, "y": 1})),
        1 => scalar().prop_map(|value| json!({"y": 1, "x": value})),
        1 => scalar().prop_map(|value| { let mut list = vec![json!(3); 1_001]; list.push(value); Value::Array(list) }),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("ab".to_owned()), Just(String::new()), Just("k".repeat(101))]
}

fn facts() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(key(), value(), 0..4).prop_map(|facts| facts.into_iter().collect())
}

fn filter() -> impl Strategy<Value = Filter> {
    let end = || prop::option::of(number().prop_map(|n| n.as_f64().unwrap()));
    let leaf = prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Filter::Eq(key, value)),
        1 => (key(), prop::collection::vec(value(), 0..3)).prop_map(|(key, values)| Filter::In(key, values)),
        2 => (key(), text()).prop_map(|(key, text)| Filter::Prefix(key, text)),
        2 => (key(), end(), end()).prop_map(|(key, min, max)| Filter::Range { key, min, max }),
        1 => key().prop_map(Filter::Exists),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn check(store: &Store, model: &BTreeMap<u32, Map<String, Value>>, filters: &[Filter]) {
    for filter in filters {
        let expected: RoaringBitmap =
            model.iter().filter(|(_, facts)| filter.matches(facts)).map(|(item, _)| *item).collect();
        assert_eq!(admits(store, filter), expected, "{filter:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_admits_what_matches(
        transactions in prop::collection::vec(
            prop::collection::vec((0..12_u32, prop::option::weighted(0.8, facts())), 0..12), 1..5),
        filters in prop::collection::vec(filter(), 40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (store, mut model) = (open(folder.path()), BTreeMap::new());
        for steps in transactions {
            // Some are far from each other, and some in other rows.
            let steps = steps.into_iter().map(|(item, facts)| (item * item * 3_001, facts)).collect();
            runtime.block_on(apply(&store, &mut model, steps));
            check(&store, &model, &filters);
        }
    }
}

/// Facts of many items: few values, values of their own, and some in between.
fn many(item: u32) -> Map<String, Value> {
    let mixed = item.wrapping_mul(2_654_435_761) >> 8;
    object(json!({"half": mixed % 2, "tenth": format!("t{}", mixed % 10), "own": mixed, "few": mixed % 3_000,
        "tags": [mixed % 5, mixed % 7], "at": f64::from(item) * 1_000.5}))
}

fn filters_of_many() -> Vec<Filter> {
    let range = |key: &str, min: f64, max: f64| Filter::Range { key: key.into(), min: Some(min), max: Some(max) };
    let eq = |key: &str, value: Value| Filter::Eq(key.into(), value);
    vec![
        eq("half", json!(1)),
        eq("tenth", json!("t3")),
        eq("own", json!(2_654_435_761_u32 >> 8)),
        eq("few", json!(17)),
        eq("tags", json!(6)),
        Filter::Prefix("tenth".into(), "t".into()),
        range("own", 0.0, 5e6),
        range("own", 0.0, f64::MAX),
        range("few", 10.0, 20.5),
        range("at", 2_000.0, 9e6),
        Filter::Exists("own".into()),
        Filter::And(vec![eq("half", json!(0)), Filter::Not(Box::new(eq("tags", json!(0)))), range("few", 5.0, 900.0)]),
        Filter::Not(Box::new(range("own", 3e6, 4e6))),
    ]
}

#[tokio::test]
async fn many_items_of_a_term_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(folder.path()), BTreeMap::new());
    let filters = filters_of_many();
    // One by one, in batches, and over the end of a row of bits.
    for item in 8_100..8_200 {
        apply(&store, &mut model, vec![(item, Some(many(item)))]).await;
    }
    check(&store, &model, &filters);
    for batch in 0..3 {
        let items = 20_000 + batch * 1_500..20_000 + (batch + 1) * 1_500;
        apply(&store, &mut model, items.map(|item| (item, Some(many(item)))).collect()).await;
        check(&store, &model, &filters);
    }
    // Others in their place, the same again, and less and less of them.
    apply(&store, &mut model, (20_000..21_000).map(|item| (item, Some(many(item + 1)))).collect()).await;
    check(&store, &model, &filters);
    apply(&store, &mut model, (20_000..20_100).map(|item| (item, Some(many(item + 1)))).collect()).await;
    for part in 0..4 {
        let gone: Vec<u32> = model.keys().copied().filter(|item| item % 4 == part).collect();
        apply(&store, &mut model, gone.into_iter().map(|item| (item, None)).collect()).await;
        check(&store, &model, &filters);
    }
    let left = ask(&store, |index| Ok(index.read.tables.facets.prefix(index.read.txn, b"")?.count()));
    assert_eq!(left, 0, "nothing is left of what was removed");
}

#[tokio::test]
async fn another_namespace_has_facts_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let same = object(json!({"a": 1}));
    let job = move |write: &mut Write<'_, '_>| {
        for ns in [NAMESPACE - 1, NAMESPACE, NAMESPACE + 1] {
            let mut facets = Facets::default();
            (0..100).for_each(|item| facets.put(ns * 1_000 + item, &same, &[]));
            facets.put(ns, &same, &[]);
            facets.write(write, &Namespace { ns, ..Namespace::default() })?;
        }
        Ok(())
    };
    write(&store, job).await;
    let expected: RoaringBitmap = [NAMESPACE].into_iter().chain(7_000..7_100).collect();
    assert_eq!(admits(&store, &Filter::Eq("a".into(), json!(1))), expected);
    assert_eq!(admits(&store, &Filter::And(Vec::new())), expected);
}

#[tokio::test]
async fn what_the_engine_knows_is_apart_from_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let job = |write: &mut Write<'_, '_>| {
        let mut facets = Facets::default();
        let metadata = object(json!({"session": "m", "valid_to": 1}));
        facets.put(1, &metadata, &[(SESSION, json!("s")), (VALID_FROM, json!(100)), (VALID_TO, json!(200))]);
        facets.put(2, &metadata, &[(SESSION, json!("s")), (SPEAKER, json!("ada")), (VALID_TO, json!(150))]);
        facets.put(3, &Map::new(), &[(SESSION, json!("t")), (STORED, json!(1)), (EXPIRES, json!(1_u64 << 50))]);
        facets.write(write, &namespace())
    };
    write(&store, job).await;
    let known = |name, value| ask(&store, |index| index.known(name, &json!(value)));
    assert_eq!(known(SESSION, "s"), RoaringBitmap::from([1, 2]));
    assert_eq!(known(SESSION, "m"), RoaringBitmap::new());
    assert_eq!(known(SPEAKER, "ada"), RoaringBitmap::from([2]));
    assert_eq!(admits(&store, &Filter::Eq("session".into(), json!("m"))), RoaringBitmap::from([1, 2]));
    assert_eq!(admits(&store, &Filter::Exists("speaker".into())), RoaringBitmap::new());
    for (time, excluded) in [(99, &[1][..]), (100, &[]), (149, &[]), (150, &[2]), (199, &[2]), (200, &[1, 2])] {
        let found = ask(&store, |index| index.excluded_at(time));
        assert_eq!(found, excluded.iter().copied().collect(), "{time}");
    }
}

/// `cargo test -p triune --lib facets::tests::how_fast -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints how long it takes"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
async fn how_fast() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (mut worst, mut all) = (0.0_f64, 0.0);
    for batch in 0..100_u32 {
        let rows: Vec<_> = (batch * 1_000..(batch + 1) * 1_000).map(|item| (item, many(item))).collect();
        let took = Arc::new(std::sync::Mutex::new(0.0));
        let slot = Arc::clone(&took);
        let job = move |write: &mut Write<'_, '_>| {
            let began = Instant::now();
            let mut facets = Facets::default();
            for (item, facts) in &rows {
                facets.put(*item, facts, &[(STORED, json!(1_700_000_000_000_u64 + u64::from(*item)))]);
            }
            facets.write(write, &namespace())?;
            *slot.lock().unwrap() = began.elapsed().as_secs_f64() * 1e3;
            Ok(())
        };
        write(&store, job).await;
        let took = *took.lock().unwrap();
        (worst, all) = (worst.max(took), all + took);
    }
    println!("batch of 1,000 with 6 keys: {:.2} ms, at most {worst:.2} ms", all / 100.0);
    for filter in filters_of_many() {
        let began = Instant::now();
        let found = (0..20).map(|_| admits(&store, &filter).len()).max();
        println!("{:.3} ms, {found:?} items: {filter:?}", began.elapsed().as_secs_f64() * 50.0);
    }
    let size =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    println!("{} MiB", size >> 20);
}
