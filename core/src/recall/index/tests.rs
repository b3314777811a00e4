use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    recall::{ForgetRequest, RecallEngine, RecallQuery, StoreRequest, vector},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    runtime::Runtime,
    store::StoreConfig,
};

#[derive(Debug)]
struct NoRoute;

impl Router for NoRoute {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(crate::Error::not_found("no route"))
    }
}

fn memory(folder: &std::path::Path, config: RecallConfig) -> (RecallEngine, Store) {
    let store = Store::open(folder, &StoreConfig::default()).unwrap();
    let models = crate::Registry::new("model");
    let router = RouterEngine::new(RouterConfig::default(), std::sync::Arc::new(NoRoute), models, store.clone()).unwrap();
    (RecallEngine::new(config, store.clone(), router, Runtime::default()).unwrap(), store)
}

/// Vectors about some points, as texts are about some topics.
struct Topics {
    rng: StdRng,
    centres: Vec<Vec<f32>>,
}

impl Topics {
    fn new(seed: u64, dimensions: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut point = || (0..dimensions).map(|_| rng.random::<f32>() - 0.3).collect();
        let centres = (0..20).map(|_| point()).collect();
        Self { rng, centres }
    }

    fn vector(&mut self) -> Vec<f32> {
        let centre = self.rng.random_range(0..self.centres.len());
        let noisy: Vec<f32> = self.centres[centre].iter().map(|x| x + self.rng.random::<f32>() - 0.5).collect();
        vector::unit(&noisy).unwrap()
    }
}

fn request(id: &str, vector: &[f32]) -> StoreRequest {
    StoreRequest { id: Some(id.into()), vector: Some(vector.to_vec()), ..StoreRequest::new("x") }
}

/// What an index finds: ids, best first.
fn found(store: &Store, config: &RecallConfig, vector: &[f32], wanted: usize, admitted: Option<&[&str]>) -> Vec<String> {
    let look = |read: &Read<'_>| {
        let Some(namespace) = namespace::find(read, "default")? else { return Ok(Vec::new()) };
        let cx = Context::new();
        let item = |id: &&str| Ok(read.tables.ids.get(read.txn, &namespace.id_key(id))?.map(|item| u32::from_be_bytes(item.try_into().unwrap())));
        let admitted = admitted.map(|ids| ids.iter().map(item).collect::<Result<Vec<_>>>()).transpose()?;
        let admitted = admitted.map(|items| items.into_iter().flatten().collect::<RoaringBitmap>());
        let mut snapshot = Snapshot::open(&cx, config, read, &namespace)?;
        let near = snapshot.nearest(&Query { vector, admitted: admitted.as_ref(), wanted })?;
        let id = |(_, item): (f32, u32)| {
            let record: super::super::rows::Record = read.tables.items.get_json(read.txn, &namespace.item_key(item))?.unwrap();
            Ok(record.id)
        };
        near.into_iter().map(id).collect()
    };
    store.read(look).unwrap()
}

/// What there is to find, by comparing everything.
fn exact<'v>(all: impl Iterator<Item = (&'v String, &'v Vec<f32>)>, vector: &[f32], wanted: usize) -> Vec<String> {
    let dot = |other: &[f32]| vector.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut scored: Vec<_> = all.map(|(id, other)| (dot(other), id)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(wanted).map(|(_, id)| id.clone()).collect()
}

fn shared(found: &[String], wanted: &[String]) -> f64 {
    wanted.iter().filter(|id| found.contains(id)).count() as f64 / wanted.len().max(1) as f64
}

/// The part of the true ten nearest that is found, over some queries.
fn recall_at_10(store: &Store, config: &RecallConfig, topics: &mut Topics, all: &BTreeMap<String, Vec<f32>>) -> f64 {
    let queries = 30;
    let of_one = |vector: Vec<f32>| shared(&found(store, config, &vector, 10, None), &exact(all.iter(), &vector, 10));
    (0..queries).map(|_| of_one(topics.vector())).sum::<f64>() / f64::from(queries)
}

#[tokio::test]
async fn whatever_was_stored_and_forgotten_the_rest_is_found() {
    // 1,024 and 128 items a block of rows.
    for dimensions in [70, 3_000] {
        let folder = tempfile::tempdir().unwrap();
        let config = RecallConfig { index: IndexChoice::Scan, ..RecallConfig::default() };
        let (recall, store) = memory(folder.path(), config.clone());
        let everything = RecallConfig { recall: 1.0, ..config.clone() };
        let (mut topics, mut all, cx) = (Topics::new(1, dimensions), BTreeMap::new(), Context::new());
        let mut at = 0;
        for round in 0..14 {
            let mut batch = Vec::new();
            for _ in 0..[1, 300, 40, 700, 2, 90][round % 6] {
                // Some known ids, and some items without a vector.
                let id = format!("i{}", if at % 9 == 4 { at / 2 } else { at });
                let vector = topics.vector();
                batch.push(request(&id, &vector));
                all.insert(id, vector);
                if at % 7 == 0 {
                    batch.push(StoreRequest { id: Some(format!("text{at}")), ..StoreRequest::new("y") });
                }
                at += 1;
            }
            recall.store_many(&cx, batch).await.unwrap();
            let gone: Vec<String> = all.keys().filter(|_| topics.rng.random::<f32>() < 0.05).cloned().collect();
            let old = (0..if round == 9 { at / 2 } else { 0 }).map(|i| format!("i{i}"));
            let ids: Vec<String> = gone.into_iter().chain(old).collect();
            all.retain(|id, _| !ids.contains(id));
            let request = ForgetRequest { namespace: "default".into(), ids, filter: None, all: false };
            recall.forget(&cx, request).await.ok();
            let vector = topics.vector();
            assert_eq!(found(&store, &everything, &vector, 10, None), exact(all.iter(), &vector, 10), "round {round}");
        }
        assert!(all.len() > 1_100);
        let part = recall_at_10(&store, &config, &mut topics, &all);
        assert!(part > 0.98, "{dimensions}: {part}");
        let rows = store.read(|read| Ok(read.tables.rows.keys(read.txn, b"")?.count())).unwrap();
        assert!(rows > 0, "vectors were put together");
        let request = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
        recall.forget(&cx, request).await.unwrap();
        let left = |read: &Read<'_>| {
            let tables = [read.tables.vectors, read.tables.rows, read.tables.codes];
            tables.iter().map(|table| Ok(table.keys(read.txn, b"")?.count())).sum::<Result<usize>>()
        };
        assert_eq!(store.read(left).unwrap(), 0);
    }
}

#[tokio::test]
async fn a_filter_is_applied_inside() {
    let folder = tempfile::tempdir().unwrap();
    let config = RecallConfig::default();
    let (recall, store) = memory(folder.path(), config.clone());
    let (mut topics, mut all) = (Topics::new(2, 64), BTreeMap::new());
    all.extend((0..5_000).map(|i| (format!("i{i}"), topics.vector())));
    let batch = all.iter().map(|(id, vector)| request(id, vector)).collect();
    recall.store_many(&Context::new(), batch).await.unwrap();
    for every in [2, 3, 10, 1_000, 10_000] {
        let admitted: Vec<&str> = all.keys().step_by(every).map(String::as_str).collect();
        let mut sum = 0.0;
        for _ in 0..20 {
            let vector = topics.vector();
            let expected = exact(all.iter().step_by(every), &vector, 10);
            let near = found(&store, &config, &vector, 10, Some(&admitted));
            assert!(near.iter().all(|id| admitted.contains(&id.as_str())) && near.len() == expected.len());
            sum += shared(&near, &expected);
        }
        assert!(sum / 20.0 > 0.97, "one in {every}: {}", sum / 20.0);
    }
}

#[tokio::test]
async fn the_vectors_of_the_first_version_are_found_and_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (recall, store) = memory(folder.path(), RecallConfig::default());
    let (mut topics, cx) = (Topics::new(3, 384), Context::new());
    recall.store(&cx, request("first", &topics.vector())).await.unwrap();
    let vectors: Vec<_> = (0..6_000).map(|_| topics.vector()).collect();
    let old = vectors.clone();
    let write_old = move |write: &mut Write<'_, '_>| {
        let mut namespace = namespace::find_in(write, "default")?.unwrap();
        for vector in &old {
            let item = namespace.take_item()?;
            write.tables.vectors.put(write.txn, &namespace.item_key(item), &vector::to_bytes(vector))?;
            let record = serde_json::json!({"id": item.to_string(), "text": "x", "metadata": {}, "stored_ms": 1});
            write.tables.items.put_json(write.txn, &namespace.item_key(item), &record)?;
            namespace.vectors += 1;
        }
        namespace::keep(write, "default", &namespace)
    };
    store.write(write_old).await.unwrap();
    let config = RecallConfig::default();
    assert_eq!(found(&store, &config, &vectors[4_000], 1, None), ["4001"], "before anything was moved");
    recall.store(&cx, request("new", &topics.vector())).await.unwrap();
    assert_eq!(found(&store, &config, &vectors[5_000], 1, None), ["5001"], "while some are moved");
    do_what_is_due(&config, &store, "default").await.unwrap();
    let look = |read: &Read<'_>| {
        let namespace = namespace::find(read, "default")?.unwrap();
        Ok((namespace.coded, namespace.next, read.tables.vectors.keys(read.txn, b"")?.count()))
    };
    assert_eq!(store.read(look).unwrap(), (6_002, 6_002, 6_002 % 1_024));
    for at in [0, 1_500, 4_000, 5_999] {
        assert_eq!(found(&store, &config, &vectors[at], 1, None), [(at + 1).to_string()]);
    }
}

#[tokio::test]
async fn a_damaged_block_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (recall, store) = memory(folder.path(), RecallConfig::default());
    let mut topics = Topics::new(4, 50);
    let batch = (0..2_500).map(|i| request(&format!("i{i}"), &topics.vector())).collect();
    recall.store_many(&Context::new(), batch).await.unwrap();
    for table in ["codes", "rows"] {
        let cut = move |write: &mut Write<'_, '_>| {
            let table = if table == "codes" { write.tables.codes } else { write.tables.rows };
            let prefix = namespace::find_in(write, "default")?.unwrap().item_key(0);
            let value = table.get_unverified(write.txn, &prefix)?.unwrap().to_vec();
            table.put(write.txn, &prefix, &value[..value.len() - 5])
        };
        store.write(cut).await.unwrap();
        let query = RecallQuery { vector: Some(topics.vector()), ..RecallQuery::new("?", 5) };
        let error = recall.query(&Context::new(), query).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{table}");
    }
}
