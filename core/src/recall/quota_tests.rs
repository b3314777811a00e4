//! Quotas and statistics.

use serde_json::json;

use super::{
    tests::{Letters, Memory, item, memory, memory_with, tagged},
    *,
};
use crate::{Context, Engine, ErrorKind, store::Unit};

fn limited(folder: &std::path::Path, quotas: &serde_json::Value) -> Memory {
    let config = RecallConfig { quotas: serde_json::from_value(quotas.clone()).unwrap(), ..RecallConfig::default() };
    let memory = memory_with(folder, config);
    memory.router.set_embedder(Letters::named("letters"));
    memory
}

/// A text that does not get smaller, of about 1,500 bytes.
fn words(seed: u64) -> String {
    use rand::{RngExt as _, SeedableRng as _};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    (0..1_500).map(|_| rng.random_range(b' '..=b'z') as char).filter(|c| *c != '\\').collect()
}

fn all_of(namespace: &str) -> ForgetRequest {
    ForgetRequest { namespace: namespace.into(), ids: vec![], filter: None, all: true }
}

#[tokio::test]
async fn a_batch_above_the_quota_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } =
        limited(folder.path(), &json!({"default": {"max_items": 3}, "namespaces": {"big": {}}}));
    let cx = Context::new();
    recall.store_many(&cx, vec![item("a", "one"), item("b", "two")]).await.unwrap();
    let batch =
        vec![item("c", "three"), item("d", "four"), StoreRequest { namespace: "big".into(), ..item("e", "five") }];
    let error = recall.store_many(&cx, batch).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Overloaded && !error.is_retryable(), "{error}");
    assert_eq!(error.facts()["quota"], "3");
    assert!(recall.get(&cx, "default", "c").await.unwrap().is_none());
    assert!(recall.get(&cx, "big", "e").await.unwrap().is_none());
    // What is there may be replaced, and room that is made may be used.
    recall.store_many(&cx, vec![item("a", "one again"), item("c", "three")]).await.unwrap();
    recall.store(&cx, item("a", "once more")).await.unwrap();
    assert!(recall.store(&cx, item("d", "four")).await.is_err());
    let forget = ForgetRequest { ids: vec!["a".into()], all: false, ..all_of("default") };
    recall.forget(&cx, forget).await.unwrap();
    recall.store(&cx, item("d", "four")).await.unwrap();
    for at in 0..10 {
        recall.store(&cx, StoreRequest { namespace: "big".into(), ..item(&at.to_string(), "no limit") }).await.unwrap();
    }
}

#[tokio::test]
async fn writers_at_once_do_not_pass_it_together() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = limited(folder.path(), &json!({"default": {"max_items": 10}}));
    let cx = Context::new();
    let calls = (0..40).map(|at| {
        let (recall, cx) = (&recall, &cx);
        async move { recall.store(cx, item(&at.to_string(), "text")).await.is_ok() }
    });
    let stored = futures_util::future::join_all(calls).await.into_iter().filter(|stored| *stored).count();
    assert_eq!(stored, 10);
    assert_eq!(recall.statistics(&cx, "default").await.unwrap().items, 10);
}

#[tokio::test]
async fn bytes_count_as_stored_and_go_when_items_go() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = limited(folder.path(), &json!({"default": {"max_bytes": 6_000}}));
    let cx = Context::new();
    let bytes = || store.read(|read| Ok(namespace::find(read, "default")?.and_then(|found| found.bytes))).unwrap();
    recall.store(&cx, item("a", &words(1))).await.unwrap();
    let one = bytes().unwrap();
    assert!((1_450..1_700).contains(&one), "{one}");
    recall.store(&cx, item("a", &words(2))).await.unwrap();
    let two = bytes().unwrap();
    assert!((one + 1_500..one + 1_900).contains(&two), "what was replaced is kept: {two}");
    recall.store(&cx, item("b", &words(1))).await.unwrap();
    // Three texts with their vectors: the fourth does not fit.
    let error = recall.store(&cx, item("c", &words(3))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Overloaded && error.facts().contains_key("bytes"), "{error}");
    for id in ["a", "b"] {
        let forget = ForgetRequest { ids: vec![id.into()], all: false, ..all_of("default") };
        recall.forget(&cx, forget).await.unwrap();
    }
    assert_eq!(bytes(), Some(0));
    // An older version did not count: what is there is counted at the next change.
    recall.store(&cx, item("a", &words(1))).await.unwrap();
    let forget_count = |write: &mut crate::store::Write<'_, '_>| {
        let mut found = namespace::find_in(write, "default")?.unwrap();
        found.bytes = None;
        namespace::keep(write, "default", &found)
    };
    store.write(forget_count).await.unwrap();
    recall.store(&cx, item("b", "short")).await.unwrap();
    assert!(bytes().unwrap() > one, "{:?}", bytes());
}

#[tokio::test]
async fn a_quota_that_was_lowered_lets_items_go() {
    let folder = tempfile::tempdir().unwrap();
    let cx = Context::new();
    let before = memory(folder.path());
    before.recall.store_many(&cx, (0..5).map(|at| item(&at.to_string(), "text")).collect()).await.unwrap();
    drop(before);
    let Memory { recall, .. } = limited(folder.path(), &json!({"default": {"max_items": 2}}));
    recall.store(&cx, item("0", "replaced")).await.unwrap();
    assert!(recall.store(&cx, item("new", "text")).await.is_err());
    let forget =
        ForgetRequest { ids: vec!["1".into(), "2".into(), "3".into(), "4".into()], all: false, ..all_of("default") };
    assert_eq!(recall.forget(&cx, forget).await.unwrap(), 4);
    recall.store(&cx, item("new", "text")).await.unwrap();
}

#[tokio::test]
async fn each_tenant_has_its_own_quota_and_a_unit_fails_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let quotas = json!({"default": {"max_items": 1}, "tenants": {"acme": {"max_items": 2}}});
    let Memory { recall, store, .. } = limited(folder.path(), &quotas);
    let (acme, other) = (Context::new().tenant("acme"), Context::new().tenant("other"));
    for (cx, most) in [(&acme, 2), (&other, 1), (&Context::new(), 1)] {
        let mut stored = 0;
        while recall.store(cx, item(&stored.to_string(), "text")).await.is_ok() {
            stored += 1;
        }
        assert_eq!(stored, most);
    }
    let unit = Unit::default();
    let cx = Context::new().tenant("new").unit(Some(unit.clone()));
    recall.store_many(&cx, vec![item("a", "one"), item("b", "two")]).await.unwrap();
    assert_eq!(store.commit(unit.take(true)).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert!(recall.namespaces(&Context::new().tenant("new")).await.unwrap().is_empty());
}

#[tokio::test]
async fn statistics_say_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    assert_eq!(recall.statistics(&cx, "default").await.unwrap_err().kind(), ErrorKind::NotFound);
    recall.store(&cx, tagged("a", "blue whale", &json!({"n": 1}))).await.unwrap();
    recall.store(&cx, item("b", "blue car")).await.unwrap();
    let relate = json!({"do": "relate", "from": "a", "kind": "near", "to": "b"});
    recall.call(&cx, serde_json::from_value(relate).unwrap()).await.unwrap();
    let found = recall.statistics(&cx, "default").await.unwrap();
    assert_eq!((found.items, found.vectors, found.relations, found.terms), (2, 2, 1, 3));
    assert_eq!((found.embedder.as_deref(), found.dimensions), (Some("letters"), 26));
    assert!(found.oldest_ms.unwrap() > 1_600_000_000_000 && found.oldest_ms <= found.newest_ms);
    assert_eq!(found.index, IndexStatistics { kind: "exact".into(), coded: 0, due: false });
    assert!(found.bytes["items"] > 100 && found.bytes["vectors"] == 2 * (8 + 26 * 4), "{found:?}");
    assert!(found.bytes["words"] > 0 && found.bytes["relations"] > 0 && found.bytes["index"] == 0);
    let tenant = recall.statistics(&Context::new().tenant("a"), "default").await.unwrap_err();
    assert_eq!(tenant.kind(), ErrorKind::NotFound);
    recall.forget(&cx, all_of("default")).await.unwrap();
    assert_eq!(recall.statistics(&cx, "default").await.unwrap_err().kind(), ErrorKind::NotFound);
}
