//! Nothing of one tenant is seen by another.

use serde_json::json;

use super::{
    tests::{Letters, Memory, ids, item, memory, memory_with},
    *,
};
use crate::{Context, Engine, ErrorKind, monitor::FnSink};

fn of(tenant: &str) -> Context {
    Context::new().tenant(tenant)
}

/// Contexts whose names could be taken for one another's: none, one called as a namespace, one that begins as another.
fn tenants() -> [Context; 4] {
    [Context::new(), of("default"), of("default2"), of("d")]
}

#[tokio::test]
async fn items_and_counts_and_names_are_a_tenants_own() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    for (at, cx) in tenants().iter().enumerate() {
        assert!(recall.namespaces(cx).await.unwrap().is_empty(), "{at}");
        recall.store(cx, item("same", &format!("secret of {at}"))).await.unwrap();
        let own = StoreRequest { namespace: format!("only-{at}"), ..item("x", "more") };
        recall.store(cx, own).await.unwrap();
    }
    for (at, cx) in tenants().iter().enumerate() {
        assert_eq!(recall.namespaces(cx).await.unwrap(), ["default".to_owned(), format!("only-{at}")]);
        let hits = recall.query(cx, RecallQuery::new("secret", 10)).await.unwrap();
        assert_eq!(ids(&hits), ["same"]);
        assert_eq!(
            (hits[0].item.text.as_str(), hits[0].item.namespace.as_str()),
            (&*format!("secret of {at}"), "default")
        );
        let found = recall.get(cx, "default", "same").await.unwrap().unwrap();
        assert_eq!((found.text, found.namespace), (format!("secret of {at}"), "default".into()));
        let foreign = format!("only-{}", (at + 1) % 4);
        assert!(recall.get(cx, &foreign, "x").await.unwrap().is_none());
    }
    let forget = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
    assert_eq!(recall.forget(&tenants()[1], forget).await.unwrap(), 1);
    for (at, cx) in tenants().iter().enumerate() {
        assert_eq!(recall.get(cx, "default", "same").await.unwrap().is_some(), at != 1);
    }
}

#[tokio::test]
async fn no_name_reaches_into_another_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    recall.store(&of("a"), item("x", "secret")).await.unwrap();
    for (cx, namespace) in
        [(Context::new(), "a\0default"), (of("a\0default"), "x"), (of(""), "a\0"), (of("\0next"), "x")]
    {
        let query = RecallQuery { namespace: namespace.into(), ..RecallQuery::new("secret", 5) };
        assert_eq!(recall.query(&cx, query).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(recall.get(&cx, namespace, "x").await.unwrap_err().kind(), ErrorKind::Invalid);
        let forget = ForgetRequest { namespace: namespace.into(), ids: vec!["x".into()], filter: None, all: true };
        assert_eq!(recall.forget(&cx, forget).await.unwrap_err().kind(), ErrorKind::Invalid);
        let store = StoreRequest { namespace: namespace.into(), ..item("y", "more") };
        assert_eq!(recall.store(&cx, store).await.unwrap_err().kind(), ErrorKind::Invalid);
        let near = json!({"do": "neighbours", "namespace": namespace, "of": "x"});
        let near = recall.call(&cx, serde_json::from_value(near).unwrap()).await;
        assert_eq!(near.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let longest = of(&"t".repeat(namespace::MAX_TENANT));
    let name = "n".repeat(namespace::MAX_NAME);
    recall.store(&longest, StoreRequest { namespace: name.clone(), ..item("x", "fits a key") }).await.unwrap();
    assert_eq!(recall.namespaces(&longest).await.unwrap(), [name]);
    let longer = of(&"t".repeat(namespace::MAX_TENANT + 1));
    assert_eq!(recall.namespaces(&longer).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn words_of_others_do_not_move_a_score() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory_with(folder.path(), RecallConfig::default());
    let cx = of("a");
    for (id, text) in [("1", "blue whale song"), ("2", "blue car"), ("3", "red car and a very long text about it")] {
        recall.store(&cx, item(id, text)).await.unwrap();
    }
    let ask = || async { recall.query(&cx, RecallQuery::new("blue whale", 10)).await.unwrap() };
    let before = ask().await;
    // Rarity, lengths and counts of others would change it.
    let others = (0..50).map(|at| item(&at.to_string(), "blue whale blue whale whale")).collect::<Vec<_>>();
    for other in [Context::new(), of("b"), of("a2")] {
        recall.store_many(&other, others.clone()).await.unwrap();
    }
    assert_eq!(ask().await, before);
}

#[tokio::test]
async fn relations_are_a_tenants_own() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = memory(folder.path());
    let graph = LmdbGraphStore::new(store);
    let edge = |to: &str| Relation { from: "Ada".into(), kind: "knows".into(), to: to.into(), weight: 1.0 };
    for (at, cx) in tenants().iter().enumerate() {
        assert_eq!(graph.upsert(cx, "default", vec![edge(&at.to_string())]).await.unwrap(), 1, "new for each");
    }
    for (at, cx) in tenants().iter().enumerate() {
        let own = at.to_string();
        let near = graph.neighbours(cx, "default", "Ada", None, 5, 10).await.unwrap();
        assert_eq!(near.iter().map(|near| near.name.as_str()).collect::<Vec<_>>(), [own.as_str()]);
        let request = NeighboursRequest { namespace: "default".into(), of: "Ada".into(), kind: None, hops: 5, top: 10 };
        assert_eq!(recall.neighbours(cx, request).await.unwrap(), near);
        let foreign = ((at + 1) % 4).to_string();
        assert!(graph.path(cx, "default", "Ada", &foreign, 5).await.unwrap().is_none());
        assert_eq!(graph.delete(cx, "default", &[edge(&foreign)]).await.unwrap(), 0);
        let ranks = graph.rank(cx, "default", &["Ada".into(), foreign], 10).await.unwrap();
        assert_eq!(
            ranks.iter().map(|rank| rank.0.as_str()).collect::<std::collections::BTreeSet<_>>(),
            ["Ada", &own].into()
        );
    }
}

#[tokio::test]
async fn an_embedder_binds_only_the_namespace_of_its_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, .. } = memory(folder.path());
    recall.store(&of("a"), item("x", "text")).await.unwrap();
    router.set_embedder(Letters::named("other"));
    assert_eq!(recall.store(&of("a"), item("y", "text")).await.unwrap_err().kind(), ErrorKind::Conflict);
    recall.store(&of("b"), item("y", "text")).await.unwrap();
    assert_eq!(recall.check_namespace(&of("a"), "default").unwrap_err().kind(), ErrorKind::Conflict);
    recall.check_namespace(&of("b"), "default").unwrap();
}

#[tokio::test]
async fn events_name_namespaces_as_the_caller_does() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = std::sync::Arc::clone(&seen);
    let sink =
        FnSink(move |event: &crate::monitor::Event| into.lock().unwrap().push(serde_json::to_value(event).unwrap()));
    let cx = of("a").events(std::sync::Arc::new(sink));
    recall.store(&cx, item("x", "text")).await.unwrap();
    recall.query(&cx, RecallQuery::new("text", 1)).await.unwrap();
    let forget = ForgetRequest { namespace: "default".into(), ids: vec!["x".into()], filter: None, all: false };
    recall.forget(&cx, forget).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() >= 3);
    for event in seen.iter() {
        let text = event.to_string();
        assert!(event["tenant"] == "a" && text.contains("\"default\"") && !text.contains("\\u0000"), "{text}");
    }
}
