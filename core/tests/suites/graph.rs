//! What any [`GraphStore`] must do.

use triune::{
    Context, ErrorKind,
    recall::{GraphEdge, GraphStore},
};

fn edge(from: &str, kind: &str, to: &str) -> GraphEdge {
    weighted(from, kind, to, 1.0)
}

fn weighted(from: &str, kind: &str, to: &str, weight: f64) -> GraphEdge {
    GraphEdge { from: from.into(), kind: kind.into(), to: to.into(), weight }
}

/// Runs the suite in graphs that begin with `suite-` and must be new.
pub(crate) async fn graph_store_suite(store: &dyn GraphStore) {
    an_unknown_graph_is_empty(store).await;
    an_edge_is_its_ends_and_its_kind(store).await;
    neighbours_are_found_both_ways_by_the_shortest_way(store).await;
    graphs_are_kept_apart(store).await;
    tenants_are_kept_apart(store).await;
    bad_requests_are_invalid(store).await;
    paths_are_shortest(store).await;
    ranks_sum_to_one_and_follow_the_seeds(store).await;
}

async fn an_unknown_graph_is_empty(store: &dyn GraphStore) {
    let cx = Context::new();
    assert!(store.neighbours(&cx, "suite-unknown", "a", None, 1, 5).await.unwrap().is_empty());
    assert_eq!(store.delete(&cx, "suite-unknown", &[edge("a", "k", "b")]).await.unwrap(), 0);
    assert_eq!(store.upsert(&cx, "suite-unknown", vec![]).await.unwrap(), 0);
}

async fn an_edge_is_its_ends_and_its_kind(store: &dyn GraphStore) {
    let cx = Context::new();
    let edges = vec![edge("a", "knows", "b"), edge("a", "likes", "b"), edge("b", "knows", "a")];
    assert_eq!(store.upsert(&cx, "suite-edge", edges).await.unwrap(), 3);
    assert_eq!(store.upsert(&cx, "suite-edge", vec![weighted("a", "knows", "b", 5.0)]).await.unwrap(), 0);
    let found = store.neighbours(&cx, "suite-edge", "a", None, 1, 10).await.unwrap();
    assert!(found.len() == 1 && found[0].name == "b", "once, by whatever edge: {found:?}");
    assert_eq!(found[0].relation, weighted("a", "knows", "b", 5.0), "the strongest");
    let found = store.neighbours(&cx, "suite-edge", "b", Some("likes"), 1, 10).await.unwrap();
    assert_eq!(found[0].relation, edge("a", "likes", "b"));
    let gone = [edge("a", "likes", "b"), edge("x", "likes", "y")];
    assert_eq!(store.delete(&cx, "suite-edge", &gone).await.unwrap(), 1);
    assert!(store.neighbours(&cx, "suite-edge", "b", Some("likes"), 1, 10).await.unwrap().is_empty());
}

async fn neighbours_are_found_both_ways_by_the_shortest_way(store: &dyn GraphStore) {
    let cx = Context::new();
    let edges = vec![
        edge("a", "k", "b"),
        edge("c", "k", "b"),
        edge("c", "k", "d"),
        edge("d", "k", "a"),
        weighted("a", "k", "near", 9.0),
        edge("a", "k", "a"),
        edge("ab", "k", "other"),
    ];
    store.upsert(&cx, "suite-near", edges).await.unwrap();
    let found = store.neighbours(&cx, "suite-near", "a", None, 5, 10).await.unwrap();
    let names: Vec<_> = found.iter().map(|n| (n.name.as_str(), n.hops)).collect();
    assert_eq!(names[0], ("near", 1), "the strongest first: {names:?}");
    let mut others = names[1..].to_vec();
    others.sort_by_key(|(name, hops)| (*hops, *name));
    assert_eq!(others, [("b", 1), ("d", 1), ("c", 2)]);
    assert_eq!(store.neighbours(&cx, "suite-near", "a", None, 1, 10).await.unwrap().len(), 3);
    assert_eq!(store.neighbours(&cx, "suite-near", "a", None, 5, 2).await.unwrap().len(), 2);
}

async fn graphs_are_kept_apart(store: &dyn GraphStore) {
    let cx = Context::new();
    store.upsert(&cx, "suite-one", vec![edge("a", "k", "b")]).await.unwrap();
    store.upsert(&cx, "suite-onetwo", vec![edge("a", "k", "c")]).await.unwrap();
    let found = store.neighbours(&cx, "suite-one", "a", None, 5, 10).await.unwrap();
    assert_eq!(found.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

async fn tenants_are_kept_apart(store: &dyn GraphStore) {
    let (nobody, one, two) = (Context::new(), Context::new().tenant("suite-t"), Context::new().tenant("suite-t2"));
    for (cx, to) in [(&nobody, "b"), (&one, "c")] {
        assert_eq!(store.upsert(cx, "suite-t", vec![edge("a", "k", to)]).await.unwrap(), 1);
    }
    for (cx, found) in [(&nobody, vec!["b"]), (&one, vec!["c"]), (&two, vec![])] {
        let near = store.neighbours(cx, "suite-t", "a", None, 5, 10).await.unwrap();
        assert_eq!(near.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), found);
        let others = [edge("a", "k", if found == ["b"] { "c" } else { "b" })];
        assert_eq!(store.delete(cx, "suite-t", &others).await.unwrap(), 0);
    }
    assert!(store.path(&one, "suite-t", "a", "b", 5).await.unwrap().is_none());
    assert_eq!(store.rank(&one, "suite-t", &["a".into(), "b".into()], 10).await.unwrap().len(), 2);
    let error = store.upsert(&Context::new().tenant("a\0b"), "suite-t", vec![edge("a", "k", "b")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

async fn bad_requests_are_invalid(store: &dyn GraphStore) {
    let cx = Context::new();
    let bad = [
        edge("", "k", "b"),
        edge("a", "", "b"),
        edge("a", "k", "b\0"),
        weighted("a", "k", "b", f64::NAN),
        weighted("a", "k", "b", 0.0),
    ];
    for bad in bad {
        let edges = vec![edge("good", "k", "too"), bad.clone()];
        let error = store.upsert(&cx, "suite-bad", edges).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert!(store.neighbours(&cx, "suite-bad", "good", None, 1, 10).await.unwrap().is_empty(), "whole or not at all");
    for (hops, top) in [(0, 1), (6, 1), (1, 0)] {
        let error = store.neighbours(&cx, "suite-bad", "a", None, hops, top).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

async fn paths_are_shortest(store: &dyn GraphStore) {
    let cx = Context::new();
    let edges =
        vec![edge("a", "k", "b"), edge("b", "k", "c"), edge("c", "k", "d"), edge("d", "k", "a"), edge("x", "k", "y")];
    store.upsert(&cx, "suite-path", edges).await.unwrap();
    let path = store.path(&cx, "suite-path", "a", "c", 5).await;
    if !store.capability().paths {
        assert_eq!(path.unwrap_err().kind(), ErrorKind::Unsupported);
        return;
    }
    let path = path.unwrap().unwrap();
    assert_eq!(path.len(), 2);
    assert!(
        [&path[0].from, &path[0].to].contains(&&"a".to_owned())
            && [&path[1].from, &path[1].to].contains(&&"c".to_owned())
    );
    assert_eq!(store.path(&cx, "suite-path", "a", "d", 1).await.unwrap().unwrap(), [edge("d", "k", "a")]);
    assert_eq!(store.path(&cx, "suite-path", "a", "c", 1).await.unwrap(), None, "too far");
    assert_eq!(store.path(&cx, "suite-path", "a", "y", 5).await.unwrap(), None, "apart");
    assert_eq!(store.path(&cx, "suite-path", "a", "a", 1).await.unwrap(), Some(vec![]));
    assert_eq!(store.path(&cx, "suite-unknown", "a", "b", 1).await.unwrap(), None);
}

async fn ranks_sum_to_one_and_follow_the_seeds(store: &dyn GraphStore) {
    let cx = Context::new();
    let edges = vec![
        edge("ada", "k", "paris"),
        edge("ada", "k", "engine"),
        edge("paris", "k", "france"),
        edge("bob", "k", "rome"),
        edge("rome", "k", "italy"),
    ];
    store.upsert(&cx, "suite-rank", edges).await.unwrap();
    let ranked = store.rank(&cx, "suite-rank", &["ada".into(), "nobody".into()], 10).await;
    if !store.capability().rank {
        assert_eq!(ranked.unwrap_err().kind(), ErrorKind::Unsupported);
        return;
    }
    let ranked = ranked.unwrap();
    assert_eq!(ranked[0].0, "ada");
    let sum: f64 = ranked.iter().map(|(_, rank)| rank).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{ranked:?}");
    assert!(ranked.iter().all(|(name, _)| name != "rome"), "another part of the graph: {ranked:?}");
    let rank = |name: &str| ranked.iter().find(|(known, _)| known == name).unwrap().1;
    assert!(rank("paris") > rank("engine") && rank("paris") > rank("france"));
    assert_eq!(store.rank(&cx, "suite-rank", &["ada".into()], 2).await.unwrap().len(), 2);
    assert!(store.rank(&cx, "suite-rank", &["nobody".into()], 2).await.unwrap().is_empty());
    assert!(store.rank(&cx, "suite-rank", &[], 2).await.is_err());
}
