//! What any [`VectorStore`] must do.

use serde_json::{Map, Value, json};
use triune::{
    Context, ErrorKind,
    recall::{Filter, VectorHit, VectorItem, VectorStore},
};

fn item(id: &str, vector: &[f32], metadata: &Value) -> VectorItem {
    let metadata: Map<String, Value> = metadata.as_object().unwrap().clone();
    VectorItem { id: id.into(), vector: vector.into(), metadata }
}

fn ids(hits: &[VectorHit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// Runs the suite in collections that begin with `suite-` and must be new.
pub(crate) async fn vector_store_suite(store: &dyn VectorStore) {
    an_unknown_collection_is_empty(store).await;
    the_nearest_come_first(store).await;
    an_upsert_replaces(store).await;
    a_batch_is_written_whole_or_not_at_all(store).await;
    bad_requests_are_invalid(store).await;
    collections_are_kept_apart(store).await;
    tenants_are_kept_apart(store).await;
    filters_hold(store).await;
    it_agrees_with_a_scan(store).await;
    a_cancelled_call_does_nothing(store).await;
}

async fn an_unknown_collection_is_empty(store: &dyn VectorStore) {
    let cx = Context::new();
    assert!(store.search(&cx, "suite-unknown", &[1.0, 0.0], None, 5).await.unwrap().is_empty());
    assert_eq!(store.len(&cx, "suite-unknown").await.unwrap(), 0);
    assert_eq!(store.delete(&cx, "suite-unknown", &["a".into()]).await.unwrap(), 0);
    store.upsert(&cx, "suite-unknown", vec![]).await.unwrap();
    assert_eq!(store.len(&cx, "suite-unknown").await.unwrap(), 0);
}

async fn the_nearest_come_first(store: &dyn VectorStore) {
    let cx = Context::new();
    // Lengths do not count, directions do.
    let items = vec![
        item("east", &[10.0, 0.0], &json!({"n": 1})),
        item("north", &[0.0, 0.1], &json!({})),
        item("north-east", &[3.0, 3.0], &json!({})),
        item("west", &[-1.0, 0.0], &json!({})),
    ];
    store.upsert(&cx, "suite-near", items).await.unwrap();
    let hits = store.search(&cx, "suite-near", &[2.0, 0.2], None, 10).await.unwrap();
    assert_eq!(ids(&hits), ["east", "north-east", "north", "west"]);
    assert!((hits[3].score + 0.995).abs() < 0.001 && hits[0].metadata["n"] == 1, "{hits:?}");
    assert_eq!(store.search(&cx, "suite-near", &[1.0, 0.0], None, 2).await.unwrap().len(), 2);
    assert_eq!(store.delete(&cx, "suite-near", &["east".into(), "south".into()]).await.unwrap(), 1);
    assert_eq!(store.len(&cx, "suite-near").await.unwrap(), 3);
    let hits = store.search(&cx, "suite-near", &[1.0, 0.0], None, 1).await.unwrap();
    assert_eq!(ids(&hits), ["north-east"]);
}

async fn an_upsert_replaces(store: &dyn VectorStore) {
    let cx = Context::new();
    for (vector, text) in [([1.0, 0.0], "old"), ([0.0, 1.0], "new")] {
        store.upsert(&cx, "suite-replace", vec![item("a", &vector, &json!({"text": text}))]).await.unwrap();
    }
    assert_eq!(store.len(&cx, "suite-replace").await.unwrap(), 1);
    let hits = store.search(&cx, "suite-replace", &[0.0, 1.0], None, 5).await.unwrap();
    assert!(hits.len() == 1 && hits[0].score > 0.999 && hits[0].metadata["text"] == "new", "{hits:?}");
}

async fn a_batch_is_written_whole_or_not_at_all(store: &dyn VectorStore) {
    let cx = Context::new();
    let batch = vec![item("a", &[1.0, 0.0], &json!({})), item("b", &[1.0], &json!({}))];
    let error = store.upsert(&cx, "suite-batch", batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(store.len(&cx, "suite-batch").await.unwrap(), 0);
}

async fn bad_requests_are_invalid(store: &dyn VectorStore) {
    let cx = Context::new();
    store.upsert(&cx, "suite-bad", vec![item("a", &[1.0, 0.0], &json!({}))]).await.unwrap();
    for vector in [&[1.0, 0.0, 0.0][..], &[0.0, 0.0], &[f32::NAN, 0.0], &[]] {
        let error = store.upsert(&cx, "suite-bad", vec![item("b", vector, &json!({}))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{vector:?}");
        let error = store.search(&cx, "suite-bad", vector, None, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{vector:?}");
    }
    for (collection, id) in [("", "a"), ("suite-bad", ""), ("suite\0bad", "a"), ("suite-bad", "a\0b")] {
        let items = vec![item(id, &[1.0, 0.0], &json!({}))];
        assert_eq!(store.upsert(&cx, collection, items).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.search(&cx, "suite-bad", &[1.0, 0.0], None, 0).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.len(&cx, "suite-bad").await.unwrap(), 1);
}

async fn collections_are_kept_apart(store: &dyn VectorStore) {
    let cx = Context::new();
    store.upsert(&cx, "suite-c", vec![item("a", &[1.0, 0.0], &json!({}))]).await.unwrap();
    store.upsert(&cx, "suite-cc", vec![item("a", &[1.0, 0.0, 0.0], &json!({}))]).await.unwrap();
    assert_eq!(store.search(&cx, "suite-c", &[1.0, 0.0], None, 5).await.unwrap().len(), 1);
    assert_eq!(store.delete(&cx, "suite-c", &["a".into()]).await.unwrap(), 1);
    assert_eq!(store.len(&cx, "suite-cc").await.unwrap(), 1);
    // A collection without items is gone: it may begin again with another length.
    store.upsert(&cx, "suite-c", vec![item("a", &[1.0; 4], &json!({}))]).await.unwrap();
}

async fn tenants_are_kept_apart(store: &dyn VectorStore) {
    let nobody = Context::new();
    // A tenant and a collection of one name, and an id that is the name of a collection.
    let (one, two) = (Context::new().tenant("suite-t"), Context::new().tenant("suite-t2"));
    store.upsert(&nobody, "suite-t", vec![item("suite-t", &[1.0, 0.0], &json!({}))]).await.unwrap();
    store.upsert(&one, "suite-t", vec![item("one", &[1.0, 0.0, 0.0], &json!({}))]).await.unwrap();
    store.upsert(&one, "suite-u", vec![item("other", &[1.0, 0.0, 0.0], &json!({}))]).await.unwrap();
    assert_eq!(store.len(&two, "suite-t").await.unwrap(), 0);
    assert!(store.search(&two, "suite-t", &[1.0], None, 5).await.unwrap().is_empty());
    assert_eq!(store.delete(&two, "suite-t", &["one".into()]).await.unwrap(), 0);
    assert_eq!(store.delete(&nobody, "suite-t", &["one".into()]).await.unwrap(), 0);
    assert_eq!(ids(&store.search(&nobody, "suite-t", &[1.0, 0.0], None, 5).await.unwrap()), ["suite-t"]);
    assert_eq!(ids(&store.search(&one, "suite-t", &[1.0, 0.0, 0.0], None, 5).await.unwrap()), ["one"]);
    for bad in ["a\0b", &"t".repeat(300)] {
        let error = store.len(&Context::new().tenant(bad), "suite-t").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    // However long the names are, what is too long for a key is told.
    let (long, collection) = (Context::new().tenant(&"t".repeat(250)), "c".repeat(256));
    let error = store.upsert(&long, &collection, vec![item("a-long-id", &[1.0, 0.0], &json!({}))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

async fn filters_hold(store: &dyn VectorStore) {
    let cx = Context::new();
    let items =
        (0..50_u8).map(|i| item(&format!("i{i:02}"), &[1.0, f32::from(i)], &json!({"i": i, "odd": i % 2 == 1})));
    store.upsert(&cx, "suite-filter", items.collect()).await.unwrap();
    let odd = Filter::Eq("odd".into(), json!(true));
    let late = Filter::Range { key: "i".into(), min: Some(45.0), max: None };
    let filter = Filter::And(vec![odd, late]);
    let found = store.search(&cx, "suite-filter", &[1.0, 0.0], Some(&filter), 10).await;
    if !store.capability().filter {
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unsupported);
        return;
    }
    assert_eq!(ids(&found.unwrap()), ["i45", "i47", "i49"]);
}

async fn it_agrees_with_a_scan(store: &dyn VectorStore) {
    if !store.capability().exact {
        eprintln!("skipped: this store does not search exactly");
        return;
    }
    let cx = Context::new();
    let mut state = 1_u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let items: Vec<VectorItem> = (0..300)
        .map(|i| {
            let vector: Vec<f32> = (0..19).map(|_| number()).collect();
            item(&format!("v{i}"), &vector, &json!({}))
        })
        .collect();
    store.upsert(&cx, "suite-scan", items.clone()).await.unwrap();
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    for _ in 0..5 {
        let query: Vec<f32> = (0..19).map(|_| number()).collect();
        let mut scores: Vec<(f32, &str)> = items
            .iter()
            .map(|item| {
                let dot: f32 = item.vector.iter().zip(&query).map(|(a, b)| a * b).sum();
                (dot / length(&item.vector) / length(&query), item.id.as_str())
            })
            .collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hits = store.search(&cx, "suite-scan", &query, None, 10).await.unwrap();
        assert_eq!(ids(&hits), scores[..10].iter().map(|(_, id)| *id).collect::<Vec<_>>());
        assert!(hits.iter().zip(&scores).all(|(hit, (score, _))| (hit.score - score).abs() < 1e-4));
    }
}

async fn a_cancelled_call_does_nothing(store: &dyn VectorStore) {
    let cx = Context::new();
    cx.cancel.cancel();
    let items = vec![item("a", &[1.0, 0.0], &json!({}))];
    let error = store.upsert(&cx, "suite-cancel", items).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(store.len(&Context::new(), "suite-cancel").await.unwrap(), 0);
}
